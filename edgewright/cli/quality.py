"""The model pipeline from an ONNX file on: quantize, evaluate, convert, inspect, compare."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from json import JSONDecodeError, loads
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from invoke.context import Context
from pydantic import JsonValue, ValidationError
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.base.layout import installed_resources
from edgewright.base.progress import LineSink
from edgewright.base.schema import translate_errors
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    ask_line,
    checkout,
    model_path,
    profile_of,
    say,
    task,
    task_named,
    workspace,
    write_document,
)
from edgewright.cli.documents import written_files
from edgewright.cli.task_quality import (
    TaskQuantizationOptions,
    evaluate_task,
    quantize_task,
    task_card,
)
from edgewright.model.contract.card import (
    Card,
    ModelFile,
    Preprocess,
    Region,
    Tiling,
    read_card,
    write_card,
)
from edgewright.model.contract.session import saturates
from edgewright.model.contract.task_cards import CARDS, TaskCard, read_any_card
from edgewright.model.convert import inspect as inspector
from edgewright.model.convert import to_ort as converter
from edgewright.model.convert.coverage import prove
from edgewright.model.convert.inspect import Inspection
from edgewright.model.convert.ops import parse_config
from edgewright.model.importer.classifier import CARD, Choices, choices_beside
from edgewright.model.importer.proposal import PreprocessParts
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import ELPV
from edgewright.model.judge.documents import quality
from edgewright.model.judge.evaluate import (
    Prices,
    cheapest,
    thresholds,
)
from edgewright.model.judge.images import CALIBRATION_IMAGES
from edgewright.observe.count import instructions as counted
from edgewright.release import latest

if TYPE_CHECKING:  # these take seconds to import: only the tasks that need them do
    from edgewright.model.judge.report import EvaluationReport
    from edgewright.model.pack.import_folder import ImportReport, ImportRequest
    from edgewright.model.pack.workflow import Judging
    from edgewright.model.quantize.diff import Difference
    from edgewright.model.quantize.search import InstructionCounter
    from edgewright.model.quantize.sweep_report import Rival, Row, SweepReport

NETWORK = "ONNX classifier with one image input; card.json beside it if there is one"
IMAGES = "elpv, or a folder class/name.png"
MAX_ROWS = 20  # of a long table; --json has all

Network = Annotated[str, NETWORK]
Images = Annotated[str, IMAGES]
ImageCount = Annotated[int, "how many images; 0: all"]
CardPath = Annotated[str, "card.json to use instead of the one beside the model"]
InputShape = Annotated[str, "of a network that leaves it open, such as 1,3,224,224"]
OutputName = Annotated[str, "the output to take of a network that has several"]
Positive = Annotated[str, "the label that recall is told of; default: defective, or the last"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    model: Annotated[str, f"FP32 {NETWORK}; default: build/model/fp32.onnx"] = ""
    calibration: Annotated[str, f"images that ranges come from: {IMAGES}"] = ELPV
    held_out: Annotated[str, "images to judge by; default: ELPV's validation part, or the rest"] = (
        ""
    )
    test: Annotated[str, "images that may not be among the others; default: ELPV's test part"] = ""
    out: Annotated[
        str,
        "folder to make: model.onnx, card.json, golden/, sweep.json, report.html; "
        "default: build/model/int8",
    ] = ""
    card: CardPath = ""
    shape: InputShape = ""
    output: OutputName = ""
    positive: Positive = ""
    beside: Annotated[
        tuple[str, ...],
        "another network to show on the same plots, e.g. the one that was pruned; "
        "may be given several times",
    ] = ()
    sweep: Annotated[bool, "try every recipe; else the one that serves best as a rule"] = False
    budget: Annotated[float, "points of accuracy that may be lost against FP32"] = 1.0
    least_sqnr: Annotated[float, "dB of the outputs to keep, of a task without labelled images"] = (
        10.0
    )
    calibration_images: Annotated[int, "how many to calibrate on"] = CALIBRATION_IMAGES
    held_out_images: Annotated[int, "how many to judge by; 0: all"] = 0
    board: Annotated[str, "count guest instructions too, with the last build for this board"] = ""


@task
def quantize(c: Context, options: QuantizeOptions, json: Json = False) -> None:
    """FP32 to INT8. Example: invoke model.quantize --model=net.onnx --calibration=cells --sweep"""
    # Inside, here and below: it loads ONNX Runtime's quantizer, which takes seconds, and other
    # tasks of this module do without.
    from edgewright.model.pack import workflow

    model = Path(options.model) if options.model else _model_build() / "fp32.onnx"
    out = Path(options.out) if options.out else _model_build() / "int8"
    card_path = Path(options.card) if options.card else model.parent / CARD
    counter = _counter(options.board) if options.board else None
    if card := task_card(card_path):
        _require_options_of_tasks(options, f"{model} has the task {card.task}")
        task_options = TaskQuantizationOptions(
            model=model,
            card_path=card_path,
            calibration=options.calibration,
            held_out=options.held_out,
            out=out,
            budget=options.budget,
            least_sqnr=options.least_sqnr,
            calibration_images=options.calibration_images,
            sweep=options.sweep,
        )
        quantize_task(card, task_options, counter, json=json)
        return
    request = workflow.Quantization(
        model=model,
        out=out,
        calibration=options.calibration,
        held_out=options.held_out,
        test=options.test,
        card=Path(options.card) if options.card else None,
        shape=_shape(options.shape),
        output=options.output,
        positive=options.positive,
        beside=tuple(map(Path, options.beside)),
        sweep=options.sweep,
        budget=options.budget,
        calibration_images=options.calibration_images,
        held_out_images=options.held_out_images,
    )
    with _progress() as progress:
        report = workflow.quantize(request, progress, counter)
    if json:
        write_document(report)
    else:
        _show_sweep(report)
        say(f"{out}: {report.chosen.bytes:,} bytes; report.html shows it")


def _show_sweep(report: "SweepReport") -> None:
    OUT.print(_sweep_table(report))
    OUT.print(f"{report.chosen.name}\n{report.reason}", soft_wrap=True)
    for rival in report.rivals:
        OUT.print(_beside(report.chosen, rival), soft_wrap=True)


def _require_options_of_tasks(options: QuantizeOptions, task: str) -> None:
    """Raises UserError for an option that means something for classifiers alone."""
    for name in ("beside", "held_out_images", "output", "positive", "shape", "test"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                flag, f"is of classifiers alone, {task}", next=f"the same command without {flag}"
            )


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """What is stated of a network; the rest is taken from it, or assumed and said."""

    model: Annotated[str, "ONNX network of any exporter; card.json beside it if there is one"]
    task: Annotated[
        str,
        f"what the network is for: {', '.join(CARDS)}; the card's, or the exporter's, if not given",
    ] = ""
    roles: Annotated[str, "what outputs mean to the task: NAME:ROLE, with commas"] = ""
    settings: Annotated[str, "of the task: NAME=VALUE, with commas"] = ""
    labels: Annotated[str, "in the order of the outputs, with commas; or a file, one a line"] = ""
    mean: Annotated[str, "a channel, of values in 0 to 1, such as 0.485,0.456,0.406"] = ""
    std: Annotated[str, "a channel, such as 0.229,0.224,0.225"] = ""
    scale: Annotated[
        str, "pixels of 0 to 255 times this, instead of mean and std; 1: as they are"
    ] = ""
    fit: Annotated[str, "stretch, center_crop:256 (shorter side) or letterbox:114 (border)"] = ""
    color: Annotated[str, "gray, rgb or bgr"] = ""
    resize: Annotated[str, "filter: triangle, bicubic or bilinear (OpenCV's)"] = ""
    jpeg: Annotated[str, "scaled: decoded at 1/2, 1/4 or 1/8 where that is large enough"] = ""
    roi: Annotated[
        str,
        "part of each image that is looked at: X,Y,WIDTH,HEIGHT in pixels, with points in shares",
    ] = ""
    tiling: Annotated[
        str, "tiles that images are cut into: WIDTH,HEIGHT,OVERLAP in pixels, of boxes,union:0.5"
    ] = ""
    shape: InputShape = ""
    output: OutputName = ""


@dataclass(frozen=True, kw_only=True)
class ImportOptions(CardOptions):
    out: Annotated[str, "folder to make, with card.json and golden/; models/NAME if not given"] = ""
    images: Annotated[str, f"to compare on, and to make golden/ of: {IMAGES}"] = ""
    card: CardPath = ""


def _import_request(options: CardOptions, out: Path) -> "ImportRequest":
    from edgewright.model.pack.import_folder import ImportRequest

    return ImportRequest(
        model=Path(options.model),
        out=out,
        task=options.task,
        roles=_pairs("--roles", options.roles, ":"),
        settings=_settings(options.settings),
        labels=_labels(options.labels),
        mean=_numbers("--mean", options.mean),
        std=_numbers("--std", options.std),
        parts=stated_parts(
            fit=options.fit,
            color=options.color,
            resize=options.resize,
            scale=options.scale,
            jpeg=options.jpeg,
            roi=options.roi,
        ),
        tiling=stated_tiling(options.tiling),
        shape=_shape(options.shape),
        output=options.output,
    )


@task_named("import")
def import_(c: Context, options: ImportOptions, json: Json = False) -> None:
    """Any network's model folder. Example: invoke model.import --model=net.onnx --images=cells"""
    from edgewright.model.pack import import_folder

    model = Path(options.model)
    out = Path(options.out) if options.out else workspace().models / model.stem
    report = import_folder.import_model(
        replace(
            _import_request(options, out),
            images=options.images,
            card=Path(options.card) if options.card else None,
        )
    )
    if json:
        write_document(report)
        return
    _print_import(report)


