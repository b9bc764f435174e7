"""What a network's frozen stages make of images, computed once and kept on disk.

Training then runs the upper stages alone, which are a third of the work or less. Each image has
VIEWS views: view 0 is the image as the board sees it, the others are turned and disturbed by
random numbers of their own. A view is a file of half-precision values, named by the hash of
what it was computed from, so a file is never taken for that of other weights or images.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.base.files import make_folder, replacing
from edgewright.model.train.arrays import Arrays, Images
from edgewright.model.train.augment import inspection_views, standardize
from edgewright.model.train.network import Network, device_of

BATCH = 16
VIEWS = 5  # the image, its other three rotations, and mirrored: 130 MB each for 1,575 images


@dataclass(frozen=True, kw_only=True)
class FrozenActivations:
    """Of each view an array (N, channels, height, width), mapped from its file."""

    files: tuple[NDArray[np.float16], ...]

    def views(self, rows: torch.Tensor) -> torch.Tensor:
        turns = torch.randint(len(self.files), (len(rows),))
        chosen = [self.files[turn][row] for turn, row in zip(turns, rows, strict=True)]
        return torch.from_numpy(np.stack(chosen).astype(np.float32))

    def plain(self, batch: int) -> Iterator[torch.Tensor]:
        images = self.files[0]
        for start in range(0, len(images), batch):
            yield torch.from_numpy(images[start : start + batch].astype(np.float32))


def freeze(part: Arrays, network: Network, folder: Path, views: int = VIEWS) -> Arrays:
    """The part with the activations of its images; those that `folder` has are not made again."""
    assert isinstance(part.inputs, Images)
    values, content = part.inputs.values, hashlib.sha256()
    content.update(np.ascontiguousarray(values.numpy()).data)
    content.update(network.frozen_hash().encode())
    name = content.hexdigest()[:16]
    files = []
    for turn in range(views):
        file = folder / f"{name}-{turn}.npy"
        if not file.exists():
            make_folder(folder)
            with replacing(file) as aside, aside.open("wb") as out:
                np.save(out, _activations(network, values, turn))
        files.append(np.load(file, mmap_mode="r"))
    return replace(part, inputs=FrozenActivations(files=tuple(files)))


def _activations(network: Network, values: torch.Tensor, turn: int) -> NDArray[np.float16]:
    torch.manual_seed(turn)
    network.eval()
    device = device_of(network)
    batches = []
    with torch.inference_mode():
        for images in values.split(BATCH):
            view = inspection_views(images, torch.full((len(images),), turn))
            view = (view if turn else standardize(images)).to(device)
            # Channels last: PyTorch's convolutions on a CPU are faster so.
            activations = network.frozen(view.contiguous(memory_format=torch.channels_last))
            batches.append(activations.half().contiguous().cpu().numpy())
    return np.concatenate(batches)
