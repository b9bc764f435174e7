"""What counts as a slow start, and as a slow verification."""

from pathlib import Path

import pytest

from edgewright.base.errors import CheckError
from edgewright.observe import startup
from edgewright.observe.startup import VERIFY, Start, StartupReport, require_quick


def report(command: str, seconds: float) -> StartupReport:
    start = Start(command=command, seconds=seconds, ratio=round(seconds / 0.1, 2))
    return StartupReport(reference_seconds=0.1, starts=(start,))


@pytest.mark.parametrize(
    ("command", "seconds", "problem"),
    [
        ("edgewright --list", 0.3, None),
        ("edgewright --list", 0.31, "more than 3 times the processor time"),
        (VERIFY, 2.0, None),  # by seconds: it does more than to start
        (VERIFY, 2.01, "takes too long"),
    ],
)
def test_a_start_is_judged_by_its_ratio_and_a_verification_by_its_seconds(
    command: str, seconds: float, problem: str | None
) -> None:
    if problem is None:
        require_quick(report(command, seconds))
        return
    with pytest.raises(CheckError, match=problem):
        require_quick(report(command, seconds))


def test_a_release_is_looked_for_where_the_caller_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are started in the checkout."""
    caller, checkout = tmp_path / "caller", tmp_path / "checkout"
    caller.mkdir()
    checkout.mkdir()
    (caller / "a.tar.gz").touch()
    monkeypatch.chdir(caller)
    monkeypatch.setattr(startup, "COMMANDS", {})
    is_file = "import pathlib, sys; sys.exit(not pathlib.Path(sys.argv[-1]).is_file())"
    monkeypatch.setattr(startup, "EDGEWRIGHT", is_file)

    measured = startup.measure(checkout, 1, Path("a.tar.gz"))

    assert [start.command for start in measured.starts] == [VERIFY]