@task
def card(
    c: Context,
    options: CardOptions,
    image: Annotated[str, "image of which card.png shows what the network sees and answers"] = "",
    json: Json = False,
) -> None:
    """Write a network's card. Example: invoke model.card --model=net.onnx --labels=ok,bad"""
    from edgewright.model.pack import make_card

    import_options = options if options.task or not sys.stdin.isatty() else _ask_for_card(options)
    request = _import_request(import_options, Path(options.model).parent)
    report = make_card.make_card(request, Path(image) if image else None)
    if json:
        write_document(report)
        return
    OUT.print(f"{report.card}: {report.task}", soft_wrap=True)
    for assumption in report.assumptions:
        OUT.print(f"  assumed: {assumption}", soft_wrap=True)
    if report.preview:
        OUT.print(f"{report.preview}: {report.answer}", soft_wrap=True)


def _ask_for_card(options: CardOptions) -> CardOptions:
    """What only a person knows, asked for at the terminal; an empty line leaves it open."""
    if (Path(options.model).parent / CARD).is_file():
        return options
    say(f"{options.model} has no card; an empty line leaves the answer to what it says itself")
    task = ask_line(f"what is it for? {', '.join(CARDS)}: ")
    labels = options.labels or ask_line("labels, in the order of its outputs, with commas: ")
    roles = options.roles
    if task not in ("", "classify") and not roles:
        roles = ask_line("what its outputs mean, NAME:ROLE with commas: ")
    return replace(options, task=task, labels=labels, roles=roles)


