"""Deploys to a real board, and everything that may happen in the middle of one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import TargetError
from edgewright.base.layout import installed_resources
from edgewright.board.catalogue import load_board
from edgewright.build.pipeline import BuildReport
from edgewright.deploy import install as deploy
from edgewright.deploy import one_board, smoke
from edgewright.deploy.documents import deploy_report, status_report
from edgewright.deploy.edgectl import RefusedError
from edgewright.deploy.remote import Board, ConnectionLostError, connect
from edgewright.deploy.service import ServiceState
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.fleet.bench.stand_in import program
from edgewright.fleet.rollout import plan as rollout_plan
from edgewright.fleet.rollout.controller import Controller
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.gates import VERDICTS, Word
from edgewright.fleet.rollout.ledger import Entry, Ledger, Order
from edgewright.fleet.rollout.on_boards import FleetBoard, Login, OnBoards, Roster
from edgewright.fleet.rollout.states import Goal, State
from edgewright.lab import emulate
from edgewright.lab.emulate import EmulatedBoard, Instance
from edgewright.observe import transfer_rate as transfer_bench
from edgewright.observe.bench import measure
from edgewright.observe.bench.conditions import Gauge
from edgewright.observe.bench.measure import Bench, Plan
from edgewright.release.keys import user_keys
from edgewright.release.manifest import Release, load_release
from tests import signing
from tests.boards import Watched, documents
from tests.integration.conftest import SMALL_MB, kill_sessions, shell
from tests.schemas import require_valid
from tests.signing import sign, sign_anew, signer

pytestmark = pytest.mark.board

Make = Callable[..., Release]
MEGABYTE = 1024 * 1024


def install(board: Board, release: Release, **options: Any) -> deploy.Installed:
    return signing.install(board, release, **({"reserve_bytes": MEGABYTE} | options))


def current(emulated: EmulatedBoard, release: Release) -> str:
    """The id of the current release; every file of it is hashed if it is this one."""
    root = release.manifest.deploy_root
    name = shell(emulated, f"basename $(readlink {root}/current)")
    if name == release.id:
        for file in release.manifest.files:
            digest = shell(emulated, f"sha256sum {root}/current/{file.path}")
            assert digest.startswith(file.sha256), file.path
    return name


def uploads(emulated: EmulatedBoard, root: str) -> str:
    return shell(emulated, f"find {root}/tmp -type f")


def test_deploy_smoke_redeploy_rollback(
    board: Board, emulated: EmulatedBoard, make: Make, root: str
) -> None:
    first, second = make("one"), make("two")
    gate = smoke.Gate(first.manifest)
    order = sign(first)
    outcome = install(board, first, signature=order, gate=gate)
    assert current(emulated, first) == first.id
    assert (outcome.former, outcome.removed) == (None, ())
    assert outcome.facts is not None
    assert outcome.facts.machine == "armv7l"
    assert outcome.facts.userland_bits == 32
    assert outcome.facts.libc is not None
    assert "ld-linux-armhf.so.3" in outcome.facts.loaders
    assert gate.report is not None
    assert (gate.report.passed, gate.report.emulated) == (True, True)
    require_valid("smoke", gate.report.to_json())
    require_valid("deploy", deploy_report(outcome, gate.report, str(board.target)).to_json())

    progress = Watched()
    again = install(board, first, signature=order, progress=progress)
    assert again.unchanged
    assert progress.uploads == []

    third = install(board, second)
    assert third.bytes_sent < 2000
    assert deploy.rollback(board, root, sign_anew) == (second.id, first.id)
    assert current(emulated, first) == first.id
    status = deploy.status(board, root)
    report = status_report(status, ServiceState(installed=False), str(board.target))
    require_valid("status", report.to_json())
    assert status.edgectl is not None
    assert (status.edgectl.current, status.edgectl.previous) == (first.id, second.id)
    assert status.edgectl.keys == (signer().public.id,)
    measured(board, emulated, first, second)


def measured(board: Board, emulated: EmulatedBoard, current: Release, previous: Release) -> None:
    """Both releases are measured, by edgectl and side by side."""
    root, plan = current.manifest.deploy_root, Plan(processes=1, runs=1, warmup=1)
    gauge = Gauge(board=board, interval_s=0.2)
    with (
        one_board.current_release(board, root, deploy.this_user()) as subject,
        connect(emulated.target) as second,
    ):
        alone = Bench(subject=subject, plan=plan, gauge=gauge, second=second).run()
        other = measure.beside(subject, "previous")
        both = Bench(subject=measure.direct(subject), plan=plan, gauge=gauge, against=other).run()

    for report in (alone, both):
        require_valid("bench.board", report.to_json())
        assert (report.release, report.emulated) == (current.id, True)
        assert [latency.label for latency in report.latency] == ["emulated"]
        assert report.boot_id is not None
    assert both.comparison is not None
    assert (both.comparison.against, both.comparison.verdict) == (previous.id, "not judged")


def test_a_rollout_to_an_emulated_board_has_no_verdict_on_times_and_goes_back_unapproved(
    board: Board, emulated: EmulatedBoard, make: Make, root: str, tmp_path: Path
) -> None:
    first, second = make("one"), make("two")
    install(board, first)
    orders = {
        release.id: Order(
            release=release.id, manifest=release.manifest.canonical(), signature=sign(release)
        )
        for release in (second, first)  # the way back has the higher number
    }
    profile = load_board("a53-som", installed_resources().boards)
    profile = profile.model_copy(
        update={"deploy": profile.deploy.model_copy(update={"root": root})}
    )
    oven = FleetBoard(name="oven", site="hall", target=emulated.target, profile=profile)
    known_hosts = (emulated.target.known_hosts,) if emulated.target.known_hosts else ()
    boards = OnBoards(
        Roster(boards=[oven], orders=orders),
        releases={second.id: second},
        signing=SigningPolicy(keys=user_keys(), ask=lambda _: None),
        login=Login(deployer=deploy.this_user(), known_hosts=known_hosts),
    )
    ledger = Ledger(open_database(str(tmp_path / "ledger.sqlite")), time.time)
    plan = rollout_plan.Plan(
        waves="100%",
        ends=(1,),
        salt="s",
        gates="failures<=0,p95<=10%",
        releases={"a53-som": second.id},
        soak_s=0,
        approval_s=0,
    )
    entry = Entry(board="oven", site="hall", wave=1, release=second.id, former=first.id)
    ledger.plan("bread", plan.model_dump_json(), [entry])

    conducted = Controller(ledger, "bread", boards, tick_s=0.1).conduct(lambda _, work: work())

    assert conducted == "stopped"
    assert ledger.rollout("bread").reason == "wave 1: nobody approved in time"
    words = {gate.gate: gate.word for gate in VERDICTS.validate_json(ledger.verdicts("bread")[1])}
    assert words == {"failures<=0": Word.YES, "p95<=10%": Word.NONE}
    (member,) = ledger.members("bread")
    assert (member.goal, member.state, member.reason) == (Goal.FORMER, State.DONE, "")
    assert current(emulated, first) == first.id
    # The first deploy took fence 1 of the board, so the ledger went above it.
    assert shell(emulated, f"head -n 1 {root}/fence") == "3"


def test_failed_smoke_keeps_the_former_release(
    board: Board, emulated: EmulatedBoard, make: Make
) -> None:
    good = make("good")
    install(board, good)
    wrong = documents()
    wrong["run"]["results"][0]["class"] = "defective"
    bad = make("bad", edge_infer=program(wrong))
    with pytest.raises(TargetError) as failed:
        install(board, bad, gate=smoke.Gate(bad.manifest))
    assert str(failed.value) == (
        f"{board.target}: release {bad.id}: smoke test failed\n"
        "  run:\n"
        "    expected: 2 images, same class, within 0.01\n"
        "    found: 1 images\n"
        "    a.png: expected ok, found defective, probabilities differ by 0.0000\n"
        "next: mend it, then invoke build --board=board and invoke deploy"
    )
    assert failed.value.exit_code == 3
    assert current(emulated, good) == good.id


def test_program_of_another_machine_is_refused_before_anything_is_pushed(
    board: Board, emulated: EmulatedBoard, make: Make, root: str
) -> None:
    release = make(edge_infer=Path("/bin/true").resolve().read_bytes())
    with pytest.raises(TargetError) as refused:
        install(board, release)
    assert str(refused.value).splitlines()[:3] == [
        f"{board.target}: bin/edge-infer: is not for this board's machine",
        "  file: X86_64, 64-bit",
        "  board: armv7l, 32-bit userland",
    ]
    assert shell(emulated, f"ls {root}") == ""


def test_orders_that_are_refused_by_the_board(
    board: Board, emulated: EmulatedBoard, make: Make
) -> None:
    """A foreign key, an older order played again, another board, a byte that was changed."""
    first, second, bad = make("one"), make("two"), make("three")
    foreign = make("four", compatible="raspberrypi,2-model-b")
    old = sign(first)
    install(board, first, signature=old)
    install(board, second)
    order = sign(bad)
    (bad.folder / "model" / "model.ort").write_bytes(b"thrEe")
    for release, signature, code in (
        (make("five"), sign(make("five"), "stranger"), "signature_unknown_key"),
        (first, old, "older"),
        (foreign, sign(foreign), "wrong_board"),
        (bad, order, "object_damaged"),
    ):
        with pytest.raises(RefusedError) as refused:
            install(board, release, signature=signature)
        assert refused.value.code == code
        assert current(emulated, second) == second.id


# Space


def test_board_without_space_is_refused_before_anything_is_pushed(
    small_board: EmulatedBoard, make: Make, root: str
) -> None:
    release = make(megabytes=SMALL_MB)
    with connect(small_board.target) as board, pytest.raises(TargetError) as refused:
        install(board, release)
    lines = str(refused.value).splitlines()
    assert "bytes are needed" in lines[0]
    assert lines[-1] == "next: make room on the board, or lower deploy.reserve_mb in its profile"
    assert shell(small_board, f"find {root}/store {root}/tmp -type f") == ""


def test_board_that_fills_up_during_the_upload_keeps_its_release(
    small_board: EmulatedBoard, make: Make, root: str
) -> None:
    """Somebody else's log eats what the plan had counted on."""
    first, second = make("one"), make("two", megabytes=2)

    def fill(step: str) -> None:
        if step.startswith("send"):
            shell(small_board, "dd if=/dev/zero of=/opt/log bs=1024 count=3500")

    with connect(small_board.target) as board:
        install(board, first)
        with pytest.raises(RefusedError) as full:
            install(board, second, progress=Watched(on_start=fill))
        assert full.value.code == "no_space"
        assert current(small_board, first) == first.id
        shell(small_board, "rm /opt/log")
        install(board, second)
    assert current(small_board, second) == second.id


