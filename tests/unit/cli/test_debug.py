"""`debug` as a user calls it: what it refuses before it reaches a board."""

from pathlib import Path

import pytest

from tests.unit.cli.test_cli import run

DEBUG = ("debug", "--board=a53-som", "--host=root@192.0.2.7")


def test_a_document_is_of_a_script_s_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*DEBUG, "--json") == 2
    assert "a debugger at work writes no document" in capsys.readouterr().err


def test_a_script_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(*DEBUG, f"--script={tmp_path / 'none.gdb'}") == 2
    assert "no such file" in capsys.readouterr().err


def test_a_machine_without_gdb_is_told_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.base.process.which", lambda program: None)

    assert run(*DEBUG) == 2
    assert "gdb-multiarch: is not installed\nnext: " in capsys.readouterr().err
