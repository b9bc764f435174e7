"""Deploys to many boards at once over real SSH, from an inventory, some of them in trouble.

Each board is a dropbear of this machine on a port of its own, with its own /opt and host key.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import ExitCode
from edgewright.base.ports import reserved_port
from edgewright.base.progress import Progress
from edgewright.cli.common import profile_of
from edgewright.cli.keys import signing_policy
from edgewright.cli.rollout import fleet_boards, login_of
from edgewright.deploy import install, keyring, one_board
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import connect
from edgewright.fleet import inventory
from edgewright.fleet.bench import servers
from edgewright.fleet.bench.stand_in import program
from edgewright.fleet.documents import Invitation
from edgewright.fleet.inventory import Inventory
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Ledger
from edgewright.fleet.rollout.sites import Sites
from edgewright.fleet.rollout.states import Outcome
from edgewright.fleet.serve.authority import open_authority
from edgewright.fleet.serve.server import listener
from edgewright.fleet.serve.site_api import SiteApi
from edgewright.fleet.site.boards import OwnBoards
from edgewright.fleet.site.enrol import enrol
from edgewright.fleet.site.worker import SiteWorker
from edgewright.lab import board_keys
from edgewright.release import order
from edgewright.release.keys import Signer, user_keys
from edgewright.release.manifest import Release
from tests.boards import COMPATIBLE, make_release
from tests.boards import documents as board_answers
from tests.integration.conftest import new_user, wait_until
from tests.integration.conftest import run_edgewright as run
from tests.schemas import require_valid
from tests.serving import serving

pytestmark = pytest.mark.docker

SOUND = 5
NAMES = ("gate", *(f"oven-{n}" for n in range(SOUND)), "full", "changed", "off")
SOUND_ONES = "--select=not name in (full, changed, off)"
SMALL = "256k"  # of /opt: no room for edgectl


@dataclass(frozen=True, kw_only=True)
class Boards:
    """Boards of this machine, by their names in `fleet.toml`."""

    fleet: Path
    folder: Path

    def logins(self, name: str) -> int:
        return (self.folder / f"{name}.log").read_text().count("Child connection from")

    def current(self, name: str) -> str:
        """The id of its current release."""
        return (self.folder / name / "opt" / "edgewright" / "current").readlink().name

    def state(self, name: str, file: str) -> str:
        """The first word of a state file below its deploy root."""
        return (self.folder / name / "opt" / "edgewright" / file).read_text().split()[0]

    def inventory(self) -> Inventory:
        return inventory.load(self.fleet, {"a53-som"})


def entry(name: str, port: int, key: str, *, behind: str = "") -> str:
    list_, board = ("gateways", "") if name == "gate" else ("boards", 'site = "hall"\n')
    kind = 'kind = "a53-som"\n' if board else ""
    jump = f'jump = "{behind}"\n' if behind else ""
    text = f'[[{list_}]]\nname = "{name}"\naddress = "root@127.0.0.1:{port}"\n'
    return f'{text}host_key = "{key}"\n{board}{kind}{jump}'


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's home, with a key that every board lets in."""
    home = tmp_path_factory.mktemp("home")
    with new_user(home, cache=home / "cache") as patch:
        patch.setattr(install, "judge_target", lambda facts, target: [])
        yield home


