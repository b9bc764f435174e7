"""What the card of a detector says where nothing is stated, and where its network is best cut."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, NodeProto

from edgewright.base.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]  # of outputs, by name
Content = dict[str, Any]  # of an output in a card


def find_heads(model: Path) -> dict[str, str]:
    """The last convolutions of a YOLOv8 or v11 export and their roles; empty for another network.

    Boxes (0 to the input's size) and scores (0 to 1) are one tensor behind them: in INT8 they
    share one scale, and a score has two values left.
    """
    graph = onnx.load(str(model), load_external_data=False).graph
    if len(graph.output) != 1:
        return {}
    widths: dict[str, int] = {}  # channels of the last convolutions, by output
    bins = 0
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in _last_convolutions(graph):
        dims = weights.get(node.input[1], ())
        if len(dims) != 4:
            return {}
        if dims[0] == 1:  # not one of them: the mean of the bins, written as a convolution
            bins = dims[1]
        else:
            widths[node.output[0]] = dims[0]
    boxes = [name for name, width in widths.items() if width == 4 * bins]
    others = {width for width in widths.values() if width != 4 * bins}
    if not boxes or 2 * len(boxes) != len(widths) or len(others) != 1:
        return {}
    return {name: "box_distances" if name in boxes else "class_scores" for name in widths}


def _last_convolutions(graph: GraphProto) -> Iterator[NodeProto]:
    """Behind which there is none; of the mean of bins, those before it too."""
    producers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    open_names = [graph.output[0].name]
    seen: set[str] = set()
    while open_names:
        name = open_names.pop(0)
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.update(node.output)
        is_convolution = node.op_type == "Conv"
        if is_convolution:
            yield node
        if not is_convolution or list(weights.get(node.input[1], ()))[:1] == [1]:
            open_names += node.input


def detect_outputs(
    model: Path,
    outputs: Shapes,
    roles: Mapping[str, str],
    labels: int,
    side: tuple[int, int],
) -> tuple[list[Content], list[str]]:
    """The card's outputs, and in words what that assumes. `side` is the input's height and width.

    Raises UserError where shapes and labels do not tell the roles.
    """
    roles = roles or _roles_of(outputs)
    if set(roles.values()) == {"box_distances", "class_scores"}:
        return [
            {
                "name": name,
                "shape": outputs[name],
                "role": role,
                "stride": side[0] // outputs[name][-2],
            }
            | {"activation": "softmax" if role == "box_distances" else "sigmoid"}
            for name, role in roles.items()
        ], ["it is cut at its last convolutions: boxes and scores are not one tensor there"]
    content = [{"name": name, "shape": outputs[name], "role": role} for name, role in roles.items()]
    words: list[str] = []
    for output in content:
        if output["role"] == "predictions":
            words += _state_predictions(model, output, labels)
        elif output["role"] == "boxes":
            is_centred = "pred_boxes" in output["name"]  # as transformers names DETR's
            output |= {
                "channels": "first" if output["shape"][-1] != 4 else "last",
                "form": "cxcywh" if is_centred else "xyxy",
                "unit": "fraction" if is_centred else "pixels",
            }
            words.append(f"{output['name']}: {output['form']} in {output['unit']}")
        elif output["role"] == "scores" and "classes" not in roles.values():
            words += _state_scores(model, output, labels)
    return content, words


def _roles_of(outputs: Shapes) -> dict[str, str]:
    """By shapes: four numbers are a box, a list is classes where another one is scores."""
    if len(outputs) == 1:
        ((name, shape),) = outputs.items()
        return {name: "detections" if shape[-1:] == (6,) else "predictions"}
    boxes = [name for name, shape in outputs.items() if 4 in shape[-2:] and len(shape) in (2, 3)]
    others = [name for name in outputs if name not in boxes[:1]]
    if len(boxes) >= 1 and len(others) == 1:
        return {boxes[0]: "boxes", others[0]: "scores"}
    return dict.fromkeys(outputs, "unknown")


def _state_predictions(model: Path, output: Content, labels: int) -> list[str]:
    rows, columns = (1, 1, *output["shape"])[-2:]  # a vector is a row
    for width, has_objectness in ((4 + labels, False), (5 + labels, True)):
        for channels, size in (("last", columns), ("first", rows)):
            if size == width:
                output |= {"channels": channels, "objectness": has_objectness}
                return [f"{output['name']}: {'with' if has_objectness else 'without'} objectness"]
    raise UserError(
        str(model),
        f"has an output {output['shape']}, which is none of {labels} labels",
        facts=[f"expected: 4 + {labels} numbers of each candidate, or 5 + {labels}"],
        next="state all labels with --labels, or write a card (docs/formats.md)",
    )


def _state_scores(model: Path, output: Content, labels: int) -> list[str]:
    rows, columns = (1, 1, *output["shape"])[-2:]  # a vector is a row
    width = columns if columns in (labels, labels + 1) else rows
    has_background = width == labels + 1
    graph = onnx.load(str(model), load_external_data=False).graph
    ends = {node.op_type for node in graph.node if output["name"] in node.output}
    activation = "softmax" if has_background else "sigmoid"
    output |= {
        "channels": "last" if width == columns else "first",
        "activation": "none" if ends & {"Softmax", "Sigmoid"} else activation,
        # DETR's no-object is the last class, the background of SSD the first one.
        "background": ("last" if output["name"] == "logits" else "first")
        if has_background
        else "none",
    }
    return [
        f"{output['name']}: activation {output['activation']}, background {output['background']}"
    ]
