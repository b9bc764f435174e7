"""Fifty deploys in fifty threads of one process: nothing of one reaches another."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy import keyring, one_board
from edgewright.deploy.documents import DeployReport
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.install import Deployer
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.remote import Result
from edgewright.deploy.report import load_smoke_report
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.deploy.target import Target
from edgewright.fleet.bench.stand_in import program
from edgewright.release import order
from edgewright.release.keys import KeyFolder
from edgewright.release.manifest import Release
from tests.boards import LocalBoard, Watched, documents, make_release

pytestmark = pytest.mark.docker

BOARDS = 50
ROOT = "/opt/edgewright"  # on each board; a folder of its own stands in for it


class FolderBoard(LocalBoard):
    """A board whose deploy root is a folder of this machine, whatever the release says."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(emulated=True)
        self.target = Target(address=f"board-{number}.test", user="root", emulated=True)
        self.folder = folder / str(number)

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        local_argv = [word.replace(ROOT, str(self.folder)) for word in argv]
        return super().answer(local_argv, data)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy that looked for the user's folders or name would fail."""
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("EDGEWRIGHT_CACHE", "EDGEWRIGHT_CONFIG"):
        monkeypatch.setenv(name, "/proc/nowhere")


@pytest.fixture
def release(tmp_path: Path, host_edgectl: Path) -> Release:
    """One release, not signed yet, for all boards; its model does not compress."""
    return make_release(tmp_path, root=ROOT, model=os.urandom(100_000), edgectl=host_edgectl)


def settings(board: FolderBoard, release: Release, signing: SigningPolicy) -> DeploySettings:
    folder = release.folder.parent.parent
    return DeploySettings(
        target=board.target,
        release=release,
        signing=signing,
        deployer=Deployer(holder="tester@here", locks=folder / "locks"),
        known_hosts=(),
        smoke_file=folder / "reports" / board.folder.name / "smoke.json",
    )


@pytest.fixture
def signing(tmp_path: Path) -> SigningPolicy:
    return SigningPolicy(keys=KeyFolder(tmp_path / "keys"), ask=lambda _: None)


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FolderBoard]:
    monkeypatch.setattr("edgewright.deploy.install.judge_target", lambda facts, target: [])
    return [FolderBoard(tmp_path / "boards", number) for number in range(BOARDS)]


def deploy_all(
    boards: Sequence[FolderBoard],
    release: Release,
    signing: SigningPolicy,
    sinks: Sequence[Watched],
) -> list[DeployReport | TargetError]:
    """Deploy to all boards at once, each in a thread of its own."""
    start = Barrier(len(boards))

    def deploy(board: FolderBoard, sink: Watched) -> DeployReport | TargetError:
        start.wait()
        try:
            return one_board.deploy_connected(board, settings(board, release, signing), sink)
        except TargetError as fault:
            return fault

    with ThreadPoolExecutor(len(boards)) as pool:
        return list(pool.map(deploy, boards, sinks))


@pytest.mark.usefixtures("no_environment")
def test_fifty_deploys_at_once_all_end_well(
    boards: list[FolderBoard], release: Release, signing: SigningPolicy, tmp_path: Path
) -> None:
    sinks = [Watched() for _ in boards]

    reports = deploy_all(boards, release, signing, sinks)

    for board, sink, report in zip(boards, sinks, reports, strict=True):
        assert isinstance(report, DeployReport), report
        assert (report.target, report.release) == (str(board.target), release.id)
        assert report.smoke is not None
        written = tmp_path / "reports" / board.folder.name / "smoke.json"
        assert load_smoke_report(written.read_text(), "smoke.json") == report.smoke
        assert report.smoke.target == str(board.target)
        assert (board.folder / "current").readlink().name == release.id
        assert sink.stages[0] == "probe the board"
        assert sink.stages[-1] == f"switch to {release.id}"
        assert len(sink.stages) == len({*sink.stages})
        assert sink.uploads[-1] == (report.bytes_sent, report.bytes_sent)
    in_force = [keyring.read(Edgectl(board=board, root=ROOT)) for board in boards]
    [key] = signing.keys.listed()
    assert {keys.public for keys in in_force} == {(key.public,)}
    assert len({keys.board_id for keys in in_force}) == BOARDS
    assert key.last_sequence == order.verify_release(release, [key.public]).order.sequence


@pytest.mark.usefixtures("no_environment")
def test_a_board_that_fails_does_not_disturb_the_others(
    boards: list[FolderBoard], host_edgectl: Path, signing: SigningPolicy, tmp_path: Path
) -> None:
    wrong = documents()
    wrong["run"]["results"][0]["class"] = "defective"
    bad = make_release(tmp_path / "bad", root=ROOT, edgectl=host_edgectl, edge_infer=program(wrong))
    good = make_release(tmp_path / "good", root=ROOT, edgectl=host_edgectl)
    few = boards[:8]
    start = Barrier(len(few))

    def deploy(board: FolderBoard) -> str:
        start.wait()
        release = bad if int(board.folder.name) % 2 else good
        try:
            one_board.deploy_connected(board, settings(board, release, signing))
        except TargetError as fault:
            return fault.problem
        return "deployed"

    with ThreadPoolExecutor(len(few)) as pool:
        ends = list(pool.map(deploy, few))

    assert ends == ["deployed", "smoke test failed"] * 4
    assert [(board.folder / "current").is_symlink() for board in few] == [True, False] * 4
