"""`drift` and `collect` as a user calls them, of a board whose files a test makes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target
from edgewright.model.judge.observed import Observation, histograms_of
from edgewright.model.pack.reference import Reference
from edgewright.observe.drift.board_file import Window
from tests.boards import LocalBoard
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start

RELEASE = "0123456789abcdef"
HOUR, START = 3600, 1_795_964_400


def images(brightness: int) -> list[Observation]:
    return [
        {"brightness": brightness + number % 20, "class": number % 10 // 9} for number in range(100)
    ]


NORMAL, DARK = images(100), images(60)
DRIFT = ("drift", "--board=line", "--host=root@board.test")
COLLECT = ("collect", "--board=line", "--host=root@board.test")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deploy root of a board; the command runs in a workspace of its own."""
    workspace, root = tmp_path / "workspace", tmp_path / "root"
    (workspace / "board_profiles").mkdir(parents=True)
    (workspace / "edgewright.toml").write_text('name = "tests"\n')
    profile = f'extends = "a53-som"\n[deploy]\nroot = "{root}"\n'
    (workspace / "board_profiles" / "line.toml").write_text(profile)
    monkeypatch.chdir(workspace)
    model = root / "releases" / RELEASE / "model"
    model.mkdir(parents=True)
    (model / "card.json").write_text(json.dumps({"labels": ["[bold]ok", "defective"]}))

    @contextmanager
    def connect(target: Target, **options: object) -> Iterator[Board]:
        yield LocalBoard()

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    return root


def came(root: Path, *hours: Sequence[Observation]) -> None:
    """What the board has counted, hour by hour."""
    (root / "drift").mkdir()
    with (root / "drift" / "histograms.jsonl").open("w") as file:
        for number, observations in enumerate(hours):
            window = Window(
                version=1,
                command="watch",
                release=RELEASE,
                start=START + HOUR * number,
                end=START + HOUR * number + 9,
                images=len(observations),
                statistics=histograms_of(observations),
            )
            file.write(window.model_dump_json(by_alias=True, exclude_none=True) + "\n")


def write_reference(path: Path) -> Path:
    reference = Reference(schema_=1, images=len(NORMAL), statistics=histograms_of(NORMAL))
    path.write_text(reference.model_dump_json(by_alias=True, exclude_none=True))
    return path


def keep(root: Path, name: str) -> None:
    (root / "unsure").mkdir(exist_ok=True)
    Image.new("L", (8, 8), 9).save(root / "unsure" / name, "PNG")


def test_what_moved_is_told_with_its_hour_and_images(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_reference(root / "releases" / RELEASE / "model" / "reference.json")
    came(root, NORMAL, DARK, DARK)
    keep(root, f"0000009-{START + 9}-early.png")
    keep(root, f"0000123-{START + HOUR + 5}-late.png")

    assert run(*DRIFT) == 4

    screen = capsys.readouterr()
    lines = screen.out.splitlines()
    assert lines[0] == (
        f"line at root@board.test: release {RELEASE}, the newest 200 images, beside the release's "
        "reference (100 images)"
    )
    assert any(line.startswith("share of [bold]ok") for line in lines)
    moved = next(line for line in lines if line.startswith("brightness: darker; -"))
    assert moved.endswith("since 2026-11-29 16:00 UTC by the board's clock")
    assert lines[-1] == f"kept since then: 0000123-{START + HOUR + 5}-late.png"
    assert "root@board.test: release 0123456789abcdef: has drifted: brightness" in screen.err
    assert "next: edgewright collect --board=line" in screen.err


def test_the_document_is_valid_and_has_every_statistic(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came(root, NORMAL, DARK)
    file = write_reference(root / "mine.json")

    assert run(*DRIFT, "--json", f"--reference={file}") == 4

    text = capsys.readouterr().out
    require_valid("drift", text)
    report = json.loads(text)
    assert (report["verdict"], report["compared_with"]) == ("moved", "a file")
    assert [statistic["name"] for statistic in report["statistics"]] == ["brightness", "class"]
    assert report["statistics"][0]["p"] < 0.05


def test_what_is_as_ever_ends_well(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_reference(root / "releases" / RELEASE / "model" / "reference.json")
    came(root, NORMAL, NORMAL)
    start(*DRIFT)
    assert "moved, since" not in capsys.readouterr().out


def test_without_a_reference_the_next_command_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came(root, NORMAL, NORMAL, DARK, DARK)
    assert run(*DRIFT) == 4
    screen = capsys.readouterr().out
    assert "beside the first images (200 images)" in screen
    assert "the release has no reference: invoke model.reference" in screen


def test_a_board_that_has_seen_little_has_no_verdict(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(*DRIFT)
    assert capsys.readouterr().out == (
        "line at root@board.test: no images yet of which histograms are kept\n"
    )
    came(root, NORMAL[:9])
    start(*DRIFT)
    assert "no verdict: it takes 50 images of either" in capsys.readouterr().out


def test_a_file_that_is_no_reference_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "mine.json").write_text("{}")
    assert run(*DRIFT, f"--reference={root}/mine.json") == 2
    assert f"{root}/mine.json: is no reference of a model" in capsys.readouterr().err


def test_images_are_fetched_to_be_labelled(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came(root, NORMAL)
    keep(root, f"0000123-{START}-part.png")

    start(*COLLECT, f"--out={tmp_path}/out", "--clear")

    screen = capsys.readouterr().out
    assert f"1 image in {tmp_path}/out/unlabelled" in screen
    assert f"edgewright model.evaluate --images={tmp_path}/out" in screen
    table = (tmp_path / "out" / "labels.csv").read_text()
    assert table.splitlines() == [
        "image,[bold]ok,defective",
        f"unlabelled/0000123-{START}-part.png,,",
    ]
    assert list((root / "unsure").iterdir()) == []


def test_a_board_without_images_says_how_to_keep_some(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(*COLLECT)
    assert "set service.unsure_images in the board's profile" in capsys.readouterr().out


def test_collected_files_are_a_document(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came(root, NORMAL)
    keep(root, f"0000123-{START}-part.png")
    start(*COLLECT, f"--out={tmp_path}/out", "--json")
    text = capsys.readouterr().out
    require_valid("collect", text)
    (file,) = json.loads(text)["files"]
    assert file["path"] == f"{tmp_path}/out/unlabelled/0000123-{START}-part.png"
