import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card, ModelFile, read_card, write_card
from tests import v0_1_0
from tests.checkout import checkout

CARDS = sorted(checkout().models.glob("*/card.json"))


def plain(card: Card) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(card.model_dump_json(by_alias=True))
    return content


def problems_of(content: object, folder: Path) -> str:
    path = folder / "card.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_card(path)
    return str(caught.value)


def test_a_card_comes_back_as_it_was(card: Card, tmp_path: Path) -> None:
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card
    assert '"schema": 2' in (tmp_path / "card.json").read_text()


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_cards_of_the_repo_are_true(path: Path) -> None:
    card = read_card(path)
    assert card.name == path.parent.name
    assert card.file == ModelFile.of(path.parent / card.file.name)


def test_a_file_is_described_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "model.ort").write_bytes(b"weights")
    described = ModelFile.of(tmp_path / "model.ort")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert described == ModelFile(name="model.ort", sha256=digest, bytes=7)


def test_all_problems_come_at_once(card: Card, tmp_path: Path) -> None:
    content = plain(card) | {"schema": 3, "labels": ["ok"], "colour": "gray"}
    text = problems_of(content, tmp_path)
    assert text.startswith(f"{tmp_path / 'card.json'}: is not a model card\n")
    assert all(f"  {key}: " in text for key in ("schema", "labels", "colour"))


def test_channels_and_labels_must_agree(card: Card, tmp_path: Path) -> None:
    content = plain(card)
    content["input"]["shape"] = [1, 3, 256, 256]
    content["output"]["shape"] = [1, 5]
    text = problems_of(content, tmp_path)
    assert "input.shape has 3 channels, gray has 1" in text
    assert "output.shape has 5 values, labels has 2" in text


def test_normalize_needs_a_value_for_each_channel(card: Card, tmp_path: Path) -> None:
    content = plain(card)
    content["preprocess"]["normalize"] = {"kind": "mean_std", "mean": [0, 0], "std": [1]}
    assert "mean has 2 values, gray needs 1" in problems_of(content, tmp_path)


def test_schema_1_has_no_activation_and_means_softmax(card: Card, tmp_path: Path) -> None:
    content = plain(card) | {"schema": 1}
    assert "output.activation is a key of schema 2" in problems_of(content, tmp_path)
    del content["output"]["activation"]
    (tmp_path / "card.json").write_text(json.dumps(content))
    assert read_card(tmp_path / "card.json").output.activation == "softmax"


@pytest.mark.parametrize("batch", [0, 2])
def test_the_batch_is_one(batch: int, card: Card, tmp_path: Path) -> None:
    content = plain(card)
    content["input"]["shape"][0] = batch
    assert "input.shape.0: " in problems_of(content, tmp_path)


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"card\.json: no such file"):
        read_card(tmp_path / "card.json")


def test_text_that_is_not_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(UserError, match="not JSON: EOF"):
        read_card(tmp_path / "card.json")


def test_schema_1_is_read_and_knows_no_significant_bits(card: Card, tmp_path: Path) -> None:
    content = plain(card) | {"schema": 1}
    del content["preprocess"]["significant_bits"], content["output"]["activation"]
    (tmp_path / "card.json").write_text(json.dumps(content))
    assert read_card(tmp_path / "card.json").schema_ == 1

    content["preprocess"]["significant_bits"] = 12
    assert "preprocess.significant_bits is a key of schema 2" in problems_of(content, tmp_path)


def test_a_card_of_schema_1_is_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    release = v0_1_0.release(tmp_path / "release")
    card = read_card(release.folder / "model" / "card.json")
    assert card.schema_ == 1

    write_card(card, tmp_path / "card.json")

    assert read_card(tmp_path / "card.json") == card.model_copy(update={"schema_": 2})


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("fit", {"kind": "letterbox"}, "preprocess.fit is a key"),
        ("jpeg", "scaled", "preprocess.jpeg is a key"),
        ("roi", {"x": 0, "y": 0, "width": 9, "height": 9}, "preprocess.roi is a key"),
        ("color", "bgr", "preprocess.color bgr is a word"),
        ("resize", "bicubic", "preprocess.resize bicubic is a word"),
        ("normalize", {"kind": "scale", "factor": 1}, "preprocess.normalize scale is a word"),
    ],
)
def test_what_schema_2_added_to_preprocessing_is_no_word_of_schema_1(
    key: str, value: object, problem: str, card: Card, tmp_path: Path
) -> None:
    content = plain(card) | {"schema": 1}
    del content["output"]["activation"]
    content["preprocess"][key] = value
    content["input"]["shape"][1] = 3 if key == "color" else 1
    assert f"{problem} of schema 2" in problems_of(content, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("roi", {"x": 0, "y": 0, "width": 9, "height": 9}), ("tiling", {"size": [64, 64]})],
)
def test_a_jpeg_of_which_parts_are_seen_is_not_scaled(
    key: str, value: object, card: Card, tmp_path: Path
) -> None:
    content = plain(card)
    content["preprocess"]["jpeg"] = "scaled"
    (content["preprocess"] if key == "roi" else content)[key] = value
    problem = "preprocess.jpeg scaled is for images that are seen whole"
    assert problem in problems_of(content, tmp_path)


@pytest.mark.parametrize(
    ("fit", "problem"),
    [
        (
            {"kind": "center_crop", "resize_shorter": 63},
            "the input of 64 x 48 pixels needs 64 or more",
        ),
        ({"kind": "stretch", "size": [64, 60]}, "is 60 x 64 pixels, the input is larger: 64 x 48"),
        ({"kind": "letterbox", "pad_value": 256}, "preprocess.fit.letterbox.pad_value: "),
        ({"kind": "center_crop", "resize_shorter": 5000}, "fit.center_crop.resize_shorter: "),
    ],
)
def test_a_fit_that_leaves_a_part_of_the_input_empty_is_refused(
    fit: object, problem: str, card: Card, tmp_path: Path
) -> None:
    content = plain(card)
    content["preprocess"]["fit"] = fit
    assert problem in problems_of(content, tmp_path)
