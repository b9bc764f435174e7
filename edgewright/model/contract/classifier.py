"""Read an image classifier in ONNX or ORT format, from any source; refuse everything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card, Input, ModelFile, Output, read_card
from edgewright.model.contract.network_file import not_onnx, read_graph
from edgewright.model.contract.operators import ACTIVATIONS, ROUNDING, VIEWS
from edgewright.model.contract.session import open_session

CARD = "card.json"
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A network's input or output; a dimension that is not fixed is None."""

    name: str
    type: str
    shape: tuple[int | None, ...]

    @property
    def sizes(self) -> str:
        return f"({', '.join('?' if size is None else str(size) for size in self.shape)})"

    def __str__(self) -> str:
        return f"{self.name}: {self.type} {self.sizes}"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a value of this shape fits: an open dimension takes any size."""
        sizes = zip(self.shape, shape, strict=True)
        return all(fixed is None or fixed == size for fixed, size in sizes)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The node by which a network makes its outputs probabilities itself."""

    operator: str  # Softmax, Sigmoid or HardSigmoid
    node: str

    def __str__(self) -> str:
        return f"{self.operator} '{self.node}'"


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A network with one image input (batch, channels, height, width) and one output of
    logits or probabilities (batch, labels)."""

    path: Path
    image: Tensor
    scores: Tensor
    ending: Ending | None = None  # None: neither a softmax nor a sigmoid, or an .ort file


def read_classifier(model: Path) -> Classifier:
    """The input and output of the network in a file.

    Raises UserError if it is not an image classifier with finite weights.
    """
    # The onnx library reads no .ort file; for that one ONNX Runtime is the only judge.
    if model.suffix != ".ort":
        require_onnx(model)
        require_finite(model)
    elif not model.is_file():
        raise UserError(str(model), "no such model")
    inputs, outputs = _interface(model)
    image = _require_single(model, "input", inputs, "one image")
    scores = _require_single(model, "output", outputs, "one vector of logits or probabilities")
    _require_image(model, image)
    # A single score is no classifier of ours: labels are answered by the largest.
    if len(scores.shape) != 2 or scores.shape[1] in (0, 1):
        raise UserError(
            str(model),
            f"output has shape {scores.sizes}",
            facts=["expected: (1, labels), with two labels or more"],
        )
    ending = None if model.suffix == ".ort" else _ending(read_graph(model).graph)
    return Classifier(path=model, image=image, scores=scores, ending=ending)


def require_onnx(model: Path) -> None:
    """Raise UserError if the file is absent, cut off or no ONNX model."""
    if not model.is_file():
        raise UserError(str(model), "no such model", next="invoke build --model=PATH")
    try:
        onnx.checker.check_model(str(model))
    except (onnx.checker.ValidationError, ValueError) as invalid:
        raise not_onnx(model, str(invalid)) from invalid


def card_of(classifier: Classifier, labels: Sequence[str], card: Path | None = None) -> Card:
    """The card at `card`, else the one beside the network, else a default card.

    The default card standardises each image by its own mean and deviation and has `labels`, which
    are the names of the images' folders. Raises UserError if the card's shapes are not the
    network's.
    """
    beside = classifier.path.parent / CARD
    if card is None and not beside.is_file():
        return _default_card(classifier, labels)
    path = card or beside
    read = read_card(path)
    require_agreement(classifier, read, path)
    return read


def _default_card(classifier: Classifier, labels: Sequence[str]) -> Card:
    _, channels, height, width = classifier.image.shape
    if height is None or width is None:
        raise UserError(
            str(classifier.path),
            "takes images of any size, and no card tells which",
            facts=[str(classifier.image)],
            next=f"write {classifier.path.parent / CARD} (docs/formats.md)",
        )
    count = classifier.scores.shape[1] or len(labels)  # an open dimension takes any number
    if count != len(labels):
        raise UserError(
            str(classifier.path),
            f"answers with {count} values, the images have {len(labels)} labels",
            facts=["labels: " + ", ".join(labels)],
        )
    return Card.model_validate(
        {
            "name": classifier.path.stem,
            "labels": labels,
            "input": {"name": classifier.image.name, "shape": (1, channels, height, width)},
            "output": {
                "name": classifier.scores.name,
                "shape": (1, count),
                "activation": "none" if classifier.ending else "softmax",
            },
            "preprocess": {"color": "gray" if channels == 1 else "rgb"},
            "file": ModelFile.of(classifier.path),
        }
    )


def require_agreement(classifier: Classifier, card: Card, path: Path) -> None:
    """Raise UserError if the card, which is at `path`, contradicts the network.

    That is another name or shape, or an activation although the network has its own.
    """
    pairs: tuple[tuple[Tensor, Input | Output], ...] = (
        (classifier.image, card.input),
        (classifier.scores, card.output),
    )
    wrong = [
        f"card: {part.name} {part.shape}, network: {tensor}"
        for tensor, part in pairs
        if tensor.name != part.name or not tensor.takes(part.shape)
    ]
    if wrong:
        raise UserError(str(path), f"is not the card of {classifier.path.name}", facts=wrong)
    activation = card.output.activation
    if classifier.ending and activation != "none":
        raise UserError(
            str(path),
            f"asks for a {activation} of outputs that are probabilities already",
            facts=[f"{classifier.path.name} ends in {classifier.ending}"],
            next='write "schema": 2 and, in output, "activation": "none" into it,'
            " then invoke model.golden",
        )


def _interface(model: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs. A session knows them for both formats, so no file is parsed here."""
    try:
        session = open_session(model)
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        raise UserError(
            str(model),
            "ONNX Runtime cannot load it",
            facts=[str(refused).strip().splitlines()[0]],
        ) from refused
    return [_tensor(i) for i in session.get_inputs()], [_tensor(o) for o in session.get_outputs()]