def _print_import(report: "ImportReport") -> None:
    OUT.print(f"{report.model}, from {report.source}", soft_wrap=True)
    for change in report.changes or ("nothing had to be changed",):
        OUT.print(f"  {change}", soft_wrap=True)
    if report.difference is not None:
        OUT.print(
            f"  outputs differ from the source's by {report.difference:.1e} of the largest, "
            f"allowed: {report.tolerance:g}",
            soft_wrap=True,
        )
    OUT.print(report.card, soft_wrap=True)
    for assumption in report.assumptions:
        OUT.print(f"  assumed: {assumption}", soft_wrap=True)
    if report.accuracy is not None:
        OUT.print(f"accuracy {report.accuracy:.3f}, {report.golden_cases} golden cases")
    for line in report.left_out:
        OUT.print(f"  left out: {line}", soft_wrap=True)
    command = "invoke build" if report.golden_cases else "invoke model.golden --images=FOLDER"
    say(f"next: {command} --model={report.model}")


def stated_parts(
    *,
    fit: str = "",
    color: str = "",
    resize: str = "",
    scale: str = "",
    jpeg: str = "",
    roi: str = "",
) -> PreprocessParts:
    """What options say of preprocessing. Raises UserError for a word that it does not have."""
    kind, _, number = fit.partition(":")
    argument = {"center_crop": "resize_shorter", "letterbox": "pad_value"}.get(kind)
    numbers = {argument: number} if argument else {"size": number.split(",")}
    content: dict[str, object] = {
        "fit": {"kind": kind} | (numbers if number else {}) if fit else None,
        "color": color or None,
        "resize": resize or None,
        "normalize": {"kind": "scale", "factor": scale} if scale else None,
        "jpeg": jpeg or None,
        "roi": _region(roi) if roi else None,
    }
    stated = {key: value for key, value in content.items() if value is not None}
    try:
        preprocess = Preprocess.model_validate(stated)
    except ValidationError as invalid:
        raise UserError(
            "what is stated of preprocessing",
            "has words that a card does not know",
            facts=translate_errors(invalid, Preprocess),
            next="invoke --help model.import",
        ) from invalid
    return PreprocessParts(**{key: getattr(preprocess, key) for key in stated})


