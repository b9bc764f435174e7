"""Cards of the tasks beyond classification (docs/formats.md)."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import read_inside
from edgewright.base.schema import Excerpt, Part, parse_json
from edgewright.model.contract.card import CARD_BYTES, Activation, Card, CardBase, Size

MAX_VALUES = 1 << 26  # of a tensor, as edge-infer has it
Shape = Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)]
OpenShape = Annotated[tuple[Size | Literal[-1], ...], Field(min_length=1, max_length=8)]


class TensorInput(Part):
    """One input that takes float32 values as they are."""

    name: str
    shape: Shape


class TaskOutput(Part):
    """One output: float32, of this shape; -1 where the network decides on a size as it runs."""

    name: str
    shape: OpenShape
    role: str  # what it means to the task
    activation: Activation = "none"

    @property
    def is_open(self) -> bool:
        return -1 in self.shape


class TaskCardBase(CardBase):
    """What the cards beyond classification have, which begin with schema 2."""

    outputs: tuple[TaskOutput, ...] = Field(min_length=1)  # in the order in which the task reads

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.schema_ == 1:
            yield "task is a key of schema 2, the card has schema 1"
        yield from too_large(self.outputs)
        yield from repeated(tensor.name for tensor in self.outputs)


class TensorCard(TaskCardBase):
    """A network of which nothing is known but its tensors: values in, values out."""

    task: Literal["tensor"]
    inputs: tuple[TensorInput, ...] = Field(min_length=1)

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from too_large(self.inputs)


TaskCard = TensorCard
AnyCard = Card | TaskCard
CARDS: Mapping[str, type[AnyCard]] = {"classify": Card, "tensor": TensorCard}


class _TaskHead(Excerpt):
    task: str = "classify"  # a card of schema 1 has no word for another


def read_any_card(path: Path) -> AnyCard:
    """The card in a file, of whichever task; every problem of it is reported at once."""
    raw = read_inside(path.parent, path.name, limit=CARD_BYTES)
    task = parse_json(_TaskHead, raw, str(path), "is not a model card").task
    if task not in CARDS:
        raise UserError(
            str(path),
            f"is the card of an unknown task, {task}{near_miss(task, CARDS)}",
            facts=[f"expected: {', '.join(CARDS)}"],
        )
    return parse_json(CARDS[task], raw, str(path), f"is not a card of the task {task}")


def too_large(tensors: Sequence[TensorInput | TaskOutput]) -> Iterator[str]:
    """Words for each tensor that has more values than a board takes."""
    for tensor in tensors:
        if (count := prod(max(size, 1) for size in tensor.shape)) > MAX_VALUES:
            yield f"{tensor.name} has {count:,} values, at most {MAX_VALUES:,} are taken"


def repeated(names: Iterator[str]) -> Iterator[str]:
    """Words for each name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{name} comes twice"
        seen.add(name)
