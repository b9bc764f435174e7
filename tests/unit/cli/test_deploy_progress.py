"""What a deploy shows while it runs: lines in a log, one live line on a terminal."""

import io
import time

import pytest
from rich.console import Console

from edgewright.base.progress import StageReport
from edgewright.cli.screens import deploy_progress, progress, waiting


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=80, force_terminal=terminal, color_system=None), out


def shown(*, terminal: bool) -> str:
    """What a deploy that sends 200 bytes writes."""
    on, out = console(terminal=terminal)
    with deploy_progress(on) as live:
        live.start("send 2 files, 200 bytes")
        live.sent(100, 200)
        live.sent(200, 200)
        time.sleep(0.3)  # it is redrawn ten times a second
        live.start("read back [all] of it")
    return out.getvalue()


def test_a_log_has_a_line_for_each_stage_and_no_bar() -> None:
    assert shown(terminal=False) == "send 2 files, 200 bytes\nread back [all] of it\n"


def test_a_terminal_has_one_live_line_with_the_time_and_a_bar_while_bytes_are_sent() -> None:
    text = shown(terminal=True)

    assert "200/200 bytes" in text
    assert "0:00:00" in text
    ended = text.rpartition("read back [all] of it")
    assert "200/200" not in ended[2]  # a bar that is done goes
    assert "send 2 files, 200 bytes 0." in text  # and leaves a line with its time


def test_a_stage_of_a_build_ends_as_a_line_with_its_origin() -> None:
    on, out = console(terminal=True)
    with progress(on) as live:
        live.start("zlib")
        live.line("[3/7] cc")
        live.end(StageReport(name="zlib", seconds=0.0, origin="cache"))
        live.start("runtime")

    lines = [line.strip() for line in out.getvalue().replace("\r", "\n").splitlines()]
    assert any("zlib" in line and line.endswith("from cache") for line in lines)


def test_what_is_waited_for_is_said_before_it_ends_also_in_a_log() -> None:
    on, out = console(terminal=False)

    with waiting(on, "count the instructions"):
        assert out.getvalue() == "count the instructions\n"


def test_a_wait_that_fails_leaves_the_terminal_as_it_was() -> None:
    on, out = console(terminal=True)

    with pytest.raises(KeyboardInterrupt), waiting(on, "self-test"):
        raise KeyboardInterrupt
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in out.getvalue()  # the cursor
