"""`model.card`: the card of a network, and a picture of what it sees."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import Decision, Letterbox, Tiling, read_card
from edgewright.model.contract.task_cards import TensorCard, read_any_card
from edgewright.model.importer.classifier import read_with_card
from edgewright.model.importer.proposal import PreprocessParts
from edgewright.model.judge.evaluate import positive_label
from edgewright.model.pack.import_folder import ImportRequest
from edgewright.model.pack.make_card import make_card
from edgewright.model.pack.preview import CAPTION, GAP, HEIGHT
from tests.integration import tiny_tasks
from tests.unit.model import small_cnn, tensor_network


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`images/`, and `net/net.onnx` without a card."""
    images = small_cnn.write_images(tmp_path / "images", 12)
    small_cnn.write_network(tmp_path / "net", images)
    (tmp_path / "net" / "card.json").unlink()
    return tmp_path


def asked(data: Path, **changes: object) -> ImportRequest:
    model = data / "net" / "net.onnx"
    content: dict[str, object] = {"model": model, "out": model.parent, "labels": small_cnn.LABELS}
    return ImportRequest(**(content | changes))  # type: ignore[arg-type]


def test_a_card_has_what_is_stated_and_belongs_to_its_network(data: Path) -> None:
    parts = PreprocessParts(fit=Letterbox(pad_value=7))
    report = make_card(asked(data, parts=parts))

    card = read_card(data / "net" / "card.json")
    assert (card.labels, card.preprocess.fit) == (small_cnn.LABELS, Letterbox(pad_value=7))
    _, known = read_with_card(data / "net" / "net.onnx")
    assert known == card
    assert report.assumptions
    assert (report.answer, report.preview) == (None, None)


def test_a_threshold_and_a_temperature_are_settings_of_a_classifier(data: Path) -> None:
    make_card(asked(data, settings={"threshold": 0.3, "temperature": 1.7}))
    card = read_card(data / "net" / "card.json")
    assert card.decision == Decision(label=positive_name(), threshold=0.3)
    assert card.output.temperature == 1.7

    make_card(asked(data, settings={"threshold": 0.4}))
    again = read_card(data / "net" / "card.json")
    assert again.decision == Decision(label=positive_name(), threshold=0.4)
    assert again.output.temperature == 1.7


def positive_name() -> str:
    return small_cnn.LABELS[positive_label(small_cnn.LABELS)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": 0.3, "label": "dented"}, "decision.label is dented, which is no label"),
        ({"treshold": 0.3}, "did you mean 'threshold'"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_settings_that_fit_no_classifier_are_refused(
    settings: dict[str, object], words: str, data: Path
) -> None:
    with pytest.raises(UserError) as refused:
        make_card(asked(data, settings=settings))
    assert words in str(refused.value)
    assert not (data / "net" / "card.json").exists()


def test_the_picture_shows_the_image_beside_the_input(data: Path) -> None:
    image = data / "wide.png"
    shades = np.linspace(0, 255, 96).round().astype(np.uint8)
    Image.fromarray(np.tile(shades, (48, 1))).save(image)

    report = make_card(asked(data), image)

    assert report.preview
    picture = np.asarray(Image.open(report.preview).convert("L"))
    left, right = picture[CAPTION:, : 2 * HEIGHT], picture[CAPTION:, 2 * HEIGHT + GAP :]
    assert left.shape == (HEIGHT, 2 * HEIGHT)
    assert right.shape == (HEIGHT, HEIGHT), "the network's input is a square"
    for half in (left, right):  # dark on the left, bright on the right
        columns = half.mean(axis=0)
        assert columns[5] < 30
        assert columns[-5] > 225
    assert (report.answer or "").split()[0] in small_cnn.LABELS


def test_a_bad_image_leaves_no_card(data: Path) -> None:
    with pytest.raises(UserError):
        make_card(asked(data), data / "absent.png")
    assert not (data / "net" / "card.json").exists()


def test_of_tensors_there_is_a_card_but_no_picture(data: Path) -> None:
    model = tensor_network.write_network(data / "tensors")
    request = ImportRequest(model=model, out=model.parent, task="tensor")

    assert make_card(request).task == "tensor"
    assert isinstance(read_any_card(model.parent / "card.json"), TensorCard)
    with pytest.raises(UserError) as refused:
        make_card(request, next((data / "images").rglob("*.png")))
    assert "takes tensors, of which there is no picture" in str(refused.value)


def test_the_picture_shows_the_tiles_and_the_one_in_the_middle(tmp_path: Path) -> None:
    model = tiny_tasks.anomaly(tmp_path / "anomaly")
    frame = tmp_path / "frame.png"
    Image.fromarray(np.full((128, 192), 90, np.uint8)).save(frame)
    request = ImportRequest(model=model, out=model.parent, tiling=Tiling(size=(64, 64), overlap=8))

    report = make_card(request, frame)

    card = read_any_card(model.parent / "card.json")
    assert isinstance(card, AnomalyCard)
    assert card.tiling == Tiling(size=(64, 64), overlap=8)
    assert report.preview
    picture = np.asarray(Image.open(report.preview))
    assert picture.shape[1] == HEIGHT * 192 // 128 + GAP + HEIGHT
    borders = np.abs(picture.astype(int) - (0x56, 0xB4, 0xE9)).sum(axis=2) < 60
    assert borders[CAPTION:, : HEIGHT * 192 // 128].sum() > 1000
