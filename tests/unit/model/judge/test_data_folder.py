"""Image folders: what is read, and what is refused with which words."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.pixels import decode
from edgewright.model.judge.data import (
    Sample,
    alike,
    load_dataset,
    load_elpv,
    load_folder,
    read_split,
    split,
    write_split,
)
from edgewright.model.judge.images import relabel
from tests.unit.model.conftest import draw_cell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes whose files have the same names."""
    root = tmp_path / "images"
    for name in ("cracked", "sound"):
        (root / name).mkdir(parents=True)
        for index in range(10):
            draw_cell(index, name == "cracked").save(root / name / f"{index:02}.png")
    return root


def test_folders_are_classes_and_names_may_repeat(folder: Path) -> None:
    dataset = load_dataset(str(folder))
    assert dataset.labels == ("cracked", "sound")
    assert {dataset.labels[s.label] == s.path.parent.name for s in dataset.samples} == {True}
    parts = split(dataset.samples)
    keys = [key for keys in parts.keys.values() for key in keys]
    assert len(set(keys)) == len(keys) == 20
    assert parts.counts == {"train": 12, "validation": 4, "test": 4}
    assert {sample.label for sample in parts.validation} == {0, 1}


def test_other_files_and_empty_folders_are_no_classes(folder: Path) -> None:
    (folder / "notes").mkdir()
    (folder / "notes" / "read.txt").write_text("hello")
    assert load_folder(folder).labels == ("cracked", "sound")


