"""What a network's frozen stages make of images, computed once and kept on disk.

Training then runs the upper stages alone, which are a third of the work or less. Each image has
VIEWS views: view 0 is the image as the board sees it, the others are turned and disturbed by
random numbers of their own. A view is a file of half-precision values, named by the hash of
what it was computed from, so a file is never taken for that of other weights or images.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.base.files import make_folder, replacing
from edgewright.model.train.arrays import Arrays, Images, Views
from edgewright.model.train.augment import inspection_views, standardize
from edgewright.model.train.network import Network, Outputs, device_of, hash_of

BATCH = 16
VIEWS = 5  # the image, its other three rotations, and mirrored: 130 MB each for 1,575 images


@dataclass(frozen=True, kw_only=True)
class FrozenActivations:
    """Of each view an array (N, channels, height, width), mapped from its file, and, where there is
    a teacher, its logits and then its features in one (N, labels + width)."""

    files: tuple[NDArray[np.float16], ...]
    labels: int
    teacher: tuple[NDArray[np.float16], ...] = ()

    def views(self, rows: torch.Tensor) -> Views:
        turns = torch.randint(len(self.files), (len(rows),))
        # Channels last: PyTorch's convolutions on a CPU are faster so.
        values = _chosen(self.files, turns, rows).contiguous(memory_format=torch.channels_last)
        if not self.teacher:
            return Views(values=values, teacher=None)
        joined = _chosen(self.teacher, turns, rows)
        logits, features = joined[:, : self.labels], joined[:, self.labels :]
        return Views(values=values, teacher=Outputs(logits=logits, features=features))

    def plain(self, batch: int) -> Iterator[torch.Tensor]:
        images = self.files[0]
        for start in range(0, len(images), batch):
            yield torch.from_numpy(images[start : start + batch].astype(np.float32))


def freeze(part: Arrays, network: Network, folder: Path, views: int = VIEWS) -> Arrays:
    """The part with the activations of its images, and what their teacher makes of the same
    views; what the folder has is not made again."""
    assert isinstance(part.inputs, Images)
    values, teacher = part.inputs.values, part.inputs.teacher
    network.eval()
    device, weights = device_of(network), network.frozen_hash()
    files = _stored(values, lambda view: network.frozen(view.to(device)), weights, folder, views)
    taught: tuple[NDArray[np.float16], ...] = ()
    if teacher is not None:
        joined = partial(_joined, teacher)
        taught = _stored(values, joined, f"outputs {hash_of([teacher])}", folder, views)
    labels = part.target.shape[1]
    return replace(part, inputs=FrozenActivations(files=files, labels=labels, teacher=taught))


def _joined(teacher: Network, view: torch.Tensor) -> torch.Tensor:
    outputs = teacher.outputs(teacher.frozen(view.to(device_of(teacher))))
    return torch.cat([outputs.logits, outputs.features], dim=1)


def _stored(
    values: torch.Tensor,
    function: Callable[[torch.Tensor], torch.Tensor],
    weights: str,
    folder: Path,
    views: int,
) -> tuple[NDArray[np.float16], ...]:
    """What a function of a network with these weights makes of each view of all images."""
    content = hashlib.sha256(np.ascontiguousarray(values.numpy()).data)
    content.update(weights.encode())
    name = content.hexdigest()[:16]
    files = []
    for turn in range(views):
        file = folder / f"{name}-{turn}.npy"
        if not file.exists():
            make_folder(folder)
            with replacing(file) as aside, aside.open("wb") as out:
                np.save(out, _computed(values, turn, function))
        files.append(np.load(file, mmap_mode="r"))
    return tuple(files)


def _computed(
    values: torch.Tensor, turn: int, function: Callable[[torch.Tensor], torch.Tensor]
) -> NDArray[np.float16]:
    torch.manual_seed(turn)
    batches = []
    with torch.inference_mode():
        for images in values.split(BATCH):
            view = inspection_views(images, torch.full((len(images),), turn))
            view = view if turn else standardize(images)
            result = function(view.contiguous(memory_format=torch.channels_last))
            batches.append(result.half().contiguous().cpu().numpy())
    return np.concatenate(batches)


def _chosen(
    views: Sequence[NDArray[np.float16]], turns: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    chosen = [views[turn][row] for turn, row in zip(turns, rows, strict=True)]
    return torch.from_numpy(np.stack(chosen).astype(np.float32))
