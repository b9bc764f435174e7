"""The versioned report of a sweep, its pictures, and the folder of the chosen model."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from edgewright.base.schema import Document, Part
from edgewright.model.contract.card import Card, ModelFile, write_card
from edgewright.model.convert.inspect import inspect
from edgewright.model.judge.contact_sheet import data_uri
from edgewright.model.judge.data import Dataset
from edgewright.model.judge.evaluate import Interval
from edgewright.model.judge.images import Inputs, spread
from edgewright.model.quantize.calibrate import Calibration
from edgewright.model.quantize.diff import disagreements
from edgewright.model.quantize.recipe import Recipe
from edgewright.model.quantize.search import frontier
from edgewright.model.quantize.sqnr import measure_noise
from edgewright.model.quantize.sweep import Bench, Candidate, JudgedNetwork, SweepResult

BINS = 60
HISTOGRAMS = 6
PICTURES = 24
NOISE_IMAGES = 8


class Row(Part):
    """A network of the sweep; its quality is that on the held-out images."""

    name: str
    accuracy: Interval
    defect_recall: Interval
    auc: Interval
    confusion: tuple[tuple[int, ...], ...]
    bytes: int
    macs: int
    time: float  # x86, by FP32's
    instructions: int | None
    distance: float
    agreement: float
    operators: tuple[str, ...]
    on_frontier: bool = False
    chosen: bool = False


class Noise(Part):
    """Signal-to-noise ratios of one tensor of the chosen network; see `sqnr`."""

    tensor: str
    operator: str
    local: float | None  # dB
    total: float  # dB


class Histogram(Part):
    """Values of a tensor on the calibration images, and the range that the recipe keeps."""

    tensor: str
    low: float
    high: float
    counts: tuple[int, ...]  # equally wide bins from low to high
    kept: tuple[float, float]  # the chosen recipe's range


class Picture(Part):
    """An image that FP32 and the chosen network answer differently."""

    name: str
    truth: str
    fp32: str
    int8: str
    fp32_defect: float
    int8_defect: float


class Rival(Part):
    """A rival on the same images, and how the chosen network compares with it."""

    row: Row
    accuracy_gain: Interval  # of the chosen network above this one, on the same images
    dominated: bool  # fewer MACs and bytes, and within the budget of accuracy


class SweepReport(Document):
    """`sweep.json`."""

    version: Literal[2] = 2
    model: str
    positive: str  # the label of recall and AUC
    calibration: str
    calibration_images: int
    held_out: str
    held_out_images: int
    budget: float  # points
    reason: str
    fp32: Row
    candidates: tuple[Row, ...]
    rivals: tuple[Rival, ...]
    noise: tuple[Noise, ...]
    histograms: tuple[Histogram, ...]
    disagreements: tuple[Picture, ...]

    @property
    def chosen(self) -> Row:
        return next(row for row in self.candidates if row.chosen)


def make_report(result: SweepResult, bench: Bench, budget: float) -> SweepReport:
    """The document of a sweep, with the noise of the chosen network measured for it."""
    best = frontier([*result.candidates, *result.rivals])
    macs = inspect(result.fp32.path).macs  # INT8 multiplies as often
    chosen = result.chosen
    inputs = Inputs(samples=spread(bench.held_out, NOISE_IMAGES).samples, card=bench.card)
    return SweepReport(
        model=bench.card.name,
        positive=bench.card.labels[bench.positive],
        calibration=bench.calibration.name,
        calibration_images=len(bench.calibration.samples),
        held_out=bench.held_out.name,
        held_out_images=len(bench.held_out.samples),
        budget=budget,
        reason=result.reason,
        fp32=_row(result.fp32, macs),
        candidates=tuple(
            _row(network, macs, on_frontier=network in best, chosen=network is chosen)
            for network in result.candidates
        ),
        rivals=tuple(
            _rival(network, chosen, macs, budget, network in best) for network in result.rivals
        ),
        noise=tuple(
            Noise(tensor=n.tensor, operator=n.operator, local=n.local, total=n.total)
            for n in measure_noise(chosen.base.path, chosen.path, inputs)
        ),
        histograms=tuple(_histograms(chosen)),
        disagreements=tuple(
            Picture(
                name=image.sample.name,
                truth=image.truth,
                fp32=image.first,
                int8=image.second,
                fp32_defect=image.first_defect,
                int8_defect=image.second_defect,
            )
            for image in disagreements(result.fp32.answers, chosen.answers)
        ),
    )


def pictures(result: SweepResult) -> list[str]:
    """The disagreements of the report, as small pictures, in its order."""
    images = disagreements(result.fp32.answers, result.chosen.answers)
    return [data_uri(image.sample.path) for image in images[:PICTURES]]


def write_model(chosen: Candidate, card: Card, bench: Bench, folder: Path) -> Path:
    """`model.onnx` and its card, as `invoke build --model` takes them."""
    out = folder / "model.onnx"
    shutil.copyfile(chosen.path, out)
    facts = {
        "file": ModelFile.of(out),
        "quantization": quantization_facts(chosen.recipe, bench.calibration),
        "metrics": {},  # the card has those of the FP32 network
    }
    write_card(card.model_copy(update=facts), folder / "card.json")
    return out


def quantization_facts(recipe: Recipe, calibration: Dataset) -> dict[str, str]:
    static = recipe.mode == "static"
    return {
        "recipe": str(recipe),
        "format": "QDQ, static" if static else "dynamic",
        "weights": "int8, symmetric, never -128" if static else "uint8",
        "calibration": f"{len(calibration.samples)} images of {calibration.name}",
    }


def _rival(
    rival: JudgedNetwork, chosen: Candidate, macs: int, budget: float, on_frontier: bool
) -> Rival:
    row = _row(rival, inspect(rival.path).macs, on_frontier=on_frontier)
    gain = chosen.answers.more_accurate(rival.answers)
    cheaper = macs < row.macs and chosen.bytes < row.bytes
    dominated = cheaper and gain.value >= -budget / 100 - 1e-9
    return Rival(row=row, accuracy_gain=gain, dominated=dominated)


def _row(network: JudgedNetwork, macs: int, on_frontier: bool = False, chosen: bool = False) -> Row:
    metrics = network.metrics
    return Row(
        name=network.name,
        accuracy=metrics.accuracy,
        defect_recall=metrics.defect_recall,
        auc=metrics.auc,
        confusion=metrics.confusion,
        bytes=network.bytes,
        macs=macs,
        time=network.time,
        instructions=network.instructions,
        distance=network.distance,
        agreement=network.agreement,
        operators=network.operators,
        on_frontier=on_frontier,
        chosen=chosen,
    )


def _histograms(chosen: Candidate) -> Sequence[Histogram]:
    """The tensors whose range the chosen recipe clips most."""
    if chosen.recipe.mode == "dynamic":
        return []
    calibration = chosen.base.calibration
    clipped = calibration.ranges(chosen.recipe.method, chosen.recipe.percentile)
    full = calibration.ranges("minmax")
    factors = {
        name: _span(full[name]) / max(_span(clipped[name]), 1e-9)
        for name in calibration.extremes
        if _span(full[name]) > 0
    }
    names = sorted((n for n in factors if factors[n] > 1), key=lambda name: -factors[name])
    return [
        _histogram(calibration, name, *clipped[name].range_value) for name in names[:HISTOGRAMS]
    ]


def _histogram(calibration: Calibration, name: str, low: float, high: float) -> Histogram:
    counts, edges = calibration.histogram(name)
    lowest, highest = (float(edge) for edge in calibration.ranges("minmax")[name].range_value)
    centres = (edges[:-1] + edges[1:]) / 2
    bins, _ = np.histogram(centres, BINS, (lowest, highest), weights=counts)
    return Histogram(
        tensor=name,
        low=lowest,
        high=highest,
        counts=tuple(int(count) for count in bins),
        kept=(float(low), float(high)),
    )


def _span(data: object) -> float:
    low, high = data.range_value  # type: ignore[attr-defined]
    return float(high - low)
