"""A sliver of a data set: a few synthetic cells, some with a dark crack."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from edgewright.model.contract.card import Card, Input, ModelFile, Output
from edgewright.model.judge.data import LABELS, Sample, load_elpv

PROBABILITIES = ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")


def draw_cell(seed: int, cracked: bool) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.normal(120, 6, (60, 60))
    pixels[20::20] -= 40  # busbars
    if cracked:
        pixels[:, 25:32] -= 60
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def elpv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the package elpv-dataset has it, with 80 images."""
    folder = tmp_path_factory.mktemp("elpv")
    (folder / "images").mkdir()
    lines = []
    for index in range(80):
        probability = PROBABILITIES[index % 4]
        draw_cell(index, float(probability) > 0.5).save(folder / f"images/cell{index:04}.png")
        lines.append(f"images/cell{index:04}.png {probability} {('mono', 'poly')[index // 4 % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def samples(elpv_folder: Path) -> tuple[Sample, ...]:
    return load_elpv(elpv_folder)


@pytest.fixture
def card() -> Card:
    return make_card()


def make_card(**changes: object) -> Card:
    """A card for images of 64 x 48 pixels (width x height)."""
    card = Card(
        name="small",
        labels=LABELS,
        input=Input(shape=(1, 1, 48, 64)),
        output=Output(shape=(1, 2)),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
    )
    return card.model_copy(update=changes)


@pytest.fixture(scope="session")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FP32 network for `make_card`: convolution, SiLU, pooling, two logits."""
    path = tmp_path_factory.mktemp("network") / "fp32.onnx"
    onnx.save(_network(), path)
    return path


def _network() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(0, 0.5, (8, 1, 3, 3)),
        "bias": random.normal(0, 0.5, 8),
        "matrix": random.normal(0, 2, (8, 2)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["a"], "conv", strides=[2, 2]),
        helper.make_node("Sigmoid", ["a"], ["b"], "sigmoid"),
        helper.make_node("Mul", ["a", "b"], ["c"], "mul"),
        helper.make_node("ReduceMean", ["c"], ["d"], "mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["d", "matrix"], ["logits"], "matmul"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, 48, 64])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)
