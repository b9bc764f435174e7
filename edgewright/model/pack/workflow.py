"""Quantize, evaluate and compare networks from any source, on folders of labelled images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card
from edgewright.model.importer.classifier import (
    CARD,
    Classifier,
    choices_of,
    default_card,
    read_classifier,
    read_with_card,
    require_agreement,
)
from edgewright.model.importer.importing import import_facts
from edgewright.model.judge.answers import Answers, judge, worst
from edgewright.model.judge.contact_sheet import Tile, write_sheet
from edgewright.model.judge.data import ELPV, Dataset, refuse_overlap
from edgewright.model.judge.evaluate import positive_label
from edgewright.model.judge.images import (
    CALIBRATION_IMAGES,
    Inputs,
    halves,
    load_part,
    paths,
    relabel,
    spread,
)
from edgewright.model.pack.golden import make_golden
from edgewright.model.pack.reference import write_reference
from edgewright.model.quantize import diff as differ
from edgewright.model.quantize import page, sweep, sweep_report
from edgewright.model.quantize.recipe import DEFAULT, require_fp32
from edgewright.model.quantize.search import InstructionCounter
from edgewright.model.quantize.sweep import Bench, Rival, SweepResult
from edgewright.model.quantize.sweep_report import SweepReport

COMPARED_IMAGES = 4  # on which a rewritten network must answer as the source does


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """The options of `quantize`; images are `elpv`, or a folder with files `class/name.png`."""

    model: Path
    out: Path  # the folder to make
    calibration: str = ELPV
    held_out: str = ""  # empty: ELPV's validation part, or the images not calibrated on
    test: str = ""  # its images may not be among the others; empty: ELPV's test part, if here
    card: Path | None = None
    shape: tuple[int, ...] = ()  # of the input, where the network leaves it open
    output: str = ""  # the one to take of several
    beside: tuple[Path, ...] = ()  # other networks to judge on the same images
    positive: str = ""  # the label whose recall is measured
    sweep: bool = False
    budget: float = 1.0  # points of accuracy
    calibration_images: int = CALIBRATION_IMAGES
    held_out_images: int = 0  # 0: all


@dataclass(frozen=True, kw_only=True)
class Judging:
    """A network, its card and the images to judge it on."""

    classifier: Classifier
    card: Card
    dataset: Dataset
    positive: int


def quantize(
    request: Quantization, progress: LineSink, count_instructions: InstructionCounter | None = None
) -> SweepReport:
    """Write `out`: model.onnx, card.json, golden/, reference.json, sweep.json and report.html.

    Raises UserError for any fault of network or images, and if no recipe is in the budget.
    """
    classifier, stored_card = read_with_card(
        request.model, request.card, shape=request.shape, output=request.output or None
    )
    require_fp32(classifier.source, classifier.path)
    calibration, judged = _images(request)
    card = stored_card or _assumed_card(classifier, calibration.labels, progress)
    card = card.model_copy(update={"schema_": 2, "imported": import_facts(classifier.imported)})
    _require_equal(classifier, calibration, card, progress)
    held_out = relabel(judged, card.labels)
    with (
        new_folder(request.out) as folder,
        TemporaryDirectory() as scratch,
        _blaming(request.model, Path(scratch), classifier.path),
    ):
        bench = Bench(
            fp32=classifier.path,
            card=card,
            calibration=relabel(calibration, card.labels),
            held_out=held_out,
            positive=_measured_label(held_out, request.positive),
            folder=Path(scratch),
            rivals=tuple(rival(path, card) for path in request.beside),
            count_instructions=count_instructions,
            progress=progress,
        )
        result = sweep.run(bench, None if request.sweep else [DEFAULT], request.budget)
        report = sweep_report.make_report(result, bench, request.budget)
        _write(folder, result, report, bench)
    return report


def _write(folder: Path, result: SweepResult, report: SweepReport, bench: Bench) -> None:
    packed = sweep_report.write_model(result.chosen, bench.card, bench, folder)
    try:
        golden = make_golden(packed, bench.card, result.chosen.answers)
        for line in golden.left_out:
            bench.progress(f"golden set: {line}")
    except UserError as fault:  # a network that is seldom right is still worth its report
        bench.progress(f"no golden set, which invoke build needs: {fault.problem}")
    write_reference(packed, bench.card, paths(bench.held_out), folder)
    (folder / "sweep.json").write_text(report.model_dump_json(indent=1) + "\n")
    (folder / "report.html").write_text(page.render(report, sweep_report.pictures(result)))


def judging(
    model: Path,
    images: str,
    progress: LineSink = lambda _: None,
    *,
    card: Path | None = None,
    positive: str = "",
    count: int = 0,
    shape: tuple[int, ...] = (),
    output: str = "",
) -> Judging:
    """Read a network, its card and its images, which are the test part of ELPV or a folder."""
    classifier, stored_card = read_with_card(model, card, shape=shape, output=output or None)
    dataset = load_part(images, "test")
    model_card = stored_card or _assumed_card(classifier, dataset.labels, progress)
    _require_equal(classifier, dataset, model_card, progress)
    dataset = relabel(dataset, model_card.labels)
    if count:
        dataset = spread(dataset, count)
    return Judging(
        classifier=classifier,
        card=model_card,
        dataset=dataset,
        positive=_measured_label(dataset, positive),
    )


def _assumed_card(classifier: Classifier, labels: Sequence[str], progress: LineSink) -> Card:
    """A card where there is none, with a word for all that it assumes."""
    card, assumptions = default_card(classifier, labels)
    progress(f"{classifier.source}: no {CARD} beside it, so this is assumed, and may be wrong:")
    for line in assumptions:
        progress(f"  {line}")
    progress(f"  state it: invoke model.import --model={classifier.source} --out=FOLDER, or --card")
    return card


def _require_equal(
    classifier: Classifier, dataset: Dataset, card: Card, progress: LineSink
) -> None:
    """Say how the network was rewritten, and compare it with the source on real images."""
    imported = classifier.imported
    if imported is None or not imported.changes:
        return
    samples = spread(dataset, COMPARED_IMAGES).samples
    imported.require_equal(Inputs(samples=samples, card=card))
    progress(f"imported: {'; '.join(imported.changes)}")


def evaluate(judging: Judging) -> Answers:
    return judge(judging.classifier.path, judging.dataset, judging.card, judging.positive)


def write_worst(answers: Answers, out: Path, count: int = 24) -> Path | None:
    """A contact sheet of the worst mistakes; None if there are none."""
    tiles = [
        Tile(
            path=mistake.sample.path,
            caption=(
                mistake.sample.name,
                f"is {mistake.truth}, p {mistake.probability:.2f}",
                f"answered {mistake.answer}",
            ),
        )
        for mistake in worst(answers, count)
    ]
    return write_sheet(tiles, out) if tiles else None


def diff(first: Judging, second: Path) -> differ.Difference:
    """Compare the network of `first` with another one on its images."""
    choices = choices_of(second, first.card)
    other = read_classifier(second, shape=choices.shape, output=choices.output)
    require_agreement(other, first.card, first.classifier.source.parent / CARD)
    return differ.diff(first.classifier, other, first.dataset, first.card, first.positive)


@contextmanager
def _blaming(model: Path, *copies: Path) -> Iterator[None]:
    """A fault of a file that was made of the model on the way is told as the model's."""
    try:
        yield
    except UserError as fault:
        subject = Path(fault.subject)
        if not any(subject.is_relative_to(copy) for copy in copies):
            raise
        raise UserError(str(model), fault.problem, facts=fault.facts, next=fault.next) from fault


