"""Model folders of a detector, a segmentation and an anomaly model: convolutions of random weights.

They are of one kind of operator, so that one runtime serves all three.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings
from edgewright.model.contract.card import Input, ModelFile, Tiling, write_card
from edgewright.model.contract.detect_card import (
    BoxDistances,
    ClassScores,
    DetectCard,
    MaskCoefficients,
    Prototypes,
)
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import TaskCard
from edgewright.model.pack.task_golden import write_task_golden

SIDE = 64
CHANNELS = 8
BINS = 4
FORM = Input(shape=(1, 1, SIDE, SIDE))


def detector(folder: Path) -> Path:
    cells = SIDE // 8
    shapes = {"boxes": [1, 4 * BINS, cells, cells], "scores": [1, 2, cells, cells]}
    model = _write_network(folder, 8, shapes)
    boxes, scores = (tuple(shape) for shape in shapes.values())
    card = DetectCard(
        task="detect",
        name="tiny-detector",
        labels=("crack", "finger"),
        input=FORM,
        outputs=(
            BoxDistances(name="boxes", shape=boxes, role="box_distances", stride=8),
            ClassScores(name="scores", shape=scores, role="class_scores", stride=8),
        ),
        file=ModelFile.of(model),
    )
    return _write_folder(folder, model, card)


def thing_masks(folder: Path) -> Path:
    """As a segmentation network of YOLO's that is cut at its last convolutions; of tiles."""
    cells, side, count = SIDE // 8, SIDE // 4, 8
    heads = {"boxes": 4 * BINS, "scores": 2, "coefficients": count}
    shapes = {name: [1, width, cells, cells] for name, width in heads.items()}
    model = _write_network(folder, 8, shapes, prototypes=[1, count, side, side])
    boxes, scores, coefficients = (tuple(shape) for shape in shapes.values())
    card = DetectCard(
        task="detect",
        name="tiny-thing-masks",
        labels=("crack", "finger"),
        input=FORM,
        outputs=(
            BoxDistances(name="boxes", shape=boxes, role="box_distances", stride=8),
            ClassScores(name="scores", shape=scores, role="class_scores", stride=8),
            MaskCoefficients(
                name="coefficients", shape=coefficients, role="mask_coefficients", stride=8
            ),
            Prototypes(name="prototypes", shape=(1, count, side, side), role="prototypes"),
        ),
        tiling=Tiling(size=(SIDE, SIDE), overlap=SIDE // 4),
        file=ModelFile.of(model),
    )
    return _write_folder(folder, model, card)


def segmentation(folder: Path) -> Path:
    shape = [1, 3, SIDE // 2, SIDE // 2]
    model = _write_network(folder, 2, {"logits": shape})
    logits = TaskOutput(name="logits", shape=tuple(shape), role="logits", activation="softmax")
    card = SegmentCard(
        task="segment",
        name="tiny-segmentation",
        labels=("sound", "crack", "dark"),
        input=FORM,
        outputs=(logits,),
        file=ModelFile.of(model),
    )
    return _write_folder(folder, model, card)


def anomaly(folder: Path) -> Path:
    shape = [1, 1, SIDE // 4, SIDE // 4]
    model = _write_network(folder, 4, {"map": shape})
    card = AnomalyCard(
        task="anomaly",
        name="tiny-anomaly",
        labels=("ok", "odd"),
        input=FORM,
        outputs=(TaskOutput(name="map", shape=tuple(shape), role="map"),),
        anomaly=AnomalySettings(threshold=1.0, map_threshold=0.5),
        file=ModelFile.of(model),
    )
    return _write_folder(folder, model, card)


def _write_network(
    folder: Path,
    stride: int,
    outputs: Mapping[str, Sequence[int]],
    prototypes: Sequence[int] | None = None,
) -> Path:
    """One convolution of the image in steps of `stride`, and one of each output; prototypes are one
    of the image in steps of 4."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        values: NDArray[np.float64] = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [helper.make_node("Conv", ["image", "stem"], ["features"], "s", strides=[stride] * 2)]
    initializers = [weights("stem", CHANNELS, 1, stride, stride)]
    for name, shape in outputs.items():
        nodes.append(helper.make_node("Conv", ["features", f"{name}_w"], [name], name))
        initializers.append(weights(f"{name}_w", shape[1], CHANNELS, 1, 1))
    outputs = dict(outputs)
    if prototypes is not None:
        nodes.append(
            helper.make_node(
                "Conv", ["image", "prototypes_w"], ["prototypes"], "prototypes", strides=[4, 4]
            )
        )
        initializers.append(weights("prototypes_w", prototypes[1], 1, 4, 4))
        outputs["prototypes"] = prototypes
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, FORM.shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        initializers,
    )
    folder.mkdir(parents=True)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def _write_folder(folder: Path, model: Path, card: TaskCard) -> Path:
    """The card and a golden set of three images; returns the model."""
    write_card(card, folder / "card.json")
    images = folder / "images"
    images.mkdir()
    for seed, size in enumerate([(64, 64), (48, 90), (120, 70)]):
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 80, size).astype(np.uint8)
        pixels[10:30, 5:40] += 150
        Image.fromarray(pixels).save(images / f"{seed}.png")
    cases = [(path,) for path in sorted(images.iterdir())]
    expected = write_task_golden(model, card, cases, folder / "golden")
    assert any(len(str(case.expected)) > 60 for case in expected.cases), "there is something to say"
    return model
