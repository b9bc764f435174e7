"""What a deploy shows while it runs: lines in a log, a bar on a terminal."""

import io

from rich.console import Console

from edgewright.cli.screens import DeployProgress


def shown(*, terminal: bool) -> str:
    """What a deploy that sends 200 bytes writes."""
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=terminal, color_system=None)
    with DeployProgress(console) as progress:
        progress.start("send 2 files, 200 bytes")
        progress.sent(100, 200)
        progress.sent(200, 200)
        progress.start("read back [all] of it")
    return out.getvalue()


def test_a_log_has_a_line_for_each_stage_and_no_bar() -> None:
    assert shown(terminal=False) == "send 2 files, 200 bytes\nread back [all] of it\n"


def test_a_terminal_has_a_bar_while_bytes_are_sent_and_no_longer() -> None:
    text = shown(terminal=True)

    before, _, after = text.rpartition("read back [all] of it")
    assert "200/200 bytes" in before
    assert after == "\n"