def _region(text: str) -> dict[str, object]:
    """Four numbers; in shares of the image where one of them has a point."""
    numbers: dict[str, object] = dict(zip_longest(Region.model_fields, text.split(",")))
    return numbers | {"unit": "fraction"} if "." in text else numbers


def stated_tiling(text: str) -> Tiling | None:
    """`640,480,64,union:0.5`: the overlap and the merging of boxes may be left out."""
    if not text:
        return None
    parts = dict(zip_longest(("width", "height", "overlap", "merge"), text.split(",")))
    content: dict[str, object] = {"size": (parts.pop("height"), parts.pop("width"))}
    if merge := parts.pop("merge"):
        by, _, threshold = merge.partition(":")
        content["merge"] = {"by": by} | ({"threshold": threshold} if threshold else {})
    content |= {key: value for key, value in parts.items() if value is not None}
    try:
        return Tiling.model_validate(content)
    except ValidationError as invalid:
        raise UserError(
            f"--tiling={text}",
            "is not WIDTH,HEIGHT,OVERLAP, or that with ,smaller:0.5 or ,union:0.5",
            facts=translate_errors(invalid, Tiling),
        ) from invalid


def _pairs(option: str, text: str, separator: str) -> dict[str, str]:
    """`NAME:ROLE,NAME:ROLE` as a table. A name may hold the separator, what is behind it not."""
    pairs = [part.rpartition(separator) for part in text.split(",") if part]
    if wrong := next((part for part in pairs if not (part[0] and part[2])), None):
        raise UserError(
            f"{option}={text}",
            f"'{''.join(wrong)}' is no NAME{separator}VALUE",
            next=f"give it as in {option}=first{separator}this,second{separator}that",
        )
    return {name: value for name, _, value in pairs}


def _settings(text: str) -> dict[str, JsonValue]:
    """`name=value,name=value`; a value is a number, true, false, null or text."""
    settings: dict[str, JsonValue] = {}
    for name, value in _pairs("--settings", text, "=").items():
        try:
            settings[name] = loads(value)
        except JSONDecodeError:
            settings[name] = value
    return settings


def _labels(text: str) -> tuple[str, ...]:
    path = Path(text)
    if text and path.is_file():
        return tuple(line for line in path.read_text().splitlines() if line)
    return tuple(text.split(",")) if text else ()


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(",")) if text else ()
    except ValueError:
        raise UserError(
            f"{option}={text}", "is no list of numbers", next=f"give it as in {option}=0.5,0.5,0.5"
        ) from None


