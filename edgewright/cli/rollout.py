"""Rollouts: a release to many boards, in waves that stop by themselves."""

import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from invoke.context import Context
from rich.console import Group
from rich.live import Live
from rich.table import Table

from edgewright.base.errors import CheckError, TargetError, UserError, near_miss
from edgewright.base.files import write_file
from edgewright.cli.common import (
    OUT,
    AskPassword,
    Json,
    password,
    profile_of,
    say,
    task,
    task_named,
    workspace,
    write_document,
)
from edgewright.cli.documents import written_files
from edgewright.cli.keys import signing_policy
from edgewright.cli.ledgers import LedgerPlace, existing_ledger, open_ledger, rollout_module
from edgewright.cli.many import FleetFile, Parallel, Select, inventory_of, require_pool
from edgewright.cli.many import Group as GroupName
from edgewright.cli.words import counted
from edgewright.deploy import install, remote
from edgewright.fleet.documents import (
    SHOWN_STATES,
    WITHOUT_RELEASE,
    Quarantine,
    RolloutChange,
    RolloutGates,
    RolloutStatus,
    SimulationReport,
)
from edgewright.fleet.inventory import Board, Inventory
from edgewright.fleet.rollout import gates, waves
from edgewright.fleet.rollout.gates import Word
from edgewright.fleet.rollout.plan import Plan
from edgewright.observe.shadow.run import require_candidate
from edgewright.release import latest
from edgewright.release.manifest import Release, load_release

if TYPE_CHECKING:  # they need the extra [rollout]
    from edgewright.deploy.signing_policy import FormerOrder
    from edgewright.fleet.rollout.counted import CountedReleases
    from edgewright.fleet.rollout.ledger import Ledger
    from edgewright.fleet.rollout.on_boards import FleetBoard, Former, Login, Roster

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
WATCH_SECONDS = 2.0
SHOWN = 20  # boards that failed

Name = Annotated[str, "of the rollout; default: the one that is not over, else the last one"]
OutsideWindow = Annotated[bool, "deploy to boards though their maintenance windows are closed"]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a rollout goes on."""

    waves: Annotated[
        str, "boards that run the release after each wave: numbers, and shares of all"
    ] = "5,25%,100%"
    gate: Annotated[str, "what a wave may show: edgewright help fleet"] = gates.DEFAULT
    shadow: Annotated[
        str, "run beside the former release for so long before a wave is switched: 10m"
    ] = ""
    soak: Annotated[str, "how long a wave runs before it is judged: 90s, 10m, 2h, 1d"] = "10m"
    approve_after: Annotated[int, "a person approves after this wave; 0: nobody is asked"] = 0
    per_site: Annotated[int, "boards of one site that are at work at once; 0: no limit"] = 0
    site_rate: Annotated[int, "kB a second that go to the boards of one site; 0: no limit"] = 0
    stage_first: Annotated[
        bool, "send a wave's content at any time; its boards switch in their windows"
    ] = False
    tries: Annotated[int, "how often a board is tried"] = 3
    board_deadline: Annotated[str, "after which a silent board counts as failed"] = "1h"
    wave_deadline: Annotated[str, "after which a wave's boards that have not begun do"] = "1d"


@task
def start(
    c: Context,
    pace: Pace,
    name: Annotated[str, "of the rollout; default: the day and a number"] = "",
    fleet: FleetFile = "",
    select: Select = "",
    group: GroupName = "",
    release: Annotated[
        tuple[str, ...], "id of a release built here, one for a kind; default: the last builds"
    ] = (),
    key: Annotated[str, "sign with this key; default: the default key"] = "",
    parallel: Parallel = 16,
    outside_window: OutsideWindow = False,
    ask_password: AskPassword = False,
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Bring a release to many boards, in waves. Example: invoke rollout.start --select=all"""
    require_pool(parallel)
    name = _require_name(name or f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}")
    if not (select or group):
        raise UserError(
            "rollout.start",
            "expected --select or --group",
            next="edgewright rollout.start --select=all",
        )
    inventory, opened = inventory_of(fleet), open_ledger(ledger)
    boards = fleet_boards(inventory, inventory.select(select, group))
    pace = replace(pace, gate=gates.with_shadow(pace.gate, begins=bool(pace.shadow)))
    ends = waves.ends(pace.waves, len(boards))
    releases = _releases({board.profile.name for board in boards}, release)
    far_sites = {site.name for site in inventory.fleet.sites if site.dials_out}
    plan = _plan(pace, releases, ends, parallel, far_sites)
    if plan.shadow_s:  # or each board would fail, and be in quarantine
        for each in releases.values():
            require_candidate(each)
    signing, login = signing_policy(key), login_of(ask=ask_password)
    for each in releases.values():  # a passphrase is asked for before the first login
        signing.signature_of(each, emulated=False)
    if gates.counts_instructions(gates.parse(plan.gates)):
        say("the releases' instructions are counted")
        for each in releases.values():  # or nothing could be compared after the first wave
            _counted(plan).of(each.id)
    surveyed, back = _survey(opened, boards, far_sites, login, parallel)
    orders = rollout_module("on_boards").sign_orders(releases, surveyed, back, signing)
    members = waves.assign({board.name: board.site for board in boards}, ends, plan.salt)
    entries = _entries(plan, boards, members, surveyed)
    opened.plan(name, plan.model_dump_json(), entries, orders)
    say(f"rollout {name}: {counted(len(boards), 'board')} in {counted(len(plan.ends), 'wave')}")
    _conduct(opened, name, fleet, login, outside_window=outside_window, json=json)


