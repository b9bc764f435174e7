"""Networks of three nodes with their cards: real files that load in milliseconds."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgewright.model.contract.card import (
    Card,
    Input,
    MeanStd,
    ModelFile,
    Output,
    PerImage,
    Preprocess,
    write_card,
)
from edgewright.model.contract.preprocess import Floats

NORMALIZE = {1: PerImage(), 3: MeanStd(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))}


def toy_model(folder: Path, channels: int, height: int, width: int) -> Path:
    """A model file and its card: logits are the extremes of each channel, (1, 2 * channels)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(graph([1, channels, height, width]), path)
    write_card(toy_card(path, channels, height, width), folder / "card.json")
    return path


def graph(shape: list[int], domain: str = "") -> onnx.ModelProto:
    """The network. Another domain than ONNX's makes its operators unknown to any runtime."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["max"], axes=[2, 3], keepdims=0, domain=domain),
        helper.make_node("ReduceMin", ["image"], ["min"], axes=[2, 3], keepdims=0, domain=domain),
        helper.make_node("Concat", ["max", "min"], ["logits"], axis=1, domain=domain),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2 * shape[1]])
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    network = helper.make_graph(nodes, "toy", [image], [logits])
    return helper.make_model(network, opset_imports=opsets, ir_version=9)


def toy_card(path: Path, channels: int, height: int, width: int) -> Card:
    return Card(
        name="toy",
        labels=tuple(f"class{i}" for i in range(2 * channels)),
        input=Input(shape=(1, channels, height, width)),
        output=Output(shape=(1, 2 * channels)),
        preprocess=Preprocess(
            color="gray" if channels == 1 else "rgb", normalize=NORMALIZE[channels]
        ),
        file=ModelFile.of(path),
    )


def toy_probabilities(inputs: Floats) -> list[float]:
    """What the toy says of an input (1, C, H, W), computed without any runtime."""
    logits = np.concatenate([inputs.max(axis=(2, 3)), inputs.min(axis=(2, 3))], axis=1)[0]
    shares = np.exp(logits.astype(np.float64) - logits.max())
    return [float(share) for share in shares / shares.sum()]
