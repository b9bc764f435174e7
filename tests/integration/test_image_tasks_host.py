"""Tasks on the host build of `edge-infer`: its answers are those of the Python reference."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings, ScoreRange
from edgewright.model.contract.card import (
    Activation,
    Input,
    Letterbox,
    ModelFile,
    Preprocess,
    write_card,
)
from edgewright.model.contract.segment_card import SegmentCard, SegmentSettings
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import TaskCard
from edgewright.model.tasks.inference import Engine

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]
Json = dict[str, Any]

pytestmark = pytest.mark.docker

SIDES = [(7, 90), (24, 32), (64, 48), (33, 200), (200, 3)]  # width and height of images


def save(folder: Path, nodes: Sequence[onnx.NodeProto], outputs: dict[str, list[int]]) -> Path:
    """A network of an image of 48 x 32 pixels."""
    folder.mkdir()
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in outputs.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 32, 48])
    graph = helper.make_graph(nodes, "toy", [image], infos)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    return folder / "model.onnx"


def images(folder: Path) -> list[Path]:
    """Of each size, with some bright spots."""
    paths = []
    for seed, size in enumerate(SIDES):
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 60, size[::-1]).astype(np.uint8)
        pixels[: size[1] // 3, : size[0] // 2] += 150
        paths.append(folder / f"{seed}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def assert_alike(expected: object, actual: object, where: str, tolerance: float = 1e-4) -> None:
    """Equal, but for the tolerance of a number."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            assert_alike(value, actual[key], f"{where}.{key}", tolerance)
    elif isinstance(expected, list) and isinstance(actual, list):
        assert len(expected) == len(actual), where
        for place, (value, other) in enumerate(zip(expected, actual, strict=True)):
            assert_alike(value, other, f"{where}[{place}]", tolerance)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=tolerance), where
    else:
        assert actual == expected, where


def check_all(edge_infer: EdgeInfer, model: Path, card: TaskCard) -> list[Json]:
    """Both answer every image alike; the answers."""
    write_card(card, model.parent / "card.json")
    paths = images(model.parent)
    ended = edge_infer(["run", "--model", str(model), *map(str, paths)])
    results: list[Json] = json.loads(ended.stdout)["results"]
    engine = Engine(model, card)
    for path, result in zip(paths, results, strict=True):
        answer = engine.infer([path]).answer
        assert_alike(json.loads(answer.model_dump_json(by_alias=True)), result, path.name)
    return results


@pytest.mark.parametrize("normalization", [None, ScoreRange(min=-1, max=4)])
def test_anomalies(
    normalization: ScoreRange | None, scratch: Path, host_edge_infer: EdgeInfer
) -> None:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["map"], kernel_shape=[3, 4], strides=[3, 4]),
        helper.make_node("ReduceMax", ["image"], ["score"], axes=[1, 2, 3], keepdims=0),
    ]
    folder = scratch / f"anomaly-{normalization is None}"
    model = save(folder, nodes, {"map": [1, 1, 10, 12], "score": [1]})
    card = AnomalyCard(
        task="anomaly",
        name="toy",
        labels=("ok", "odd"),
        input=Input(shape=(1, 1, 32, 48)),
        preprocess=Preprocess(fit=Letterbox(pad_value=255)),
        outputs=(
            TaskOutput(name="score", shape=(1,), role="score", activation="sigmoid"),
            TaskOutput(name="map", shape=(1, 1, 10, 12), role="map"),
        ),
        anomaly=AnomalySettings(threshold=0.93, map_threshold=0.8, normalization=normalization),
        file=ModelFile.of(model),
    )
    results = check_all(host_edge_infer, model, card)
    assert any(0 < result["map"]["area"] < 1 for result in results)


SEGMENT_CASES = ["likeliest", "threshold", "classes"]


@pytest.mark.parametrize("kind", SEGMENT_CASES)
def test_segments(kind: str, scratch: Path, host_edge_infer: EdgeInfer) -> None:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["ok"], kernel_shape=[2, 3], strides=[2, 3]),
        helper.make_node("Neg", ["ok"], ["dark"]),
        helper.make_node("Concat", ["dark", "ok"], ["logits"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["classes"], to=TensorProto.FLOAT),
    ]
    name, shape = ("classes", (1, 16, 16)) if kind == "classes" else ("logits", (1, 2, 16, 16))
    model = save(scratch / f"segment-{kind}", nodes, {name: list(shape)})
    is_apart = kind == "threshold"
    activation: Activation = "sigmoid" if is_apart else "none"
    card = SegmentCard(
        task="segment",
        name="toy",
        labels=("dark", "bright"),
        input=Input(shape=(1, 1, 32, 48)),
        preprocess=Preprocess(fit=Letterbox(pad_value=255)),
        outputs=(TaskOutput(name=name, shape=shape, role=name, activation=activation),),
        segment=SegmentSettings(threshold=0.6 if is_apart else None),
        file=ModelFile.of(model),
    )
    results = check_all(host_edge_infer, model, card)
    assert any(len(result["segments"]) == 2 for result in results)