def test_a_recorded_split_is_kept(folder: Path, tmp_path: Path) -> None:
    dataset = load_folder(folder)
    parts = split(dataset.samples, seed=7)
    write_split(parts, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", dataset) == parts


def test_a_split_of_other_images_is_refused(folder: Path, tmp_path: Path) -> None:
    write_split(split(load_folder(folder).samples), tmp_path / "split.json")
    (folder / "sound" / "03.png").unlink()
    with pytest.raises(UserError) as caught:
        read_split(tmp_path / "split.json", load_folder(folder))
    assert "records another set of images" in str(caught.value)
    assert "20 recorded, 19 found\n  sound/03.png" in str(caught.value)


def test_what_is_no_labelled_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    shutil.copytree(folder / "sound", loose)
    folder_a = tmp_path / "one"
    shutil.copytree(folder / "sound", folder_a / "sound")
    empty = tmp_path / "empty"
    empty.mkdir()
    words = {
        tmp_path / "missing": "no such folder",
        empty: "has no images",
        loose: "has 10 images without a class",
        folder_a: "has one class only: sound",
    }
    for path, problem in words.items():
        with pytest.raises(UserError) as caught:
            load_folder(path)
        assert str(caught.value) == (
            f"{path}: {problem}\n"
            "  expected: <class>/<name>.png or .jpg, two classes or more, 8 images each"
        )


def test_a_class_of_a_few_images_is_refused(folder: Path) -> None:
    for index in range(7):
        (folder / "sound" / f"{index:02}.png").unlink()
    with pytest.raises(UserError, match=r"fewer than 8 images\n  sound: 3"):
        load_folder(folder)


def test_every_image_that_does_not_decode_is_told(folder: Path) -> None:
    (folder / "sound" / "00.png").write_bytes(b"no picture")
    png = (folder / "cracked" / "01.png").read_bytes()
    (folder / "cracked" / "01.png").write_bytes(png[: len(png) // 2])
    with pytest.raises(UserError) as caught:
        load_folder(folder)
    assert str(caught.value).splitlines()[0].endswith("2 of 20 images cannot be read")
    assert "cracked/01.png: is not a readable PNG, JPEG, PGM or PPM" in str(caught.value)
    assert "sound/00.png: is not a readable PNG, JPEG, PGM or PPM" in str(caught.value)


def test_ten_images_are_too_few(folder: Path) -> None:
    for name in ("cracked", "sound"):
        for index in range(5):
            (folder / name / f"{index:02}.png").unlink()
    with pytest.raises(UserError) as caught:
        load_folder(folder)
    assert str(caught.value) == (
        f"{folder}: has classes with fewer than 8 images\n  cracked: 5\n  sound: 5"
    )


def test_sixteen_bits_are_read_and_colours_of_print_are_refused(folder: Path) -> None:
    deep = np.arange(3600, dtype=np.uint16).reshape(60, 60) * 18
    Image.fromarray(deep).save(folder / "sound" / "00.png")
    assert len(load_folder(folder).samples) == 20
    Image.new("CMYK", (60, 60)).save(folder / "sound" / "print.jpg")
    with pytest.raises(UserError) as caught:
        load_folder(folder)
    assert "1 of 21 images cannot be read\n  sound/print.jpg: has CMYK pixels" in str(caught.value)


def test_a_picture_too_large_to_be_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is Pillow's: 179 million pixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    Image.new("1", (400, 400)).save(folder / "sound" / "00.png")
    with pytest.raises(UserError, match="1 of 20 images cannot be read"):
        load_folder(folder)


def test_decoding_needs_no_suffix(folder: Path) -> None:
    renamed = (folder / "sound" / "00.png").rename(folder / "picture")
    assert decode(renamed).shape == (60, 60)


def judged(folder: Path, lines: list[str], header: str = "image,sound,cracked") -> Path:
    """A folder of ten images that three people looked at."""
    (folder / "shots").mkdir(parents=True, exist_ok=True)
    for index in range(20):
        draw_cell(index, index >= 10).save(folder / "shots" / f"{index:02}.png")
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


VOTES = [f"shots/{index:02}.png,{3 - index // 5},{index // 5}" for index in range(20)]


def test_votes_become_labels_and_what_training_aims_at(tmp_path: Path) -> None:
    dataset = load_folder(judged(tmp_path, VOTES))
    assert dataset.labels == ("sound", "cracked")
    by_name = {sample.name: sample for sample in dataset.samples}
    assert by_name["03.png"].shares == (1.0, 0.0)
    assert by_name["03.png"].is_sure
    assert by_name["07.png"].shares == pytest.approx((2 / 3, 1 / 3))
    assert (by_name["07.png"].label, by_name["12.png"].label) == (0, 1)
    assert not by_name["12.png"].is_sure
    moved = relabel(dataset, ("cracked", "sound"))
    (sample,) = (sample for sample in moved.samples if sample.name == "07.png")
    assert sample.shares == pytest.approx((1 / 3, 2 / 3))
    assert sample.label == 1
    parts = split(dataset.samples)
    write_split(parts, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", load_folder(tmp_path)) == parts


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["shots/00.png,1"], "labels.csv:22: has no votes for each class"),
        (["shots/00.png,1,many"], "labels.csv:22: has no votes for each class"),
        (["shots/00.png,0,0"], "labels.csv:22: has no votes for each class"),
        (["shots/00.png,nan,1"], "labels.csv:22: has no votes for each class"),
        (["../secret.png,1,0"], "labels.csv:22: names an image that is not in the folder"),
        (["shots/99.png,1,0"], "names an image that is not in the folder: shots/99.png"),
        (["shots/00.png,1,0"], "names 1 images twice"),
    ],
)
def test_a_list_of_votes_that_cannot_be_meant_is_refused(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    draw_cell(0, False).save(tmp_path / "secret.png")
    with pytest.raises(UserError) as refused:
        load_folder(judged(tmp_path / "set", [*VOTES, *lines]))
    assert words in str(refused.value)


def test_a_list_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no header of images and classes"):
        load_folder(judged(tmp_path, VOTES, header="shots/00.png,1,0"))


def test_copies_are_told_from_other_parts_of_the_kind(tmp_path: Path) -> None:
    cells = load_elpv()[:40]
    copy = tmp_path / "copy.jpg"
    with Image.open(cells[7].path) as picture:
        brighter = picture.convert("L").point(lambda value: min(255, value * 1.1))
        brighter.resize((280, 280)).save(copy, quality=60)
    others = [cells[7 + 20], cells[3]]
    judging = [Sample(path=copy, category=0), *others]
    pairs = alike(cells[:20], judging)
    assert (cells[7].key, judging[0].key) in pairs
    assert {second for _, second in pairs} == {judging[0].key, cells[3].key}
