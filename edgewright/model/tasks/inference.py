"""Run a network of any task on this machine, as `edge-infer` does on a board."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.base.schema import Part
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import ImageCard
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats, load_frame, load_placed, place
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.session import Session, open_session
from edgewright.model.contract.task_base import MAX_VALUES
from edgewright.model.contract.task_cards import TaskCard, TensorCard
from edgewright.model.tasks.anomaly import AnomalyTask
from edgewright.model.tasks.detect import DetectTask
from edgewright.model.tasks.segment import SegmentTask
from edgewright.model.tasks.task import Task
from edgewright.model.tasks.tensor import TensorTask

_NPY_BYTES = 4 * MAX_VALUES + 4096


def task_of(card: TaskCard) -> Task[Any, Any]:
    """What the card's task makes of outputs."""
    if isinstance(card, AnomalyCard):
        return AnomalyTask(card)
    if isinstance(card, SegmentCard):
        return SegmentTask(card)
    if isinstance(card, DetectCard):
        return DetectTask(card)
    return TensorTask()


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a network says of one image, or of one set of tensors."""

    # In the card's order; of an image that is cut into tiles, of the one in the middle.
    outputs: tuple[Floats, ...]
    placement: Placement  # likewise
    reading: Any  # the task's `ReadingT`
    answer: Part


@dataclass(frozen=True)
class Engine:
    """A network with its card."""

    model: Path | bytes
    card: TaskCard

    @cached_property
    def _session(self) -> Session:
        return open_session(self.model)

    def infer(self, files: Sequence[Path]) -> Inference:
        """Answer one image, or one `.npy` file for each input of a card that takes tensors.

        Raises UserError for files that cannot be read or do not fit the card, and for outputs that
        are not finite.
        """
        task = task_of(self.card)
        if isinstance(self.card, ImageCard) and self.card.tiling is not None:
            return self._infer_tiles(files[0], self.card, task)
        inputs, placement = self.load(files)
        outputs = self._run(inputs, files[0])
        reading = task.read(outputs, placement)
        return Inference(
            outputs=outputs,
            placement=placement,
            reading=reading,
            answer=task.summary(reading),
        )

    def _infer_tiles(self, path: Path, card: ImageCard, task: Task[Any, Any]) -> Inference:
        """One tile after the other: no more than one is in memory as floats."""
        picture, plan = load_frame(path, card)
        assert plan is not None, "the card cuts images into tiles"
        middle: list[tuple[tuple[Floats, ...], Placement]] = []

        def readings() -> Iterator[Any]:
            for number, tile in enumerate(plan.tiles):
                values, placement = place(picture, tile, card)
                outputs = self._run({card.input.name: values}, path)
                if number == plan.middle:
                    middle.append((outputs, placement))
                yield task.read(outputs, placement)

        reading = task.merge(readings(), plan)
        ((outputs, placement),) = middle
        return Inference(
            outputs=outputs,
            placement=placement,
            reading=reading,
            answer=task.summary(reading),
        )

    def _run(self, inputs: dict[str, Floats], path: Path) -> tuple[Floats, ...]:
        names = [output.name for output in self.card.outputs]
        outputs = tuple(
            np.asarray(output, np.float32) for output in self._session.run(names, inputs)
        )
        for name, output in zip(names, outputs, strict=True):
            if not np.isfinite(output).all():
                raise UserError(
                    self.card.name,
                    f"its output {name} for {path.name} is not finite (NaN, infinite)",
                    next="look for a logarithm, a root or a division, or train it again",
                )
        return outputs

    def load(self, files: Sequence[Path]) -> tuple[dict[str, Floats], Placement]:
        """What the network takes of the files, by the names of its inputs; where an image lies."""
        card = self.card
        if isinstance(card, TensorCard):
            if len(files) != len(card.inputs):
                raise UserError(
                    str(files[0].parent),
                    f"{len(files)} files of tensors, {card.name} has {len(card.inputs)} inputs",
                )
            pairs = zip(card.inputs, files, strict=True)
            tensors = {tensor.name: load_tensor(path, tensor.shape) for tensor, path in pairs}
            return tensors, Placement(width=0, height=0, scale_x=1, scale_y=1)
        (image,) = files
        values, placement = load_placed(image, card)
        return {card.input.name: values}, placement


def load_tensor(path: Path, shape: Sequence[int]) -> Floats:
    """A `.npy` file of float32, little endian, C order. Raises UserError for any other."""
    read_file(path, limit=_NPY_BYTES)  # a file of /dev has no end
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as broken:
        raise UserError(str(path), "is no .npy file", facts=[str(broken)]) from broken
    is_plain = values.dtype == np.dtype("<f4") and not np.isfortran(values)
    if not is_plain or values.shape != tuple(shape):
        raise UserError(
            str(path),
            "is not what the card says",
            facts=[
                f"expected: float32 {tuple(shape)}",
                f"found: {values.dtype} {values.shape}",
            ],
            next="save it with numpy.save as float32, of the card's shape",
        )
    return np.asarray(values, np.float32)