# Cut in the middle


class Cut:
    """Does something to the board once half of the bytes are sent."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act, self.done = act, False

    def __call__(self, sent: int, total: int) -> None:
        if sent > total / 2 and not self.done:
            self.done = True
            self.act()


def test_connection_cut_during_the_upload(emulated: EmulatedBoard, make: Make, root: str) -> None:
    first, second = make("one"), make("two", megabytes=3)
    with connect(emulated.target) as board:
        install(board, first)
        cut = Cut(lambda: kill_sessions(emulated))
        with pytest.raises(ConnectionLostError, match="connection lost"):
            install(board, second, progress=Watched(on_sent=cut))
    assert cut.done
    assert current(emulated, first) == first.id
    assert uploads(emulated, root) != ""
    with connect(emulated.target) as board:
        assert install(board, second).bytes_sent < 2.5 * MEGABYTE
    assert current(emulated, second) == second.id
    assert uploads(emulated, root) == ""


def test_power_cut_during_the_upload(
    own_instance: Instance, own_board: EmulatedBoard, make: Make, root: str
) -> None:
    first, second = make("one"), make("two", megabytes=3)
    with connect(own_board.target) as board:
        install(board, first)
        kill = ["docker", "kill", own_board.container]
        cut = Cut(lambda: subprocess.run(kill, check=True, capture_output=True))
        with pytest.raises(ConnectionLostError):
            install(board, second, progress=Watched(on_sent=cut))
    again = emulate.up(own_instance)
    assert current(again, first) == first.id
    with connect(again.target) as board:
        # A boot ends every lease; but a container has its host's boot, and another port by now.
        install(board, second, take_over=True)
    assert current(again, second) == second.id


DEPLOY = """
import sys
import tempfile
from pathlib import Path
from tests import signing
from tests.boards import Watched
from edgewright.release.manifest import load_release
from edgewright.deploy.remote import connect
from edgewright.deploy.target import Target
folder, port, keys = sys.argv[1:]
target = Target(address="127.0.0.1", user="root", port=int(port),
                identity=Path(keys, "id_ed25519"), known_hosts=Path(keys, "known_hosts"))
