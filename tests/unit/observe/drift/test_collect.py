"""Images that a board keeps, fetched and labelled."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.judge.data import load_folder
from edgewright.observe.drift import collect as collecting
from edgewright.observe.drift.board_file import ReleasedCard
from tests.boards import LocalBoard

CARD = ReleasedCard(labels=("ok", "defective"))


def keep(root: Path, name: str, value: int, kind: str = "PNG") -> None:
    """An image on the board."""
    (root / "unsure").mkdir(exist_ok=True)
    pixels = np.full((12, 16), value, np.uint8)
    pixels[0, 0] = 255 - value
    with (root / "unsure" / name).open("wb") as file:
        Image.fromarray(pixels).save(file, kind)


def collected(root: Path, out: Path, card: ReleasedCard = CARD) -> collecting.Collected:
    return collecting.collect(LocalBoard(), str(root), card, out, lambda _: None)


def test_images_come_as_png_or_jpeg_the_least_certain_first(tmp_path: Path) -> None:
    keep(tmp_path, "0300000-9-c.jpg", 30, "JPEG")
    keep(tmp_path, "0200000-9-b.pgm", 20, "PPM")
    keep(tmp_path, "0100000-9-a", 10)
    (tmp_path / "unsure" / "0400000-9-d.png").write_bytes(b"no image")

    result = collected(tmp_path, tmp_path / "out")

    assert [path.name for path in result.written] == [
        "0100000-9-a.png",
        "0200000-9-b.png",
        "0300000-9-c.jpg",
    ]
    assert [line.split(":")[0] for line in result.refused] == ["0400000-9-d.png"]
    with Image.open(result.written[1]) as image:
        assert (image.size, image.getpixel((5, 5))) == ((16, 12), 20)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "labels.csv",
        "unlabelled",
    ]


def test_once_labelled_the_folder_is_a_data_set(tmp_path: Path) -> None:
    for number in range(16):
        keep(tmp_path, f"{number:07}-9-part-{number}.png", 10 * number)
    out = tmp_path / "out"
    collected(tmp_path, out)
    with pytest.raises(UserError, match="has no votes for each class"):
        load_folder(out)

    table = out / "labels.csv"
    header, *rows = csv.reader(table.read_text().splitlines())
    assert header == ["image", "ok", "defective"]
    votes = [
        [image, "1", ""] if at % 2 else [image, "", "1"] for at, (image, *_) in enumerate(rows)
    ]
    table.write_text("\n".join(",".join(row) for row in [header, *votes]))

    dataset = load_folder(out)
    assert dataset.labels == ("ok", "defective")
    assert [sample.label for sample in dataset.samples] == [1, 0] * 8


def test_labels_that_were_written_stay(tmp_path: Path) -> None:
    keep(tmp_path, "0100000-9-a.png", 10)
    out = tmp_path / "out"
    collected(tmp_path, out)
    table = out / "labels.csv"
    table.write_text(table.read_text().replace("a.png,,", "a.png,1,"))
    keep(tmp_path, "0050000-9-b.png", 20)
    collected(tmp_path, out)
    assert table.read_text().splitlines() == [
        "image,ok,defective",
        "unlabelled/0100000-9-a.png,1,",
        "unlabelled/0050000-9-b.png,,",
    ]
    with pytest.raises(UserError, match="has other labels than the board's release"):
        collected(tmp_path, out, ReleasedCard(labels=("good", "bad")))


def test_an_image_longer_than_one_answer_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "CHUNK", 100)
    keep(tmp_path, "0100000-9-a.jpg", 10, "JPEG")
    (fetched,) = collected(tmp_path, tmp_path / "out").written
    assert fetched.read_bytes() == (tmp_path / "unsure" / "0100000-9-a.jpg").read_bytes()


def test_another_task_has_images_and_no_table(tmp_path: Path) -> None:
    keep(tmp_path, "0100000-9-a.png", 10)
    card = ReleasedCard(task="detect", labels=("thing",))
    assert len(collected(tmp_path, tmp_path / "out", card).written) == 1
    assert not (tmp_path / "out" / "labels.csv").exists()


def test_what_was_fetched_can_be_removed_from_the_board(tmp_path: Path) -> None:
    keep(tmp_path, "0100000-9-a.png", 10)
    names = collected(tmp_path, tmp_path / "out").names
    keep(tmp_path, "0200000-9-b.png", 10)
    collecting.remove(LocalBoard(), str(tmp_path), names)
    assert [path.name for path in (tmp_path / "unsure").iterdir()] == ["0200000-9-b.png"]
