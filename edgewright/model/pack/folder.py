"""Make the model folder of a training run: INT8 network, card, golden outputs and README."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card, Facts, Input, ModelFile, Output, write_card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.judge import data as elpv
from edgewright.model.judge.answers import Answers, judge
from edgewright.model.judge.calibration import fit_temperature
from edgewright.model.judge.data import ELPV, LABELS, Dataset, Split, refuse_overlap
from edgewright.model.judge.evaluate import positive_label
from edgewright.model.judge.images import CALIBRATION_IMAGES, paths, spread, truth
from edgewright.model.judge.recentre import centring_shift, shift_logit
from edgewright.model.pack.golden import make_golden
from edgewright.model.pack.licence import licence
from edgewright.model.pack.readme import readme
from edgewright.model.pack.reference import write_reference
from edgewright.model.quantize.recipe import RECIPES
from edgewright.model.quantize.sweep import Bench, Candidate
from edgewright.model.quantize.sweep import run as compare
from edgewright.model.train.run_folder import RunFolder, data_of

if TYPE_CHECKING:  # these need torch, this module does not
    from edgewright.model.train.export import Exported

COMPARED_IMAGES = 100  # of the validation part, to choose the recipe
PARITY_IMAGES = 10
MOST_COST = 0.005  # of accuracy, that INT8 may take without a word
BUDGET = 100.0  # points of accuracy: any loss will do, as the nearest to FP32 is taken


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a dataset, each with its labels."""

    train: Dataset
    validation: Dataset
    test: Dataset

    @property
    def calibration(self) -> Dataset:
        """Images spread over the train part. Raises UserError if a test image is among them."""
        chosen = spread(self.train, CALIBRATION_IMAGES)
        refuse_overlap(paths(chosen), paths(self.test), "calibration")
        return chosen


def parts_of(dataset: Dataset, data: Split) -> Parts:
    return Parts(
        train=replace(dataset, samples=data.train),
        validation=replace(dataset, samples=data.validation),
        test=replace(dataset, samples=data.test),
    )


def export_run(run: RunFolder, out: Path, *, dynamic: bool = False) -> "Exported":
    """Write the run's FP32 network, and compare it with PyTorch on images of the validation part.

    Raises UserError if the checkpoint or its data are not usable.
    """
    # Here, not at the top: torch takes seconds to import, and quantizing needs none of it.
    from edgewright.model.train.checkpoint import load_network, read_checkpoint
    from edgewright.model.train.export import OPSET, Exported, export, parity

    saved = read_checkpoint(run.checkpoint)
    dataset, data = data_of(run, saved)
    network, size = load_network(run.checkpoint), saved["origin"]["resolution"]
    export(network, out, size=size, dynamic=dynamic, labels=len(dataset.labels))
    card = new_card("parity", out, labels=dataset.labels, size=size)
    images = spread(parts_of(dataset, data).validation, PARITY_IMAGES).samples
    inputs = np.concatenate([load_input(sample.path, card) for sample in images])
    return Exported(
        path=out,
        batch="any" if dynamic else "1",
        opset=OPSET,
        bytes=out.stat().st_size,
        images=len(images),
        difference=parity(network, out, inputs),
    )


def make_model_folder(run: RunFolder, folder: Path, progress: LineSink) -> Card:
    """Export, quantize, centre, judge on the test part; write model, card, golden and README.

    The folder is filled aside and renamed: whoever reads it sees the old one or the new one.
    """
    from edgewright.model.train.checkpoint import facts, read_checkpoint

    exported = export_run(run, run.fp32)
    progress(f"exported; logits differ from PyTorch by {exported.difference:.1e} at most")
    saved = read_checkpoint(run.checkpoint)
    dataset, data = data_of(run, saved)
    card = new_card(
        folder.name, run.fp32, labels=dataset.labels, size=saved["origin"]["resolution"]
    )
    card_facts = {
        "training": facts(run.checkpoint),
        "data": data_facts(dataset, data),
        "quantization": {"export_max_logit_difference": float(f"{exported.difference:.1e}")},
    }
    card = card.model_copy(update=card_facts)
    with new_folder(folder) as aside:
        return _fill(aside, run, card, parts_of(dataset, data), progress)


def advice_on_int8(fp32: Answers, int8: Answers, run: RunFolder, arch: str) -> str | None:
    """What mends a network that rounding costs accuracy; None for one that bears it."""
    cost = fp32.metrics.accuracy.value - int8.metrics.accuracy.value
    if cost <= MOST_COST:
        return None
    command = (
        f"invoke model.train --arch={arch} --quantized --weights={run.checkpoint} "
        f"--run={run.root}-int8"
    )
    return f"INT8 costs {100 * cost:.1f} points; to learn with its rounding: {command}"