def rival(model: Path, card: Card) -> Rival:
    """A network to judge beside that of `card`, with its own card, since its input may differ."""
    classifier, stored_card = read_with_card(model)
    rival_card = stored_card or default_card(classifier, card.labels)[0]
    if rival_card.labels != card.labels:
        raise UserError(
            str(model),
            "answers with other labels: it cannot be judged beside this network",
            facts=[
                f"labels: {', '.join(rival_card.labels)}",
                f"expected: {', '.join(card.labels)}",
            ],
        )
    return Rival(classifier=classifier, card=rival_card)


def _measured_label(dataset: Dataset, name: str) -> int:
    """The index of the label whose recall and AUC are measured: `name`, or the default one.

    Raises UserError for another word, and if no image has that label.
    """
    labels = dataset.labels
    if name and name not in labels:
        raise UserError(
            f"--positive={name}", "no such label", facts=["labels: " + ", ".join(labels)]
        )
    positive = positive_label(labels, name)
    present = sorted({sample.label for sample in dataset.samples})
    if positive not in present:
        raise UserError(
            dataset.name,
            f"no image is {labels[positive]}, whose recall and AUC are measured",
            facts=["labels of the images: " + ", ".join(labels[label] for label in present)],
            next=f"the same command with --positive={labels[present[0]]}",
        )
    return positive


def _images(request: Quantization) -> tuple[Dataset, Dataset]:
    """The images that ranges come from, and those that recipes are judged on.

    Raises UserError if an image is in both, or in the test set.
    """
    every = load_part(request.calibration, "train")
    if request.held_out or request.calibration == ELPV:
        calibration = spread(every, request.calibration_images)
        judged = load_part(request.held_out or ELPV, "validation")
    else:
        calibration, judged = halves(every, request.calibration_images)
    if request.held_out_images:
        judged = spread(judged, request.held_out_images)
    # ELPV's test part protects itself only where the package is installed.
    has_test = request.test or find_spec("elpv_dataset")
    test = paths(load_part(request.test or ELPV, "test")) if has_test else []
    subject = f"calibration with {calibration.name}"
    refuse_overlap(paths(calibration), paths(judged), subject, "held-out images")
    for dataset in (calibration, judged):
        refuse_overlap(paths(dataset), test, dataset.name)
    return calibration, judged
