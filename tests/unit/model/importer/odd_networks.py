"""Small image classifiers, each with one oddity of an exporter; all answer as `plain` does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
SIDE = 16
_random = np.random.default_rng(3)
WEIGHTS = {
    "w1": _random.normal(0, 0.4, (4, 3, 3, 3)).astype(np.float32),
    "w2": _random.normal(0, 1, (2, 4)).astype(np.float32),
    "b2": np.array([0.3, -0.2], np.float32),
}


def value(name: str, shape: list[int | str], kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def nodes(image: str = "image", logits: str = "logits") -> list[NodeProto]:
    return [
        helper.make_node("Conv", [image, "w1"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w2", "b2"], [logits], "fc", transB=1),
    ]


def model(
    body: list[NodeProto] | None = None,
    image: ValueInfoProto | None = None,
    output: ValueInfoProto | None = None,
    *,
    weights: Mapping[str, NDArray[Any]] | None = None,
    opset: int = 17,
    ir: int = 8,
) -> ModelProto:
    graph = helper.make_graph(
        body or nodes(),
        "odd",
        [image or value("image", [1, 3, SIDE, SIDE])],
        [output or value("logits", [1, 2])],
        [numpy_helper.from_array(v, n) for n, v in {**WEIGHTS, **(weights or {})}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def open_batch() -> ModelProto:
    return model(image=value("image", ["n", 3, SIDE, SIDE]), output=value("logits", ["n", 2]))


def fixed_batch() -> ModelProto:
    return model(image=value("image", [4, 3, SIDE, SIDE]), output=value("logits", [4, 2]))


def shape_arithmetic() -> ModelProto:
    body = nodes()
    body[3:4] = [
        helper.make_node("Shape", ["pooled"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["new"], axis=0),
        helper.make_node("Reshape", ["pooled", "new"], ["flat"]),
    ]
    numbers = {"start": np.array([0]), "end": np.array([1]), "rest": np.array([-1])}
    return model(body, value("image", ["n", 3, SIDE, SIDE]), weights=numbers)


def channels_last() -> ModelProto:
    first = helper.make_node("Transpose", ["image"], ["x"], "first", perm=[0, 3, 1, 2])
    return model([first, *nodes("x")], value("image", [1, SIDE, SIDE, 3]))


def half_precision() -> ModelProto:
    halves = {name: weight.astype(np.float16) for name, weight in WEIGHTS.items()}
    kind = TensorProto.FLOAT16
    shape: list[int | str] = [1, 3, SIDE, SIDE]
    return model(None, value("image", shape, kind), value("logits", [1, 2], kind), weights=halves)


def double_output() -> ModelProto:
    last = helper.make_node("Cast", ["z"], ["logits"], "last", to=TensorProto.DOUBLE)
    return model([*nodes(logits="z"), last], output=value("logits", [1, 2], TensorProto.DOUBLE))


def rank_1() -> ModelProto:
    last = helper.make_node("Squeeze", ["z", "axis"], ["logits"], "last")
    body = [*nodes(logits="z"), last]
    return model(body, output=value("logits", [2]), weights={"axis": np.array([0])})


def rank_4() -> ModelProto:
    last = helper.make_node("Reshape", ["z", "shape"], ["logits"], "last")
    body = [*nodes(logits="z"), last]
    shape = {"shape": np.array([1, 2, 1, 1])}
    return model(body, output=value("logits", [1, 2, 1, 1]), weights=shape)


def weights_among_the_inputs() -> ModelProto:
    network = model(opset=8, ir=3)
    (image,) = network.graph.input
    listed = [value(name, list(weight.shape)) for name, weight in WEIGHTS.items()]
    del network.graph.input[:]
    network.graph.input.extend([*listed, image])  # before the image, too
    return network


def unnamed() -> ModelProto:
    body = nodes()
    for node in body:
        node.name = ""
    return model(body)


def named_alike() -> ModelProto:
    body = nodes()
    for node in body:
        node.name = "same"
    return model(body)


def function() -> ModelProto:
    gemm = helper.make_node("Gemm", ["a", "w", "b"], ["y"], transB=1)
    head = helper.make_function(
        "acme", "Head", ["a", "w", "b"], ["y"], [gemm], [helper.make_opsetid("", 17)]
    )
    body = nodes()
    body[-1] = helper.make_node("Head", ["flat", "w2", "b2"], ["logits"], domain="acme")
    network = model(body)
    network.opset_import.append(helper.make_opsetid("acme", 1))
    network.functions.append(head)
    return network


def sparse_bias() -> ModelProto:
    network = model()
    (bias,) = [tensor for tensor in network.graph.initializer if tensor.name == "b2"]
    network.graph.initializer.remove(bias)
    places = numpy_helper.from_array(np.array([0, 1]))
    network.graph.sparse_initializer.append(helper.make_sparse_tensor(bias, places, [2]))
    return network


def dropout() -> ModelProto:
    body = nodes()
    body[4:4] = [helper.make_node("Dropout", ["flat"], ["kept"], "drop", ratio=0.5)]
    body[5].input[0] = "kept"
    return model(body, opset=11, ir=6)


def swish() -> ModelProto:
    """An operator of opset 24, by whose definition the runtime computes it; times 1, in effect."""
    body = nodes(logits="z")
    body += [
        helper.make_node("Swish", ["z"], ["s"], "swish"),
        helper.make_node("Sub", ["s", "s"], ["zero"], "sub"),
        helper.make_node("Add", ["z", "zero"], ["logits"], "add"),
    ]
    return model(body, opset=24, ir=12)


def standardised_weights() -> ModelProto:
    """As BiT and NFNet have them: batch normalisation of the weights in training mode."""
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    flat = WEIGHTS["w1"].reshape(1, 4, 27)
    # Weights that the standardisation brings to w1: its own, by what it takes away.
    mean, deviation = flat.mean(axis=2)[0], flat.std(axis=2)[0]
    numbers = {
        "form": np.array([1, 4, 27]),
        "back": np.array([4, 3, 3, 3]),
        "raw": WEIGHTS["w1"],
        "ones": ones,
        "zeros": zeros,
        "deviation": deviation,
        "mean": mean,
    }
    norm = ["rows", "deviation", "mean", "zeros", "ones"]
    body = [
        helper.make_node("Reshape", ["raw", "form"], ["rows"], "rows"),
        helper.make_node(
            "BatchNormalization", norm, ["even", "m", "v"], "bn", training_mode=1, epsilon=1e-12
        ),
        helper.make_node("Reshape", ["even", "back"], ["kernel"], "back"),
        *nodes(),
    ]
    body[3].input[1] = "kernel"
    return model(body, weights=numbers)


def mask() -> ModelProto:
    last = helper.make_node("Max", ["z", "lowest"], ["logits"], "last")
    lowest = {"lowest": np.array([-np.inf], np.float32)}
    return model([*nodes(logits="z"), last], weights=lowest)


ODD: Mapping[str, Callable[[], ModelProto]] = {
    "open batch": open_batch,
    "fixed batch": fixed_batch,
    "shape arithmetic": shape_arithmetic,
    "channels last": channels_last,
    "half precision": half_precision,
    "double output": double_output,
    "rank 1": rank_1,
    "rank 4": rank_4,
    "weights among the inputs": weights_among_the_inputs,
    "unnamed": unnamed,
    "named alike": named_alike,
    "function": function,
    "sparse bias": sparse_bias,
    "dropout": dropout,
    "swish": swish,
    "mask": mask,
    "standardised weights": standardised_weights,
    "opset 7": lambda: model(opset=7, ir=3),
    "opset 12": lambda: model(opset=12, ir=6),
    "opset 25, IR 13": lambda: model(opset=25, ir=13),
}


def save(network: ModelProto, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    path.write_bytes(network.SerializeToString())
    return path


def save_apart(network: ModelProto, folder: Path) -> Path:
    """With the weights in a file of their own, as PyTorch writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    onnx.save(network, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path