def _fill(folder: Path, run: RunFolder, card: Card, parts: Parts, progress: LineSink) -> Card:
    out = folder / "model.onnx"
    candidates = choose_recipe(run.fp32, parts, card, out, progress)
    # On validation images, never on those that judge; the temperature moves what is centred.
    card = with_temperature(card, out, parts.validation)
    shift = centre(out, parts.validation, card)
    positive = positive_label(card.labels)
    before, after = (judge(model, parts.test, card, positive) for model in (run.fp32, out))
    progress(f"test accuracy: int8 {after.metrics.accuracy}, fp32 {before.metrics.accuracy}")
    if advice := advice_on_int8(before, after, run, str(card.training["architecture"])):
        progress(advice)
    facts = {
        "file": ModelFile.of(out),
        "quantization": card.quantization | quantization_facts(candidates, shift),
        "metrics": metrics_facts(before, after),
    }
    card = card.model_copy(update=facts)
    write_card(card, folder / "card.json")
    for line in make_golden(out, card, after).left_out:
        progress(f"golden set: {line}")
    write_reference(out, card, paths(parts.validation), folder)
    (folder / "README.md").write_text(readme(card))
    if text := licence(card):
        (folder / "LICENSE").write_text(text)
    return card


def choose_recipe(
    fp32: Path, parts: Parts, card: Card, out: Path, progress: LineSink
) -> Sequence[Candidate]:
    """Write the INT8 network whose probabilities stay nearest to FP32's on the validation part.

    Returns the candidates of all recipes, the nearest first.
    """
    with TemporaryDirectory() as scratch:
        bench = Bench(
            fp32=fp32,
            card=card,
            calibration=parts.calibration,
            held_out=spread(parts.validation, COMPARED_IMAGES),
            positive=positive_label(card.labels),
            folder=Path(scratch),
            progress=progress,
        )
        candidates = sorted(compare(bench, RECIPES, BUDGET).candidates, key=lambda c: c.distance)
        shutil.copy(candidates[0].path, out)
    return candidates


def with_temperature(card: Card, model: Path, validation: Dataset) -> Card:
    """The card with the temperature at which a network's answers to the validation part mean what
    they say."""
    answers = judge(model, validation, card, positive_label(card.labels))
    temperature = fit_temperature(answers.probabilities, np.asarray(truth(validation), np.int64))
    output = card.output.model_copy(update={"temperature": round(temperature, 3)})
    return card.model_copy(update={"output": output})


def centre(model: Path, validation: Dataset, card: Card) -> float:
    """Shift the answers of an INT8 network until their mean on the validation part is the share
    of defects there; return the shift. A network of more than two labels stays as it is."""
    if len(card.labels) != len(LABELS):
        return 0.0
    positive = positive_label(card.labels)
    answers = judge(model, validation, card, positive)
    # Of a logit that the temperature has not divided yet.
    shift = card.output.temperature * centring_shift(answers.defect, float(answers.truth.mean()))
    shift_logit(model, positive, shift)
    return shift


def new_card(name: str, model: Path, *, labels: tuple[str, ...] = LABELS, size: int = 256) -> Card:
    """The card of a network, without facts about its quality."""
    return Card(
        name=name,
        labels=labels,
        input=Input(shape=(1, 1, size, size)),
        output=Output(shape=(1, len(labels))),
        file=ModelFile.of(model),
    )


def quantization_facts(candidates: Sequence[Candidate], shift: float) -> Facts:
    distances = {c.name: round(c.distance, 5) for c in candidates}
    return {
        "format": "QDQ, static",
        "weights": "int8 per channel, symmetric, never -128",
        "activations": "uint8 per tensor",
        "calibration": f"{candidates[0].name}, {CALIBRATION_IMAGES} images of the train part",
        "validation_distance_from_fp32": {**distances},
        "defect_logit_shift": round(shift, 4),
    }


def metrics_facts(before: Answers, after: Answers) -> Facts:
    """FP32 and INT8 on the same test images; also how often their answers agree."""
    return {
        "part": "test",
        "interval": "95 %, percentile bootstrap over images",
        "fp32": before.metrics.as_json(),
        "int8": after.metrics.as_json(),
        "same_answer": round(before.agreement(after), 4),
    }


def data_facts(dataset: Dataset, data: Split) -> Facts:
    """Where the images come from. A folder's path stays out: the card goes to other machines."""
    parts: Facts = {"seed": elpv.SEED, "sha256": data.fingerprint, **data.counts}
    if dataset.name != ELPV:
        return {"name": Path(dataset.name).name, "split": parts}
    return {
        "name": "ELPV",
        "package": "elpv-dataset",
        "license": "CC BY-NC-SA 4.0",
        "citation": elpv.CITATION,
        "defective": "expert's defect probability above 0.5",
        "split": parts,
    }
