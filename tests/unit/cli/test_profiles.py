"""`boards`: the list, by origin and userland, and every defect at once."""

import json
from pathlib import Path

import pytest

from edgewright.board.catalogue import board_names
from edgewright.cli.program import Edgewright
from tests.checkout import checkout
from tests.schemas import require_valid

CATALOGUE = board_names(checkout().resources.boards)


@pytest.fixture(autouse=True)
def own_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for boards of a workspace of the user's, with one board."""
    (tmp_path / "edgewright.toml").write_text('name = "tests"\n')
    folder = tmp_path / "board_profiles"
    folder.mkdir()
    (folder / "line-3.toml").write_text('extends = "rpi3-arm64"\ndescription = "our camera"\n')
    monkeypatch.chdir(tmp_path)
    return folder


def boards(*options: str) -> int:
    """The exit code."""
    try:
        Edgewright().run(["edgewright", "boards", *options])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_own_boards_stand_before_the_catalogue_by_userland(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert boards("--check") == 0

    shown = capsys.readouterr()
    first_words = [line.split()[0] for line in shown.out.splitlines() if not line.startswith(" ")]
    assert {*CATALOGUE, "line-3"} <= set(first_words)
    assert first_words.index("line-3") < first_words.index("a53-som")
    assert first_words.index("zedboard") < first_words.index("a53-som-arm64")
    assert shown.out.splitlines()[1].strip() == "your own, arm64:"
    assert f"{len(CATALOGUE) + 1} profiles are sound" in shown.err


def test_every_defect_of_every_file_is_told_and_the_sound_ones_are_listed(
    own_boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_boards / "line-4.toml").write_text('extends = "rpi3-arm64"\ncolour = "red"\n')
    (own_boards / "line-5.toml").write_text('extends = "rpi9"\n')

    assert boards() == 2

    shown = capsys.readouterr()
    assert "line-3" in shown.out
    assert f"{own_boards / 'line-4.toml'}: 1 problem\n  colour: unknown key" in shown.err
    assert f"{own_boards / 'line-5.toml'}: 1 problem\n  extends: no such file" in shown.err


def test_json_has_the_same_boards_or_the_fault(
    own_boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert boards("--json") == 0
    text = capsys.readouterr().out
    require_valid("boards", text)
    names = [board["name"] for board in json.loads(text)["boards"]]
    assert names == sorted([*CATALOGUE, "line-3"])

    (own_boards / "line-5.toml").write_text('extends = "rpi9"\n')
    assert boards("--json") == 2
    require_valid("error", capsys.readouterr().out)
