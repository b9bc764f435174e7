"""Cards of the tasks beyond classification (docs/formats.md)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import read_inside
from edgewright.base.schema import Part, parse_json
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import CARD_BYTES, NO_CARD, Card, TaskHead
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import Shape, TaskCardBase, too_large


class TensorInput(Part):
    """One input that takes float32 values as they are."""

    name: str
    shape: Shape


class TensorCard(TaskCardBase):
    """A network of which nothing is known but its tensors: values in, values out."""

    task: Literal["tensor"]
    inputs: tuple[TensorInput, ...] = Field(min_length=1)

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from too_large(self.inputs)


TaskCard = TensorCard | AnomalyCard | DetectCard | SegmentCard
ImageTaskCard = Card | AnomalyCard | DetectCard | SegmentCard
AnyCard = Card | TaskCard
CARDS: Mapping[str, type[AnyCard]] = {
    "classify": Card,
    "tensor": TensorCard,
    "anomaly": AnomalyCard,
    "segment": SegmentCard,
    "detect": DetectCard,
}


def read_any_card(path: Path) -> AnyCard:
    """The card in a file, of whichever task; every problem of it is reported at once."""
    raw = read_inside(path.parent, path.name, limit=CARD_BYTES)
    task = parse_json(TaskHead, raw, str(path), NO_CARD).task
    if task not in CARDS:
        raise UserError(
            str(path),
            f"is the card of an unknown task, {task}{near_miss(task, CARDS)}",
            facts=[f"expected: {', '.join(CARDS)}"],
        )
    return parse_json(CARDS[task], raw, str(path), f"is not a card of the task {task}")
