"""Anomalies and segmentations judged on labelled images."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings
from edgewright.model.contract.card import Input, MeanStd, ModelFile, Preprocess
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.masked import load_anomalies, load_segmentations, regions_of
from edgewright.model.judge.planes import (
    JudgedHeat,
    evaluate_anomalies,
    evaluate_segments,
    per_region_overlap,
)

PLAIN = Preprocess(normalize=MeanStd(mean=(0.0,), std=(1.0,)))  # values are 0 to 1


def network(folder: Path) -> Path:
    """A network of 8 x 8 pixels: the map is the image, and the logits are 0.5 and the image."""
    nodes = [
        helper.make_node("Identity", ["image"], ["map"]),
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["level"]),
        helper.make_node("Concat", ["level", "image"], ["logits"], axis=1),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    outputs = [
        helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, 8, 8]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 8, 8]),
    ]
    graph = helper.make_graph(nodes, "bright", [image], outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    return folder / "model.onnx"


def draw(path: Path, spot: tuple[slice, slice] | None, level: int, dark: int = 20) -> None:
    """16 x 16 dark pixels with a bright spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((16, 16), dark, np.uint8)
    if spot:
        pixels[spot] = level
    Image.fromarray(pixels).save(path)


SPOT = (slice(4, 8), slice(2, 6))


def anomaly_card(model: Path) -> AnomalyCard:
    return AnomalyCard(
        task="anomaly",
        name="bright",
        labels=("sound", "bright"),
        input=Input(shape=(1, 1, 8, 8)),
        preprocess=PLAIN,
        outputs=(TaskOutput(name="map", shape=(1, 1, 8, 8), role="map"),),
        anomaly=AnomalySettings(threshold=0.9),
        file=ModelFile.of(model),
    )


def test_scores_and_maps_are_judged_by_folders_and_masks(tmp_path: Path) -> None:
    model = network(tmp_path)
    for number in range(4):
        draw(tmp_path / "set" / "test" / "good" / f"{number}.png", None, 0)
        draw(tmp_path / "set" / "test" / "spot" / f"{number}.png", SPOT, 200)
        draw(tmp_path / "set" / "ground_truth" / "spot" / f"{number}_mask.png", SPOT, 255, 0)

    card = anomaly_card(model)
    quality = evaluate_anomalies(model, card, str(tmp_path / "set"), Prices())
    assert (quality.normal, quality.anomalous, quality.masks) == (4, 4, 4)
    assert quality.auroc.value == 1
    assert quality.pro == pytest.approx(1)
    assert (quality.of_card.misses, quality.of_card.false_alarms) == (4, 0)
    assert (quality.cheapest.misses, quality.cheapest.false_alarms) == (0, 0)
    assert 20 / 255 < quality.cheapest.value < 200 / 255, "the resize blurs the spot"


def test_without_masks_there_is_no_overlap(tmp_path: Path) -> None:
    model = network(tmp_path)
    draw(tmp_path / "set" / "sound" / "a.png", None, 0)
    draw(tmp_path / "set" / "spot" / "a.png", SPOT, 10)
    quality = evaluate_anomalies(model, anomaly_card(model), str(tmp_path / "set"), Prices())
    assert quality.pro is None
    assert quality.auroc.value == 0.5, "a dark spot does not raise the largest value"


def test_overlap_counts_every_region_alike() -> None:
    defect = np.zeros((10, 10), bool)
    defect[0, 0] = defect[5:9, 5:9] = True
    small, large, neither = (np.zeros((10, 10)) for _ in range(3))
    small[0, 0] = 1
    large[5:9, 5:9] = 1
    overlaps = [
        per_region_overlap([JudgedHeat(values=values, defect=defect)])
        for values in (defect.astype(float), small, large, neither)
    ]
    # Half of the regions at once; the other half comes with all that is sound, linearly.
    assert overlaps[0] == pytest.approx(1)
    assert overlaps[1] == overlaps[2] == pytest.approx(0.5 + 0.5 * 0.3 / 2)
    assert overlaps[3] == pytest.approx(0.3 / 2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
    regions = sorted(sorted(region.tolist()) for region in regions_of(mask))
    assert regions == [[0, 5], [3, 7], [12, 13]]


def test_segments_are_judged_pixel_by_pixel_of_the_image(tmp_path: Path) -> None:
    model = network(tmp_path)
    folder = tmp_path / "set"
    draw(folder / "a.png", SPOT, 200)
    truth = np.zeros((16, 16), np.uint8)
    truth[4:8, 2:8] = 1  # two columns more than what is bright
    truth[0, 0] = 255  # nobody knows
    (folder / "masks").mkdir()
    Image.fromarray(truth).save(folder / "masks" / "a.png")
    card = SegmentCard(
        task="segment",
        name="bright",
        labels=("dark", "bright"),
        input=Input(shape=(1, 1, 8, 8)),
        preprocess=PLAIN,
        outputs=(TaskOutput(name="logits", shape=(1, 2, 8, 8), role="logits"),),
        file=ModelFile.of(model),
    )
    quality = evaluate_segments(model, card, str(folder))
    dark, bright = quality.per_label
    assert bright.iou == pytest.approx(16 / 24, abs=1e-4)
    assert dark.iou == pytest.approx(231 / 239, abs=1e-4)
    assert bright.share == pytest.approx(24 / 255, abs=1e-6)
    assert quality.mean_iou == pytest.approx((16 / 24 + 231 / 239) / 2, abs=1e-4)

    truth[3, 3] = 7
    Image.fromarray(truth).save(folder / "masks" / "a.png")
    with pytest.raises(UserError, match=r"a\.png: has values that are no labels: 7"):
        evaluate_segments(model, card, str(folder))
    Image.fromarray(truth[:8]).save(folder / "masks" / "a.png")
    with pytest.raises(UserError, match="is not of its image's size"):
        evaluate_segments(model, card, str(folder))


def test_folders_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "good" / "a.png", None, 0)
    with pytest.raises(UserError, match="has not both good and bad images"):
        load_anomalies(str(tmp_path / "set"), "normal")
    draw(tmp_path / "a.png", None, 0)
    with pytest.raises(UserError, match="has 1 images, 1 of them without a mask"):
        load_segmentations(tmp_path)
