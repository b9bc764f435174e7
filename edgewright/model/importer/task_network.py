"""Read a network of a task beyond classification, with the card that says which."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import TaskCard, TensorCard, TensorInput
from edgewright.model.importer.importing import Imported, TaskForm, import_for_task
from edgewright.model.importer.shared_scale import refuse_shared_scale

# Of a tensor in ONNX Runtime's words: an open size is a text, or none.
Sizes = Sequence[int | str | None]


def read_for_task(model: Path, card: TaskCard, path: Path) -> Imported:
    """The network in the board's form.

    Raises UserError if the card at `path` contradicts it, or if it cannot answer the card's task.
    """
    shape = None if isinstance(card, TensorCard) else card.input.shape
    imported = import_for_task(model, form_of(card), shape=shape)
    _require_agreement(imported, card, path)
    require_sound(imported, card)
    return imported


def form_of(card: TaskCard) -> TaskForm:
    """What a card asks of its network."""
    outputs = tuple(output.name for output in card.outputs)
    if isinstance(card, TensorCard):
        shapes = {tensor.name: tensor.shape for tensor in card.inputs}
        return TaskForm(takes_image=False, outputs=outputs, inputs=shapes)
    return TaskForm(takes_image=True, outputs=outputs)


def require_sound(imported: Imported, card: TaskCard) -> None:
    """Raise UserError for a network that loads, and cannot answer the task of its card."""
    if isinstance(card, DetectCard):
        refuse_shared_scale(imported, card)


def interface_of(network: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The shapes of a network's inputs and outputs by name; -1 where a size is open."""
    session = open_session(network)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return (
        {tensor.name: _sizes(tensor.shape) for tensor in inputs},
        {tensor.name: _sizes(tensor.shape) for tensor in outputs},
    )


def _sizes(shape: Sizes) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else -1 for size in shape)


def _require_agreement(imported: Imported, card: TaskCard, path: Path) -> None:
    inputs, outputs = interface_of(imported.path)
    tensors: Sequence[TensorInput | TaskOutput] = card.outputs
    pairs = [(tensor.name, tensor.shape, outputs.get(tensor.name)) for tensor in tensors]
    if isinstance(card, TensorCard):
        pairs += [(tensor.name, tensor.shape, inputs.get(tensor.name)) for tensor in card.inputs]
    else:
        pairs.append((card.input.name, card.input.shape, inputs.get(card.input.name)))
    wrong = [
        f"card: {name} {shape}, network: {network or 'has none of this name'}"
        for name, shape, network in pairs
        if network != tuple(shape)
    ]
    if len(inputs) != len(pairs) - len(card.outputs):
        wrong.append(f"the network's inputs: {', '.join(inputs)}")
    if wrong:
        raise UserError(str(path), f"is not the card of {imported.source.name}", facts=wrong)
