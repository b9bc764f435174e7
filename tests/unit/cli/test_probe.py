"""`board.probe` as a user calls it; the board's answers are given."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.cli.program import Edgewright
from edgewright.deploy import remote
from edgewright.deploy import survey as surveys
from tests.boards import LocalBoard
from tests.schemas import require_valid
from tests.unit.board.test_proposal import RPI3

HOST = "--host=root@192.0.2.7"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of the user's, and a board that answers as a Raspberry Pi 3."""
    (tmp_path / "edgewright.toml").write_text('name = "tests"\n')
    (tmp_path / "board_profiles").mkdir()
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def connect(target: object, **_: object) -> Iterator[LocalBoard]:
        yield LocalBoard()

    monkeypatch.setattr(remote, "connect", connect)
    monkeypatch.setattr(surveys, "survey", lambda board, root: RPI3)
    return tmp_path


def probe(*options: str) -> int:
    """The exit code."""
    try:
        Edgewright().run(["edgewright", "board.probe", *options])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_profile_is_written_to_the_workspace_and_the_resemblance_said(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(HOST) == 0

    written = workspace / "board_profiles" / "3-model-b.toml"
    shown = capsys.readouterr()
    assert tomllib.loads(written.read_text())["compatible"] == "raspberrypi,3-model-b"
    assert "resembles rpi3-armhf: raspberrypi,3-model-b, 32-bit userland" in shown.err
    assert f"written to {written}" in shown.err
    assert "Raspberry Pi 3 Model B Rev 1.2" in shown.out


def test_a_profile_that_is_there_is_never_overwritten(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = workspace / "board_profiles" / "line-3.toml"
    mine.write_text("# mine\n")

    assert probe(HOST, "--name=line-3") == 2

    assert mine.read_text() == "# mine\n"
    assert capsys.readouterr().err.splitlines()[0] == (
        f"{mine}: exists already; it is not overwritten"
    )


def test_standard_output_takes_the_profile_alone(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(HOST, "--out=-") == 0

    assert tomllib.loads(capsys.readouterr().out)["extends"] == "_armhf-linux"
    assert list((workspace / "board_profiles").iterdir()) == []


def test_json_is_one_document_with_survey_and_proposal(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(HOST, "--json", "--name=line-3") == 0

    text = capsys.readouterr().out
    require_valid("board.probe", text)
    document = json.loads(text)
    written = workspace / "board_profiles" / "line-3.toml"
    assert document["version"] == 1
    assert document["file"] == str(written)
    assert document["proposal"]["toml"] == written.read_text()
    assert document["proposal"]["resembles"][0]["board"] == "rpi3-armhf"
    assert document["survey"]["libc"] == {"family": "glibc", "version": "2.36"}


@pytest.mark.parametrize("ways", [(), (HOST, "--emulated")])
def test_exactly_one_way_to_the_board_is_expected(
    ways: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(*ways) == 2
    assert "board.probe: expected one of --host=user@addr[:port]" in capsys.readouterr().err


def test_a_name_that_no_profile_may_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(HOST, "--name=../x") == 2
    assert "--name: expected a match of" in capsys.readouterr().err
