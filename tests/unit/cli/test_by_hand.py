"""Deploys by hand to boards that rollouts go to, by the ledger of this workspace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.base.errors import ExitCode
from edgewright.base.progress import Progress
from edgewright.cli.ledgers import HandFences
from edgewright.deploy import one_board
from edgewright.deploy.documents import DeployReport
from edgewright.deploy.one_board import DeploySettings, RollbackSettings
from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target, parse_host
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Entry, Ledger
from edgewright.release.manifest import Release
from tests.boards import LocalBoard, make_release
from tests.unit.cli.test_cli import run, start
from tests.unit.cli.test_many_boards import FLEET

LAST = 6  # the fence that each board has
BY_HOST = ("deploy", "--board=a53-som", "--host=root@board-0.test")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a fleet, and a key to sign with."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEWRIGHT_LEDGER", raising=False)
    monkeypatch.chdir(tmp_path)
    start("init")
    start("keys.generate")
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


@pytest.fixture
def ledger(folder: Path) -> Ledger:
    return Ledger(open_database(str(folder / "fleet.sqlite")), time.time)


@pytest.fixture(autouse=True)
def fences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Boards whose deploys do no more than take their numbers, which are listed here."""
    built, archives = make_release(tmp_path / "built", root=str(tmp_path / "board")), []

    def deploy(settings: DeploySettings, progress: Progress) -> DeployReport:
        archives.append(settings.next_fence(LAST) if settings.next_fence else None)
        return report(settings)

    def report(settings: DeploySettings) -> DeployReport:
        return DeployReport(
            target=str(settings.target),
            release=settings.release.id,
            former=None,
            unchanged=False,
            staged=False,
            bytes_sent=1,
            removed=(),
            smoke=None,
        )

    def rollback(board: Board, settings: RollbackSettings, progress: Progress) -> tuple[str, str]:
        assert not settings.take_over
        archives.append(settings.next_fence(LAST) if settings.next_fence else None)
        return "new", "old"

    @contextmanager
    def connect(target: Target, **options: object) -> Iterator[Board]:
        yield LocalBoard()

    def last_build(build: object) -> Release:
        return built

    monkeypatch.setattr("edgewright.release.latest.release_of", last_build)
    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    monkeypatch.setattr(one_board, "deploy", deploy)
    monkeypatch.setattr(one_board, "rollback", rollback)
    return archives


def plan_bread(ledger: Ledger) -> None:
    ledger.plan("bread", "{}", [Entry(board="oven-1", site="lyon", wave=1)])
    ledger.open_wave("bread", 1)


def test_without_a_ledger_the_board_counts_by_itself(
    fences: list[int | None], folder: Path
) -> None:
    start(*BY_HOST)
    start("deploy", "--select=all")

    assert fences == [None] * 4
    assert not (folder / "fleet.sqlite").exists()


@pytest.mark.parametrize(
    "argv",
    [
        BY_HOST,
        ("deploy", "--select=name=oven-1"),
        ("deploy", "--board=a53-som", "--host=root@board-0.test", "--host=root@elsewhere.test"),
        ("rollback", "--board=a53-som", "--host=root@board-0.test"),
        ("rollback", "--select=name=oven-1"),
    ],
)
def test_a_deploy_by_hand_gets_a_fence_above_the_ledger_s_and_raises_it(
    argv: tuple[str, ...], fences: list[int | None], ledger: Ledger
) -> None:
    assert ledger.fence_by_hand("oven-1", 40, "a rollout", take_over=False) == 41

    start(*argv)

    assert 42 in fences
    assert {*fences} <= {42, None}  # a host that is no board of the fleet counts by itself
    assert ledger.fence_by_hand("oven-1", 0, "the next one", take_over=False) == 43


@pytest.mark.parametrize(
    "argv",
    [
        BY_HOST,
        ("deploy", "--select=name=oven-1"),
        ("rollback", "--board=a53-som", "--host=root@board-0.test"),
    ],
)
def test_a_board_of_a_rollout_is_refused_by_name(
    argv: tuple[str, ...],
    fences: list[int | None],
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan_bread(ledger)

    assert run(*argv) == ExitCode.TARGET

    message = capsys.readouterr().err
    assert "oven-1: is a board of rollout 'bread', which is not over\n" in message
    assert "--take-over" in message
    assert fences == []


def test_a_board_is_taken_over_from_its_rollout(fences: list[int | None], ledger: Ledger) -> None:
    plan_bread(ledger)
    (claim,) = ledger.claim("bread", worker="w", limit=1, lease_s=60)

    start(*BY_HOST, "--take-over")

    assert fences == [LAST + 1]
    assert ledger.raise_fence(claim, LAST) is None
    assert [member.state for member in ledger.members("bread")] == ["excluded"]


def test_a_ledger_that_is_named_must_be_there(
    fences: list[int | None], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*BY_HOST, "--ledger=mistyped.sqlite") == ExitCode.USER

    assert "mistyped.sqlite: no such ledger" in capsys.readouterr().err
    assert not (folder / "mistyped.sqlite").exists()
    assert fences == []


def test_an_alias_of_ssh_is_the_board_that_it_leads_to(folder: Path, ledger: Ledger) -> None:
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "config").write_text("Host oven\n  HostName board-0.test\n")
    plan_bread(ledger)

    hand = HandFences("", take_over=False)

    assert hand.of_target(parse_host("root@oven")) is not None
    assert hand.of_target(parse_host("root@elsewhere.test")) is None
