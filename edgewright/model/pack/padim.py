"""An anomaly model of a trained network: how far an image's features are from those of good ones.

PaDiM (Defard et al., PaDiM: a Patch Distribution Modeling Framework, ICPR 2020) with a mean for
each place and one covariance for all, which takes C x C numbers in place of H x W x C x C. All of
it is one ONNX file: the network up to its features, and a head of convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings, ScoreRange
from edgewright.model.contract.card import ImageCard, ModelFile, write_card
from edgewright.model.contract.preprocess import Floats, load_input
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.importer.classifier import CARD
from edgewright.model.importer.graphs import set_sizes
from edgewright.model.pack.task_golden import spread_cases, write_task_golden
from edgewright.model.tasks.inference import Engine

# Of the networks in models/: what their last two stages make of a cell.
FEATURES = ("layer.3/fusion/activation/Mul_output_0", "layer.4/fusion/activation/Mul_output_0")
HELD_OUT = 5  # every fifth image sets the threshold, and is not among those that features come from
SHRINKAGE = 0.01  # of the mean variance, added to each: features that hardly vary weigh no more
QUANTILE = 0.95  # of the scores of good images that pass
FEWEST = 20  # images

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AnomalyRequest:
    model: Path  # of a task that takes images, with a card
    card: ImageCard
    good: Sequence[Path]
    bad: Sequence[Path]  # for the golden set alone
    features: tuple[str, ...] = FEATURES  # parts of names of tensors (1, C, H, W)
    out: Path


def make_anomaly_model(request: AnomalyRequest, say: LineSink) -> AnomalyCard:
    """Write the folder `out`: model.onnx, card.json, golden/.

    The threshold is the score that 95 % of the held-out good images do not reach. Raises UserError
    for features that the network does not have, or that do not fit each other, and for too few
    images.
    """
    if len(request.good) < FEWEST:
        raise UserError(
            str(request.model), f"{len(request.good)} good images, at least {FEWEST} are needed"
        )
    held_out = request.good[::HELD_OUT]
    fitted = [path for place, path in enumerate(request.good) if place % HELD_OUT]
    network = onnx.load(str(request.model))
    names = [_find(network, name, request.model) for name in request.features]
    _cut(network, names)
    (image,) = network.graph.input
    set_sizes(image, request.card.input.shape)
    say(f"features of {len(fitted)} good images")
    _add_grid(network, names, _shapes(network, request))
    features = _features(network, fitted, request.card)
    mean, whitening = _fit(features)
    _add_head(network, mean, whitening)

    with new_folder(request.out) as folder:
        path = folder / "model.onnx"
        onnx.save(network, path)
        card = _card(request, path, mean.shape)
        engine = Engine(path, card)
        say(f"threshold of {len(held_out)} others")
        results = [engine.infer([image]) for image in held_out]
        scores = [result.reading.score for result in results]
        card = card.model_copy(update={"anomaly": _settings(scores)})
        write_card(card, folder / CARD)
        cases = [(image,) for image in (*held_out[:4], *request.bad[:4])]
        write_task_golden(path, card, spread_cases(cases), folder / "golden")
    return card


def _find(network: onnx.ModelProto, part: str, model: Path) -> str:
    """The last tensor that a node makes whose name has this part."""
    for node in reversed(network.graph.node):
        for name in node.output:
            if part in name:
                return str(name)
    raise UserError(
        str(model),
        f"has no tensor whose name has {part} in it",
        next="invoke model.inspect, and give --features=NAME,NAME",
    )


def _cut(network: onnx.ModelProto, names: Sequence[str]) -> None:
    """Take away what these tensors do not need; they become the outputs."""
    graph = network.graph
    needed, nodes = set(names), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    for field, items in ((graph.node, nodes[::-1]), (graph.initializer, constants)):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]
    _set_outputs(network, dict.fromkeys(names))


def _set_outputs(network: onnx.ModelProto, shapes: dict[str, Sequence[int] | None]) -> None:
    del network.graph.output[:]
    network.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )


def _shapes(network: onnx.ModelProto, request: AnomalyRequest) -> list[tuple[int, ...]]:
    session = open_session(network.SerializeToString())
    image = load_input(request.good[0], request.card)
    values = session.run(None, {request.card.input.name: image})
    shapes = [np.asarray(value).shape for value in values]
    for name, shape in zip(request.features, shapes, strict=True):
        if len(shape) != 4:
            raise UserError(str(request.model), f"{name} is no map of features: {list(shape)}")
    return shapes


def _add_grid(
    network: onnx.ModelProto, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> None:
    """All features side by side, each repeated to the size of the largest."""
    height, width = (max(shape[axis] for shape in shapes) for axis in (2, 3))
    parts = []
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if shape[2:] == (height, width):
            parts.append(name)
            continue
        sizes = np.array([*shape[:2], height, width], np.int64)
        network.graph.initializer.append(numpy_helper.from_array(sizes, f"sizes_{number}"))
        parts.append(f"grid_{number}")
        _node(
            network,
            "Resize",
            [name, "", "", f"sizes_{number}"],
            parts[-1],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    _node(network, "Concat", parts, "features", axis=1)
    _set_outputs(network, {"features": None})


def _features(network: onnx.ModelProto, images: Sequence[Path], card: ImageCard) -> Floats:
    """Of all images: (N, C, H, W)."""
    session = open_session(network.SerializeToString())
    rows = [session.run(None, {card.input.name: load_input(path, card)})[0] for path in images]
    return np.concatenate(rows).astype(np.float32)


def _fit(features: Floats) -> tuple[Matrix, Matrix]:
    """Mean at each place (C, H, W), and what makes distances from it Mahalanobis' (C, C)."""
    channels = features.shape[1]
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((channels, channels))
    for image in features:  # all at once would be a second copy in double
        centred = (image - mean).reshape(channels, -1)
        covariance += centred @ centred.T
    covariance /= len(features) * features.shape[2] * features.shape[3]
    covariance += SHRINKAGE * np.trace(covariance) / channels * np.eye(channels)
    return mean, np.linalg.cholesky(np.linalg.inv(covariance)).T


