"""Read an image classifier in ONNX or ORT format, from any source; refuse everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edgewright.base.errors import UserError
from edgewright.model.contract.card import (
    Card,
    Input,
    MeanStd,
    ModelFile,
    Output,
    Preprocess,
    Scale,
    read_card,
)
from edgewright.model.contract.network_file import read_graph
from edgewright.model.contract.operators import ACTIVATIONS, ROUNDING, VIEWS
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_cards import AnyCard, TensorCard, read_any_card
from edgewright.model.importer.graphs import sizes_of
from edgewright.model.importer.importing import Imported, TaskForm, import_classifier
from edgewright.model.importer.proposal import (
    PreprocessParts,
    Proposal,
    Target,
    describe,
    propose,
)
from edgewright.model.importer.task_network import form_of

CARD = "card.json"


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
    """A network with one image input (1, channels, height, width) and one output of logits or
    probabilities (1, labels).

    `path` is the network that is run, `source` the file that it was read from.
    """

    path: Path
    source: Path
    image: Tensor
    scores: Tensor
    ending: Ending | None = None  # None: neither a softmax nor a sigmoid, or an .ort file
    imported: Imported | None = None  # None: an .ort file


def read_classifier(
    model: Path, *, shape: Sequence[int] | None = None, output: str | None = None
) -> Classifier:
    """The network in a file, rewritten where its exporter's form is not the board's.

    `shape` and `output` as `import_classifier` takes them. Raises UserError if it is not an image
    classifier that a board can run.
    """
    # The onnx library reads no .ort file; for that one ONNX Runtime is the only judge.
    is_ort = model.suffix == ".ort"
    if is_ort and not model.is_file():
        raise UserError(str(model), "no such model")
    imported = None if is_ort else import_classifier(model, shape=shape, output=output)
    path = imported.path if imported else model
    inputs, outputs = _interface(path)
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
    ending = _ending(read_graph(path).graph) if imported else None
    return Classifier(
        path=path, source=model, image=image, scores=scores, ending=ending, imported=imported
    )


def read_with_card(
    model: Path,
    card: Path | None = None,
    *,
    shape: Sequence[int] | None = None,
    output: str | None = None,
) -> tuple[Classifier, Card | None]:
    """The network with the card at `card`, else the one beside it, else none.

    The card tells the size and the output of a network that leaves them open. Raises UserError if
    the card contradicts the network.
    """
    path = card or model.parent / CARD
    if card is None and not path.is_file():
        return read_classifier(model, shape=shape, output=output), None
    read = read_card(path)
    choices = choices_of(model, read)
    classifier = read_classifier(
        model, shape=shape or choices.shape, output=output or choices.output
    )
    require_agreement(classifier, read, path)
    return classifier, read


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a card chooses where its network leaves it open."""

    shape: Sequence[int] | None = None
    output: str | None = None
    form: TaskForm | None = None  # of a task beyond classification


def choices_of(model: Path, card: AnyCard) -> Choices:
    """What the network has itself is not chosen, but compared later with all that the card says."""
    if model.suffix == ".ort":
        return Choices()
    if not isinstance(card, Card):
        shape = None if isinstance(card, TensorCard) else card.input.shape
        return Choices(shape=shape, form=form_of(card))
    graph = read_graph(model).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [sizes_of(value) or () for value in graph.input if value.name not in weights]
    names = {value.name for value in graph.output}
    return Choices(
        shape=card.input.shape if any(None in sizes[1:] for sizes in inputs) else None,
        output=card.output.name if card.output.name in names and len(names) > 1 else None,
    )


def choices_beside(
    model: Path, shape: Sequence[int] | None = None, output: str | None = None
) -> Choices:
    """What is stated; for the rest what the card beside the network chooses, if there is one."""
    card = model.parent / CARD
    choices = choices_of(model, read_any_card(card)) if card.is_file() else Choices()
    return replace(choices, shape=shape or choices.shape, output=output or choices.output)


