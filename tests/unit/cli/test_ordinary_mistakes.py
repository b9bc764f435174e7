"""A new user's mistakes, each made for real: words and exit code 2, never a traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.base.process import run_logged
from edgewright.base.schema import read_record
from edgewright.board.catalogue import BoardList
from edgewright.build.packages import Package
from tests.checkout import ROOT
from tests.unit.cli.test_program import run

HOST = "--host=root@127.0.0.1:1"  # nobody listens there


def edgewright(
    *argv: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, out: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "edgewright.cli", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        start_new_session=True,  # without a terminal of the one who runs the tests
    )


def require_words(ended: subprocess.CompletedProcess[str], words: str) -> None:
    assert "Traceback" not in ended.stderr
    assert words in ended.stderr
    assert ended.returncode == 2


@pytest.mark.parametrize("variable", ["EDGEWRIGHT_CONFIG", "HOME"])
@pytest.mark.parametrize("place", ["file", "/proc", "/sys"])
def test_a_folder_of_the_user_that_cannot_be_written(
    variable: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path / place

    ended = edgewright("keys.generate", env={"XDG_CONFIG_HOME": "", variable: str(where)})

    require_words(ended, str(where))


@pytest.mark.parametrize("task", ["boards", "init", "render"])
def test_a_folder_that_was_removed_meanwhile(
    task: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert run(task, *(["--board=rpi2"] if task == "render" else [])) == 2
    assert "the current folder: was removed\nnext: cd" in capsys.readouterr().err


def test_a_link_to_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(tmp_path / "disk")

    with pytest.raises(UserError, match="a file or a broken link is in the way"):
        make_folder(tmp_path / "cache")


def test_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME", "EDGEWRIGHT_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a container's user, a bare number

    assert run("keys.list") == 2
    assert "this user has no home folder\nnext: set HOME" in capsys.readouterr().err


def test_a_password_that_nobody_can_type() -> None:
    ended = edgewright("status", "--board=a53-som", HOST, "--ask-password")

    require_words(
        ended, "board's password: no terminal to type it at\nnext: set EDGEWRIGHT_PASSWORD"
    )


@pytest.mark.parametrize("argv", [("--list",), ("boards",), ("boards", "--json"), ("--version",)])
def test_a_full_standard_output(argv: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = edgewright(*argv, out=full.fileno())

    require_words(ended, "standard output: no space left on device")


@pytest.mark.parametrize(
    "argv",
    [
        ("release.verify", "--path=/"),
        ("release.verify", "--path=/dev/null"),
        ("build", "--board=a53-som", "--model=/usr"),
        ("model.inspect", "--model=/usr"),
        ("model.convert", "--model=/dev/null"),
        ("outdated", "--runtime=/dev/null"),
        ("model.evaluate", "--model=/usr/x.onnx"),
        ("model.diff", "--first=/usr", "--second=/usr"),
    ],
)
def test_a_folder_or_a_device_where_a_file_should_be(
    argv: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # no other build is at work there
    run("init")
    assert run(*argv) == 2
    assert argv[-1].partition("=")[2] in capsys.readouterr().err


@pytest.mark.parametrize("name", ["edgewright.toml", "board_profiles/mine.toml"])
def test_a_folder_in_place_of_a_file_of_the_workspace(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("init")
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir(parents=True)

    for argv in (("boards", "--check"), ("render", "--board=mine"), ("release.list",)):
        assert run(*argv) in (0, 2)


@pytest.mark.parametrize("name", ["known_hosts", "keys/default.key", "keys/default.pub"])
def test_a_folder_in_place_of_a_key_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path))
    (tmp_path / name).mkdir(parents=True)

    for argv in (
        ("keys.list",),
        ("keys.generate",),
        ("trust", HOST),
        ("status", "--board=a53-som", HOST),
        ("release.sign", "--path=/"),
    ):
        assert run(*argv) in (0, 2, 3)


def test_a_disk_that_fills_is_named_however_much_follows(tmp_path: Path) -> None:
    script = "echo 'E: Write error - write (28: No space left on device)'; seq 100; exit 100"

    with pytest.raises(UserError) as failed:
        run_logged(["sh", "-c", script], tmp_path / "apt.log")

    assert failed.value.problem == "no space left on device"
    assert "| E: Write error - write (28: No space left on device)" in failed.value.facts
    assert any("bytes" in fact and "free at" in fact for fact in failed.value.facts)


def test_a_compilers_own_words_are_shown_however_much_a_build_tool_adds(tmp_path: Path) -> None:
    script = "echo 'x.cpp:3:5: error: expected a type'; seq 100; exit 2"

    with pytest.raises(UserError) as failed:
        run_logged(["sh", "-c", script], tmp_path / "build.log")

    lines = [fact for fact in failed.value.facts if fact.startswith("| ")]
    assert lines[0] == "| x.cpp:3:5: error: expected a type"
    assert lines[-1] == "| 100"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"name": 3}'])
def test_a_damaged_record_is_made_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(content)

    assert read_record(Package, tmp_path / "record.json") is None
    assert read_record(BoardList, tmp_path / "none.json") is None


def test_ctrl_c_while_it_starts_ends_in_one_line() -> None:
    # Before 0.15 s it would fall into Python's own start, which is not ours to catch.
    for delay in (0.15, 0.3, 0.5):
        child = subprocess.Popen(
            [sys.executable, "-c", SLOW_START],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert child.stdout is not None
        child.stdout.readline()  # it is in our hands now
        time.sleep(delay - 0.15)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()

        assert (child.returncode, err.strip()) in [
            (130, "interrupted: what was there before is unchanged"),
            (0, ""),
        ]


def _as_in_a_terminal() -> None:
    """A run of the tests under nohup, or in the background, hands ignored signals on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_started_ends_with_the_program(number: signal.Signals, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    child = subprocess.Popen(
        [sys.executable, "-c", LONG_WORK, str(mark)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_terminal,
    )
    deadline = time.monotonic() + 120
    while not (mark.is_file() and mark.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    _, err = child.communicate(timeout=120)

    assert (child.returncode, err.strip()) == (
        130,
        "interrupted: what was there before is unchanged",
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


# A task whose work is a child in a process group of its own, as a build is.
LONG_WORK = """
import sys
from pathlib import Path
from invoke.exceptions import Exit
from edgewright.base.process import run_logged
from edgewright.cli.common import report_errors
from edgewright.cli.program import interrupt_on_signals

mark = Path(sys.argv[1])

def body(c):
    run_logged(["sh", "-c", f"echo $$ > {mark}; exec sleep 100"], mark.with_suffix(".log"))

interrupt_on_signals()
try:
    report_errors(body, lambda: "build")(None)
except Exit as end:
    sys.exit(end.code)
"""
SLOW_START = """
import sys
sys.argv[:] = ["edgewright", "boards"]
from edgewright.cli.__main__ import main
print("ours", flush=True)
main()
"""
