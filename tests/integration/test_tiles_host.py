"""Frames that are cut into tiles: the host build of `edge-infer` answers as the reference does."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings
from edgewright.model.contract.card import (
    AnyRegion,
    Input,
    Letterbox,
    ModelFile,
    Preprocess,
    RegionShare,
    Scale,
    Stretch,
    TileMerge,
    Tiling,
    write_card,
)
from edgewright.model.contract.detect_card import (
    BoxDistances,
    ClassScores,
    DetectCard,
    MaskCoefficients,
    Prototypes,
)
from edgewright.model.contract.segment_card import SegmentCard, SegmentSettings
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import TaskCard
from edgewright.model.pack.task_golden import write_task_golden
from edgewright.model.tasks.inference import Engine
from edgewright.release.run_file import ImageLimits, RunFile
from tests.integration.test_image_tasks_host import assert_alike
from tests.schemas import require_valid

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]

pytestmark = pytest.mark.docker

HEIGHT, WIDTH = 32, 48
PHASES = (
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
)  # each example starts a program: no shrinking
FORM = Input(shape=(1, 1, HEIGHT, WIDTH))


def save(folder: Path, nodes: Sequence[onnx.NodeProto], outputs: Mapping[str, list[int]]) -> Path:
    """A network of largest values alone: both sides compute the same numbers."""
    folder.mkdir()
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in outputs.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, FORM.shape)
    numbers = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in {"border": 200, "tenth": 0.1, "share": 1 / 128}.items()
    ]
    graph = helper.make_graph(nodes, "toy", [image], infos, numbers)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    return folder / "model.onnx"


def pooled(name: str, size: int) -> onnx.NodeProto:
    return helper.make_node(
        "MaxPool", ["image"], [name], kernel_shape=[size] * 2, strides=[size] * 2
    )


@pytest.fixture(scope="module")
def detector(scratch: Path) -> DetectCard:
    """Bright cells of 8 x 8 pixels are things, the brighter the larger."""
    cells = (HEIGHT // 8, WIDTH // 8)
    nodes = [
        pooled("bright", 8),
        helper.make_node("Sub", ["bright", "border"], ["above"]),
        helper.make_node("Mul", ["above", "tenth"], ["thing"]),
        helper.make_node("Neg", ["thing"], ["nothing"]),
        helper.make_node("Concat", ["thing", "nothing"], ["scores"], axis=1),
        helper.make_node("Mul", ["bright", "share"], ["side"]),
        helper.make_node("Concat", ["side"] * 4, ["boxes"], axis=1),
    ]
    model = save(scratch / "detector", nodes, {"boxes": [1, 4, *cells], "scores": [1, 2, *cells]})
    return DetectCard(
        task="detect",
        name="toy",
        labels=("bright", "dark"),
        input=FORM,
        outputs=(
            BoxDistances(name="boxes", shape=(1, 4, *cells), role="box_distances", stride=8),
            ClassScores(name="scores", shape=(1, 2, *cells), role="class_scores", stride=8),
        ),
        file=ModelFile.of(model),
    )


@pytest.fixture(scope="module")
def segmenter(scratch: Path, detector: DetectCard) -> DetectCard:
    """The detector, whose things have the pixels that are bright."""
    cells, fine = (HEIGHT // 8, WIDTH // 8), (HEIGHT // 4, WIDTH // 4)
    network = onnx.load(scratch / "detector" / "model.onnx").graph
    nodes = [
        *network.node,
        helper.make_node("Concat", ["thing", "nothing"], ["coefficients"], axis=1),
        pooled("fine", 4),
        helper.make_node("Sub", ["fine", "border"], ["bright pixels"]),
        helper.make_node("Neg", ["bright pixels"], ["dark pixels"]),
        helper.make_node("Concat", ["bright pixels", "dark pixels"], ["prototypes"], axis=1),
    ]
    shapes = {output.name: list(output.shape) for output in detector.outputs}
    shapes |= {"coefficients": [1, 2, *cells], "prototypes": [1, 2, *fine]}
    model = save(scratch / "segmenter", nodes, shapes)
    outputs = (
        *detector.outputs,
        MaskCoefficients(
            name="coefficients", shape=(1, 2, *cells), role="mask_coefficients", stride=8
        ),
        Prototypes(name="prototypes", shape=(1, 2, *fine), role="prototypes"),
    )
    return detector.model_copy(update={"outputs": outputs, "file": ModelFile.of(model)})


@pytest.fixture(scope="module")
def anomaly(scratch: Path) -> AnomalyCard:
    shape = (1, 1, HEIGHT // 4, WIDTH // 4)
    model = save(scratch / "anomaly", [pooled("map", 4)], {"map": list(shape)})
    return AnomalyCard(
        task="anomaly",
        name="toy",
        labels=("ok", "odd"),
        input=FORM,
        outputs=(TaskOutput(name="map", shape=shape, role="map"),),
        anomaly=AnomalySettings(threshold=250.5, map_threshold=200.5),
        file=ModelFile.of(model),
    )


@pytest.fixture(scope="module", params=["likeliest", "threshold"])
def segmentation(request: pytest.FixtureRequest, scratch: Path) -> SegmentCard:
    shape = (1, 2, HEIGHT // 2, WIDTH // 2)
    nodes = [
        pooled("bright", 2),
        helper.make_node("Sub", ["border", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["logits"], axis=1),
    ]
    model = save(scratch / f"segment-{request.param}", nodes, {"logits": list(shape)})
    is_apart = request.param == "threshold"
    return SegmentCard(
        task="segment",
        name="toy",
        labels=("dark", "bright"),
        input=FORM,
        outputs=(TaskOutput(name="logits", shape=shape, role="logits"),),
        segment=SegmentSettings(threshold=0.5 if is_apart else None),
        file=ModelFile.of(model),
    )


REGIONS: st.SearchStrategy[tuple[float, float, float, float] | None] = st.none() | st.tuples(
    st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.1, 0.4), st.floats(0.1, 0.4)
)
FRAMES = st.lists(
    st.tuples(st.tuples(st.integers(1, 160), st.integers(1, 160)), st.sampled_from([1, 3, 6, 7])),
    min_size=4,
    max_size=4,
)
WAYS = st.fixed_dictionaries(
    {
        "frames": FRAMES,  # width and height as stored, and EXIF's orientation
        "fit": st.sampled_from([Stretch(), Letterbox(pad_value=255)]),
        "tile": st.tuples(st.integers(16, 70), st.integers(16, 70)) | st.just((HEIGHT, WIDTH)),
        "overlap": st.floats(0, 0.5),
        "region": REGIONS,
        "seed": st.integers(0, 9),
    }
)


def region_of(
    share: tuple[float, float, float, float] | None,
    seed: int,
    frames: Sequence[tuple[tuple[int, int], int]],
) -> AnyRegion | None:
    """In shares, or in pixels that all frames have."""
    if share is None:
        return None
    x, y, across, down = share
    part = RegionShare(unit="fraction", x=x, y=y, width=across, height=down)
    upright = [size if orientation < 5 else size[::-1] for size, orientation in frames]
    least = part.of(min(size[0] for size in upright), min(size[1] for size in upright))
    return part if seed % 2 else least


def frame(path: Path, size: tuple[int, int], orientation: int, seed: int) -> Path:
    """A picture with some bright spots."""
    pixels = np.random.default_rng(seed).integers(0, 190, size[::-1], dtype=np.uint8)
    for row, column in np.random.default_rng(seed).integers(0, 150, (6, 2)):
        pixels[row : row + 9, column : column + 7] = 205 + row // 4
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def check(edge_infer: EdgeInfer, card: TaskCard, folder: Path, way: Mapping[str, Any]) -> None:
    """Both answer every frame alike, to the last digit of a box."""
    tile, frames, seed = way["tile"], way["frames"], way["seed"]
    rules = Preprocess(
        fit=way["fit"],
        normalize=Scale(factor=1),
        roi=region_of(way["region"], seed, frames),
    )
    merge = TileMerge(by="union", threshold=0.3) if card.task == "detect" and seed % 3 else None
    tiling = Tiling(size=tile, overlap=int(min(tile) * way["overlap"]), merge=merge)
    card = card.model_copy(update={"preprocess": rules, "tiling": tiling})
    write_card(card, folder / "card.json")
    images = [
        frame(folder / f"{number}.png", size, orientation, seed + number)
        for number, (size, orientation) in enumerate(frames)
    ]
    ended = edge_infer(["run", "--model", str(folder / "model.onnx"), *map(str, images)])
    assert ended.returncode == 0, ended.stderr
    require_valid("edge-infer-run", ended.stdout)
    engine = Engine(folder / "model.onnx", card)
    for image, result in zip(images, json.loads(ended.stdout)["results"], strict=True):
        answer = json.loads(engine.infer([image]).answer.model_dump_json(by_alias=True))
        for boxed in (answer, result):
            if "detections" in boxed:
                boxed["detections"].sort(key=by_place)
        assert_alike(answer, result, image.name, 2e-3)


def by_place(detection: Mapping[str, Any]) -> tuple[object, ...]:
    """An order that no last digit of a score decides: a thing in two tiles has nearly two alike."""
    return (detection["class"], *(round(value) for value in detection["box"]))


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(way=WAYS)
def test_boxes_of_tiles_agree(
    host_edge_infer: EdgeInfer, scratch: Path, detector: DetectCard, way: Mapping[str, Any]
) -> None:
    check(host_edge_infer, detector, scratch / "detector", way)


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(way=WAYS)
def test_maps_of_tiles_agree(
    host_edge_infer: EdgeInfer, scratch: Path, anomaly: AnomalyCard, way: Mapping[str, Any]
) -> None:
    check(host_edge_infer, anomaly, scratch / "anomaly", way)


@settings(max_examples=8, deadline=None, phases=PHASES)
@given(way=WAYS)
def test_masks_of_tiles_agree(
    host_edge_infer: EdgeInfer, scratch: Path, segmentation: SegmentCard, way: Mapping[str, Any]
) -> None:
    kind = "threshold" if segmentation.segment.threshold else "likeliest"
    check(host_edge_infer, segmentation, scratch / f"segment-{kind}", way)


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(
    # Of the input's size at least: where nothing is resized, equal scores are equal on both sides,
    # and the mask of a thing in two tiles comes from the same one.
    frames=st.lists(
        st.tuples(
            st.tuples(st.integers(WIDTH, 160), st.integers(WIDTH, 160)),
            st.sampled_from([1, 3, 6, 7]),
        ),
        min_size=4,
        max_size=4,
    ),
    overlap=st.floats(0, 0.5),
    seed=st.integers(0, 9),
)
def test_masks_of_things_in_tiles_agree(
    host_edge_infer: EdgeInfer,
    scratch: Path,
    segmenter: DetectCard,
    frames: Sequence[tuple[tuple[int, int], int]],
    overlap: float,
    seed: int,
) -> None:
    tile = {"tile": (HEIGHT, WIDTH), "overlap": overlap, "region": None, "fit": Stretch()}
    check(
        host_edge_infer, segmenter, scratch / "segmenter", tile | {"frames": frames, "seed": seed}
    )


@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_a_golden_set_of_frames_passes_the_boards_self_test(
    kind: str, request: pytest.FixtureRequest, host_edge_infer: EdgeInfer, scratch: Path
) -> None:
    detector: DetectCard = request.getfixturevalue(kind)
    folder = scratch / kind
    rules = Preprocess(normalize=Scale(factor=1))
    tiling = Tiling(size=(HEIGHT, WIDTH), overlap=8)
    card = detector.model_copy(update={"preprocess": rules, "tiling": tiling})
    write_card(card, folder / "card.json")
    pixels = np.full((100, 130), 60, np.uint8)
    pixels[20:60, 30:33] = 240
    Image.fromarray(pixels).save(folder / "frame.png")
    expected = write_task_golden(
        folder / "model.onnx", card, [(folder / "frame.png",)], folder / "golden"
    )
    assert expected.cases[0].expected["detections"]
    ended = host_edge_infer(["selftest", "--model", str(folder / "model.onnx")])
    assert ended.returncode == 0, ended.stderr


def test_a_frame_that_memory_has_no_room_for_is_refused(
    host_edge_infer: EdgeInfer, scratch: Path, detector: DetectCard
) -> None:
    folder = scratch / "detector"
    card = detector.model_copy(update={"tiling": Tiling(size=(1024, 1024))})
    write_card(card, folder / "card.json")
    run_file = RunFile(
        model="model.onnx",
        card="card.json",
        threads=1,
        execution_providers=("cpu",),
        limits=ImageLimits(image_memory=4 << 20),
    )
    (folder / "run.json").write_bytes(run_file.content())
    (folder / "manifest.json").write_text('{"files": []}')
    for side, code in ((2048, 0), (2049, 3)):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(folder / "frame.png")
        ended = host_edge_infer(["run", "--release", str(folder), str(folder / "frame.png")])
        assert ended.returncode == code, ended.stderr
    assert "is cut into tiles, and needs more than the 4194304 bytes" in ended.stderr.decode()
    # 1.9 MiB of frame, and twice as much of coefficients: either alone there is room for.
    progressive = folder / "frame.jpg"
    Image.fromarray(np.zeros((1400, 1400), np.uint8)).save(progressive, progressive=True)
    ended = host_edge_infer(["run", "--release", str(folder), str(progressive)])
    assert "is progressive or of several scans, and needs more than" in ended.stderr.decode()
