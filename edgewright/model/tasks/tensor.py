"""A network of which nothing is known: its outputs are the answer."""

from collections.abc import Iterable, Sequence

from edgewright.base.schema import Part
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.task import Agreement, Task


class TensorAnswer(Part):
    """Nothing: a golden case has samples of every output beside the answer, and they say all."""


class TensorTask(Task[None, TensorAnswer]):
    answer_type = TensorAnswer

    def read(self, outputs: Sequence[Floats], placement: Placement) -> None:
        return None

    def merge(self, readings: Iterable[None], plan: TilePlan) -> None:
        raise AssertionError("a card that takes tensors has no tiles")

    def summary(self, reading: None) -> TensorAnswer:
        return TensorAnswer()

    def problems(
        self, expected: TensorAnswer, answer: TensorAnswer, agreement: Agreement
    ) -> list[str]:
        return []
