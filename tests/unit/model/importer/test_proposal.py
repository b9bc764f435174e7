"""What exporters say of a network's input, and what of it is taken."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.cli.quality import stated_parts
from edgewright.model.contract.card import (
    CenterCrop,
    Input,
    Letterbox,
    MeanStd,
    Preprocess,
    Region,
    RegionShare,
    Scale,
    Stretch,
    fit_problems,
)
from edgewright.model.importer.classifier import default_card, read_classifier
from edgewright.model.importer.proposal import Target, propose
from tests.unit.model.conftest import make_card

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PROCESSOR_KEYS = [
    "image_processor_type", "do_resize", "size", "do_center_crop", "crop_size", "crop_pct",
    "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
    "do_flip_channel_order", "do_pad",
]  # fmt: skip
CONFIG_KEYS = [
    "id2label", "label_names", "architecture", "pretrained_cfg", "mean", "std", "interpolation",
    "crop_pct", "crop_mode",
]  # fmt: skip
SIZE_KEYS = ["height", "width", "shortest_edge", "longest_edge"]
SIZES = st.sampled_from([*SIZE_KEYS, *CONFIG_KEYS, "0", "1"])
FIXTURES = [HealthCheck.function_scoped_fixture]
CROP: dict[str, object] = {"do_center_crop": True, "crop_size": 8}
CONVNEXT = {"image_processor_type": "ConvNextImageProcessor"}
NO_FITS = ["crop", "center_crop", "letterbox:300", "center_crop:x", "stretch:9"]
TARGET = Target(channels=3, height=8, width=8)


def network(folder: Path, metadata: dict[str, str] | None = None, channels: int = 3) -> Path:
    """A classifier of 8 x 8 pixels with three scores."""
    body = [
        helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"], "matmul"),
    ]
    graph = helper.make_graph(
        body,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.ones((channels * 64, 3), np.float32), "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def test_a_detector_of_ultralytics_is_letterboxed_as_opencv_does(tmp_path: Path) -> None:
    names = "{0: 'person', 1: 'hard hat', 2: \"worker's vest\"}"
    properties = {"names": names, "stride": "32", "task": "detect", "imgsz": "[8, 8]"}
    proposal = propose(network(tmp_path, properties), TARGET)
    assert proposal.labels == ("person", "hard hat", "worker's vest")
    assert proposal.task == "detect"
    assert proposal.parts.content() == {
        "fit": Letterbox(pad_value=114),
        "color": "rgb",
        "resize": "bilinear",
        "normalize": Scale(factor=1 / 255),
    }
    assert set(proposal.sources.values()) == {"its metadata"}


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ("__import__('os').system('true')", "are no list"),
        ("[" * 5000, "are no list"),
        ("-" * 100_000 + "1", "are no list"),
        ("{0: 'a', 2: 'b'}", "do not count from 0"),
        ("{'a': 'b'}", "have keys that are no numbers"),
        ("['a', 'b\\x1b[2J']", "have one that is no text"),
        ("[" + "'a'," * 400_000 + "]", "are no list"),
    ],
)
def test_hostile_names_are_left_out_and_said(tmp_path: Path, names: str, note: str) -> None:
    proposal = propose(network(tmp_path, {"names": names, "stride": "32"}), TARGET)
    assert proposal.labels == ()
    assert any(note in line for line in proposal.notes)


@pytest.mark.parametrize(
    ("processor", "fit"),
    [
        (
            {"size": {"shortest_edge": 10}, **CROP, "crop_size": {"height": 8, "width": 8}},
            CenterCrop(resize_shorter=10),
        ),
        (
            {"size": 10, **CROP, "image_processor_type": "DeiTImageProcessor"},
            Stretch(size=(10, 10)),
        ),
        ({"size": 10, **CROP}, CenterCrop(resize_shorter=10)),
        ({"size": {"height": 8, "width": 8}}, Stretch()),
        ({"size": 8, "feature_extractor_type": "ViTFeatureExtractor"}, Stretch()),
        (
            {"size": {"shortest_edge": 8}, "crop_pct": 0.8, **CONVNEXT},
            CenterCrop(resize_shorter=10),
        ),
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, None),
        ({"size": {"height": 224, "width": 224}}, None),
        ({"size": {"height": 8, "width": 8}, "do_pad": True}, None),
        ({"size": 7, **CROP}, None),
    ],
)
def test_the_fit_of_an_image_processor(
    tmp_path: Path, processor: dict[str, object], fit: object
) -> None:
    model = network(tmp_path)
    write(tmp_path, "preprocessor_config.json", processor)
    proposal = propose(model, TARGET)
    assert proposal.parts.fit == fit
    assert bool(fit) or any("left out" in note for note in proposal.notes)


@pytest.mark.parametrize(
    ("processor", "normalize"),
    [
        ({"image_mean": MEAN, "image_std": STD}, MeanStd(mean=tuple(MEAN), std=tuple(STD))),
        ({"do_normalize": False}, Scale(factor=1 / 255)),
        ({"do_normalize": False, "do_rescale": False}, Scale(factor=1)),
        (
            {"image_mean": [127.5] * 3, "image_std": [51.0] * 3, "do_rescale": False},
            MeanStd(mean=(0.5,) * 3, std=(0.2,) * 3),
        ),
        (
            {
                "image_mean": MEAN,
                "image_std": STD,
                "image_processor_type": "MobileViTImageProcessor",
            },
            Scale(factor=1 / 255),
        ),
        ({"image_mean": [0.5], "image_std": [0.5]}, None),
        ({"image_mean": MEAN, "image_std": [0.0] * 3}, None),
        ({"image_mean": [float("nan")] * 3, "image_std": STD}, None),
        ({"image_mean": MEAN, "image_std": STD, "include_top": True}, None),
    ],
)
def test_the_normalisation_of_an_image_processor(
    tmp_path: Path, processor: dict[str, object], normalize: object
) -> None:
    model = network(tmp_path)
    write(tmp_path, "preprocessor_config.json", processor)
    proposal = propose(model, TARGET)
    assert proposal.parts.normalize == normalize
    assert bool(normalize) or proposal.notes


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([8, 10, 0.8, 5e-324, 1e308, "ConvNextImageProcessor", "DeiTImageProcessor"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SIZES, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=FIXTURES)
@given(
    processor=st.dictionaries(st.sampled_from(PROCESSOR_KEYS), JSON),
    config=st.dictionaries(st.sampled_from(CONFIG_KEYS), JSON),
)
@example(processor={**CONVNEXT, "size": 8, "crop_pct": 5e-324}, config={})
@example(processor={**CONVNEXT, "size": 8, "crop_pct": float("nan")}, config={})
@example(
    processor={"image_mean": [1.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 5e-324},
    config={},
)
@example(processor={}, config={"architecture": "a", "crop_pct": 0.1, "crop_mode": "squash"})
def test_whatever_the_files_say_a_card_can_be_made(
    processor: dict[str, object], config: dict[str, object], tmp_path: Path
) -> None:
    write(tmp_path, "preprocessor_config.json", processor)
    write(tmp_path, "config.json", config)
    proposal = propose(tmp_path / "net.ort", TARGET)
    how = Preprocess.model_validate({"color": "rgb"} | proposal.parts.content())
    make_card(input=Input(shape=(1, 3, 8, 8)), preprocess=how)
    assert not list(fit_problems(how.fit, 8, 8))


@settings(max_examples=300, deadline=None, suppress_health_check=FIXTURES)
@given(st.text(alphabet="{}[]():,'\"0123456789e-+.abjN_ \n\\", max_size=40))
@example("{1e999: 'a', 1: 'b'}")
@example("{1j: 'a', 1: 'b'}")
def test_any_names_are_labels_or_a_note(tmp_path: Path, names: str) -> None:
    proposal = propose(network(tmp_path, {"names": names, "stride": "32"}), TARGET)
    assert bool(proposal.labels) != bool(proposal.notes)


def test_the_files_may_lie_above_a_folder_of_onnx(tmp_path: Path) -> None:
    model = network(tmp_path / "onnx")
    write(tmp_path, "preprocessor_config.json", {"resample": 3, "do_flip_channel_order": True})
    write(tmp_path, "config.json", {"id2label": {"1": "b", "0": "a", "2": "c"}})
    proposal = propose(model, TARGET)
    assert (proposal.parts.resize, proposal.parts.color) == ("bicubic", "bgr")
    assert proposal.labels == ("a", "b", "c")


def test_a_config_of_timm(tmp_path: Path) -> None:
    cfg = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "crop_pct": 0.8}
    content = {"architecture": "resnet18", "label_names": ["a", "b", "c"], "pretrained_cfg": cfg}
    write(tmp_path, "config.json", content)
    proposal = propose(network(tmp_path), TARGET)
    assert proposal.parts.content() == {
        "fit": CenterCrop(resize_shorter=10),
        "color": "rgb",
        "resize": "bicubic",
        "normalize": MeanStd(mean=tuple(MEAN), std=tuple(STD)),
    }
    assert proposal.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"size": "large"}', "x" * 5_000_000, '{"size": ' + "[" * 9000]
)
def test_a_file_that_is_not_understood_is_left_out_and_said(tmp_path: Path, content: str) -> None:
    model = network(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(content)
    proposal = propose(model, TARGET)
    assert proposal.parts.content() == {}
    assert len(proposal.notes) == 1
    assert proposal.notes[0].startswith("preprocessor_config.json: ")


def test_a_default_card_takes_what_is_proposed_and_says_of_whom(tmp_path: Path) -> None:
    model = network(tmp_path)
    write(tmp_path, "preprocessor_config.json", {"image_mean": MEAN, "image_std": STD})
    write(tmp_path, "config.json", {"id2label": {"0": "a", "1": "b", "2": "c"}})
    card, words = default_card(read_classifier(model), ["b", "c"])
    assert card.labels == ("a", "b", "c")
    assert card.preprocess.normalize == MeanStd(mean=tuple(MEAN), std=tuple(STD))
    assert words[0].endswith("(color, normalize: preprocessor_config.json)")
    assert words[1] == "labels, in the order of the outputs: a, b, c (config.json)"


def test_labels_that_the_folders_are_not_among_are_not_taken(tmp_path: Path) -> None:
    model = network(tmp_path)
    write(tmp_path, "config.json", {"id2label": {"0": "a", "1": "b", "2": "c"}})
    card, _ = default_card(read_classifier(model), ["ok", "bad", "unsure"])
    assert card.labels == ("ok", "bad", "unsure")


def test_what_is_stated_comes_before_what_is_proposed(tmp_path: Path) -> None:
    properties = {"names": "['a', 'b', 'c']", "stride": "32"}
    stated = stated_parts(fit="center_crop:10", color="bgr", resize="bicubic", scale="1")
    card, words = default_card(read_classifier(network(tmp_path, properties)), [], stated)
    assert card.preprocess.fit == CenterCrop(resize_shorter=10)
    assert card.preprocess.normalize == Scale(factor=1)
    assert words[0] == (
        "each image is resized to a shorter side of 10, and its middle of 8 x 8 pixels taken, "
        "bicubic, bgr, as pixels of 0 to 255 (fit, color, resize, normalize: stated)"
    )


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("stretch", Stretch()),
        ("letterbox", Letterbox()),
        ("stretch:256,300", Stretch(size=(256, 300))),
        ("letterbox:0", Letterbox(pad_value=0)),
        ("center_crop:256", CenterCrop(resize_shorter=256)),
    ],
)
def test_a_fit_is_stated_as_a_word_and_a_number(fit: str, expected: object) -> None:
    assert stated_parts(fit=fit).content() == {"fit": expected}


@pytest.mark.parametrize(
    "fit", ["crop", "center_crop", "letterbox:300", "center_crop:x", "stretch:9"]
)
def test_a_fit_that_is_none_is_refused(fit: str) -> None:
    with pytest.raises(UserError, match="has words that a card does not know"):
        stated_parts(fit=fit)


def test_a_region_is_stated_as_four_numbers() -> None:
    assert stated_parts(roi="1,2,30,40").roi == Region(x=1, y=2, width=30, height=40)


def test_a_region_with_points_is_one_in_shares() -> None:
    region = RegionShare(unit="fraction", x=0.1, y=0, width=0.5, height=1)
    assert stated_parts(roi="0.1,0,0.5,1").roi == region


@pytest.mark.parametrize(
    "roi", ["0.5,0,0.6,1", "1,2,3", "1,2,3,0", "-1,2,3,4", "a,b,c,d", "1,2,3,4,5"]
)
def test_a_region_that_is_none_is_refused(roi: str) -> None:
    with pytest.raises(UserError, match="has words that a card does not know"):
        stated_parts(roi=roi)


def test_escapes_in_metadata_warn_nobody(tmp_path: Path) -> None:
    """Python's parser warns of what is no escape sequence, in the exporter's words."""
    properties = {"names": "{0: 'C:\\data\\ok', 1: 'b', 2: 'c'}", "stride": "32"}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proposal = propose(network(tmp_path, properties), TARGET)

    assert proposal.labels[1:] == ("b", "c")
