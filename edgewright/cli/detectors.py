"""Detectors, made of images with boxes."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import InterruptedWorkError, UserError
from edgewright.base.files import new_folder
from edgewright.cli.common import Json, heavy, say, task, workspace, write_document
from edgewright.cli.documents import written_files
from edgewright.model.importer.classifier import CARD
from edgewright.model.judge.data import load_elpv, split
from edgewright.model.judge.mosaic import PARTS, write_mosaics


@task
def mosaic(
    c: Context,
    passes: Annotated[int, "pictures of the train part that each of its cells is in"] = 3,
    out: Annotated[
        str,
        "folder to make: a PART.json and PART/ for train, validation, test; "
        "default: build/model/mosaic",
    ] = "",
    json: Json = False,
) -> None:
    """Pictures of ELPV's cells, with boxes of defective ones. Example: invoke model.mosaic"""
    target = Path(out) if out else _mosaics()
    with new_folder(target) as folder:
        counts = write_mosaics(split(load_elpv()), folder, passes=passes)
    say(f"{target}: {', '.join(f'{count} of {part}' for part, count in counts.items())}")
    if json:
        write_document(written_files([target / f"{part}.json" for part in PARTS]))


@task
def detect(
    c: Context,
    images: Annotated[
        str, "folder with train.json and test.json in COCO's form; default: build/model/mosaic"
    ] = "",
    steps: Annotated[int, "of the training, eight images each"] = 400,
    size: Annotated[int, "pixels of the input's sides"] = 384,
    resume: Annotated[bool, "go on with the run of the same folder"] = False,
    out: Annotated[
        str, "folder to make: model.onnx, card.json, golden/; default: build/model/detect"
    ] = "",
    json: Json = False,
) -> None:
    """Images with boxes to a detector. Example: invoke model.mosaic model.detect"""
    folder = Path(out) if out else workspace().root / "build" / "model" / "detect"
    checkpoint = folder.with_name(f"{folder.name}.pt")
    # Never resumed unasked: its images may be others than those of the options.
    if checkpoint.exists() != resume:
        raise UserError(
            str(checkpoint),
            "there is no run to go on with" if resume else "a run is there already",
            next="invoke model.detect" if resume else "go on with it: --resume; or another --out",
        )
    data = Path(images) if images else _mosaics()
    if not images and not data.is_dir():
        raise UserError(str(data), "there are no images", next="invoke model.mosaic")
    pack = heavy("pack.detect_model")
    request = pack.DetectorRequest(
        images=data,
        out=folder,
        size=size,
        training=pack.DetectorConfig(checkpoint=checkpoint, steps=steps),
    )
    try:
        pack.make_detector(request, say)
    except KeyboardInterrupt:
        raise InterruptedWorkError(
            str(checkpoint), "interrupted and saved", next="invoke model.detect --resume"
        ) from None
    say(f"{folder}: judge it with invoke model.evaluate --images={data / 'test.json'}")
    if json:
        write_document(written_files([folder / "model.onnx", folder / CARD]))


def _mosaics() -> Path:
    return workspace().root / "build" / "model" / "mosaic"