def _ending(graph: onnx.GraphProto) -> Ending | None:
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name) if graph.output else None
    # What may follow it changes the form of the answer, not its values, but for rounding.
    while node is not None and node.op_type in {*VIEWS, *ROUNDING, "Cast"}:
        node = makers.get(node.input[0])
    if node is None or node.op_type not in ACTIVATIONS:
        return None
    return Ending(operator=node.op_type, node=node.name or node.output[0])


def _tensor(argument: object) -> Tensor:
    name, kind, shape = (getattr(argument, part) for part in ("name", "type", "shape"))
    # An open dimension is None, or a text such as "batch_size".
    sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in shape)
    return Tensor(name=name, type=kind.removeprefix("tensor(").removesuffix(")"), shape=sizes)


def _require_single(model: Path, kind: str, tensors: list[Tensor], expected: str) -> Tensor:
    if len(tensors) != 1:
        raise UserError(
            str(model),
            f"has {len(tensors)} {kind}s, expected {expected}",
            facts=[str(tensor) for tensor in tensors],
        )
    return tensors[0]


def _require_image(model: Path, image: Tensor) -> None:
    problem = None
    if len(image.shape) != 4:
        problem = f"input has rank {len(image.shape)}, expected 4"
    elif image.shape[0] not in (None, 1):  # an open batch will do: boards infer one by one
        problem = f"input has a fixed batch of {image.shape[0]}, expected 1"
    elif image.shape[1] not in (1, 3):
        problem = f"input has {image.shape[1] or 'any number of'} channels, expected 1 or 3"
    elif image.type != "float":
        problem = f"input is {image.type}, expected float"
    if problem:
        facts = [f"found: {image}", "expected: float (1, channels, height, width)"]
        raise UserError(str(model), problem, facts=facts)


def require_finite(model: Path) -> None:
    """Raise UserError naming the weights that hold NaN or infinity.

    ONNX Runtime does not notice them; they spread to the answers.
    """
    bad = [
        tensor.name
        for tensor in onnx.load(model).graph.initializer
        if tensor.data_type in _FLOATS and not np.isfinite(numpy_helper.to_array(tensor)).all()
    ]
    if bad:
        raise UserError(
            str(model),
            f"{len(bad)} of its weights are not finite (NaN or infinite)",
            facts=["tensors: " + ", ".join(bad[:5])],
            next="train or export it again",
        )
