"""model.import of anomaly models and segmentations: what is proposed, and what is refused."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.pack.import_folder import ImportRequest, import_model
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.model.tasks.anomaly import AnomalyAnswer
from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.segment import SegmentAnswer

SIDE = 32
MAP = helper.make_node("AveragePool", ["image"], ["anomaly_map"], kernel_shape=[2, 2])
SCORE = helper.make_node("ReduceMax", ["anomaly_map"], ["pred_score"], axes=[1, 2, 3], keepdims=0)
MAP_SIDE = SIDE - 1


def save(folder: Path, nodes: Sequence[NodeProto], outputs: Mapping[str, list[int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    infos = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, shape
        )
        for name, shape in outputs.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])
    graph = helper.make_graph(nodes, "planes", [image], infos)
    for number, node in enumerate(graph.node):
        node.name = f"node{number}"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "net.onnx")
    return folder / "net.onnx"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 60, (SIDE, SIDE)).astype(np.uint8)
        pixels[4 : 8 + 4 * seed, 4:16] += 120
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def imported(model: Path, images: Path, task: str, **stated: Any) -> Path:
    """The model folder; a build would take it."""
    out = model.parent / "made"
    import_model(ImportRequest(model=model, out=out, task=task, images=str(images), **stated))
    card = read_any_card(out / "card.json")
    assert isinstance(card, AnomalyCard | SegmentCard)
    assert read_for_task(out / "model.onnx", card, out / "card.json").changes == ()
    require_task_golden(out / "model.onnx", card, out / "golden", model)
    return out


def anomaly_network(folder: Path) -> Path:
    shapes = {"anomaly_map": [1, 1, MAP_SIDE, MAP_SIDE], "pred_score": [1]}
    return save(folder, [MAP, SCORE], shapes)


def test_a_single_value_is_the_score_and_the_rest_the_map(images: Path, tmp_path: Path) -> None:
    model = anomaly_network(tmp_path / "net")
    out = imported(model, images, "anomaly", settings={"threshold": 1.5})
    card = read_any_card(out / "card.json")
    assert isinstance(card, AnomalyCard)
    assert {output.name: output.role for output in card.outputs} == {
        "anomaly_map": "map",
        "pred_score": "score",
    }
    assert card.labels == ("normal", "anomalous")
    answer = Engine(out / "model.onnx", card).infer([images / "0.png"]).answer
    assert isinstance(answer, AnomalyAnswer)
    assert answer.class_ == "anomalous"


METADATA = {
    "version 1": {
        "image_threshold": 1.2,
        "pixel_threshold": 0.9,
        "pred_scores.min": -0.5,
        "pred_scores.max": 3.5,
    },
    "before": {"image_threshold": 1.2, "pixel_threshold": 0.9, "min": -0.5, "max": 3.5},
}


@pytest.mark.parametrize("version", METADATA)
def test_thresholds_and_normalization_of_anomalib_are_taken(
    version: str, images: Path, tmp_path: Path
) -> None:
    model = anomaly_network(tmp_path / "net")
    (model.parent / "metadata.json").write_text(json.dumps(METADATA[version] | {"task": "x"}))
    out = imported(model, images, "anomaly")
    card = read_any_card(out / "card.json")
    assert isinstance(card, AnomalyCard)
    settings = card.anomaly
    assert (settings.threshold, settings.map_threshold) == (1.2, 0.9)
    assert settings.normalization is not None
    assert (settings.normalization.min, settings.normalization.max) == (-0.5, 3.5)
    # anomalib's: (score - threshold) / (max - min) + 0.5, from 0 to 1.
    result = Engine(out / "model.onnx", card).infer([images / "0.png"])
    answer, raw = result.answer, float(result.outputs[1].squeeze())
    assert isinstance(answer, AnomalyAnswer)
    assert answer.score == pytest.approx(min(max((raw - 1.2) / 4 + 0.5, 0), 1), abs=1e-6)


def test_what_is_stated_comes_before_anomalib_s_file(images: Path, tmp_path: Path) -> None:
    model = anomaly_network(tmp_path / "net")
    (model.parent / "metadata.json").write_text(json.dumps(METADATA["before"]))
    out = imported(model, images, "anomaly", settings={"threshold": 2.0})
    card = read_any_card(out / "card.json")
    assert isinstance(card, AnomalyCard)
    assert (card.anomaly.threshold, card.anomaly.map_threshold) == (2.0, 0.9)


def test_a_file_that_is_not_anomalib_s_is_refused(images: Path, tmp_path: Path) -> None:
    model = anomaly_network(tmp_path / "net")
    (model.parent / "metadata.json").write_text('{"image_threshold": "high"}')
    with pytest.raises(UserError, match="is not anomalib's metadata"):
        imported(model, images, "anomaly")


def test_an_anomaly_model_without_a_threshold_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        imported(anomaly_network(tmp_path / "net"), images, "anomaly")
    assert "anomaly.threshold" in str(refused.value)


def two_planes() -> list[NodeProto]:
    return [
        helper.make_node("Neg", ["image"], ["dark"]),
        helper.make_node("Concat", ["dark", "image"], ["logits"], axis=1),
    ]


def test_values_for_each_label_are_logits(images: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "net", two_planes(), {"logits": [1, 2, SIDE, SIDE]})
    out = imported(
        model, images, "segment", labels=("dark", "bright"), settings={"background": "dark"}
    )
    card = read_any_card(out / "card.json")
    assert isinstance(card, SegmentCard)
    assert [output.role for output in card.outputs] == ["logits"]
    answer = Engine(out / "model.onnx", card).infer([images / "2.png"]).answer
    assert isinstance(answer, SegmentAnswer)
    assert [segment.class_ for segment in answer.segments] == ["bright"]


def test_labels_that_the_network_chose_are_classes(images: Path, tmp_path: Path) -> None:
    nodes = [*two_planes(), helper.make_node("ArgMax", ["logits"], ["labels"], axis=1, keepdims=0)]
    model = save(tmp_path / "net", nodes, {"labels": [1, SIDE, SIDE]})
    out = imported(model, images, "segment", labels=("dark", "bright"))
    card = read_any_card(out / "card.json")
    assert isinstance(card, SegmentCard)
    assert [output.role for output in card.outputs] == ["classes"]
    assert card.segment.threshold is None


@pytest.mark.parametrize("ends_in_sigmoid", [True, False])
def test_one_channel_is_a_probability_or_becomes_one(
    ends_in_sigmoid: bool, images: Path, tmp_path: Path
) -> None:
    node = helper.make_node("Sigmoid" if ends_in_sigmoid else "Identity", ["image"], ["mask"])
    model = save(tmp_path / "net", [node], {"mask": [1, 1, SIDE, SIDE]})
    out = imported(model, images, "segment", labels=("bright",))
    card = read_any_card(out / "card.json")
    assert isinstance(card, SegmentCard)
    assert card.outputs[0].activation == ("none" if ends_in_sigmoid else "sigmoid")
    assert card.segment.threshold == 0.5


@pytest.mark.parametrize(
    ("labels", "words"),
    [((), "labels"), (("a", "b", "c"), "[1, 3 for the labels, height, width]")],
)
def test_labels_that_do_not_fit_the_network_are_refused(
    labels: tuple[str, ...], words: str, images: Path, tmp_path: Path
) -> None:
    model = save(tmp_path / "net", two_planes(), {"logits": [1, 2, SIDE, SIDE]})
    with pytest.raises(UserError) as refused:
        imported(model, images, "segment", labels=labels)
    assert words in str(refused.value)
