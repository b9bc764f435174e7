"""A network of which nothing is known: its outputs are the answer."""

from collections.abc import Sequence

from edgewright.base.schema import Part
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.tasks.task import Agreement, Task


class TensorAnswer(Part):
    """Nothing: a golden case has samples of every output beside the answer, and they say all."""


class TensorTask(Task[TensorAnswer]):
    answer_type = TensorAnswer

    def answer(self, outputs: Sequence[Floats], placement: Placement) -> TensorAnswer:
        return TensorAnswer()

    def problems(
        self, expected: TensorAnswer, answer: TensorAnswer, agreement: Agreement
    ) -> list[str]:
        return []
