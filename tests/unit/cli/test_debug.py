"""`debug` as a user calls it: what it refuses before it reaches a board."""

import sys
from pathlib import Path

import pytest

from edgewright.cli.debug import debug_by_hand
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


def test_a_quote_that_does_not_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*DEBUG, "--run=selftest 'a") == 2
    assert "--run=selftest 'a: is no command line" in capsys.readouterr().err


def test_ctrl_c_is_for_the_debugger(tmp_path: Path) -> None:
    """A terminal sends it to all of the foreground: this process must not end gdb for it."""
    written = tmp_path / "after"
    gdb = (
        "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.5); "
        f"open({str(written)!r}, 'w').close()"
    )

    debug_by_hand([sys.executable, "-c", gdb])

    assert written.exists()
