"""What the tasks of the pipeline do with networks of any maker, and folders of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card
from edgewright.model.contract.classifier import (
    CARD,
    Classifier,
    card_of,
    read_classifier,
    require_agreement,
)
from edgewright.model.judge.answers import Answers, judge, worst
from edgewright.model.judge.contact_sheet import Tile, write_sheet
from edgewright.model.judge.data import ELPV, Dataset, refuse_overlap
from edgewright.model.judge.evaluate import positive_label
from edgewright.model.judge.images import (
    CALIBRATION_IMAGES,
    halves,
    load_part,
    paths,
    relabel,
    spread,
)
from edgewright.model.pack.golden import choose, write_golden
from edgewright.model.quantize import diff as differ
from edgewright.model.quantize import page, sweep, sweep_report
from edgewright.model.quantize.recipe import DEFAULT
from edgewright.model.quantize.sweep import Bench, Counter, Rival
from edgewright.model.quantize.sweep_report import SweepReport

QUANTIZED = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What `quantize` is asked for; `elpv`, or a folder `class/name.png`, are images."""

    model: Path
    out: Path  # folder that is made
    calibration: str = ELPV
    held_out: str = ""  # empty: ELPV's validation part, or the images not calibrated on
    test: str = ""  # its images may not be among the others; empty: ELPV's test part, if here
    card: Path | None = None
    beside: tuple[Path, ...] = ()  # other networks to judge on the same images
    positive: str = ""  # the label that recall is told of
    sweep: bool = False
    budget: float = 1.0  # points of accuracy
    calibration_images: int = CALIBRATION_IMAGES
    held_out_images: int = 0  # 0: all


@dataclass(frozen=True, kw_only=True)
class Judging:
    """A network, its card and the images it is judged on."""

    classifier: Classifier
    card: Card
    dataset: Dataset
    positive: int


def quantize(
    asked: Quantization, progress: LineSink, count_instructions: Counter | None = None
) -> SweepReport:
    """Write `out`: model.onnx, card.json, golden/, sweep.json and report.html.

    Raises UserError for any fault of network or images, and if no recipe is in the budget.
    """
    classifier = _require_fp32(read_classifier(asked.model))
    calibration, held_out = _images(asked)
    card = card_of(classifier, calibration.labels, asked.card)
    with new_folder(asked.out) as folder, TemporaryDirectory() as scratch:
        bench = Bench(
            fp32=asked.model,
            card=card,
            calibration=relabel(calibration, card.labels),
            held_out=relabel(held_out, card.labels),
            positive=label_of(card, asked.positive),
            folder=Path(scratch),
            rivals=tuple(_rival(path, card) for path in asked.beside),
            count_instructions=count_instructions,
            progress=progress,
        )
        outcome = sweep.run(bench, None if asked.sweep else [DEFAULT], asked.budget)
        report = sweep_report.make_report(outcome, bench, asked.budget)
        made = sweep_report.write_model(outcome.chosen, card, bench, folder)
        _write_golden(made, card, outcome.chosen.answers, progress)
        (folder / "sweep.json").write_text(report.model_dump_json(indent=1) + "\n")
        (folder / "report.html").write_text(page.render(report, sweep_report.pictures(outcome)))
    return report


def judging(
    model: Path, images: str, card: Path | None = None, positive: str = "", count: int = 0
) -> Judging:
    """A network with its card and images: the test part of ELPV, or a folder."""
    classifier = read_classifier(model)
    dataset = load_part(images, "test")
    found = card_of(classifier, dataset.labels, card)
    dataset = relabel(dataset, found.labels)
    return Judging(
        classifier=classifier,
        card=found,
        dataset=spread(dataset, count) if count else dataset,
        positive=label_of(found, positive),
    )


def evaluate(asked: Judging) -> Answers:
    return judge(asked.classifier.path, asked.dataset, asked.card, asked.positive)


def write_worst(answers: Answers, out: Path, count: int = 24) -> Path | None:
    """A contact sheet of the worst mistakes; None if there are none."""
    tiles = [
        Tile(
            path=one.sample.path,
            caption=(
                one.sample.name,
                f"is {one.truth}, p {one.probability:.2f}",
                f"answered {one.answer}",
            ),
        )
        for one in worst(answers, count)
    ]
    return write_sheet(tiles, out) if tiles else None


def diff(first: Judging, second: Path) -> differ.Difference:
    """Compare the network of `first` with another one on its images."""
    other = read_classifier(second)
    require_agreement(other, first.card, first.classifier.path.parent / CARD)
    return differ.diff(first.classifier, other, first.dataset, first.card, first.positive)


def _rival(model: Path, card: Card) -> Rival:
    """A network to judge beside those of `card`; its own card tells how its input is made."""
    found = card_of(read_classifier(model), card.labels)
    if found.labels != card.labels:
        raise UserError(
            str(model),
            "answers with other labels: it cannot be judged beside this network",
            facts=[f"labels: {', '.join(found.labels)}", f"expected: {', '.join(card.labels)}"],
        )
    return Rival(path=model, card=found)


def _write_golden(model: Path, card: Card, answers: Answers, progress: LineSink) -> None:
    """What proves a build of this model on a board; a network that is seldom right has none."""
    try:
        write_golden(model, card, choose(answers))
    except UserError as fault:
        progress(f"no golden set, which invoke build needs: {fault.problem}")


def label_of(card: Card, positive: str) -> int:
    if positive and positive not in card.labels:
        raise UserError(
            f"--positive={positive}", "no such label", facts=["labels: " + ", ".join(card.labels)]
        )
    return positive_label(card.labels, positive)


def _images(asked: Quantization) -> tuple[Dataset, Dataset]:
    """What ranges come from and what recipes are judged by; neither is in the test set."""
    every = load_part(asked.calibration, "train")
    if asked.held_out or asked.calibration == ELPV:
        calibration = spread(every, asked.calibration_images)
        held_out = load_part(asked.held_out or ELPV, "validation")
    else:
        calibration, held_out = halves(every, asked.calibration_images)
    if asked.held_out_images:
        held_out = spread(held_out, asked.held_out_images)
    subject = f"calibration with {calibration.name}"
    refuse_overlap(paths(calibration), paths(held_out), subject, "held-out images")
    for dataset in (calibration, held_out):
        refuse_overlap(paths(dataset), _test_paths(asked.test), dataset.name)
    return calibration, held_out


def _test_paths(test: str) -> Sequence[Path]:
    if test or find_spec("elpv_dataset"):
        return paths(load_part(test or ELPV, "test"))
    return []


def _require_fp32(classifier: Classifier) -> Classifier:
    path = classifier.path
    if path.suffix == ".ort":
        raise UserError(str(path), "is in ORT format", next="quantize the ONNX file it is made of")
    kinds = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    if found := sorted(kinds & QUANTIZED):
        raise UserError(str(path), "is quantized already", facts=["operators: " + ", ".join(found)])
    return classifier