@task
def join(
    c: Context,
    name: Name = "",
    fleet: FleetFile = "",
    select: Select = "",
    group: GroupName = "",
    wave: Annotated[int, "that they come into; default: the last one"] = 0,
    key: Annotated[str, "sign the way back with this key; default: the default key"] = "",
    parallel: Parallel = 16,
    ask_password: AskPassword = False,
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Add boards to a rollout that is not over. Example: invoke rollout.join --select=all"""
    require_pool(parallel)
    inventory, opened = inventory_of(fleet), existing_ledger(ledger)
    name = _chosen(opened, name)
    plan = Plan.model_validate_json(rollout_module("operate").require_running(opened, name).plan)
    wave = wave or len(plan.ends)
    if not 1 <= wave <= len(plan.ends):
        raise UserError(
            f"--wave={wave}", f"expected 1 to {len(plan.ends)}", next="the same command without it"
        )
    boards = _new_boards(inventory, opened, name, plan, inventory.select(select or "all", group))
    far_sites = set(plan.dial_out)
    surveyed, back = _survey(opened, boards, far_sites, login_of(ask=ask_password), parallel)
    on_boards = rollout_module("on_boards")
    orders = {order.release: order for order in opened.orders(name)}
    on_boards.require_older(surveyed, plan.releases.values(), orders)
    order = waves.assign({board.name: board.site for board in boards}, [len(boards)], plan.salt)
    opened.join(
        name,
        wave,
        _entries(plan, boards, dict.fromkeys(order, wave), surveyed),
        on_boards.sign_back(orders, back, signing_policy(key)),
        who=_who(),
    )
    _tell_change(name, "join", json=json, boards=len(boards))
    if not rollout_module("operate").is_conducted(opened, name):
        say(f"nobody conducts it: edgewright rollout.resume --name={name}")


def _new_boards(
    inventory: Inventory, ledger: "Ledger", name: str, plan: Plan, boards: Sequence[Board]
) -> "tuple[FleetBoard, ...]":
    """Those that the rollout lacks, and can take. Raises UserError."""
    members = {member.board for member in ledger.members(name)}
    new = [board for board in boards if board.name not in members]
    if not new:
        raise UserError(
            f"rollout '{name}'",
            f"has all of these {len(boards)} boards already",
            next="add the new ones to fleet.toml, then the same command",
        )
    dialling = {site.name for site in inventory.fleet.sites if site.dials_out}
    unfit = [f"{b.name}: its kind is {b.kind}" for b in new if b.kind not in plan.releases]
    unfit += [
        f"{b.name}: its site {b.site} dials out, and did not yet when the rollout was started"
        for b in new
        if b.site in dialling - set(plan.dial_out)
    ]
    if unfit:
        raise UserError(
            f"rollout '{name}'",
            f"cannot take {len(unfit)} of these boards",
            facts=[f"expected: boards of {', '.join(sorted(plan.releases))}", *unfit[:SHOWN]],
            next="the same command with --select= of other boards",
        )
    return fleet_boards(inventory, new)


def _survey(
    ledger: "Ledger",
    boards: "Sequence[FleetBoard]",
    far_sites: Collection[str],
    login: "Login",
    parallel: int,
) -> "tuple[list[Former], dict[str, FormerOrder]]":
    """What boards run, asked over SSH, or of their sites; who does not answer is named."""
    on_boards = rollout_module("on_boards")
    near = [board for board in boards if board.site not in far_sites]
    far = [board for board in boards if board.site in far_sites]

    def releases_of(board: "FleetBoard") -> Path:
        return workspace().build(board.profile.name).release

    formers, back = list[Any](), dict[str, Any]()
    if near:
        surveyed, orders = on_boards.survey(near, login, releases_of, parallel=parallel)
        formers, back = [*formers, *surveyed], back | dict(orders)
    if far:
        say(f"{len(far)} boards are asked by their sites")
        surveyed, orders = on_boards.survey_far(far, _sites(ledger), releases_of)
        formers, back = [*formers, *surveyed], dict(orders) | back
    for former in formers:
        if former.problem is not None:
            say(f"{former.board}: {former.problem}; what it runs is not known")
    return formers, back


def _sites(ledger: "Ledger") -> Any:
    return rollout_module("sites").Sites(ledger.database, time.time)


def _require_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(f"--name={name}", "expected a-z, 0-9, '.', '_' and '-'", next="another one")
    return name


def _entries(
    plan: Plan,
    boards: "Sequence[FleetBoard]",
    wave_of: Mapping[str, int],
    formers: "Sequence[Former]",
) -> list[Any]:
    """What the ledger holds of each board at first, in the order of `wave_of`."""
    entry, goal = rollout_module("ledger").Entry, rollout_module("states").Goal
    first = goal.STAGE if plan.stage_first else goal.RELEASE
    first = goal.SHADOW if plan.shadow_s else first
    by_name = {board.name: board for board in boards}
    former_releases = {former.board: former.release for former in formers}
    return [
        entry(
            board=name,
            site=by_name[name].site,
            wave=wave,
            release=plan.releases[by_name[name].profile.name],
            former=former_releases[name],
            goal=first,
        )
        for name, wave in wave_of.items()
    ]


def _plan(
    pace: Pace,
    releases: Mapping[str, Release],
    ends: tuple[int, ...],
    parallel: int,
    dial_out: Collection[str],
) -> Plan:
    if not 0 <= pace.approve_after <= len(ends):
        raise UserError(
            f"--approve-after={pace.approve_after}",
            f"expected a wave, 1 to {len(ends)}, or 0",
            next="the same command without it",
        )
    if pace.tries < 1 or pace.per_site < 0 or pace.site_rate < 0:
        raise UserError(
            "--tries, --per-site, --site-rate", "expected numbers", next="leave them out"
        )
    shadow_s = waves.seconds(pace.shadow, "--shadow") if pace.shadow else 0.0
    board_s = waves.seconds(pace.board_deadline, "--board-deadline")
    if shadow_s >= board_s:
        raise UserError(
            f"--shadow={pace.shadow}",
            f"a board is given up after {pace.board_deadline}",
            next=f"the same command with a longer --board-deadline than {pace.shadow}",
        )
    return Plan(
        waves=pace.waves,
        ends=ends,
        salt=secrets.token_hex(8),
        gates=pace.gate,
        releases={kind: release.id for kind, release in releases.items()},
        soak_s=waves.seconds(pace.soak, "--soak"),
        approve_after=pace.approve_after,
        parallel=parallel,
        per_site=pace.per_site,
        site_kbps=pace.site_rate,
        stage_first=pace.stage_first,
        shadow_s=shadow_s,
        dial_out=tuple(sorted(dial_out)),
        tries=pace.tries,
        board_s=board_s,
        wave_s=waves.seconds(pace.wave_deadline, "--wave-deadline"),
    )


def fleet_boards(inventory: Inventory, boards: Sequence[Board]) -> "tuple[FleetBoard, ...]":
    make: type[FleetBoard] = rollout_module("on_boards").FleetBoard
    profiles = {kind: profile_of(kind) for kind in {board.kind for board in boards}}
    return tuple(
        make(
            name=board.name,
            site=board.site,
            target=inventory.target(board),
            profile=profiles[board.kind],
            window=inventory.window(board),
        )
        for board in boards
    )


def _releases(kinds: set[str], ids: Sequence[str]) -> dict[str, Release]:
    """One release for each kind of board: of those named, else the last build."""
    chosen: dict[str, Release] = {}
    for kind in sorted(kinds):
        built = workspace().build(kind)
        releases = [built.release / name for name in ids if (built.release / name).is_dir()]
        if len(releases) > 1:
            raise UserError("--release", f"two of them are for '{kind}'", next="name one of each")
        chosen[kind] = load_release(releases[0]) if releases else latest.release_of(built)
    used = {release.id for release in chosen.values()}
    if unknown := [name for name in ids if name not in used]:
        raise UserError(
            f"--release={unknown[0]}",
            "was not built here for any kind of these boards",
            facts=[f"kinds: {', '.join(sorted(kinds))}"],
            next="edgewright release.list",
        )
    return chosen


def login_of(*, ask: bool) -> "Login":
    login: Login = rollout_module("on_boards").Login(
        deployer=install.this_user(),
        known_hosts=remote.user_known_hosts(),
        password=password(ask=ask),
    )
    return login


def _conduct(
    ledger: "Ledger",
    name: str,
    fleet: str,
    login: "Login",
    *,
    outside_window: bool,
    json: bool,
) -> None:
    """Go on with a rollout to its end, and raise what its end says."""
    controller_module, durable = rollout_module("controller"), rollout_module("durable")
    plan = Plan.model_validate_json(ledger.rollout(name).plan)
    roster = _roster(ledger, name, fleet)
    releases = [load_release(workspace().build(k).release / r) for k, r in plan.releases.items()]
    on_boards = rollout_module("on_boards").OnBoards(
        roster,
        releases={release.id: release for release in releases},
        signing=signing_policy(),
        login=login,
        outside_window=outside_window,
        site_kbps=plan.site_kbps,
        # It is asked in the middle of a claim, which has the ledger's lock.
        read_anew=partial(_roster, ledger.reader(), name, fleet),
    )
    if not outside_window:
        _tell_closed_windows(roster.boards)

    def far_site(board: str) -> str | None:
        site: str = on_boards.site_of(board)
        return site if site in plan.dial_out else None

    with_sites = rollout_module("sites").WithSites(
        near=on_boards, sites=_sites(ledger), far_site=far_site
    )
    count = _counted(plan).known
    controller = controller_module.Controller(ledger, name, with_sites, tell=say, count=count)
    durable.run(ledger.database, name, controller.conduct, on_interrupt=controller.leave)
    status = rollout_module("report").status(ledger, name)
    if json:
        write_document(status)
    else:
        OUT.print(_screen(status))
    _require_done(status)


def _counted(plan: Plan) -> "CountedReleases":
    """What counts the instructions of a rollout's releases, and of those that boards had."""
    counted_releases: CountedReleases = rollout_module("counted").CountedReleases(
        builds={kind: workspace().build(kind) for kind in plan.releases},
        profiles={kind: profile_of(kind) for kind in plan.releases},
        resources=workspace().resources,
    )
    return counted_releases


def _roster(ledger: "Ledger", name: str, fleet: str) -> "Roster":
    """A rollout's boards, as the inventory has them by now. Raises UserError for those it lacks."""
    inventory = inventory_of(fleet)
    members = {member.board for member in ledger.members(name)}
    boards = [board for board in inventory.fleet.boards if board.name in members]
    if missing := members - {board.name for board in boards}:
        raise UserError(
            str(inventory.path),
            f"lacks {len(missing)} boards of rollout '{name}'",
            facts=[f"boards: {', '.join(sorted(missing)[:SHOWN])}"],
            next=f"the same command with the --fleet that rollout '{name}' was started with",
        )
    roster: Roster = rollout_module("on_boards").Roster(
        boards=fleet_boards(inventory, boards),
        orders={order.release: order for order in ledger.orders(name)},
    )
    return roster


def _tell_closed_windows(boards: "Sequence[FleetBoard]") -> None:
    """Or a rollout that waits for a night or a week would look like one that hangs."""
    moment = datetime.now(UTC)
    windows = [board.window for board in boards if board.window]
    openings = [window.next_opening(moment) for window in windows if not window.is_open(moment)]
    if openings:
        first = min(openings).isoformat(timespec="minutes")
        say(f"{counted(len(openings), 'board')} behind a closed window; the first opens {first}")


def _require_done(status: RolloutStatus) -> None:
    if status.state != "done":
        facts = [
            f"wave {wave.wave}: {gate.gate}: {gate.word}: {gate.found}"
            for wave in status.verdicts
            for gate in wave.gates
            if gate.word is not Word.YES
        ]
        facts += [
            f"boards: {', '.join(gate.boards[:SHOWN])}" for gate in _gates_that_said_no(status)
        ]
        raise CheckError(
            f"rollout '{status.name}'",
            f"{status.state}: {status.reason}",
            facts=facts,
            next=f"edgewright rollout.status --name={status.name}",
        )
    failed = [board for board in status.boards if board.state in WITHOUT_RELEASE]
    if failed:
        raise TargetError(
            f"rollout '{status.name}'",
            f"{len(failed)} of {len(status.boards)} boards do not run the release",
            facts=[f"{board.board}: {board.reason}" for board in failed[:SHOWN]],
            next="edgewright rollout.quarantine lists those that no rollout takes",
        )


def _gates_that_said_no(status: RolloutStatus) -> list[gates.Verdict]:
    return [gate for wave in status.verdicts for gate in wave.gates if gate.word is Word.NO]


# Looking


def _chosen(ledger: "Ledger", name: str) -> str:
    """The rollout that is meant."""
    if name:
        return ledger.rollout(name).name
    rollouts = ledger.rollouts()
    running = [rollout.name for rollout in rollouts if not rollout.is_over]
    if len(running) > 1:
        raise UserError(
            "rollout",
            f"{len(running)} are not over",
            facts=[f"name: {each}" for each in running],
            next="the same command with --name=NAME",
        )
    if not rollouts:
        raise UserError(
            "rollout", "there is none yet", next="edgewright rollout.start --select=all"
        )
    return running[0] if running else rollouts[0].name


@task
def status(
    c: Context,
    name: Name = "",
    watch: Annotated[bool, "show it anew until it is over"] = False,
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Tell how far a rollout is. Example: invoke rollout.status --watch"""
    opened, report = existing_ledger(ledger), rollout_module("report")
    name = _chosen(opened, name)
    shown: RolloutStatus = report.status(opened, name)
    if watch:
        with Live(_screen(shown), console=OUT, auto_refresh=False) as live:
            while shown.state == "running":
                time.sleep(WATCH_SECONDS)
                shown = report.status(opened, name)
                live.update(_screen(shown), refresh=True)
    if json:
        write_document(shown)
    elif not watch:
        OUT.print(_screen(shown))


@task_named("list")
def list_(c: Context, ledger: LedgerPlace = "", json: Json = False) -> None:
    """List all rollouts. Example: invoke rollout.list"""
    rollouts = rollout_module("report").listed(existing_ledger(ledger))
    if json:
        write_document(rollouts)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("rollout", "started", "state", "phase", "why"):
        table.add_column(heading, overflow="fold")
    for each in rollouts.rollouts:
        started = f"{each.started:%Y-%m-%d %H:%M}"
        table.add_row(each.name, started, each.state, each.phase, each.reason)
    OUT.print(table)


@task
def report(
    c: Context,
    name: Name = "",
    out: Annotated[str, "HTML file to write; default: rollout-NAME.html"] = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Write a page of what became of a rollout. Example: invoke rollout.report"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    path = Path(out or f"rollout-{name}.html")
    status = rollout_module("report").status(opened, name)
    page: str = rollout_module("page").render(status, opened.rollout(name), opened.events(name))
    write_file(path, page)
    if json:
        write_document(written_files([path]))
    else:
        say(str(path))


def _screen(status: RolloutStatus) -> Group:
    wish = "" if status.wish == "run" or status.state != "running" else f" ({status.wish})"
    head = f"rollout {status.name}: {status.state}{wish}"
    head += f", {status.phase}" if status.state == "running" else ""
    head += f": {status.reason}" if status.reason else ""
    failed = [board for board in status.boards if board.state in WITHOUT_RELEASE]
    lines = [f"{board.board}: {board.state}: {board.reason}" for board in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"and {len(failed) - SHOWN} more; --json tells of each")
    return Group(head, _waves_table(status), _gates_table(status), *lines)


def _waves_table(status: RolloutStatus) -> Table:
    """A column for each state would take more than 80 characters."""
    table = Table(box=None, pad_edge=False)
    for heading in ("wave", "boards", "of these", "gates"):
        table.add_column(heading, justify="right" if heading == "boards" else "left")
    words = {gates.wave: gates.word.value for gates in status.verdicts}
    for wave in range(1, len(status.waves) + 1):
        counts = Counter(board.shown_state for board in status.boards if board.wave == wave)
        states = ", ".join(f"{counts[state]} {state}" for state in SHOWN_STATES if counts[state])
        table.add_row(str(wave), str(counts.total()), states, words.get(wave, ""))
    return table


def _gates_table(status: RolloutStatus) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("wave", "gate", "says", "found", "boards"):
        table.add_column(heading, overflow="fold")
    for wave in status.verdicts:
        for gate in wave.gates:
            beyond = " ".join(gate.boards[:SHOWN])
            table.add_row(_of(wave), gate.gate, gate.word.value, gate.found, beyond)
        if wave.approved:
            table.add_row(_of(wave), "approval", "yes", wave.approved, "")
    return table


def _of(verdicts: RolloutGates) -> str:
    return f"{verdicts.wave}, shadow" if verdicts.shadow else str(verdicts.wave)


# Operators


def _who() -> str:
    return install.this_user().holder


@task
def pause(c: Context, name: Name = "", ledger: LedgerPlace = "", json: Json = False) -> None:
    """Begin no other board; those at work end. Example: invoke rollout.pause"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    rollout_module("operate").pause(opened, name, _who())
    _tell_change(name, "pause", json=json)


def _tell_change(name: str, change: str, *, json: bool, boards: int = 0) -> None:
    if json:
        write_document(RolloutChange(name=name, change=change, boards=boards))
    else:
        say(f"rollout {name}: {change}{f', {boards} boards' if boards else ''}")


@task
def resume(
    c: Context,
    name: Name = "",
    fleet: FleetFile = "",
    outside_window: OutsideWindow = False,
    ask_password: AskPassword = False,
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Go on after a pause or the controller's death. Example: invoke rollout.resume"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    rollout_module("operate").unpause(opened, name, _who())
    _conduct(
        opened,
        name,
        fleet,
        login_of(ask=ask_password),
        outside_window=outside_window,
        json=json,
    )


@task
def abort(c: Context, name: Name = "", ledger: LedgerPlace = "", json: Json = False) -> None:
    """End a rollout; boards at work come to their end. Example: invoke rollout.abort"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    rollout_module("operate").abort(opened, name, _who())
    _tell_change(name, "abort", json=json)


@task
def approve(
    c: Context,
    reason: Annotated[str, "why it may go on; it is kept with your name"],
    name: Name = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Let a rollout go on after a wave. Example: invoke rollout.approve --reason='they work'"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    rollout_module("operate").approve(opened, name, _who(), reason)
    _tell_change(name, "approve", json=json)


@task
def retry(
    c: Context,
    board: Annotated[tuple[str, ...], "of those that failed; default: all of them"] = (),
    name: Name = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Try boards that failed once more. Example: invoke rollout.retry"""
    opened = existing_ledger(ledger)
    name = _chosen(opened, name)
    count = opened.reopen(name, board)
    if not count:
        raise UserError(
            f"rollout '{name}'",
            "none of its boards is to be tried again",
            next="once it is over: rollout.quarantine --release=BOARD, then another rollout.start",
        )
    _tell_change(name, "retry", json=json, boards=count)


@task
def simulate(
    c: Context,
    boards: Annotated[int, "that are simulated"] = 1000,
    kills: Annotated[int, "controllers that are killed by SIGKILL"] = 10,
    workers: Annotated[int, "sites, of 20, whose own workers are killed, too"] = 2,
    waves: Annotated[str, "as of rollout.start"] = "10,5%,25%,100%",
    parallel: Parallel = 50,
    stage_first: Annotated[bool, "as of rollout.start"] = False,
    shadow: Annotated[bool, "each wave begins with it"] = False,
    ledger: Annotated[str, "postgresql://… of an empty database; default: SQLite"] = "",
    json: Json = False,
) -> None:
    """Kill controllers of a rollout to simulated boards. Example: invoke rollout.simulate"""
    require_pool(parallel)
    if boards < 1 or kills < 0 or not 0 <= workers <= 20:
        raise UserError("--boards, --kills, --workers", "expected numbers", next="leave them out")
    with tempfile.TemporaryDirectory() as folder:
        report: SimulationReport = rollout_module("simulate").simulate(
            Path(folder),
            boards=boards,
            kills=kills,
            workers=workers,
            parallel=parallel,
            plan_waves=waves,
            stage_first=stage_first,
            shadow=shadow,
            ledger_place=ledger,
            tell=say,
        )
    if json:
        write_document(report)
    else:
        for name, value in report.model_dump(exclude={"version"}).items():
            OUT.print(f"{name}: {value}")
    promises = ("at_once", "lost", "different", "falling", "unstaged")
    wrong = {name: getattr(report, name) for name in promises}
    if any(wrong.values()):
        raise CheckError(
            "simulation",
            "ledger and boards do not agree",
            facts=[f"{name}: {count}" for name, count in wrong.items()],
            next="this is a fault of edgewright",
        )


@task
def quarantine(
    c: Context,
    board: Annotated[tuple[str, ...], "that no rollout is to take"] = (),
    reason: Annotated[str, "why"] = "",
    release: Annotated[tuple[str, ...], "board that rollouts may take again"] = (),
    fleet: FleetFile = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """List or change boards that no rollout takes. Example: invoke rollout.quarantine"""
    if board:
        _require_boards(board, inventory_of(fleet))
    opened = open_ledger(ledger) if board else existing_ledger(ledger)
    for each in board:
        opened.quarantine(each, reason or f"by {_who()}")
    for each in release:
        if each not in opened.in_quarantine():
            raise UserError(
                f"--release={each}", "is not in quarantine", next="edgewright rollout.quarantine"
            )
        opened.quarantine(each, None)
    boards = opened.in_quarantine()
    if json:
        write_document(Quarantine(boards=dict(boards)))
        return
    for each, why in boards.items():
        OUT.print(f"{each}: {why}", soft_wrap=True)
    say(f"in quarantine: {len(boards)}")


def _require_boards(names: Sequence[str], inventory: Inventory) -> None:
    """Raises UserError for a mistyped name: the board that was meant would not be spared."""
    boards = [board.name for board in inventory.fleet.boards]
    for name in names:
        if name not in boards:
            raise UserError(
                f"--board={name}",
                f"no board of {inventory.path}{near_miss(name, boards)}",
                next="edgewright fleet.list",
            )
