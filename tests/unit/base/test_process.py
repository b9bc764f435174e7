import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.process import ChildFailed, capture, check, end_group, quote, run_logged


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(path: Path) -> str:
    """The text of a file that a child writes."""
    late = time.monotonic() + 30
    while not (path.is_file() and path.read_text().endswith("\n")):
        assert time.monotonic() < late
        time.sleep(0.02)
    return path.read_text()


def test_capture_keeps_both_streams_and_leaves_the_code_to_the_caller() -> None:
    result = capture(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"))

    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_capture_hands_over_input_environment_and_folder(tmp_path: Path) -> None:
    code = "import os; print(input(), os.environ['EDGE'], 'PATH' in os.environ, os.getcwd())"

    result = capture(python(code), input="in", env={"EDGE": "wright"}, cwd=tmp_path)

    assert result.stdout == f"in wright True {tmp_path}\n"


def test_without_input_a_child_reads_nothing() -> None:
    assert capture(python("import sys; print(repr(sys.stdin.read()))")).stdout == "''\n"


def test_output_that_is_not_utf8_does_not_stop_us() -> None:
    assert capture(python("import os; os.write(1, b'caf\\xe9')")).stdout == "caf\ufffd"


def test_check_tells_command_code_and_tail() -> None:
    argv = python("import sys; print('\\n'.join(map(str, range(30)))); sys.exit(7)")

    with pytest.raises(ChildFailed) as caught:
        check(argv)

    lines = str(caught.value).splitlines()
    assert lines[0] == f"{Path(sys.executable).name}: exit code 7"
    assert caught.value.facts[0] == f"command: {quote(argv)}"
    assert caught.value.facts[1:] == tuple(f"| {n}" for n in range(10, 30))


def test_a_child_that_was_killed_is_told_by_its_signal() -> None:
    with pytest.raises(ChildFailed, match="ended by SIGKILL"):
        check(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))


def test_a_missing_program_points_to_setup() -> None:
    with pytest.raises(UserError) as caught:
        capture(["no-such-program", "--version"])

    assert str(caught.value) == "no-such-program: program not found\nnext: invoke setup"


def test_a_missing_folder_is_not_called_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        capture(["true"], cwd=tmp_path / "gone")

    assert str(caught.value) == f"{tmp_path}/gone: no such folder to run in\n  program: true"


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")

    with pytest.raises(UserError, match="program: not executable"):
        run_logged([str(program)], tmp_path / "log")


def test_a_child_that_takes_too_long_is_ended() -> None:
    with pytest.raises(UserError, match=r"no end after 0\.2 s"):
        capture(python("import time; time.sleep(60)"), timeout=0.2)


def test_run_logged_writes_command_and_output_and_hands_on_lines(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    lines: list[str] = []
    argv = python("import sys; print('out', flush=True); print('err', file=sys.stderr)")

    run_logged(argv, log, on_line=lines.append)

    assert log.read_text() == f"$ {quote(argv)}\nout\nerr\n"
    assert lines == ["out", "err"]


def test_run_logged_keeps_what_the_log_held(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    run_logged(python("print('first')"), log)
    run_logged(python("print('second')"), log)

    assert [line for line in log.read_text().splitlines() if not line.startswith("$")] == [
        "first",
        "second",
    ]


def test_run_logged_tells_tail_log_and_next_command(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    argv = python("import sys; [print(n) for n in range(30)]; sys.exit(4)")

    with pytest.raises(ChildFailed) as caught:
        run_logged(argv, log, next="invoke build")

    assert caught.value.facts[1:] == (*(f"| {n}" for n in range(10, 30)), f"log: {log}")
    assert str(caught.value).splitlines()[-1] == "next: invoke build"
    assert "\n0\n1\n" in log.read_text()


def test_an_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    grandchild = tmp_path / "pid"
    shell = f"sleep 60 & echo $! > {grandchild}; echo started; wait"

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_logged(["sh", "-c", shell], tmp_path / "log", on_line=interrupt)

    assert not lives(int(wait_for(grandchild)))


def test_what_ignores_the_request_to_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    stubborn = tmp_path / "pid"
    inner = f"trap '' TERM; echo $$ > {stubborn}; while :; do sleep 0.1; done"
    child = subprocess.Popen(
        ["sh", "-c", f'sh -c "{inner.replace("$", chr(92) + "$")}" & wait'],
        start_new_session=True,
        text=True,
    )
    pid = int(wait_for(stubborn))

    end_group(child, grace=0.3)

    assert child.returncode == -signal.SIGTERM
    late = time.monotonic() + 10
    while lives(pid) and time.monotonic() < late:
        time.sleep(0.02)
    assert not lives(pid)


def test_ending_a_group_that_ended_by_itself_is_no_error() -> None:
    child = subprocess.Popen(["true"], start_new_session=True, text=True)
    child.wait()

    end_group(child)

    assert child.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_quote_gives_what_a_shell_reads_back() -> None:
    assert quote(["echo", "a b", "$HOME"]) == "echo 'a b' '$HOME'"