@dataclass(frozen=True, kw_only=True)
class JudgingOptions:
    """Labelled images, and what is judged by."""

    images: Images = ELPV
    card: CardPath = ""
    positive: Positive = ""
    count: ImageCount = 0

    def judging(self, model: Path, *, shape: str = "", output: str = "") -> "Judging":
        from edgewright.model.pack import workflow

        return workflow.judging(
            model,
            self.images,
            say,
            card=Path(self.card) if self.card else None,
            positive=self.positive,
            count=self.count,
            shape=_shape(shape),
            output=output,
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    model: Annotated[str, f"{NETWORK}; .ort too"] = ""
    shape: InputShape = ""
    output: OutputName = ""
    cost_miss: Annotated[float, "price of a defect that passes"] = 1.0
    cost_false_alarm: Annotated[float, "price of a good one that is rejected"] = 1.0
    worst: Annotated[str, "PNG to write: the worst mistakes; default: build/model/worst.png"] = ""
    page: Annotated[
        str,
        "HTML page to write: curves, calibration, what changes of the line do, and where the "
        "network looked",
    ] = ""
    beside: Annotated[
        tuple[str, ...], "of --page: another network, e.g. its INT8; may be given several times"
    ] = ()
    disturbed: Annotated[int, "of --page: how many images to disturb; 0: none"] = 200


@task
def evaluate(
    c: Context, options: EvaluateOptions, judged: JudgingOptions, json: Json = False
) -> None:
    """Judge a model on labelled images. Example: invoke model.evaluate --cost-miss=10"""
    from edgewright.model.pack import workflow

    model = model_path(options.model)
    prices = Prices(miss=options.cost_miss, false_alarm=options.cost_false_alarm)
    if card := task_card(Path(judged.card) if judged.card else model.parent / CARD):
        evaluate_task(model, card, judged.images, prices, json=json)
        return
    judging = judged.judging(model, shape=options.shape, output=options.output)
    if saturates(judging.classifier.path):
        say(
            "this processor rounds INT8 sums of .ort files; the board does not: judge the ONNX file"
        )
    if options.page:
        _evaluate_for_page(judging, options, prices, json=json)
        return
    answers = workflow.evaluate(judging)
    sheet = workflow.write_worst(
        answers, Path(options.worst) if options.worst else _model_build() / "worst.png"
    )
    if json:
        cuts = thresholds(answers.defect, answers.truth, prices)
        write_document(quality(answers, prices, cuts, cheapest(cuts), sheet))
        return
    OUT.print(_metrics_table(answers))
    OUT.print(_threshold_table(answers, prices))
    if prices != Prices() and answers.border is None:
        best = cheapest(thresholds(answers.defect, answers.truth, prices))
        say(f"next: invoke model.card --model={model} --settings=threshold={best.value:.3f}")
    if answers.metrics.auc.value < 0.5:
        say("AUC is below 0.5: are the card's labels in the order of the outputs?")
    say(f"worst mistakes: {sheet}" if sheet else "no mistakes")


def _evaluate_for_page(
    judging: "Judging", options: EvaluateOptions, prices: Prices, *, json: bool
) -> None:
    from edgewright.model.pack.evaluation import EvaluationRequest, evaluate_for_page

    request = EvaluationRequest(
        judging=judging,
        beside=tuple(map(Path, options.beside)),
        prices=prices,
        page=Path(options.page),
        disturbed_images=options.disturbed,
    )
    report = evaluate_for_page(request, say)
    if json:
        write_document(report)
        return
    OUT.print(_networks_table(report))
    say(f"{report.page} shows it")


def _networks_table(report: "EvaluationReport") -> Table:
    table = Table(f"on {report.count} images", "accuracy", box=None, pad_edge=False)
    for column in (f"{report.positive} found", "AUC", "cheapest threshold", "probabilities"):
        table.add_column(column)
    for network in report.networks:
        table.add_row(
            network.name,
            str(network.accuracy),
            str(network.defect_recall),
            str(network.auc),
            str(network.cheapest),
            network.calibration.verdict,
        )
    return table


@dataclass(frozen=True, kw_only=True)
class OneNetwork:
    """A network, and which of its sizes and outputs are meant."""

    model: Network = ""
    shape: InputShape = ""
    output: OutputName = ""

    def choices(self) -> tuple[Path, Choices]:
        """Its file, and the choices with those of a card beside it."""
        path = model_path(self.model)
        return path, choices_beside(path, _shape(self.shape), self.output)


@task
def convert(
    c: Context,
    network: OneNetwork,
    out: Annotated[str, "folder for model.ort and ops.config; default: build/model/converted"] = "",
    json: Json = False,
) -> None:
    """ONNX to ORT format, with its op config. Example: invoke model.convert --model=net.onnx"""
    path, choices = network.choices()
    files = converter.convert(
        path,
        Path(out) if out else _model_build() / "converted",
        shape=choices.shape,
        output=choices.output,
        form=choices.form,
    )
    report = converter.conversion_report(files)
    if json:
        write_document(report)
        return
    OUT.print(f"{report.ort}: {report.bytes:,} bytes", soft_wrap=True)
    OUT.print(f"{report.ops_config}: {len(report.operators)} operators", soft_wrap=True)
    for name in report.operators:
        OUT.print(f"  {name}", soft_wrap=True)


@task
def inspect(c: Context, network: OneNetwork, json: Json = False) -> None:
    """Operators, types, MACs, memory. Example: invoke model.inspect --model=net.onnx"""
    path, choices = network.choices()
    inspection = inspector.inspect(
        path, shape=choices.shape, output=choices.output, form=choices.form
    )
    if json:
        write_document(inspection)
        return
    _print_summary(inspection)
    if inspection.int8:
        OUT.print(_int8_table(inspection))
    OUT.print(_layer_table(inspection))


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    first: Annotated[str, f"{NETWORK}; the FP32 one"]
    second: Annotated[str, "the network to compare with it, of the same card"]


@task
def diff(c: Context, options: DiffOptions, judged: JudgingOptions, json: Json = False) -> None:
    """Where two models part. Example: invoke model.diff fp32.onnx int8.onnx --count=100"""
    from edgewright.model.pack import workflow

    difference = workflow.diff(judged.judging(Path(options.first)), Path(options.second))
    if json:
        from edgewright.model.quantize.diff import difference_report

        write_document(difference_report(difference))
        return
    OUT.print(_metrics_side_by_side(difference))
    if difference.noise:
        OUT.print(_sqnr_table(difference))
    for image in difference.disagreements[:MAX_ROWS]:
        OUT.print(
            f"{image.sample.name}: is {image.truth}; {image.first} {image.first_defect:.3f}, "
            f"{image.second} {image.second_defect:.3f}",
            soft_wrap=True,
        )


@task
def golden(
    c: Context,
    model: Annotated[str, "ONNX model with card.json beside it"] = "",
    images: Annotated[str, f"images that it was not trained on: {IMAGES}"] = ELPV,
    json: Json = False,
) -> None:
    """Golden set of a model. Example: edgewright model.golden --model=net.onnx --images=cells"""
    from edgewright.model.pack import golden as sets
    from edgewright.model.pack import workflow

    path, demo = model_path(model), installed_resources().demo_models
    if demo and path.is_relative_to(demo):
        checkout()  # the models of an installation are only read
    card_path = path.parent / CARD
    if not card_path.is_file():
        raise UserError(
            str(path),
            f"no {CARD} beside it, which tells what its answers mean",
            next=f"invoke model.import --model={path} --images={images}, which makes both",
        )
    card = read_any_card(card_path)
    if not isinstance(card, Card):
        _task_golden(path, card, card_path, images, json=json)
        return
    judging = workflow.judging(path, images, say, card=card_path)
    written = sets.make_golden(
        judging.classifier.path, judging.card, workflow.evaluate(judging), path.parent / "golden"
    )
    say(f"{written.folder}: {written.cases} cases")
    for line in written.left_out:
        say(f"left out: {line}")
    if json:
        write_document(written_files([written.folder / sets.EXPECTED]))


def _task_golden(path: Path, card: TaskCard, card_path: Path, images: str, *, json: bool) -> None:
    from edgewright.model.pack import task_golden
    from edgewright.model.pack.golden import EXPECTED

    imported = read_for_task(path, card, card_path)
    out = path.parent / "golden"
    cases = task_golden.spread_cases(task_golden.find_cases(Path(images), card))
    written = task_golden.write_task_golden(imported.path, card, cases, out)
    say(f"{out}: {len(written.cases)} cases")
    if json:
        write_document(written_files([out / EXPECTED]))


def _shape(text: str) -> tuple[int, ...]:
    """The sizes of `--shape`; empty if it is not given. Raises UserError for other words."""
    try:
        shape = tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError:
        shape = (0,)
    if shape and min(shape) < 1:
        raise UserError(
            f"--shape={text}",
            "is no shape",
            facts=["expected: batch, channels, height, width of an image, or a tensor's sizes"],
            next="give it as in --shape=1,3,224,224",
        )
    return shape


def _model_build() -> Path:
    return workspace().root / "build" / "model"


@contextmanager
def _progress() -> Iterator[LineSink]:
    """Prints a line for each finished step; on a terminal a spinner turns between them."""
    with ERR.status("quantizing") as spinner:

        def report_step(line: str) -> None:
            say(line)
            spinner.update(f"after {line.split(':')[0]}")

        yield report_step


def _counter(board: str) -> "InstructionCounter":
    """Counts with the board's last build; a model that it lacks operators for has no count."""
    build = workspace().build(board)
    release = latest.release_of(build).folder
    program = counted.program_of_release(release, profile_of(board), build)
    built_in = parse_config(build.ops_config.read_text(), str(build.ops_config))
    card = read_card(release / "model" / "card.json")

    def count(model: Path) -> int | None:
        with TemporaryDirectory() as scratch:
            # As a build converts it: the board's program takes no ONNX.
            converted = converter.convert(model, Path(scratch))
            try:
                prove(converted.ort, built_in)
            except UserError:
                return None
            card_of_model = card.model_copy(update={"file": ModelFile.of(converted.ort)})
            write_card(card_of_model, Path(scratch) / "card.json")
            options = (*program.options, "--model", str(converted.ort))
            run = replace(program, model=converted.ort, options=options)
            return counted.measure(run, board, workspace().resources).inference

    return count


def _sweep_table(report: "SweepReport") -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", overflow="fold")
    rows: Sequence[Row] = (report.fp32, *report.candidates, *(rival.row for rival in report.rivals))
    counted = ["M instructions"] if any(row.instructions for row in rows) else []
    macs = ["M MACs"] if report.rivals else []
    quality = ("accuracy", f"{report.positive} found", "AUC")
    columns = (*quality, "bytes", *macs, "time", "|Δp|", *counted)
    for column in columns:
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: row.distance):
        table.add_row(
            f"{'* ' if row.chosen else ''}{row.name}",
            f"{row.accuracy.value:.3f}",
            f"{row.defect_recall.value:.3f}",
            f"{row.auc.value:.3f}",
            f"{row.bytes:,}",
            *[f"{row.macs / 1e6:,.1f}" for _ in macs],
            f"{row.time:.2f}",
            f"{row.distance:.4f}",
            *[f"{row.instructions / 1e6:,.0f}" if row.instructions else "" for _ in counted],
        )
    return table


