"""INT8 networks of the tasks beyond classification, judged by the metric of their task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from edgewright.base.files import copy_file, new_folder
from edgewright.base.progress import LineSink
from edgewright.base.schema import Document, Part
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.preprocess import Floats, load_input
from edgewright.model.contract.session import open_session
from edgewright.model.importer.classifier import CARD
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.data import ELPV, load_elpv, refuse_overlap, split
from edgewright.model.judge.masked import is_mask
from edgewright.model.judge.task_judge import JudgedCard, Metric, TaskJudge, judge_of
from edgewright.model.pack.preview import write_answers
from edgewright.model.pack.reference import write_reference
from edgewright.model.pack.task_golden import find_cases, spread_cases, write_task_golden
from edgewright.model.quantize.calibrate import Calibration, calibrate
from edgewright.model.quantize.recipe import DEFAULT, Recipe, prepare, require_fp32
from edgewright.model.quantize.search import (
    NOISE_IMAGES,
    InstructionCounter,
    Prepared,
    RatedNetwork,
    Trials,
    TriedNetwork,
    choose,
    search,
    try_recipes,
    with_costs,
)

REPORT = "sweep.json"
DRAWN = 4  # held-out images
COMPARED = 8  # held-out images that outputs are compared on


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredNetwork(RatedNetwork):
    """`distance` is that of the outputs, relative to FP32's, root mean square."""

    figure: float  # of the task's metric

    @property
    def quality(self) -> float:
        return self.figure


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskCandidate(MeasuredNetwork, TriedNetwork):
    """A network that one recipe made."""


class TaskRow(Part):
    name: str
    figure: float  # of the metric, on the held-out images
    distance: float  # of the outputs from FP32's, relative
    bytes: int
    time: float  # x86, by FP32's
    instructions: int | None
    chosen: bool = False


class TaskQuantized(Document):
    """`model.quantize --json` of a detector, an anomaly model or a segmentation."""

    version: Literal[1] = 1
    model: str
    metric: Metric
    calibration_images: int
    held_out: str
    held_out_images: int
    budget: float  # points of the metric that may be lost
    reason: str
    fp32: TaskRow
    candidates: tuple[TaskRow, ...]

    @property
    def chosen(self) -> TaskRow:
        return next(row for row in self.candidates if row.chosen)


@dataclass(frozen=True, kw_only=True)
class TaskQuantization:
    model: Path
    card: JudgedCard
    card_path: Path
    calibration: str  # a folder of images; of an anomaly model, `elpv`
    held_out: str  # labelled images, as `model.evaluate` takes them
    out: Path
    budget: float  # points of the metric
    calibration_images: int
    sweep: bool = False


def quantize_task(
    request: TaskQuantization, say: LineSink, count_instructions: InstructionCounter | None = None
) -> TaskQuantized:
    """Write `out`: model.onnx, card.json, golden/, reference.json, sweep.json and answers.png,
    which has what FP32 and INT8 answer to some of the images that judge.

    Raises UserError for a network that is quantized already, for a calibration image that is
    among those that judge, and if no recipe keeps the metric within the budget.
    """
    card = request.card
    imported = read_for_task(request.model, card, request.card_path)
    source = imported.path
    require_fp32(request.model, source)
    judge = judge_of(card, request.held_out)
    chosen_images = _calibration_images(request)
    refuse_overlap(chosen_images, judge.images, request.calibration, "held-out images")
    with new_folder(request.out) as folder, TemporaryDirectory() as scratch:
        trials = _trials(card, judge, chosen_images, source, Path(scratch), say)
        prepared = prepare(source, Path(scratch) / "prepared.onnx")
        fp32 = MeasuredNetwork(name="FP32", path=source, figure=judge.measure(source), distance=0.0)
        say(f"FP32: {judge.metric} {fp32.figure:.4f}")
        base = Prepared(path=prepared, calibration=trials.calibrate(prepared))
        new = search(trials, base) if request.sweep else try_recipes(trials, base, [DEFAULT])
        every: list[MeasuredNetwork] = [fp32, *new]
        fp32, *judged = with_costs(every, load_input(judge.images[0], card), count_instructions)
        candidates = [network for network in judged if isinstance(network, TaskCandidate)]
        chosen, reason = choose(fp32, candidates, request.budget, judge.metric)
        report = TaskQuantized(
            model=card.name,
            metric=judge.metric,
            calibration_images=len(chosen_images),
            held_out=request.held_out,
            held_out_images=len(judge.images),
            budget=request.budget,
            reason=reason,
            fp32=_row(fp32),
            candidates=tuple(_row(network, chosen=network is chosen) for network in candidates),
        )
        _write(folder, chosen, request, report, judge.images)
        networks = {"FP32": source, "INT8": chosen.path}
        write_answers(networks, card, _spread(judge.images, DRAWN), folder / "answers.png")
    return report


