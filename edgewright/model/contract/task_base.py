"""What the cards of all tasks beyond classification have (docs/formats.md)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Annotated, Literal, Protocol

from pydantic import Field

from edgewright.base.schema import Part
from edgewright.model.contract.card import Activation, CardBase, Size

MAX_VALUES = 1 << 26  # of a tensor, as edge-infer has it
Shape = Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)]
OpenShape = Annotated[tuple[Size | Literal[-1], ...], Field(min_length=1, max_length=8)]


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


class Sized(Protocol):
    """A tensor as cards describe them."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def too_large(tensors: Sequence[Sized]) -> Iterator[str]:
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


def expect_value(shape: OpenShape) -> str:
    """What is expected of the shape of a single value; nothing: it is one."""
    return "" if set(shape) == {1} else "one value"


def expect_plane(shape: OpenShape) -> str:
    """What is expected of the shape of one value for each pixel; nothing: it is so."""
    fits = len(shape) in (3, 4) and set(shape[:-2]) == {1} and -1 not in shape
    return "" if fits else "[1, height, width] or [1, 1, height, width], of fixed sizes"


def role_problems(
    outputs: Sequence[TaskOutput], expectations: Mapping[str, Callable[[OpenShape], str]]
) -> Iterator[str]:
    """Words for each output whose role is unknown or comes twice, or does not have its shape."""
    for output in outputs:
        if output.role not in expectations:
            expected = ", ".join(expectations)
            yield f"{output.name} has the role {output.role}, expected: {expected}"
        elif expected := expectations[output.role](output.shape):
            shape = list(output.shape)
            yield f"{output.name} has the shape {shape}, the role {output.role} has {expected}"
    yield from (f"the role {words}" for words in repeated(output.role for output in outputs))
