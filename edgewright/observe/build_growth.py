"""How builds grow with boards and with models that share their packages.

The boards have the core, the width and the operators of one that was built, and other settings; the
models have the operators of another one, and other weights. So nothing is compiled, which is what a
night of many boards pays for each cell beyond the first one of its kind.
"""

import json
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

from edgewright.base.layout import user_cache
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.base.workspace import Workspace
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildRequest
from edgewright.model.contract.card import ModelFile
from edgewright.model.importer.classifier import CARD

GROWING = ("models", "symbols")  # of the cache: what a cell adds that shares its packages
POINTS = (1, 2, 4, 8, 12, 16, 20, 24)  # boards or models, where the curve is read


class GrowthPoint(Part):
    """After so many builds."""

    count: int
    seconds: float  # of all of them
    workspace_bytes: int  # of the build folders
    cache_bytes: int  # that the user's cache has more than before
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

    Raises UserError as a build does.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-growth-") as scratch:
        own = replace(workspace, root=Path(scratch))
        first = BuildRequest(profile=profile, model=model, workspace=own, jobs=jobs)
        pipeline.build(first, progress)  # compiles what the user's cache lacks
        profiles = [_another(profile, number) for number in range(boards)]
        for_boards = [replace(first, profile=another) for another in profiles]
        points = tuple(_points(for_boards, own, progress))
        changed = [changed_model(model, own.models / f"{n:02}", n + 1) for n in range(models)]
        for_models = [replace(first, model=another) for another in changed]
        return BuildGrowth(
            board=profile.name,
            model=model.parent.name,
            boards=points,
            models=tuple(_points(for_models, own, progress)),
        )


def _another(profile: BoardProfile, number: int) -> BoardProfile:
    return profile.model_copy(update={"name": f"{profile.name}-{number:02}"})


def changed_model(model: Path, folder: Path, step: int) -> Path:
    """A copy of a model's folder whose network has another weight."""
    shutil.copytree(model.parent, folder)
    network = onnx.load(model)
    weights = max(
        (w for w in network.graph.initializer if w.data_type == onnx.TensorProto.INT8),
        key=lambda weights: len(weights.raw_data),
    )
    values = numpy_helper.to_array(weights).copy()
    values.flat[step % values.size] = step % 100
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    copy = folder / model.name
    onnx.save(network, copy)
    # As text: a model of a card would write keys that the card's own schema has not.
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "file": ModelFile.of(copy).model_dump()}))
    return copy


def _points(
    requests: list[BuildRequest], workspace: Workspace, progress: Progress
) -> Iterator[GrowthPoint]:
    cached, built, start = _cache_bytes(), _tree_bytes(workspace.root / "build"), time.monotonic()
    for number, request in enumerate(requests, 1):
        pipeline.build(request, progress)
        if number in POINTS or number == len(requests):
            yield GrowthPoint(
                count=number,
                seconds=round(time.monotonic() - start, 1),
                workspace_bytes=_tree_bytes(workspace.root / "build") - built,
                cache_bytes=_cache_bytes() - cached,
                peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            )


def _cache_bytes() -> int:
    return sum(_tree_bytes(user_cache() / name) for name in GROWING)


def _tree_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
