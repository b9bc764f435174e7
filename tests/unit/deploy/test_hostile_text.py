"""What a board says never reaches the terminal raw, never becomes markup, never a traceback."""

import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import RenderableType

from edgewright.base.errors import TargetError
from edgewright.cli import common, screens
from edgewright.deploy import service
from edgewright.deploy.documents import status_report
from edgewright.deploy.edgectl import Edgectl, RefusedError
from edgewright.deploy.install import Status
from edgewright.deploy.probe import parse_probe
from edgewright.deploy.remote import CommandError, Result
from edgewright.deploy.report import Check, ImageResult, SmokeReport, Verdict
from edgewright.deploy.service import ServiceState
from edgewright.deploy.target import Target
from tests.boards import StandIn

# The title, the clipboard, hidden text, a link of Rich's, a tag that is none, the direction.
EVIL = "\x1b]0;t\x07\x1b]52;c;eA==\x07\x1b[8m[link=http://evil]x[/link][/nothing]\u202e\x9b2J\x7f"
SHOWN = r"\x1b]0;t\x07\x1b]52;c;eA==\x07\x1b[8m[link=http://evil]x[/link][/nothing]\u202e\x9b2J\x7f"
PROBE = "machine armv7l\nspace /dev/root 100 50 50 50% /\n"
HELPER = {"version": "0.1.0", "protocol": 1, "sha256": "0" * 64, "encodings": []}


def printed(screen: RenderableType, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the console of the program writes."""
    output = io.StringIO()
    monkeypatch.setattr(common.OUT, "_file", output)
    monkeypatch.setattr(common.OUT, "_width", 400)
    common.OUT.print(screen)
    return output.getvalue()


class Says(StandIn):
    """A board that says one thing to everything."""

    def __init__(self, stdout: str, *, stderr: str = "", code: int = 0) -> None:
        super().__init__()
        self.result = Result(argv=("edgectl",), returncode=code, stdout=stdout, stderr=stderr)

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        return self.result


def test_a_refusal_is_shown_with_escapes() -> None:
    problem = {"code": EVIL, "message": f"{EVIL}\nnext: rm -rf /", "next": EVIL}
    board = Says(json.dumps({"version": 1, "error": problem}), code=12)
    with pytest.raises(RefusedError) as refused:
        Edgectl(board=board, root="/r").status()
    assert str(refused.value) == (
        f"root@board.test: {SHOWN}\\nnext: rm -rf /\nnext: {SHOWN}"  # no line of its own
    )
    assert refused.value.code == SHOWN


def test_no_answer_is_quoted_with_escapes_and_in_short() -> None:
    board = Says("x" * 3_000_000, stderr=f"\n{EVIL}\n", code=1)
    with pytest.raises(TargetError) as refused:
        Edgectl(board=board, root="/r").status()
    assert f"  | {SHOWN}\n" in str(refused.value)
    assert len(str(refused.value)) < 3000
    error = CommandError(Target(address="b"), board.result)
    assert f"  | {SHOWN}" in str(error)
    assert len(str(error)) < 9000


def test_a_service_log_is_shown_with_escapes() -> None:
    state = service.parse_status(f"starts 1\nuptime 9\nlog {EVIL}\n", "board", 60)
    assert state.log == (SHOWN,)


@pytest.mark.parametrize("text", ["starts 1\n", "starts x\nuptime 9\n", f"starts {'9' * 5000}\n"])
def test_a_state_of_a_service_that_is_none_is_told(text: str) -> None:
    with pytest.raises(TargetError, match="did not say how its service is"):
        service.parse_status(text, "board", 60)


@given(
    st.lists(st.sampled_from(["uptime", "since", "starts", "heartbeat", "log", EVIL])), st.text()
)
def test_any_state_of_a_service_is_read_or_refused(keys: list[str], value: str) -> None:
    text = "\n".join(f"{key} {value}" for key in keys)
    try:
        state = service.parse_status(text, "board", 60)
    except TargetError:
        return
    assert all(line.isprintable() for line in state.log)


@given(st.text() | st.integers().map(lambda n: PROBE.replace("50", str(n))))
def test_any_probe_is_read_or_refused(text: str) -> None:
    for answer in (text, PROBE + text, PROBE + f"libc release version {text}\nmemory {text}"):
        try:
            facts = parse_probe(answer, "board")
        except TargetError:
            continue
        assert facts.machine.isprintable()


def test_a_status_screen_takes_no_markup_and_no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "version": 1,
        "command": "status",
        "helper": HELPER,
        "compatible": EVIL,
        "keys": [EVIL],
        "current": EVIL,
        "previous": EVIL,
        "floor": None,
        "txn": None,
        "lease": {"holder": EVIL, "fence": 1, "idle_s": 1.0},
        "releases": [EVIL],
        "quarantine": [EVIL],
        "objects": 0,
        "object_bytes": 0,
        "service": None,
        "free_bytes": 0,
        "sound": None,
    }
    state = Edgectl(board=Says(json.dumps(answer)), root="/r").status()
    facts = parse_probe(PROBE.replace("armv7l", EVIL), "board")
    status = Status(facts=facts, edgectl=state, manifest=None)
    report = status_report(status, ServiceState(installed=False), "root@board")
    screen = printed(screens.status_screen(report), monkeypatch)
    assert screen.count(SHOWN) >= 6
    assert "\x1b" not in screen
    assert "\u202e" not in report.to_json()


def test_a_smoke_screen_takes_no_markup_and_no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(name=EVIL, verdict=Verdict.FAILED, expected=EVIL, found=EVIL, facts=(EVIL,))
    image = ImageResult(
        image=EVIL,
        expected=EVIL,
        found=EVIL,
        max_abs_diff=None,
        inference_ms=None,
        verdict=Verdict.FAILED,
    )
    report = SmokeReport.model_validate(
        {
            "board": EVIL,
            "target": "root@board",
            "emulated": False,
            "release": EVIL,
            "model": EVIL,
            "threads": 1,
            "started": "2026-01-01T00:00:00Z",
            "seconds": 1.0,
            "passed": False,
            "checks": (check,),
            "images": (image,),
            "bench": None,
        }
    )
    screen = printed(screens.smoke_screen(report), monkeypatch)
    assert screen.count(SHOWN) == 10
    assert "\x1b" not in screen


def test_a_long_message_full_of_escapes_still_makes_a_report() -> None:
    """What is shown may be longer than what was said."""
    answer = "\x1b" * 2_000
    check = Check(name="run", verdict=Verdict.FAILED, facts=(answer, answer * 10))
    assert check.facts[0] == r"\x1b" * 2_000