def default_card(
    classifier: Classifier, labels: Sequence[str], stated: PreprocessParts | None = None
) -> tuple[Card, list[str]]:
    """A card for a network without one, and in words what it assumes.

    What is stated comes first, then what the network's exporter says of it (`propose`). `labels`
    are the names of the images' folders, none if there are no images. Raises UserError if the
    network has another number of them, or if nothing tells the labels.
    """
    _, channels, height, width = classifier.image.shape
    target = Target(channels=channels or 1, height=height or 1, width=width or 1)
    proposal = propose(classifier.source, target)
    names, names_source = _chosen_labels(classifier, labels, proposal)
    rules, rules_source = _chosen_rules(classifier, target, stated, proposal)
    card = Card.model_validate(
        {
            "name": classifier.source.stem,
            "labels": names,
            "input": {"name": classifier.image.name, "shape": (1, channels, height, width)},
            "output": {
                "name": classifier.scores.name,
                "shape": (1, len(names)),
                "activation": "none" if classifier.ending else "softmax",
            },
            "preprocess": rules,
            "file": ModelFile.of(classifier.source),
        }
    )
    outputs = (
        f"probabilities, because the network ends in {classifier.ending}"
        if classifier.ending
        else "logits, and a softmax makes probabilities of them"
    )
    return card, [
        describe(rules, target) + rules_source,
        f"labels, in the order of the outputs: {', '.join(names)}{names_source}",
        f"outputs are {outputs}",
        *proposal.notes,
    ]


def _chosen_labels(
    classifier: Classifier, folders: Sequence[str], proposal: Proposal
) -> tuple[Sequence[str], str]:
    """The labels, and who says them: those proposed, where the images' folders are among them."""
    count = classifier.scores.shape[1] or len(proposal.labels or folders)  # open: any number
    if len(proposal.labels) == count and set(folders) <= set(proposal.labels):
        return proposal.labels, f" ({proposal.sources['labels']})"
    if not folders:
        raise UserError(
            str(classifier.source),
            f"has {count} outputs, and nothing tells their labels",
            next="--labels=NAME,NAME in their order, or --images=FOLDER with a folder for each",
        )
    if count != len(folders):
        raise UserError(
            str(classifier.source),
            f"answers with {count} values, there are {len(folders)} labels",
            facts=["labels: " + ", ".join(folders)],
        )
    return folders, ""


def _chosen_rules(
    classifier: Classifier, target: Target, stated: PreprocessParts | None, proposal: Proposal
) -> tuple[Preprocess, str]:
    """The preprocessing, and who says which part of it."""
    interface = classifier.imported.interface if classifier.imported else None
    color = "gray" if target.channels == 1 else "rgb"
    content: dict[str, Any] = {"color": color} | proposal.parts.content()
    sources = {key: proposal.sources[key] for key in proposal.parts.content()}
    if interface is not None and (integers := whole_numbers(interface.dtype, target.channels)):
        content["normalize"] = integers
        sources["normalize"] = "the network takes whole numbers"
    if stated:
        content |= stated.content()
        sources |= dict.fromkeys(stated.content(), "stated")
    by_source: dict[str, list[str]] = {}
    for key, source in sources.items():
        by_source.setdefault(source, []).append(key)
    words = "; ".join(f"{', '.join(keys)}: {source}" for source, keys in by_source.items())
    return Preprocess.model_validate(content), f" ({words})" if words else ""


def whole_numbers(dtype: str, channels: int) -> Scale | MeanStd | None:
    """Pixels as a network takes them that has whole numbers for its input: as they are, or less
    128 where these have a sign."""
    if dtype == "int8":
        return MeanStd(mean=(128 / 255,) * channels, std=(1 / 255,) * channels)
    return Scale(factor=1) if dtype == "uint8" else None


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
    name = classifier.source.name
    if wrong:
        raise UserError(str(path), f"is not the card of {name}", facts=wrong)
    activation = card.output.activation
    if classifier.ending and activation != "none":
        raise UserError(
            str(path),
            f"asks for a {activation} of outputs that are probabilities already",
            facts=[f"{name} ends in {classifier.ending}"],
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
    while node is not None:
        if node.op_type in {*VIEWS, *ROUNDING, "Cast"}:
            node = makers.get(node.input[0])
        elif node.op_type == "Concat" and _is_pair(node, makers):
            node = makers.get(node.input[1])
        else:
            break
    if node is None or node.op_type not in ACTIVATIONS:
        return None
    return Ending(operator=node.op_type, node=node.name or node.output[0])


def _is_pair(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a Concat is of 1 - p and p."""
    first = makers.get(node.input[0])
    if first is None or first.op_type != "Sub" or len(node.input) != 2:
        return False
    return bool(first.input[1] == node.input[1])


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