@pytest.fixture(scope="module")
def boards(
    user: Path, ssh_servers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boards]:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("boards")
    login = board_keys.public(board_keys.key(user / ".ssh" / "id_ed25519"))
    text = 'version = 1\n[[sites]]\nname = "hall"\n'
    with ExitStack() as stack:
        ports = {name: stack.enter_context(reserved_port()) for name in NAMES}
        for name, port in ports.items():
            key = board_keys.key(folder / name / "host_ed25519")
            servers.make_folders(folder / name, login, key)
            pinned = board_keys.key(folder / "former") if name == "changed" else key
            behind = "gate" if name == "oven-1" else ""
            text += entry(name, port, board_keys.public(pinned), behind=behind)
            if name == "off":
                continue
            argv = ["unshare", "-m", "sh", "-c", servers.BOARD, "_", str(folder / name)]
            argv += [str(ssh_servers), "dropbear"]
            size = SMALL if name == "full" else ""
            with (folder / f"{name}.log").open("wb") as log:
                server = subprocess.Popen([*argv, f"127.0.0.1:{port}", size], stderr=log)
            stack.callback(server.wait)
            stack.callback(server.kill)
        (folder / "fleet.toml").write_text(text)
        ports.pop("off")
        for port in ports.values():
            wait_until(partial(board_keys.banner, "127.0.0.1", port), seconds=30)
        yield Boards(fleet=folder / "fleet.toml", folder=folder)


@pytest.fixture(scope="module")
def releases(
    user: Path, boards: Boards, host_edgectl: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Release]:
    """Two releases; the boards that can trust the key that signs them."""
    folder = tmp_path_factory.mktemp("releases")
    releases = [
        make_release(
            folder / name, root="/opt/edgewright", model=name.encode(), edgectl=host_edgectl
        )
        for name in ("one", "two")
    ]
    user_keys().generate()
    signer: Signer = user_keys().open_signer("default", lambda _: None)
    fleet = boards.inventory()
    for board in fleet.select("not name in (full, changed, off)"):
        with connect(fleet.target(board)) as connected:
            edgectl = install.ensure_edgectl(connected, "/opt/edgewright", releases[0])
            keyring.provision(edgectl, (COMPATIBLE,), signer.public, signer)
    return releases


@pytest.fixture
def last_build(monkeypatch: pytest.MonkeyPatch, releases: list[Release]) -> Release:
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: releases[0])
    return releases[0]


@pytest.fixture
def deployed(boards: Boards, last_build: Release, capsys: pytest.CaptureFixture[str]) -> Release:
    """The release that the boards run which can; ordered anew, as some ran a newer one before."""
    order.sign_release(last_build, user_keys().open_signer("default", lambda _: None))
    assert run("deploy", f"--fleet={boards.fleet}", SOUND_ONES) == ExitCode.OK
    capsys.readouterr()
    return last_build


def documents(text: str) -> dict[str, dict[str, Any]]:
    return {board["name"]: board for board in json.loads(text)["boards"]}


