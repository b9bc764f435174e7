"""A trace from its begin to its end, by a shell of this machine and a strace that is a script."""

import io
import os
import subprocess
import time
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.observe.board_stream import Ending
from edgewright.observe.trace import session
from edgewright.observe.trace.session import Trace, attached, follow, running, started
from tests.boards import LocalBoard

# Takes strace's options, and writes lines to what -o names; what it runs says something too.
STRACE = r"""#!/bin/sh
while [ "$1" != -o ]; do shift; done
output=${2#|}
shift 2
echo $$ >pid
{ while IFS= read -r line; do printf '%s\n' "$line"; done <lines; WAIT; } | sh -c "$output"
echo "the program's own words"
exit 3
"""
LINE = '1 1.0 read(0, "\x1b[2J", 9) = 0 <0.5>\n'


def fake(folder: Path, *, lines: str = LINE, then: str = ":") -> list[str]:
    (folder / "lines").write_text(lines)
    strace = folder / "strace"
    strace.write_text(STRACE.replace("WAIT", then))
    strace.chmod(0o755)
    return [str(strace)]


def traced(argv: list[str], *, seconds: float = 60) -> tuple[Trace, str]:
    out = io.BytesIO()
    trace = follow(argv, out, seconds=seconds, subject="board.test", on_line=lambda line: None)
    return trace, out.getvalue().decode()


def test_calls_come_here_and_what_the_program_says_does_not(tmp_path: Path) -> None:
    trace, text = traced(started(fake(tmp_path), str(tmp_path), ["run", "a b.png"]))

    assert (trace.ended, trace.exit_code, trace.lines) == (Ending.BY_ITSELF, 3, 1)
    assert [(call.name, call.seconds) for call in trace.calls] == [("read", 0.5)]
    assert text == LINE.replace("\x1b", r"\x1b")


def test_a_trace_ends_after_its_time(tmp_path: Path) -> None:
    argv = attached(fake(tmp_path, then="sleep 60"), str(tmp_path), [812])
    assert argv[-2:] == ["-p", "812"]

    trace, _ = traced(argv, seconds=1)

    assert (trace.ended, trace.exit_code) == (Ending.IN_TIME, None)


def test_a_program_that_makes_no_call_in_its_time_is_no_error(tmp_path: Path) -> None:
    argv = attached(fake(tmp_path, lines="", then="exec sleep 3"), str(tmp_path), [812])

    trace, text = traced(argv, seconds=0.2)

    assert (trace.ended, trace.calls, text) == (Ending.IN_TIME, (), "")


def test_a_trace_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_BYTES", 1000)

    trace, text = traced(started(fake(tmp_path, lines=LINE * 500), str(tmp_path), ["run"]))

    assert trace.ended is Ending.TOO_MUCH
    assert len(text) < 2 * 1000


def test_a_board_that_lets_nobody_trace_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="nothing was traced") as refused:
        traced(started(fake(tmp_path, lines=""), str(tmp_path), ["run"]))

    assert refused.value.facts == ("exit code: 3", "the program's own words")


def is_alive(pid: int) -> bool:
    """Whether it still runs a moment later."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


def test_strace_ends_on_the_board_with_the_line(tmp_path: Path) -> None:
    """Its standard input ends, as when this machine is switched off."""
    argv = started(fake(tmp_path, then="exec sleep 3"), str(tmp_path), ["run"])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdout.readline()
        strace = int((tmp_path / "pid").read_text())

        child.stdin.close()

        assert child.wait(timeout=10) == 128 + 15
        assert not is_alive(strace)
        child.stdout.close()


def test_where_no_edge_infer_runs_there_is_nothing_to_attach_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "SAMPLE", "exit 0")
    with pytest.raises(TargetError, match="no edge-infer runs"):
        running(LocalBoard())

    monkeypatch.setattr(session, "SAMPLE", "printf 'process 812 5\\nresident 900\\n'")
    assert running(LocalBoard()) == (812,)
