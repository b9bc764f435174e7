"""A small INT8 network that tells dark pictures from bright ones, whole as a model folder.

Its operators are among those of the demo models, whose runtime it therefore shares.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.model.contract.card import (
    Card,
    Input,
    MeanStd,
    ModelFile,
    Output,
    Preprocess,
    write_card,
)
from edgewright.model.pack.golden import expect

SIDE = 32  # pixels
LABELS = ("dark", "bright")
GREYS = {"night.png": 20, "dusk.png": 60, "noon.png": 220}


def brightness_model(
    folder: Path,
    *,
    card_name: str = "brightness",
    channels: int = 4,
    labels: tuple[str, str] = LABELS,
) -> Path:
    """A model folder with its golden set. More channels cost more, and answer the same."""
    (folder / "golden").mkdir(parents=True)
    model = folder / "model.onnx"
    onnx.save(_network(channels), model)
    card = Card(
        name=card_name,
        labels=labels,
        input=Input(shape=(1, 1, SIDE, SIDE)),
        output=Output(shape=(1, 2)),
        preprocess=Preprocess(color="gray", normalize=MeanStd(mean=(0.5,), std=(0.5,))),
        file=ModelFile.of(model),
    )
    write_card(card, folder / "card.json")
    for name, grey in GREYS.items():
        Image.new("L", (SIDE, SIDE), grey).save(folder / "golden" / name)
    expected = expect(model, card, [folder / "golden" / name for name in GREYS])
    (folder / "golden" / "expected.json").write_text(expected.model_dump_json(by_alias=True))
    return model


def _network(channels: int) -> onnx.ModelProto:
    """Each hidden channel is the picture itself; the logits are its mean, negative and positive."""
    hidden = np.zeros((channels, 1, 3, 3), np.int8)
    hidden[:, :, 1, 1] = 127
    ends = np.repeat(np.array([[-127], [127]], np.int8), channels, 1)[:, :, None, None]
    tensors = [
        numpy_helper.from_array(np.array(1 / 127, np.float32), "scale"),
        numpy_helper.from_array(np.array(128, np.uint8), "middle"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
        numpy_helper.from_array(hidden, "hidden"),
        numpy_helper.from_array(np.array(1 / 127, np.float32), "hidden_scale"),
        numpy_helper.from_array(ends, "ends"),
        numpy_helper.from_array(np.array(1 / 127 / channels, np.float32), "ends_scale"),
    ]
    nodes = [
        *_rounded("image", "picture"),
        helper.make_node("DequantizeLinear", ["hidden", "hidden_scale", "zero"], ["weights"]),
        helper.make_node("Conv", ["picture", "weights"], ["copies"], pads=[1, 1, 1, 1]),
        *_rounded("copies", "channels"),
        helper.make_node("DequantizeLinear", ["ends", "ends_scale", "zero"], ["signs"]),
        helper.make_node("Conv", ["channels", "signs"], ["both"]),
        *_rounded("both", "signed"),
        helper.make_node("ReduceMean", ["signed"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "brightness", [image], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _rounded(source: str, result: str) -> list[onnx.NodeProto]:
    """To uint8 and back: -1 to 1."""
    return [
        helper.make_node("QuantizeLinear", [source, "scale", "middle"], [f"{result}_u8"]),
        helper.make_node("DequantizeLinear", [f"{result}_u8", "scale", "middle"], [result]),
    ]
