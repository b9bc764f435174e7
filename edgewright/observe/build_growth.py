"""How builds grow with boards and with models that share their packages.

The boards have the core, the width and the operators of one that was built, and other settings; the
models have the operators of another one, and other weights. So nothing is compiled, which is what a
night of many boards pays for each cell beyond the first one of its kind.
"""

import json
import math
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import onnx
from onnx import numpy_helper

from edgewright.base.errors import UserError
from edgewright.base.process import quote
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.base.workspace import Workspace
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildRequest
from edgewright.model.contract.card import ModelFile
from edgewright.model.contract.network_file import weight_files
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.classifier import CARD

POINTS = (1, 2, 4, 8, 12, 16, 20, 24)  # boards or models, where the curve is read


class GrowthPoint(Part):
    """After so many builds."""

    count: int
    seconds: float  # of all of them
    workspace_bytes: int  # of the build folders
    cache_bytes: int  # of converted models and symbols, which a build leaves in the cache
    peak_mib: float  # of this process, so far


class BuildGrowth(Document):
    """`bench.growth`."""

    version: Literal[1] = 1
    board: str
    model: str
    boards: tuple[GrowthPoint, ...]  # with one model
    models: tuple[GrowthPoint, ...]  # on one board


def measure(
    workspace: Workspace,
    profile: BoardProfile,
    model: Path,
    *,
    boards: int,
    models: int,
    jobs: int,
    progress: Progress,
) -> BuildGrowth:
    """Build for so many boards and models in a workspace of its own, which is removed again.

    Packages come from the user's cache; what the builds add is not put there, so that the next
    measurement converts the same models again. Raises UserError as a build does, and for a model
    without INT8 weights.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-growth-") as scratch:
        own, products = workspace.for_measuring(Path(scratch)), Path(scratch) / "products"
        changed = [changed_model(model, own.models / f"{n:02}", n) for n in range(models)]
        first = BuildRequest(
            profile=profile, model=model, workspace=own, products=products, jobs=jobs
        )
        pipeline.build(first, progress)  # compiles what the user's cache lacks
        profiles = [_another(profile, number) for number in range(boards)]
        for_boards = [replace(first, profile=another) for another in profiles]
        points = tuple(_points(for_boards, own.root / "build", products, progress))
        for_models = [replace(first, model=another) for another in changed]
        return BuildGrowth(
            board=profile.name,
            model=model.parent.name,
            boards=points,
            models=tuple(_points(for_models, own.root / "build", products, progress)),
        )


def _another(profile: BoardProfile, number: int) -> BoardProfile:
    return profile.model_copy(update={"name": f"{profile.name}-{number:02}"})


def changed_model(model: Path, folder: Path, step: int) -> Path:
    """A copy of a model's folder whose network has another weight, one for each step.

    Raises UserError for what is no model with a card, and for a network without INT8 weights.
    """
    read_any_card(model.parent / CARD)
    weight_files(model)
    network = onnx.load(model)
    quantized = [w for w in network.graph.initializer if w.data_type == onnx.TensorProto.INT8]
    if not quantized:
        raise UserError(
            str(model),
            "has no INT8 weights, of which another value would make another model",
            next=quote(["invoke", "model.quantize", f"--model={model}"]),
        )
    shutil.copytree(model.parent, folder)
    weights = max(quantized, key=lambda weights: math.prod(weights.dims))
    values = numpy_helper.to_array(weights).copy()
    # Never -128: weights that have it are not packed, and the model would be one of another kind.
    values.flat[step % values.size] += 1 if values.flat[step % values.size] < 127 else -1
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    copy = folder / model.name
    onnx.save(network, copy)
    # As text: a model of a card would write keys that the card's own schema has not.
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "file": ModelFile.of(copy).model_dump()}))
    return copy


def _points(
    requests: list[BuildRequest], build: Path, products: Path, progress: Progress
) -> Iterator[GrowthPoint]:
    before, start = (_tree_bytes(build), _tree_bytes(products)), time.monotonic()
    for number, request in enumerate(requests, 1):
        pipeline.build(request, progress)
        if number in POINTS or number == len(requests):
            yield GrowthPoint(
                count=number,
                seconds=round(time.monotonic() - start, 1),
                workspace_bytes=_tree_bytes(build) - before[0],
                cache_bytes=_tree_bytes(products) - before[1],
                peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            )


def _tree_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
