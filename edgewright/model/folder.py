"""A checkpoint -> a model folder: INT8 network, card and golden outputs, in one go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgewright.model import data as elpv
from edgewright.model.card import Card, Facts, Input, ModelFile, Output, write_card
from edgewright.model.data import Sample, Split, refuse_overlap
from edgewright.model.evaluate import Metrics, Scores, evaluate
from edgewright.model.golden import Scored, choose, write_golden
from edgewright.model.preprocess import Floats, load_input
from edgewright.model.quantize import RECIPES, Recipe, quantize
from edgewright.model.session import logits, open_session, softmax

CALIBRATION_IMAGES = 100
COMPARED_IMAGES = 100  # of the validation part, to choose the recipe
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a network says about samples: probabilities of a defect (N,)."""

    samples: tuple[Sample, ...]
    scores: Scores

    @property
    def scored(self) -> list[Scored]:
        pairs = zip(self.samples, self.scores, strict=True)
        return [Scored(sample=sample, probability=float(score)) for sample, score in pairs]

    @property
    def metrics(self) -> Metrics:
        return evaluate(self.scores, [sample.label for sample in self.samples])


def make_model_folder(
    checkpoint: Path, folder: Path, data: Split, progress: Progress, fp32: Path
) -> Card:
    """Export to `fp32`, quantize, evaluate on the test part; write model, card and golden."""
    difference = export_checkpoint(checkpoint, fp32, data)
    progress(f"exported; logits differ from PyTorch by {difference:.1e} at most")
    card, out = new_card(folder.name, fp32), folder / "model.onnx"
    chosen, tried = choose_recipe(fp32, data, card, progress)
    quantize(fp32, calibration_inputs(data, card), out, chosen)
    before, after = judge(fp32, data.test, card), judge(out, data.test, card)
    progress(f"test accuracy: int8 {after.metrics.accuracy}, fp32 {before.metrics.accuracy}")
    facts = {
        "file": ModelFile.of(out),
        "quantization": quantization_facts(chosen, tried, difference),
        "metrics": metrics_facts(before, after),
        "training": training_facts(checkpoint),
        "data": data_facts(data),
    }
    card = card.model_copy(update=facts)
    write_card(card, folder / "card.json")
    write_golden(out, card, choose(after.scored))
    return card


def export_checkpoint(checkpoint: Path, fp32: Path, data: Split) -> float:
    """Write the FP32 network; return its largest difference in a logit from PyTorch."""
    from edgewright.model.export import export, parity  # these need torch, this module does not
    from edgewright.model.train import load_network

    network = load_network(checkpoint)
    export(network, fp32)
    return parity(network, fp32, inputs(data.validation[::40], new_card("parity", fp32)))


def new_card(name: str, model: Path) -> Card:
    """The card of an ELPV network, before anything is known about its quality."""
    return Card(
        name=name,
        labels=elpv.LABELS,
        input=Input(shape=(1, 1, 256, 256)),
        output=Output(shape=(1, len(elpv.LABELS))),
        file=ModelFile.of(model),
    )


def spread(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """About `count` samples, evenly spread over all of them."""
    return tuple(samples[:: max(1, len(samples) // count)][:count])


def inputs(samples: Sequence[Sample], card: Card) -> Floats:
    """Network inputs of samples: (N, C, H, W)."""
    return np.concatenate([load_input(sample.path, card) for sample in samples])


def calibration_inputs(data: Split, card: Card) -> Floats:
    """Inputs spread over the train part; refuses images that are also in the test part."""
    chosen = spread(data.train, CALIBRATION_IMAGES)
    refuse_overlap([s.path for s in chosen], [s.path for s in data.test], "calibration")
    return inputs(chosen, card)


def judge(model: Path, samples: Sequence[Sample], card: Card) -> Judged:
    """Run a network over samples."""
    session = open_session(model)
    rows = [logits(session, load_input(sample.path, card)) for sample in samples]
    return Judged(samples=tuple(samples), scores=softmax(np.concatenate(rows))[:, elpv.DEFECTIVE])


def choose_recipe(
    fp32: Path, data: Split, card: Card, progress: Progress, recipes: Sequence[Recipe] = RECIPES
) -> tuple[Recipe, dict[str, float]]:
    """The recipe whose probabilities stay nearest to FP32 on the validation part, and the
    mean distance of each."""
    compared, calibration = spread(data.validation, COMPARED_IMAGES), calibration_inputs(data, card)
    expected = judge(fp32, compared, card)
    distances: dict[str, float] = {}
    with TemporaryDirectory() as scratch:
        for recipe in recipes:
            out = quantize(fp32, calibration, Path(scratch) / "model.onnx", recipe)
            got = judge(out, compared, card)
            distances[str(recipe)] = round(float(np.abs(got.scores - expected.scores).mean()), 5)
            progress(
                f"{recipe}: mean distance from fp32 {distances[str(recipe)]}, "
                f"validation accuracy {got.metrics.accuracy}"
            )
    return min(recipes, key=lambda recipe: distances[str(recipe)]), distances


def quantization_facts(recipe: Recipe, tried: dict[str, float], difference: float) -> Facts:
    return {
        "format": "QDQ, static",
        "weights": "int8 per channel, symmetric, never -128",
        "activations": "uint8 per tensor",
        "calibration": f"{recipe}, {CALIBRATION_IMAGES} images of the train part",
        "validation_distance_from_fp32": dict(tried),
        "export_max_logit_difference": float(f"{difference:.1e}"),
    }


def metrics_facts(before: Judged, after: Judged) -> Facts:
    """FP32 and INT8 on the same test images; also how often their answers agree."""
    same = float(((before.scores > 0.5) == (after.scores > 0.5)).mean())
    return {
        "part": "test",
        "interval": "95 %, percentile bootstrap over images",
        "fp32": before.metrics.as_json(),
        "int8": after.metrics.as_json(),
        "same_answer": round(same, 4),
    }


def training_facts(checkpoint: Path) -> Facts:
    from edgewright.model.train import facts  # needs torch

    return facts(checkpoint)


def data_facts(data: Split) -> Facts:
    return {
        "name": "ELPV",
        "package": "elpv-dataset",
        "license": "CC BY-NC-SA 4.0",
        "citation": elpv.CITATION,
        "defective": "expert's defect probability above 0.5",
        "split": {"seed": elpv.SEED, "sha256": data.fingerprint, **data.counts},
    }
