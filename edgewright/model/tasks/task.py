"""The interface of a task: from a network's outputs to an answer, and how answers compare."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from PIL import Image

from edgewright.base.schema import Part
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.tiles import TilePlan

ReadingT = TypeVar("ReadingT")
AnswerT = TypeVar("AnswerT", bound=Part)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far an answer may be from the one that is expected."""

    tolerance: float = 0.05  # largest absolute difference of a score
    overlap: float = 0.9  # least intersection over union of two boxes, or of two masks


class Task(ABC, Generic[ReadingT, AnswerT]):
    """What a task makes of outputs.

    `ReadingT` is what the outputs say in numbers, `AnswerT` the JSON of an answer: what
    `edge-infer` writes, and a golden case expects.
    """

    answer_type: type[AnswerT]

    @abstractmethod
    def read(self, outputs: Sequence[Floats], placement: Placement) -> ReadingT:
        """What the outputs, in the card's order, say of the image that lies so in the input."""

    @abstractmethod
    def merge(self, readings: Iterable[ReadingT], plan: TilePlan) -> ReadingT:
        """What readings of all tiles of an image, in their order, say of it."""

    @abstractmethod
    def summary(self, reading: ReadingT) -> AnswerT:
        """The answer that a reading is."""

    def answer(self, outputs: Sequence[Floats], placement: Placement) -> AnswerT:
        """What the outputs of an image that is no tile say of it."""
        return self.summary(self.read(outputs, placement))

    @abstractmethod
    def problems(self, expected: AnswerT, answer: AnswerT, agreement: Agreement) -> list[str]:
        """What is expected and did not come, in words; none: the answers agree."""

    def draw(self, answer: AnswerT, image: Image.Image) -> str:
        """Draw an answer on the upright image that it is about; the rest of it in words."""
        return ""
