"""An image classifier that is not ours: three channels, a free batch, ReLU, LayerNorm.

Its features are random; the last layer is fitted, so it does tell the classes apart.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from edgewright.model.contract.card import Card, Input, ModelFile, Output, Preprocess, write_card
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.judge.data import load_folder
from edgewright.model.judge.images import Inputs

LABELS = ("fine", "cracked")  # not in alphabetical order
Doubles = NDArray[np.float64]
SIDE = 32
CHANNELS = 8


def draw(seed: int, cracked: bool) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.normal(120, 12, (40, 40, 3))
    if cracked:
        row = random.integers(8, 30)
        pixels[row : row + 4] -= random.uniform(15, 70)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_images(folder: Path, count: int, first: int = 0) -> Path:
    """`count` images a class as `folder/<class>/<n>.png`."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for seed in range(first, first + count):
            picture = draw(2 * seed + (label == "cracked"), label == "cracked")
            picture.save(folder / label / f"{seed:04}.png")
    return folder


def write_network(folder: Path, images: Path, channels: int = CHANNELS) -> Path:
    """`folder/net.onnx` and its card, fitted to the images."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(0, 0.4, (channels, 3, 3, 3)),
        "b1": random.normal(0, 0.1, channels),
        "w2": random.normal(0, 0.3, (2 * channels, channels, 3, 3)),
        "b2": random.normal(0, 0.1, 2 * channels),
        "scale": np.ones(2 * channels),
        "shift": np.zeros(2 * channels),
        "matrix": np.eye(2 * channels),
        "bias": np.zeros(2 * channels),
    }
    onnx.save(network(weights), path)
    card = make_card(path)
    dataset = load_folder(images)
    rows = np.concatenate(list(Inputs(samples=dataset.samples, card=card)))
    features = outputs(open_session(path), rows)
    cracked = np.array([dataset.labels[s.label] == "cracked" for s in dataset.samples])
    weights["matrix"], weights["bias"] = fit(features, cracked)
    onnx.save(network(weights), path)
    write_card(make_card(path), folder / "card.json")
    return path


def fit(features: NDArray[np.float32], cracked: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Least squares: columns of `LABELS`, sure answers."""
    design = np.hstack([features, np.ones((len(features), 1))])
    target = np.where(cracked, 3.0, -3.0)
    solution = np.linalg.solve(design.T @ design + 0.1 * np.eye(design.shape[1]), design.T @ target)
    both = np.stack([-solution, solution], axis=1) / 2
    return both[:-1], both[-1]


def make_card(path: Path) -> Card:
    return Card(
        name="small-cnn",
        labels=LABELS,
        input=Input(name="pixels", shape=(1, 3, SIDE, SIDE)),
        output=Output(name="scores", shape=(1, 2)),
        preprocess=Preprocess(color="rgb"),
        file=ModelFile.of(path),
    )


def network(weights: Mapping[str, Doubles]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("LayerNormalization", ["flat", "scale", "shift"], ["norm"]),
        helper.make_node("Gemm", ["norm", "matrix", "bias"], ["scores"]),
    ]
    values = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    graph = helper.make_graph(
        nodes,
        "small-cnn",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(
                "scores", onnx.TensorProto.FLOAT, ["n", values["matrix"].shape[1]]
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)
