"""What the card of a detector says where nothing is stated, and where its network is best cut."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto
from onnx.shape_inference import infer_shapes

from edgewright.base.errors import UserError
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import open_session

Shapes = Mapping[str, tuple[int, ...]]  # of outputs, by name
Content = dict[str, Any]  # of an output in a card
Values = Mapping[str, Floats]  # of outputs on pictures of noise, by name

PICTURES = 4
# Boxes in shares of the input seldom reach beyond 1, those in pixels nearly always beyond 2.
LARGEST_SHARE = 2.0
SUM_TOLERANCE = 1e-3  # of the probabilities of all classes, from 1


def find_heads(model: Path) -> dict[str, str]:
    """The last convolutions of a YOLOv8 or v11 export and their roles; empty for another network.

    Boxes (0 to the input's size) and scores (0 to 1) are one tensor behind them: in INT8 they
    share one scale, and a score has two values left. Its second output, if it has one, are the
    prototypes of masks.
    """
    graph = onnx.load(str(model), load_external_data=False).graph
    prototypes = [value for value in graph.output[1:] if len(value.type.tensor_type.shape.dim) == 4]
    if len(graph.output) != 1 + len(prototypes) or len(prototypes) > 1:
        return {}
    coefficients = [value.type.tensor_type.shape.dim[1].dim_value for value in prototypes]
    widths: dict[str, int] = {}  # channels of the last convolutions, by output
    bins = 0
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node, is_mean in _last_convolutions(graph):
        dims = weights.get(node.input[1], ())
        if len(dims) != 4:
            return {}
        if is_mean:
            bins = dims[1]
        else:
            widths[node.output[0]] = dims[0]
    roles = {4 * bins: "box_distances"} | dict.fromkeys(coefficients, "mask_coefficients")
    others = {width for width in widths.values() if width not in roles}
    if len(others) != 1:  # as many labels as coefficients: what is what does not show
        return {}
    roles[others.pop()] = "class_scores"
    counts = Counter(widths.values())
    if set(counts) != set(roles) or len(set(counts.values())) != 1:
        return {}
    named = {name: roles[width] for name, width in widths.items()}
    return named | {value.name: "prototypes" for value in prototypes}


def find_joint(model: Path) -> dict[str, str]:
    """The boxes and the scores that an export joins candidate by candidate, and their roles.

    RT-DETR of Ultralytics does, with boxes in shares of the input, of which the role
    `predictions` knows nothing. Empty for another network.
    """
    try:
        graph = infer_shapes(onnx.load(str(model), load_external_data=False)).graph
    except (ValueError, RuntimeError):  # the import says what is wrong with it
        return {}
    if len(graph.output) != 1:
        return {}
    ends = [node for node in graph.node if graph.output[0].name in node.output]
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in graph.value_info
    }
    for node in ends:
        parts = [shapes.get(name, []) for name in node.input]
        axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
        is_joint = node.op_type == "Concat" and len(parts) == 2 and axes[0] in (-1, 2)
        if is_joint and len(parts[0]) == len(parts[1]) == 3 and parts[0][2] == 4:
            return {node.input[0]: "boxes", node.input[1]: "scores"}
    return {}


def observe(network: Path, shape: tuple[int, ...], *, takes_pixels: bool) -> dict[str, Floats]:
    """What a network in the board's form answers to pictures of noise: (n, numbers) an output.

    A vector is a column.
    """
    session = open_session(network)
    random = np.random.default_rng(0)
    names = [output.name for output in session.get_outputs()]
    rows: dict[str, list[Floats]] = {name: [] for name in names}
    for _ in range(PICTURES):
        noise = random.uniform(0, 255, shape) if takes_pixels else random.normal(0, 1, shape)
        image = {session.get_inputs()[0].name: noise.astype(np.float32)}
        for name, values in zip(names, session.run(None, image), strict=True):
            table = values[0] if values.ndim == 3 and len(values) == 1 else values
            rows[name].append(table.reshape(-1, 1) if table.ndim < 2 else table)
    return {name: np.concatenate(tables) for name, tables in rows.items()}


def _last_convolutions(graph: GraphProto) -> Iterator[tuple[NodeProto, bool]]:
    """Those behind which there is none, and whether it is the mean of bins, written as one.

    Of that mean those before it too.
    """
    producers = {name: node for node in graph.node for name in node.output}
    open_names = [graph.output[0].name]
    seen: set[str] = set()
    while open_names:
        name = open_names.pop(0)
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.update(node.output)
        is_convolution = node.op_type == "Conv"
        is_mean = is_convolution and _is_of_shares(node, producers)
        if is_convolution:
            yield node, is_mean
        if not is_convolution or is_mean:
            open_names += node.input


def _is_of_shares(node: NodeProto, producers: Mapping[str, NodeProto]) -> bool:
    """Whether a node takes what a softmax gives, however it is turned.

    By its weights the mean of bins is like the scores of a single label.
    """
    before = producers.get(node.input[0])
    while before is not None and before.op_type in ("Transpose", "Reshape"):
        before = producers.get(before.input[0])
    return before is not None and before.op_type == "Softmax"


def detect_outputs(
    model: Path,
    outputs: Shapes,
    roles: Mapping[str, str],
    labels: int,
    side: tuple[int, int],
    observed: Values,
) -> tuple[list[Content], list[str]]:
    """The card's outputs, and in words what that assumes. `side` is the input's height and width.

    `observed` is what `observe` returns. Raises UserError where shapes and labels do not tell the
    roles.
    """
    roles = roles or _roles_of(model, outputs, observed)
    if {"box_distances", "class_scores"} <= set(roles.values()):
        return [_head_output(name, role, outputs[name], side[0]) for name, role in roles.items()], [
            "it is cut at its last convolutions: boxes and scores are not one tensor there"
        ]
    content = [{"name": name, "shape": outputs[name], "role": role} for name, role in roles.items()]
    masks = sum(outputs[name][-3] for name, role in roles.items() if role == "prototypes")
    words: list[str] = []
    for output in content:
        if output["role"] == "predictions":
            words += _state_predictions(model, output, labels, masks)
        elif output["role"] == "boxes":
            words.append(_state_boxes(output, observed))
        elif output["role"] == "scores" and "classes" not in roles.values():
            words.append(_state_scores(output, labels, observed))
    return content, words


_ACTIVATIONS = {"box_distances": "softmax", "class_scores": "sigmoid"}


def _head_output(name: str, role: str, shape: tuple[int, ...], side: int) -> Content:
    """An output at the last convolutions; `side` is the input's height."""
    content = {"name": name, "shape": shape, "role": role}
    content["activation"] = _ACTIVATIONS.get(role, "none")
    return content if role == "prototypes" else content | {"stride": side // shape[-2]}


def leaves_one_box(content: list[Content]) -> bool:
    """Whether a network finds each thing once: DETR's kind does, and one with NMS or top-k inside.

    Suppression would take away things that overlap.
    """
    return any(
        output["role"] in ("classes", "detections")
        or (output.get("form"), output.get("unit")) == ("cxcywh", "fraction")
        for output in content
    )


# Parts of the names that frameworks give to outputs; the first that fits is taken.
_NAMES = {"box": "boxes", "score": "scores", "logit": "scores", "label": "classes"}
_NAMES |= {"class": "classes", "prob": "scores", "conf": "scores"}


def _roles_of(model: Path, outputs: Shapes, observed: Values) -> dict[str, str]:
    """By names, else by shapes and values: four numbers that are no probabilities are a box."""
    if len(outputs) == 1:
        ((name, shape),) = outputs.items()
        return {name: "detections" if shape[-1:] == (6,) else "predictions"}
    if [len(shape) for shape in outputs.values()] == [3, 4]:  # as YOLO's segmentation networks
        table, prototypes = outputs
        is_final = outputs[table][-1] == 6 + outputs[prototypes][1]
        return {table: "detections" if is_final else "predictions", prototypes: "prototypes"}
    by_name = {
        name: next((role for part, role in _NAMES.items() if part in name.lower()), "unknown")
        for name in outputs
    }
    if len(outputs) == 2 and "boxes" in by_name.values():
        return {name: role if role == "boxes" else "scores" for name, role in by_name.items()}
    if sorted(by_name.values()) == ["boxes", "classes", "scores"]:
        return by_name
    boxes = [
        name
        for name, shape in outputs.items()
        if 4 in shape[-2:] and len(shape) in (2, 3) and not _are_probabilities(observed[name])
    ]
    others = [name for name in outputs if name not in boxes[:1]]
    if boxes and len(others) == 1:
        return {boxes[0]: "boxes", others[0]: "scores"}
    raise UserError(
        str(model),
        "outputs say nothing of what they are",
        facts=[f"{name}: {list(shape)}" for name, shape in outputs.items()],
        next="state it: --roles=NAME:boxes,NAME:scores,NAME:classes (docs/formats.md)",
    )


def _are_probabilities(rows: Floats) -> bool:
    """Whether the numbers of each candidate add up to 1."""
    sums_to_one = np.abs(rows.sum(axis=1) - 1) < SUM_TOLERANCE
    return bool(len(rows) and (rows >= 0).all() and sums_to_one.all())


def _state_predictions(model: Path, output: Content, labels: int, masks: int) -> list[str]:
    """`masks` are the coefficients of a mask, 0 without prototypes."""
    rows, columns = (1, 1, *output["shape"])[-2:]  # a vector is a row
    least = 4 + labels + masks
    for width, has_objectness in ((least, False), (least + 1, True)):
        for channels, size in (("last", columns), ("first", rows)):
            if size == width:
                output |= {"channels": channels, "objectness": has_objectness}
                return [f"{output['name']}: {'with' if has_objectness else 'without'} objectness"]
    raise UserError(
        str(model),
        f"has an output {output['shape']}, which is none of {labels} labels",
        facts=[f"expected: {least} numbers of each candidate, or {least + 1}"],
        next="state all labels with --labels, or write a card (docs/formats.md)",
    )


def _state_boxes(output: Content, observed: Values) -> str:
    """Unit and form by what the network answers; a word of its name where that does not tell."""
    name, rows = output["name"], observed[output["name"]]
    output["channels"] = "last" if output["shape"][-1] == 4 else "first"
    boxes = rows if output["channels"] == "last" else rows.reshape(-1, 4, rows.shape[-1])
    corners = boxes if boxes.ndim == 2 else boxes.transpose(0, 2, 1).reshape(-1, 4)
    is_centred = "pred_boxes" in name  # as transformers names DETR's
    if len(corners):
        is_centred |= not (corners[:, 2:] >= corners[:, :2]).all()
    is_share = np.abs(corners).max() <= LARGEST_SHARE if len(corners) else is_centred
    # TensorFlow's exports, and no other, have the height first.
    form = "yxyx" if "detection_boxes" in name else "cxcywh" if is_centred else "xyxy"
    output |= {"form": form, "unit": "fraction" if is_share else "pixels"}
    return f"{name}: {output['form']} in {output['unit']}"


def _state_scores(output: Content, labels: int, observed: Values) -> str:
    name, values = output["name"], observed[output["name"]]
    rows, columns = (1, 1, *output["shape"])[-2:]  # a vector is a row
    width = columns if columns in (labels, labels + 1) else rows
    has_background = width == labels + 1
    is_activated = bool(values.size) and bool(((values >= 0) & (values <= 1)).all())
    activation = "softmax" if has_background else "sigmoid"
    output |= {
        "channels": "last" if width == columns else "first",
        "activation": "none" if is_activated else activation,
        # DETR's no-object is the last class, the background of SSD the first one.
        "background": ("last" if name == "logits" else "first") if has_background else "none",
    }
    return f"{name}: activation {output['activation']}, background {output['background']}"