def _add_head(network: onnx.ModelProto, mean: Matrix, whitening: Matrix) -> None:
    """From features to a map of distances, and its largest."""
    channels, height, width = mean.shape
    _constant(network, "mean", mean[np.newaxis])
    _constant(network, "whitening", whitening[:, :, np.newaxis, np.newaxis])
    _constant(network, "sum", np.ones((1, channels, 1, 1)))
    _node(network, "Sub", ["features", "mean"], "centred")
    _node(network, "Conv", ["centred", "whitening"], "white")
    _node(network, "Mul", ["white", "white"], "squares")
    _node(network, "Conv", ["squares", "sum"], "squared_distance")
    _node(network, "Sqrt", ["squared_distance"], "map")
    _node(network, "GlobalMaxPool", ["map"], "score")
    _set_outputs(network, {"score": (1, 1, 1, 1), "map": (1, 1, height, width)})


def _constant(network: onnx.ModelProto, name: str, values: NDArray[np.floating]) -> None:
    network.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))


def _node(
    network: onnx.ModelProto,
    operator: str,
    inputs: Sequence[str],
    output: str,
    **attributes: Any,
) -> None:
    network.graph.node.append(
        helper.make_node(operator, inputs, [output], name=f"anomaly/{output}", **attributes)
    )


def _card(request: AnomalyRequest, model: Path, shape: tuple[int, ...]) -> AnomalyCard:
    return AnomalyCard(
        task="anomaly",
        name=f"{request.card.name}-anomaly",
        labels=("normal", "anomalous"),
        input=request.card.input,
        preprocess=request.card.preprocess,
        outputs=(
            TaskOutput(name="score", shape=(1, 1, 1, 1), role="score"),
            TaskOutput(name="map", shape=(1, 1, *shape[1:]), role="map"),
        ),
        anomaly=AnomalySettings(threshold=0),
        file=ModelFile.of(model),
        training={
            "method": "PaDiM, a mean for each place and one covariance",
            "features": list(request.features),
            "good_images": len(request.good),
        },
    )


def _settings(scores: Sequence[float]) -> AnomalySettings:
    threshold = round(float(np.quantile(scores, QUANTILE)), 4)
    # As wide above the threshold as below, so that the best score is 0 and bad ones have room.
    return AnomalySettings(
        threshold=threshold,
        normalization=ScoreRange(min=min(scores), max=min(scores) + 2 * (threshold - min(scores))),
    )
