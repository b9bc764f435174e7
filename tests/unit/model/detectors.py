"""Cards of detectors in every layout, and networks that answer with constants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.task_base import TaskOutput

SIDE = 64
LABELS = ("crack", "finger", "shadow")

Layout = Sequence[dict[str, Any]]  # outputs of a card

PREDICTIONS = [
    {"name": "a", "shape": [1, 7, 84], "role": "predictions", "channels": "first"},
]
LAYOUTS: dict[str, Layout] = {
    "yolov8": PREDICTIONS,
    "yolov5": [
        {
            "name": "a",
            "shape": [1, 252, 8],
            "role": "predictions",
            "channels": "last",
            "objectness": True,
        }
    ],
    "yolov10": [{"name": "a", "shape": [1, -1, 6], "role": "detections"}],
    "ssd": [
        {"name": "a", "shape": [1, 90, 4], "role": "boxes", "form": "yxyx", "unit": "fraction"},
        {
            "name": "b",
            "shape": [1, 90, 4],
            "role": "scores",
            "activation": "softmax",
            "background": "first",
        },
    ],
    "detr": [
        {"name": "a", "shape": [1, 90, 4], "role": "boxes", "form": "cxcywh", "unit": "fraction"},
        {
            "name": "b",
            "shape": [1, 90, 4],
            "role": "scores",
            "activation": "softmax",
            "background": "last",
        },
    ],
    "rt-detr": [
        {
            "name": "a",
            "shape": [1, 4, 90],
            "role": "boxes",
            "form": "cxcywh",
            "unit": "fraction",
            "channels": "first",
        },
        {"name": "b", "shape": [1, 90, 3], "role": "scores", "activation": "sigmoid"},
    ],
    "nms inside": [
        {"name": "a", "shape": [-1, 4], "role": "boxes", "form": "xyxy", "unit": "pixels"},
        {"name": "b", "shape": [-1], "role": "scores"},
        {"name": "c", "shape": [-1], "role": "classes", "background": "first"},
    ],
    "yolov8 heads": [
        {"name": "a", "shape": [1, 64, 8, 8], "role": "box_distances", "stride": 8},
        {"name": "b", "shape": [1, 3, 8, 8], "role": "class_scores", "stride": 8},
        {"name": "c", "shape": [1, 64, 4, 4], "role": "box_distances", "stride": 16},
        {"name": "d", "shape": [1, 3, 4, 4], "role": "class_scores", "stride": 16},
    ],
    "yolov5 heads": [
        {
            "name": "a",
            "shape": [1, 16, 8, 8],
            "role": "anchored",
            "stride": 8,
            "anchors": [10, 13, 16, 30],
        },
        {
            "name": "b",
            "shape": [1, 16, 4, 4],
            "role": "anchored",
            "stride": 16,
            "anchors": [30, 61, 62, 45],
        },
    ],
    "yolov8-seg": [
        {"name": "a", "shape": [1, 11, 84], "role": "predictions", "channels": "first"},
        {"name": "p", "shape": [1, 4, 16, 16], "role": "prototypes"},
    ],
    "yolov5-seg": [
        {
            "name": "a",
            "shape": [1, 252, 12],
            "role": "predictions",
            "channels": "last",
            "objectness": True,
        },
        {"name": "p", "shape": [1, 4, 16, 16], "role": "prototypes"},
    ],
    "yolo-seg without doubles": [
        {"name": "a", "shape": [1, -1, 10], "role": "detections"},
        {"name": "p", "shape": [1, 4, 16, 16], "role": "prototypes"},
    ],
    "yolov8-seg heads": [
        {"name": "a", "shape": [1, 64, 8, 8], "role": "box_distances", "stride": 8},
        {"name": "b", "shape": [1, 3, 8, 8], "role": "class_scores", "stride": 8},
        {"name": "c", "shape": [1, 4, 8, 8], "role": "mask_coefficients", "stride": 8},
        {"name": "p", "shape": [1, 4, 16, 16], "role": "prototypes"},
    ],
    "yolov5-seg heads": [
        {
            "name": "a",
            "shape": [1, 24, 8, 8],
            "role": "anchored",
            "stride": 8,
            "anchors": [10, 13, 16, 30],
        },
        {"name": "p", "shape": [1, 4, 16, 16], "role": "prototypes"},
    ],
}


def card_of(outputs: Layout, **changes: Any) -> DetectCard:
    """A card of a square network of RGB images."""
    file = {"name": "model.onnx", "sha256": "0" * 64, "bytes": 1}
    card: dict[str, Any] = {
        "task": "detect",
        "name": "detector",
        "labels": LABELS,
        "file": file,
        "input": {"shape": [1, 3, SIDE, SIDE]},
        "preprocess": {"color": "rgb", "fit": {"kind": "letterbox"}},
        "outputs": outputs,
    }
    return DetectCard.model_validate(card | changes)


def random_outputs(card: DetectCard, seed: int) -> list[NDArray[np.float32]]:
    """Made-up outputs, among which there are some things."""
    random = np.random.default_rng(seed)
    detections = []
    for output in card.outputs:
        shape = [12 if size == -1 else size for size in output.shape]
        values = random.normal(-3 if output.activation == "sigmoid" else 0, 2.5, shape)
        if output.role == "boxes":
            low, high = (0, 1) if output.unit == "fraction" else (0, SIDE)
            values = random.uniform(low, high, shape)
            if output.form != "cxcywh":
                values = np.sort(values.reshape(-1, 2, 2), axis=1).reshape(shape)
        elif output.role == "classes":
            values = random.integers(1, 4, shape).astype(float)
        elif output.role == "scores" and output.activation == "none":
            values = random.uniform(0, 1, shape)
        elif output.role in ("predictions", "detections"):
            table = (
                values.swapaxes(1, 2) if getattr(output, "channels", "last") == "first" else values
            )
            table[..., :4] = random.uniform(0, SIDE, table[..., :4].shape)
            table[..., 4:] = random.uniform(0, 1, table[..., 4:].shape)
            if card.coefficients:
                size = table[..., -card.coefficients :].shape
                table[..., -card.coefficients :] = random.normal(0, 1, size)
            if output.role == "detections":
                table[..., 2:4] += table[..., :2]
                table[..., 5] = random.integers(0, 3, table[..., 5].shape)
        detections.append(np.ascontiguousarray(values, np.float32))
    return detections


def write_constant(card: DetectCard, outputs: Sequence[NDArray[np.float32]], folder: Path) -> Path:
    """A model folder whose network answers every image with these outputs."""
    folder.mkdir(parents=True)
    shape = [1, 3, SIDE, SIDE]
    image = helper.make_tensor_value_info(card.input.name, TensorProto.FLOAT, shape)

    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    nodes = [
        helper.make_node("ReduceMean", [card.input.name], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [zero]
    infos = []
    for output, values in zip(card.outputs, outputs, strict=True):
        constants.append(numpy_helper.from_array(values, f"{output.name} values"))
        nodes += _nodes_of(output)
        constants.append(numpy_helper.from_array(np.ones(12, bool), f"{output.name} all"))
        sizes = [size if size != -1 else f"n{i}" for i, size in enumerate(output.shape)]
        infos.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, sizes))
    graph = helper.make_graph(nodes, "constants", [image], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    write_card(card.model_copy(update={"file": ModelFile.of(path)}), folder / "card.json")
    return path


def _nodes_of(output: TaskOutput) -> list[onnx.NodeProto]:
    """The sum of the values and of nothing; of an open size, all of them, which only runs tell."""
    sum_ = [f"{output.name} values", "nothing"]
    if not output.is_open:
        return [helper.make_node("Add", sum_, [output.name])]
    chosen = [f"{output.name} sum", f"{output.name} all"]
    return [
        helper.make_node("Add", sum_, chosen[:1]),
        helper.make_node("Compress", chosen, [output.name], axis=output.shape.index(-1)),
    ]
