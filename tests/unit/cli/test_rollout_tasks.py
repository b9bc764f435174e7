"""Rollout tasks on a ledger that others wrote, without any board."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.base.errors import ExitCode
from edgewright.cli.program import Edgewright
from edgewright.cli.rollout import _tell_closed_windows
from edgewright.deploy import remote
from edgewright.fleet.bench import stand_in
from edgewright.fleet.inventory import DAYS, Window
from edgewright.fleet.rollout import gates
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.gates import VERDICTS, Reading
from edgewright.fleet.rollout.ledger import Entry, Ledger, Report
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Outcome, Retry
from edgewright.release.manifest import Release
from tests.schemas import require_valid

FLEET = """version = 1
[[sites]]
name = "hall"
[[boards]]
name = "oven-1"
site = "hall"
kind = "a53-som"
address = "root@192.0.2.1"
[[boards]]
name = "oven-2"
site = "hall"
kind = "a53-som"
address = "root@192.0.2.2"
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def ledger(place: str) -> Ledger:
    """A rollout of four boards: two are done, one failed, one waits for its wave."""
    ledger = Ledger(open_database(place), time.time)
    plan = Plan(
        waves="3,4", ends=(3, 4), salt="s", gates="failures<=0", releases={"rpi2": "new"}, soak_s=0
    )
    entries = [
        Entry(board=f"oven-{n}", site="hall", wave=1 + n // 3, release="new") for n in range(4)
    ]
    ledger.plan("bread", plan.model_dump_json(), entries)
    ledger.open_wave("bread", 1)
    reports = [
        Report(
            claim=claim,
            outcome=Outcome.HOPELESS if claim.board == "oven-1" else Outcome.DONE,
            reason="no space" if claim.board == "oven-1" else "",
        )
        for claim in ledger.claim("bread", worker="w", limit=9, lease_s=60)
    ]
    ledger.finish(reports, Retry())
    return ledger


def run(*argv: str) -> int:
    try:
        Edgewright().run(["edgewright", *argv], exit=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return ExitCode.OK


def test_status_shows_waves_gates_and_what_failed(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Reading(board="oven-1", failure="no space", measured=gates.Measured())
    verdicts = gates.judge(gates.parse("failures<=0"), [failed])
    ledger.judge("bread", 1, VERDICTS.dump_json(verdicts).decode())

    assert run("rollout.status", f"--ledger={place}") == ExitCode.OK
    shown = capsys.readouterr().out
    assert shown.startswith("rollout bread: running, planned\n")
    assert "oven-1: quarantined: no space" in shown
    assert "1 of 1 boards" in shown

    assert run("rollout.status", f"--ledger={place}", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("rollout.status", text)
    states = {board["board"]: board["state"] for board in json.loads(text)["boards"]}
    assert states == {
        "oven-0": "done", "oven-1": "quarantined", "oven-2": "done", "oven-3": "waiting",
    }  # fmt: skip


def test_the_status_fits_into_80_columns(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert run("rollout.status", f"--ledger={place}") == ExitCode.OK

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "2 done, 1 quarantined" in shown


def test_a_report_is_a_page_of_its_own(
    ledger: Ledger, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "bread.html"
    assert run("rollout.report", f"--ledger={place}", f"--out={page}", "--json") == ExitCode.OK

    text = capsys.readouterr().out
    require_valid("rollout.report", text)
    assert json.loads(text)["files"] == [{"path": str(page), "bytes": page.stat().st_size}]
    assert "rollout bread: running" in page.read_text()


def test_a_report_is_named_after_its_rollout(
    ledger: Ledger, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run("rollout.report", f"--ledger={place}") == ExitCode.OK

    assert (tmp_path / "rollout-bread.html").is_file()


def test_list(ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rollout.list", f"--ledger={place}", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("rollout.list", text)
    assert [each["name"] for each in json.loads(text)["rollouts"]] == ["bread"]


def test_retry_and_quarantine(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rollout.quarantine", f"--ledger={place}", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("rollout.quarantine", text)
    assert json.loads(text)["boards"] == {"oven-1": "rollout bread: no space"}

    assert run("rollout.retry", f"--ledger={place}", "--json") == ExitCode.OK
    require_valid("rollout.retry", capsys.readouterr().out)
    assert ledger.in_quarantine() == {}
    assert run("rollout.retry", f"--ledger={place}") == ExitCode.USER
    assert "none of its boards is to be tried again" in capsys.readouterr().err


def test_a_board_of_the_fleet_is_put_in_quarantine_and_let_out(
    ledger: Ledger, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    quarantine = ("rollout.quarantine", f"--fleet={tmp_path / 'fleet.toml'}", f"--ledger={place}")

    assert run(*quarantine, "--board=oven-2", "--reason=disk") == ExitCode.OK
    assert ledger.in_quarantine()["oven-2"] == "disk"
    assert run(*quarantine, "--release=oven-2") == ExitCode.OK
    assert "oven-2" not in ledger.in_quarantine()
    assert run(*quarantine, "--release=oven-2") == ExitCode.USER
    capsys.readouterr()

    assert run(*quarantine, "--board=owen-2") == ExitCode.USER
    assert "did you mean 'oven-2'?" in capsys.readouterr().err
    assert "owen-2" not in ledger.in_quarantine()


@pytest.mark.parametrize(
    "task", ["status", "list", "report", "pause", "abort", "retry", "quarantine"]
)
def test_who_only_asks_makes_no_ledger(
    task: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"rollout.{task}", f"--ledger={place}") == ExitCode.USER
    assert f"{place}: no such ledger" in capsys.readouterr().err
    assert not Path(place).exists()


def test_a_rollout_that_is_not_in_the_ledger(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rollout.status", f"--ledger={place}", "--name=cake") == ExitCode.USER
    assert "rollout 'cake': is unknown" in capsys.readouterr().err


def test_approval_is_taken_only_where_it_is_waited_for(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    approve = ("rollout.approve", f"--ledger={place}", "--reason=looked at both")
    assert run(*approve) == ExitCode.USER
    assert "does not wait for approval" in capsys.readouterr().err

    ledger.enter("bread", "wave 1 waits for approval")
    assert run(*approve, "--json") == ExitCode.OK
    require_valid("rollout.approve", capsys.readouterr().out)
    approval = ledger.approval("bread", 1)
    assert approval is not None
    assert approval.reason == "looked at both"


def test_pause_and_an_abort_without_a_controller(
    ledger: Ledger, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rollout.pause", f"--ledger={place}", "--json") == ExitCode.OK
    require_valid("rollout.pause", capsys.readouterr().out)
    assert ledger.rollout("bread").wish == "pause"

    assert run("rollout.abort", f"--ledger={place}", "--json") == ExitCode.OK
    require_valid("rollout.abort", capsys.readouterr().out)
    assert ledger.rollout("bread").state == "aborted"
    for task in ("rollout.resume", "rollout.pause", "rollout.abort"):
        assert run(task, f"--ledger={place}") == ExitCode.USER
        assert "rollout 'bread': is over: aborted" in capsys.readouterr().err


def test_boards_that_a_rollout_cannot_take_are_named(
    ledger: Ledger, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.toml"
    join = ("rollout.join", f"--ledger={place}", f"--fleet={fleet}")
    fleet.write_text(FLEET)
    assert run(*join) == ExitCode.USER
    assert "has all of these 2 boards already" in capsys.readouterr().err

    fleet.write_text(FLEET.replace("oven-2", "oven-9"))
    assert run(*join) == ExitCode.USER
    error = capsys.readouterr().err
    assert "cannot take 1 of these boards" in error
    assert "expected: boards of rpi2\n  oven-9: its kind is a53-som" in error

    assert run(*join, "--wave=3") == ExitCode.USER
    assert "expected 1 to 2" in capsys.readouterr().err
    ledger.end("bread", "done", "")
    assert run(*join) == ExitCode.USER
    assert "rollout 'bread': is over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("rollout.status",), "no such ledger: no rollout was started with it"),
        (("rollout.start",), "expected --select or --group"),
        (("rollout.start", "--select=all", "--name=../x"), "expected a-z"),
        (("rollout.start", "--select=all", "--waves=9,100%"), "wave 1: 9 of 2 boards are 9"),
        (("rollout.start", "--select=all", "--gate=speed<=1"), "'speed<=1' is no gate"),
        (("rollout.start", "--select=all", "--gate=shadow<=1%"), "no wave begins with a shadow"),
    ],
)
def test_mistakes(
    argv: tuple[str, ...],
    words: str,
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if argv[0] == "rollout.start":
        fleet = tmp_path / "fleet.toml"
        fleet.write_text(FLEET)
        argv = (*argv, f"--fleet={fleet}")
    assert run(*argv, f"--ledger={place}") == ExitCode.USER
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("key", ["default", "lost"])
def test_a_release_that_nobody_signed_is_not_rolled_out(
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
) -> None:
    """Before any board is asked, and before the ledger has the rollout."""
    release = built(tmp_path, monkeypatch)
    start = ("rollout.start", "--select=all", "--waves=100%", f"--release={release.id}")

    assert run(*start, f"--ledger={place}", f"--key={key}") == ExitCode.USER

    error = capsys.readouterr().err
    assert error.startswith(f"key '{key}': not there\n")
    assert "\nnext: edgewright keys.generate" in error
    assert not release.signature.exists()
    assert Ledger(open_database(place), time.time).rollouts() == ()


@pytest.mark.parametrize(
    "command",
    [
        ("rollout.start", "--select=all", "--waves=100%", "--shadow=10m", "--ledger={place}"),
        ("shadow", "--board=a53-som", "--host=root@192.0.2.7"),
    ],
)
def test_a_release_of_an_older_edgewright_has_no_shadow(
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    """Each board would count as failed, and be in quarantine for it."""
    release = built(tmp_path, monkeypatch)

    words = [word.format(place=place) for word in command]
    assert run(*words, f"--release={release.id}") == ExitCode.USER

    error = capsys.readouterr().err
    assert error.startswith(f"release {release.id}: is of an edgewright whose programs run beside")
    assert "\nnext: edgewright build" in error
    assert Ledger(open_database(place), time.time).rollouts() == ()


def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release that nobody signed, for a fleet whose boards may not be asked."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgewright.toml").write_text('name = "hall"\n')
    (tmp_path / "fleet.toml").write_text(FLEET)
    helper = tmp_path / "edgectl"
    helper.write_text("a helper")
    monkeypatch.setattr(remote, "connect", lambda *_, **__: pytest.fail("a board was asked"))
    return stand_in.make_release(
        tmp_path / "build" / "a53-som", board="a53-som", compatible="edgewright,a53-som",
        root="/opt/edgewright", edgectl=helper, model=b"model",
    )  # fmt: skip


def test_a_ledger_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be taken for one" * 20)

    assert run("rollout.list", f"--ledger={tmp_path / 'text'}") == ExitCode.USER
    assert "the ledger cannot be opened" in capsys.readouterr().err
    assert run("rollout.list", "--ledger=mysql://here/x") == ExitCode.USER
    assert "expected a file, or postgresql://" in capsys.readouterr().err


def test_a_rollout_that_waits_for_a_window_says_until_when(
    capsys: pytest.CaptureFixture[str],
) -> None:
    in_two_days = DAYS[(datetime.now(UTC).weekday() + 2) % 7]
    closed = Window.model_validate({"days": [in_two_days], "from": "01:00", "to": "02:00"})
    boards: Any = [SimpleNamespace(window=window) for window in (closed, None, closed)]

    _tell_closed_windows(boards)

    message = capsys.readouterr().err
    assert message.startswith("2 boards behind a closed window; the first opens ")
    assert message.endswith("T01:00+00:00\n")