def _trials(
    card: JudgedCard,
    judge: TaskJudge,
    calibration: Sequence[Path],
    fp32: Path,
    scratch: Path,
    say: LineSink,
) -> Trials[TaskCandidate]:
    """How recipes are tried: ranges of the calibration images, judged on those of the judge."""
    compared = [load_input(path, card) for path in _spread(judge.images, COMPARED)]
    expected = _outputs(fp32, compared)

    def collect(path: Path) -> Calibration:
        say(f"ranges of {len(calibration)} images")
        return calibrate(path, (load_input(image, card) for image in calibration))

    def judge_candidate(path: Path, recipe: Recipe, base: Prepared) -> TaskCandidate:
        candidate = TaskCandidate(
            name=str(recipe),
            recipe=recipe,
            base=base,
            path=path,
            figure=judge.measure(path),
            distance=_distance(expected, _outputs(path, compared)),
        )
        say(f"{candidate.name}: {judge.metric} {candidate.figure:.4f}")
        return candidate

    return Trials(
        folder=scratch,
        calibrate=collect,
        judge=judge_candidate,
        noise_inputs=lambda: [
            load_input(path, card) for path in _spread(calibration, NOISE_IMAGES)
        ],
        progress=say,
    )


def _write(
    folder: Path,
    chosen: TaskCandidate,
    request: TaskQuantization,
    report: TaskQuantized,
    images: Sequence[Path],
) -> None:
    model = folder / "model.onnx"
    copy_file(chosen.path, model)
    facts = {
        "recipe": chosen.name,
        "metric": report.metric,
        "fp32": report.fp32.figure,
        "int8": report.chosen.figure,
        "calibration": f"{report.calibration_images} images",
        "held_out": f"{report.held_out_images} images",
    }
    card = request.card.model_copy(
        update={"file": ModelFile.of(model), "quantization": facts, "schema_": 2}
    )
    write_card(card, folder / CARD)
    read_for_task(model, card, folder / CARD)  # what a build would refuse is refused here
    cases = spread_cases([(path,) for path in images])
    write_task_golden(model, card, cases, folder / "golden")
    write_reference(model, card, images, folder)
    (folder / REPORT).write_text(report.model_dump_json(indent=1) + "\n")


def _calibration_images(request: TaskQuantization) -> list[Path]:
    """Those that ranges come from: of ELPV the sound cells of the train part."""
    if request.calibration == ELPV and isinstance(request.card, AnomalyCard):
        sound = [sample.path for sample in split(load_elpv()).train if sample.probability == 0]
        return _spread(sound, request.calibration_images)
    folder = Path(request.calibration)
    images = [image for (image,) in find_cases(folder, request.card) if not is_mask(image, folder)]
    return _spread(images, request.calibration_images)


def _spread(images: Sequence[Path], count: int) -> list[Path]:
    return [image for (image,) in spread_cases([(image,) for image in images], count)]


def _outputs(model: Path, inputs: Sequence[Floats]) -> list[list[Floats]]:
    session = open_session(model)
    name = session.get_inputs()[0].name
    return [session.run(None, {name: values}) for values in inputs]


def _distance(expected: Sequence[Sequence[Floats]], actual: Sequence[Sequence[Floats]]) -> float:
    """Mean over images and outputs."""
    shares = [
        float(np.linalg.norm(b - a) / max(float(np.linalg.norm(a)), 1e-9))
        for first, second in zip(expected, actual, strict=True)
        for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean(shares))


def _row(network: MeasuredNetwork, *, chosen: bool = False) -> TaskRow:
    return TaskRow(
        name=network.name,
        figure=network.figure,
        distance=round(network.distance, 6),
        bytes=network.bytes,
        time=round(network.time, 4),
        instructions=network.instructions,
        chosen=chosen,
    )