def test_boards_in_trouble_stop_no_other(
    boards: Boards, last_build: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    to_all = ("deploy", f"--fleet={boards.fleet}", "--select=all", "--parallel=8", "--json")
    before = {name: boards.logins(name) for name in ("oven-0", "oven-1", "gate")}

    assert run(*to_all) == ExitCode.TARGET

    shown = capsys.readouterr()
    require_valid("deploy--many", shown.out)
    ends = documents(shown.out)
    problems = {name: end["error"]["message"] for name, end in ends.items() if end["error"]}
    assert {*problems} == {"full", "changed", "off"}
    assert "connection refused" in problems["off"]
    assert "host key is not the one that was pinned" in problems["changed"]
    assert "space" in problems["full"].lower()
    for n in range(SOUND):
        assert ends[f"oven-{n}"]["report"]["release"] == last_build.id
        assert boards.current(f"oven-{n}") == last_build.id
    # All commands of one deploy go over one login; the board behind the gate is one of its logins.
    after = {name: boards.logins(name) for name in before}
    assert {name: after[name] - before[name] for name in before} == dict.fromkeys(before, 1)
    assert shown.err.endswith("8 boards: 5 done, 3 failed\n")


def test_the_same_again_is_a_round_trip_and_status_and_smoke_go_side_by_side(
    boards: Boards, deployed: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    ovens = (f"--fleet={boards.fleet}", SOUND_ONES, "--json")

    assert run("deploy", *ovens) == ExitCode.OK
    reports = [end["report"] for end in documents(capsys.readouterr().out).values()]
    assert {(report["unchanged"], report["bytes_sent"]) for report in reports} == {(True, 0)}

    assert run("status", *ovens) == ExitCode.OK
    reports = [end["report"] for end in documents(capsys.readouterr().out).values()]
    assert {report["current"] for report in reports} == {deployed.id}

    assert run("smoke", *ovens) == ExitCode.OK
    reports = [end["report"] for end in documents(capsys.readouterr().out).values()]
    assert [report["passed"] for report in reports] == [True] * SOUND


def test_a_full_board_is_named_by_doctor_before_a_deploy_is_refused(
    boards: Boards, capsys: pytest.CaptureFixture[str]
) -> None:
    some = (f"--fleet={boards.fleet}", "--select=name in (oven-0, full, off)")

    assert run("doctor", *some, "--json") == ExitCode.TARGET  # the board that is off

    shown = capsys.readouterr()
    require_valid("doctor--many", shown.out)
    ends = documents(shown.out)
    assert ends["off"]["report"] is None
    space = {
        name: next(check for check in ends[name]["report"]["checks"] if check["name"] == "space")
        for name in ("oven-0", "full")
    }
    assert (space["oven-0"]["grade"], space["full"]["grade"]) == ("well", "broken")


def test_ctrl_c_lets_boards_end_and_tells_the_state_of_each(
    boards: Boards,
    deployed: Release,
    releases: list[Release],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    former, new = releases
    assert former == deployed
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: new)
    begun: list[str] = []
    deploy = one_board.deploy

    def interrupted(settings: Any, progress: Any) -> Any:
        begun.append(str(settings.target))
        if len(begun) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.5)  # the others wait until nothing more is begun
        return deploy(settings, progress)

    monkeypatch.setattr(one_board, "deploy", interrupted)
    ovens = (f"--fleet={boards.fleet}", SOUND_ONES)

    assert run("deploy", *ovens, "--parallel=2", "--json") == ExitCode.INTERRUPTED

    shown = capsys.readouterr()
    ends = documents(shown.out)
    states = [end["state"] for end in ends.values()]
    assert {*states} == {"done", "not_begun"}
    assert 2 <= states.count("done") < SOUND
    for name, end in ends.items():
        assert boards.current(name) == (new if end["state"] == "done" else former).id
    assert "interrupted: no other board is begun" in shown.err


class InterruptedUpload(Progress):
    """Ctrl-C twice, once an upload has begun."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, stage: str) -> None:
        self._progress.start(stage)

    def sent(self, count: int, total: int) -> None:
        for _ in range(2):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.5)
        self._progress.sent(count, total)


def test_a_second_ctrl_c_ends_uploads_and_the_next_deploy_goes_on(
    boards: Boards,
    deployed: Release,
    host_edgectl: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = make_release(
        tmp_path, root="/opt/edgewright", model=os.urandom(3 << 20), edgectl=host_edgectl
    )
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: large)
    to_two = ("deploy", f"--fleet={boards.fleet}", "--select=name in (oven-0, oven-1)", "--json")
    deploy = one_board.deploy

    with monkeypatch.context() as patch:
        patch.setattr(one_board, "deploy", lambda s, p: deploy(s, InterruptedUpload(p)))
        assert run(*to_two) == ExitCode.INTERRUPTED

    ends = documents(capsys.readouterr().out)
    assert {end["state"] for end in ends.values()} == {"interrupted"}
    assert (boards.current("oven-0"), boards.current("oven-1")) == (deployed.id, deployed.id)

    assert run(*to_two) == ExitCode.OK
    assert (boards.current("oven-0"), boards.current("oven-1")) == (large.id, large.id)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[[Release], None]:
    """Makes a release the last build of its kind; a rollout finds it, and earlier ones, by id."""
    by_id: dict[str, Release] = {}
    monkeypatch.setattr("edgewright.cli.rollout.load_release", lambda path: by_id[path.name])
    # Orders to go back are signed for the board's kind alone.
    kind = profile_of("a53-som").model_copy(update={"compatible": COMPATIBLE})
    monkeypatch.setattr("edgewright.cli.rollout.profile_of", lambda name: kind)

    def build(release: Release) -> None:
        by_id[release.id] = release
        monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: release)

    return build


def rollout_argv(boards: Boards, ledger: Path, *options: str) -> tuple[str, ...]:
    start = ("rollout.start", f"--fleet={boards.fleet}", SOUND_ONES, f"--ledger={ledger}")
    return (
        *start,
        "--waves=100%",
        "--soak=0s",
        "--gate=failures<=0,p95<=10%,accuracy<=0%",
        *options,
    )


def test_a_rollout_compares_each_board_with_itself_and_goes_on(
    boards: Boards,
    deployed: Release,
    releases: list[Release],
    built: Callable[[Release], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built(releases[1])
    fence = int(boards.state("oven-0", "fence"))

    assert run(*rollout_argv(boards, tmp_path / "ledger", "--name=good", "--json")) == ExitCode.OK

    text = capsys.readouterr().out
    require_valid("rollout.start", text)
    shown = json.loads(text)
    assert (shown["state"], shown["releases"]) == ("done", {"a53-som": releases[1].id})
    gates = {gate["gate"]: (gate["word"], gate["pairs"]) for gate in shown["verdicts"][0]["gates"]}
    assert gates["p95<=10%"] == gates["accuracy<=0%"] == ("yes", SOUND)
    for n in range(SOUND):
        assert boards.current(f"oven-{n}") == releases[1].id
    # The ledger began at 0, so it went above what deploys by hand had come to.
    assert int(boards.state("oven-0", "fence")) == fence + 1


def is_untouched(boards: Boards, name: str, former: Release) -> bool:
    """No switch was begun, let alone made."""
    root = boards.folder / name / "opt" / "edgewright"
    return boards.current(name) == former.id and not (root / "txn").exists()


def test_content_is_staged_by_hand_and_the_deploy_that_follows_sends_none(
    boards: Boards,
    deployed: Release,
    host_edgectl: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = make_release(  # of which no board has anything from an earlier test
        tmp_path, root="/opt/edgewright", model=os.urandom(5000), edgectl=host_edgectl
    )
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: new)
    to_two = ("deploy", f"--fleet={boards.fleet}", "--select=name in (oven-0, oven-1)", "--json")

    assert run(*to_two, "--stage") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("deploy--many", text)
    staged = documents(text)
    assert all(end["report"]["staged"] for end in staged.values())
    assert all(end["report"]["bytes_sent"] > 0 for end in staged.values())
    assert all(is_untouched(boards, name, deployed) for name in staged)

    assert run(*to_two, "--stage") == ExitCode.OK
    again = documents(capsys.readouterr().out)
    assert all(end["report"]["bytes_sent"] == 0 for end in again.values())

    assert run(*to_two) == ExitCode.OK
    switched = documents(capsys.readouterr().out)
    assert [end["report"]["bytes_sent"] for end in switched.values()] == [0, 0]
    assert {boards.current(name) for name in switched} == {new.id}


def in_thread(*argv: str) -> tuple[threading.Thread, list[int]]:
    """A command beside this one, and its exit code once it has ended."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(*argv)), daemon=True)
    thread.start()
    return thread, codes


def test_an_abort_in_the_middle_of_a_download_switches_no_board(
    boards: Boards,
    deployed: Release,
    host_edgectl: Path,
    built: Callable[[Release], None],
    tmp_path: Path,
) -> None:
    large = make_release(
        tmp_path, root="/opt/edgewright", model=os.urandom(1 << 20), edgectl=host_edgectl
    )
    built(large)
    ledger = tmp_path / "ledger"
    start = rollout_argv(boards, ledger, "--stage-first", "--site-rate=500", "--name=slow")
    thread, codes = in_thread(*start)
    parts = boards.folder / "oven-0" / "opt" / "edgewright" / "tmp"
    wait_until(lambda: parts.is_dir() and any(parts.iterdir()), seconds=60)

    assert run("rollout.abort", "--name=slow", f"--ledger={ledger}") == ExitCode.OK
    thread.join(120)

    assert codes == [ExitCode.CHECK]
    opened = Ledger(open_database(str(ledger)), time.time)
    assert opened.rollout("slow").state == "aborted"
    assert all(member.state == "skipped" for member in opened.members("slow"))
    assert all(is_untouched(boards, f"oven-{n}", deployed) for n in range(SOUND))
    kinds = {event.text for event in opened.events("slow") if event.kind == "begun"}
    assert kinds == {"stage"}


def test_boards_join_a_rollout_that_waits_for_a_person(
    boards: Boards,
    deployed: Release,
    releases: list[Release],
    built: Callable[[Release], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built(releases[1])
    ledger = tmp_path / "ledger"
    reach = (f"--fleet={boards.fleet}", f"--ledger={ledger}")
    start = ("rollout.start", *reach, "--select=name in (oven-0, oven-1)", "--waves=1,100%")
    thread, codes = in_thread(
        *start, "--soak=0s", "--gate=failures<=0", "--approve-after=1", "--name=grows"
    )
    opened = Ledger(open_database(str(ledger)), time.time)

    def waits() -> bool:
        return any(each.phase.endswith("approval") for each in opened.rollouts())

    wait_until(waits, seconds=120)
    assert run("rollout.join", *reach, "--select=name in (oven-2, oven-3)") == ExitCode.OK
    assert "rollout grows: join, 2 boards" in capsys.readouterr().err
    assert run("rollout.approve", "--reason=it works", f"--ledger={ledger}") == ExitCode.OK
    thread.join(120)

    assert codes == [ExitCode.OK]
    assert {boards.current(f"oven-{n}") for n in range(4)} == {releases[1].id}
    assert boards.current("oven-4") == deployed.id
    members = {member.board: member for member in opened.members("grows")}
    assert {name for name in members if members[name].joined} == {"oven-2", "oven-3"}
    assert {member.former for member in members.values()} == {deployed.id}


def exchange_key(boards: Boards, name: str, old: Signer, new: Signer) -> None:
    """The board trusts the other key from now on, and this one no more."""
    fleet, own = boards.inventory(), (old.public, new.public)
    (board,) = fleet.select(f"name={name}")
    with connect(fleet.target(board)) as connected:
        edgectl = Edgectl(board=connected, root="/opt/edgewright")
        keyring.provision(edgectl, (COMPATIBLE,), new.public, old, confirmed=own)
        keyring.revoke(edgectl, (COMPATIBLE,), [old.public.id], new, confirmed=own)


def test_a_key_that_is_revoked_in_the_middle_switches_no_further_board(
    boards: Boards,
    deployed: Release,
    releases: list[Release],
    built: Callable[[Release], None],
    tmp_path: Path,
) -> None:
    built(releases[1])
    ledger = tmp_path / "ledger"
    thread, codes = in_thread(
        "rollout.start", f"--fleet={boards.fleet}", f"--ledger={ledger}", "--name=revoked",
        "--select=name in (oven-0, oven-2)", "--waves=1,100%", "--soak=0s",
        "--gate=failures<=0", "--approve-after=1",
    )  # fmt: skip
    opened = Ledger(open_database(str(ledger)), time.time)

    def waits() -> bool:
        return any(each.phase.endswith("approval") for each in opened.rollouts())

    wait_until(waits, seconds=120)
    (first,), (second,) = (opened.members("revoked", wave) for wave in (1, 2))
    signer = user_keys().open_signer("default", lambda _: None)
    user_keys().generate("other")
    other = user_keys().open_signer("other", lambda _: None)
    exchange_key(boards, second.board, signer, other)
    try:
        approve = ("rollout.approve", "--reason=it works", f"--ledger={ledger}")
        assert run(*approve) == ExitCode.OK
        thread.join(120)
    finally:
        exchange_key(boards, second.board, other, signer)

    assert codes == [ExitCode.CHECK]
    (refused,) = (each for each in opened.events("revoked") if each.kind == Outcome.HOPELESS)
    assert refused.board == second.board  # once: it would be refused again
    assert "is not trusted by this board" in refused.text
    assert boards.current(first.board) == releases[1].id
    assert is_untouched(boards, second.board, deployed)


def test_a_slower_release_is_taken_back_from_every_board(
    boards: Boards,
    deployed: Release,
    host_edgectl: Path,
    built: Callable[[Release], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = board_answers()
    bench = answers["bench"]
    answers["bench"] = bench | {"latency_ms": bench["latency_ms"] | {"p95": 3.9}}
    slow = make_release(
        tmp_path, root="/opt/edgewright", edge_infer=program(answers), edgectl=host_edgectl
    )
    built(slow)

    assert run(*rollout_argv(boards, tmp_path / "ledger", "--json")) == ExitCode.CHECK

    shown = capsys.readouterr()
    require_valid("rollout.start", shown.out)
    document = json.loads(shown.out)
    assert document["reason"] == "wave 1: a gate said no"
    (no,) = [gate for gate in document["verdicts"][0]["gates"] if gate["word"] == "no"]
    assert (no["gate"], len(no["boards"]), no["pairs"]) == ("p95<=10%", SOUND, SOUND)
    assert "median +30.0 %" in shown.err
    for n in range(SOUND):
        assert boards.current(f"oven-{n}") == deployed.id
    assert {board["goal"] for board in document["boards"]} == {"former"}


def test_a_rollout_reaches_boards_through_the_worker_of_their_site(
    boards: Boards,
    deployed: Release,
    releases: list[Release],
    built: Callable[[Release], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The controller's file has no way to them: their addresses there lead nowhere."""
    built(releases[1])
    text = boards.fleet.read_text().replace('"hall"\n', '"hall"\ndials_out = true\n', 1)
    (tmp_path / "fleet.toml").write_text(text.replace("root@127.0.0.1", "root@192.0.2.1"))
    ledger = Ledger(open_database(str(tmp_path / "ledger")), time.time)
    authority, sites = open_authority(tmp_path / "authority"), Sites(ledger.database, time.time)
    api = SiteApi(
        ledger=ledger, sites=sites, authority=authority,
        release_folder=lambda kind, release: releases[1].folder,
    )  # fmt: skip
    certificate, key = authority.server_files(["127.0.0.1"])
    where = listener("127.0.0.1:0", certificate=certificate, key=key, client_cas=[authority.file])
    with serving(ledger, where, sites=api) as url:
        invitation = Invitation(
            site="hall", server=url, token=sites.invite("hall", 60),
            authority=authority.file.read_text(),
        )  # fmt: skip
        (tmp_path / "hall.json").write_text(invitation.to_json())
        names = {f"oven-{n}" for n in range(SOUND)}
        inventory = boards.inventory()
        own = OwnBoards(
            boards=fleet_boards(inventory, [b for b in inventory.fleet.boards if b.name in names]),
            signing=signing_policy(),
            login=login_of(ask=False),
        )
        worker = SiteWorker(
            enrol(tmp_path / "hall.json", tmp_path / "site"), own, tmp_path / "files",
            parallel=4, board_s=60, idle_s=0.2,
        )  # fmt: skip
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            far = replace(boards, fleet=tmp_path / "fleet.toml")
            assert run(*rollout_argv(far, tmp_path / "ledger", "--json")) == ExitCode.OK
        finally:
            worker.leave()
            thread.join(60)

    shown = json.loads(capsys.readouterr().out)
    gates = {gate["gate"]: (gate["word"], gate["pairs"]) for gate in shown["verdicts"][0]["gates"]}
    assert gates["failures<=0"][0] == "yes"
    assert {boards.current(name) for name in names} == {releases[1].id}