def _beside(chosen: "Row", rival: "Rival") -> str:
    gain, other = rival.accuracy_gain, rival.row
    verdict = "dominates" if rival.dominated else "does not dominate"
    return (
        f"{verdict} {other.name}: accuracy {100 * gain.value:+.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}, paired), "
        f"{chosen.macs / other.macs:.0%} of its MACs, {chosen.bytes / other.bytes:.0%} of its bytes"
    )


def _metrics_table(answers: Answers) -> Table:
    names, metrics = answers.dataset.labels, answers.metrics
    table = Table("metric", f"on {metrics.count} images", box=None, pad_edge=False)
    table.add_row("accuracy", str(metrics.accuracy))
    table.add_row("AUC", str(metrics.auc))
    table.add_row(f"{names[answers.positive]} found", str(metrics.defect_recall))
    for truth, row in zip(names, metrics.confusion, strict=True):
        counts = ", ".join(f"{name} {n}" for name, n in zip(names, row, strict=True))
        table.add_row(f"{truth} answered", counts)
    return table


def _threshold_table(answers: Answers, prices: Prices) -> Table:
    table = Table("threshold", box=None, pad_edge=False)
    for column in ("missed", "false alarms", "cost"):
        table.add_column(column, justify="right")
    cuts = thresholds(answers.defect, answers.truth, prices)
    best = cheapest(cuts)
    # There may be a threshold for each image: a screen gets a few, evenly spread, and the cheapest.
    step = max(1, len(cuts) // 9)
    for index, threshold in enumerate(cuts):
        if index % step == 0 or threshold is best:
            table.add_row(
                f"{'cheapest ' if threshold is best else ''}{threshold.value:.3f}",
                str(threshold.misses),
                str(threshold.false_alarms),
                f"{threshold.cost:g}",
            )
    return table


def _print_summary(network: Inspection) -> None:
    opsets = ", ".join(f"{name} {version}" for name, version in network.opsets.items())
    operators = ", ".join(f"{name} {count}" for name, count in network.operators.items())
    types = ", ".join(f"{name} {size:,} bytes" for name, size in network.types.items())
    for line in (
        f"{network.model}: {network.bytes:,} bytes, opset {opsets}",
        f"operators: {operators}",
        f"weights: {network.parameters:,} parameters; {types}",
        f"MACs: {network.macs / 1e6:,.1f} M",
        f"activation peak: {network.activation_peak:,} bytes, at {network.peak_at}",
    ):
        OUT.print(line, soft_wrap=True)


def _int8_table(network: Inspection) -> Table:
    table = Table("INT8 nodes", box=None, pad_edge=False)
    table.add_column("nodes", justify="right")
    table.add_column('where a board has runtime.kernels = "neon"', overflow="fold")
    for kind in network.int8:
        names = f"{kind.reason}: {', '.join(kind.names)}"
        more = ", …" if kind.nodes > len(kind.names) else ""
        outcome = "fast" if kind.fast else f"stock kernel: {names}{more}"
        table.add_row(kind.operator, str(kind.nodes), outcome)
    return table


def _layer_table(network: Inspection) -> Table:
    title = f"the {MAX_ROWS} layers with most MACs" if len(network.layers) > MAX_ROWS else ""
    table = Table("operator", title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column("layer", overflow="fold")
    for column in ("output", "M MACs", "weight bytes", "output bytes"):
        table.add_column(column, justify="right")
    for layer in sorted(network.layers, key=lambda layer: -layer.macs)[:MAX_ROWS]:
        table.add_row(
            layer.operator,
            layer.name,
            "x".join(map(str, layer.shape or ("?",))),
            f"{layer.macs / 1e6:,.1f}",
            f"{layer.weight_bytes:,}",
            f"{layer.output_bytes:,}",
        )
    return table


def _metrics_side_by_side(difference: "Difference") -> Table:
    table = Table("", "first", "second", box=None, pad_edge=False)
    first, second = difference.first.metrics, difference.second.metrics
    for name in ("accuracy", "auc", "defect_recall"):
        table.add_row(name.replace("_", " "), str(getattr(first, name)), str(getattr(second, name)))
    table.add_row("same answer", f"{difference.agreement:.1%}", "")
    table.add_row("probabilities differ by", f"{difference.distance:.4f}", "")
    return table


def _sqnr_table(difference: "Difference") -> Table:
    table = Table("where SQNR falls most", box=None, pad_edge=False)
    table.add_column("tensor", overflow="fold")
    for column in ("own, dB", "all, dB", "fall, dB"):
        table.add_column(column, justify="right")
    for noise, fall in difference.falls(MAX_ROWS):
        local = "" if noise.local is None else f"{noise.local:.1f}"
        table.add_row(noise.operator, noise.tensor, local, f"{noise.total:.1f}", f"{fall:.1f}")
    return table
