"""What a sweep found: a versioned document, its page, and the folder with the chosen model."""

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
from edgewright.model.quantize.sqnr import TensorNoise, measure_noise
from edgewright.model.quantize.sweep import Bench, Candidate, Network, Outcome, frontier

BINS = 60
HISTOGRAMS = 6
PICTURES = 24
NOISE_IMAGES = 8


class Row(Part):
    """A network of the sweep; the estimates are those on the held-out images."""

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
    tensor: str
    operator: str
    local: float | None  # dB
    total: float  # dB


class Histogram(Part):
    """Values of a tensor on the calibration images, and the ranges found for it."""

    tensor: str
    low: float
    high: float
    counts: tuple[int, ...]  # equally wide bins from low to high
    kept: tuple[float, float]  # the chosen recipe's range


class Picture(Part):
    name: str
    truth: str
    fp32: str
    int8: str
    fp32_defect: float
    int8_defect: float


class Rival(Part):
    """Another network on the same images, and how the chosen recipe's stands beside it."""

    row: Row
    accuracy_gain: Interval  # of the chosen one above this one, on the same images
    dominated: bool  # fewer MACs and bytes, and within the budget of accuracy


class SweepReport(Document):
    version: Literal[2] = 2
    model: str
    positive: str  # the label that recall and AUC are told of
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


def make_report(outcome: Outcome, bench: Bench, budget: float) -> SweepReport:
    """All that is told of a sweep."""
    best = frontier([*outcome.candidates, *outcome.rivals])
    macs = inspect(outcome.fp32.path).macs  # INT8 multiplies as often
    chosen = outcome.chosen
    return SweepReport(
        model=bench.card.name,
        positive=bench.card.labels[bench.positive],
        calibration=bench.calibration.name,
        calibration_images=len(bench.calibration.samples),
        held_out=bench.held_out.name,
        held_out_images=len(bench.held_out.samples),
        budget=budget,
        reason=outcome.reason,
        fp32=_row(outcome.fp32, macs),
        candidates=tuple(
            _row(one, macs, on_frontier=one in best, chosen=one is chosen)
            for one in outcome.candidates
        ),
        rivals=tuple(_rival(one, chosen, macs, budget, one in best) for one in outcome.rivals),
        noise=tuple(_noise(one) for one in _measure(outcome, bench)),
        histograms=tuple(_histograms(chosen)),
        disagreements=tuple(
            Picture(
                name=one.sample.name,
                truth=one.truth,
                fp32=one.first,
                int8=one.second,
                fp32_defect=one.first_defect,
                int8_defect=one.second_defect,
            )
            for one in disagreements(outcome.fp32.answers, chosen.answers)
        ),
    )


def pictures(outcome: Outcome) -> list[str]:
    """The disagreements of the report, as small pictures, in its order."""
    found = disagreements(outcome.fp32.answers, outcome.chosen.answers)
    return [data_uri(one.sample.path) for one in found[:PICTURES]]


def write_model(chosen: Candidate, card: Card, bench: Bench, folder: Path) -> Path:
    """`model.onnx` and its card, as `invoke build --model` takes them."""
    out = folder / "model.onnx"
    shutil.copyfile(chosen.path, out)
    facts = {
        "file": ModelFile.of(out),
        "quantization": quantization_facts(chosen.recipe, bench.calibration),
        "metrics": {},  # those of the FP32 network are not this one's
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


def _rival(one: Network, chosen: Candidate, macs: int, budget: float, on_frontier: bool) -> Rival:
    row = _row(one, inspect(one.path).macs, on_frontier=on_frontier)
    gain = chosen.answers.more_accurate(one.answers)
    cheaper = macs < row.macs and chosen.bytes < row.bytes
    dominated = cheaper and gain.value >= -budget / 100 - 1e-9
    return Rival(row=row, accuracy_gain=gain, dominated=dominated)


def _row(network: Network, macs: int, on_frontier: bool = False, chosen: bool = False) -> Row:
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


def _measure(outcome: Outcome, bench: Bench) -> list[TensorNoise]:
    images = spread(bench.held_out, NOISE_IMAGES)
    inputs = Inputs(samples=images.samples, card=bench.card)
    return measure_noise(outcome.chosen.base.path, outcome.chosen.path, inputs)


def _noise(one: TensorNoise) -> Noise:
    return Noise(tensor=one.tensor, operator=one.operator, local=one.local, total=one.total)


def _histograms(chosen: Candidate) -> Sequence[Histogram]:
    """The tensors whose range the chosen recipe clips most."""
    if chosen.recipe.mode == "dynamic":
        return []
    calibration = chosen.base.calibration
    kept = calibration.ranges(chosen.recipe.method, chosen.recipe.percentile)
    whole = calibration.ranges("minmax")
    clipped = {
        name: _span(whole[name]) / max(_span(kept[name]), 1e-9)
        for name in calibration.extremes
        if _span(whole[name]) > 0
    }
    cut = [name for name, factor in clipped.items() if factor > 1]
    names = sorted(cut, key=lambda name: -clipped[name])[:HISTOGRAMS]
    return [_histogram(calibration, name, *kept[name].range_value) for name in names]


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
