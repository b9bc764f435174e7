"""Models for anomalies and masks, made of data that installs by package name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.cli.common import Json, heavy, model_path, say, task, workspace, write_document
from edgewright.cli.documents import written_files
from edgewright.model.contract.card import ImageCard
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.classifier import CARD
from edgewright.model.judge.data import ELPV, SUFFIXES, load_elpv, split
from edgewright.model.pack import padim


@dataclass(frozen=True, kw_only=True)
class AnomalyOptions:
    model: Annotated[str, "ONNX network with card.json beside it, FP32 or INT8"] = (
        "models/mobilevit-xxs-elpv/model.onnx"
    )
    images: Annotated[str, "elpv (its sound cells), or a folder of good images"] = ELPV
    features: Annotated[str, "tensors (1, C, H, W) by parts of their names, with commas"] = (
        ",".join(padim.FEATURES)
    )
    out: Annotated[
        str, "folder to make: model.onnx, card.json, golden/; default: build/model/anomaly"
    ] = ""


@task
def anomaly(c: Context, options: AnomalyOptions, json: Json = False) -> None:
    """Good images to a model that finds others. Example: invoke model.anomaly --images=good/"""
    model = model_path(options.model)
    card = read_any_card(model.parent / CARD)
    if not isinstance(card, ImageCard):
        raise UserError(str(model), f"has the task {card.task}, which takes no image")
    good, bad = _images(options.images)
    out = Path(options.out) if options.out else workspace().root / "build" / "model" / "anomaly"
    card = padim.make_anomaly_model(
        padim.AnomalyRequest(
            model=model,
            card=card,
            good=good,
            bad=bad,
            features=tuple(options.features.split(",")),
            out=out,
        ),
        say,
    )
    say(f"{out}: threshold {card.anomaly.threshold:g}; judge it with invoke model.evaluate")
    if json:
        write_document(written_files([out / "model.onnx", out / CARD]))


def _images(name: str) -> tuple[list[Path], list[Path]]:
    """Good images and bad ones; of a folder none is bad."""
    if name == ELPV:
        # What the experts were sure of, in one way or the other.
        sure = split(load_elpv()).train
        good = [sample.path for sample in sure if sample.probability == 0]
        return good, [sample.path for sample in sure if sample.probability == 1]
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(name, "is no folder of images")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), []


@task
def segment(
    c: Context,
    steps: Annotated[int, "of the training, four images each"] = 400,
    test_images: Annotated[
        int, "to write to test/, validation/ and calibration/ each, with masks"
    ] = 100,
    out: Annotated[
        str,
        "folder to make: model.onnx, card.json, golden/, test/, validation/, calibration/; "
        "default: build/model/segment",
    ] = "",
    json: Json = False,
) -> None:
    """A segmentation of defects drawn on sound cells. Example: invoke model.segment"""
    folder = Path(out) if out else workspace().root / "build" / "model" / "segment"
    heavy("pack.segment_model").make_segment_model(
        folder, say, steps=steps, test_images=test_images
    )
    say(f"{folder}: judge it with invoke model.evaluate --images={folder / 'test'}")
    if json:
        write_document(written_files([folder / "model.onnx", folder / CARD]))