said = []
def tell(sent, total):
    if sent > total / 2 and not said:
        said.append(print("half", flush=True))
with connect(target) as board:
    signing.install(board, load_release(Path(folder)), progress=Watched(on_sent=tell))
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary files with a short name: that of a socket has 108 bytes at most."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_ctrl_c_during_the_upload(
    board: Board, emulated: EmulatedBoard, make: Make, root: str, scratch: Path
) -> None:
    """A terminal sends the signal to all that the command has started in its group."""
    first, second = make("one"), make("two", megabytes=24)
    install(board, first)
    argv = [sys.executable, "-c", DEPLOY, str(second.folder), str(emulated.port)]
    child = subprocess.Popen(
        [*argv, str(emulated.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    assert str(scratch) in processes()  # OpenSSH's, for a large send
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert str(scratch) not in processes()
    assert [*scratch.iterdir()] == []
    assert current(emulated, first) == first.id
    assert not install(board, second).unchanged
    assert current(emulated, second) == second.id


def processes() -> str:
    """The commands of all processes of this machine."""
    argv = ["ps", "-e", "--no-headers", "-o", "args", "-ww"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


# Transfer


@pytest.mark.usefixtures("own_keys")
def test_update_sends_what_changed_and_nothing_to_do_is_asked_once(
    board: Board, built: BuildReport
) -> None:
    release = load_release(built.folder)
    report = transfer_bench.run(board, release, signer(), megabytes=1, rounds=1)
    assert report.update_ratio <= 1.05
    assert report.noop_round_trips <= 2
