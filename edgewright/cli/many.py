"""Tasks for many boards at once: which, side by side, and what is told of each."""

import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from edgewright.base.errors import (
    FAULTS,
    EdgewrightError,
    ExitCode,
    InterruptedWorkError,
    TargetError,
    UserError,
    worst,
)
from edgewright.base.faults import fault_of
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.board.catalogue import board_names
from edgewright.board.profile import BoardProfile
from edgewright.cli.common import (
    ERR,
    OF_FLEET,
    OUT,
    AskPassword,
    BoardName,
    Emulated,
    OfLab,
    Reach,
    Sudo,
    board_folders,
    naming_the_way,
    password,
    profile_of,
    say,
    workspace,
    write_document,
)
from edgewright.cli.documents import Problem, failure
from edgewright.cli.words import counted
from edgewright.deploy import remote
from edgewright.deploy.target import Target
from edgewright.fleet import inventory as inventories
from edgewright.fleet import side_by_side
from edgewright.fleet.inventory import Inventory, Window
from edgewright.fleet.side_by_side import MOST_PARALLEL, End, Job

Report = TypeVar("Report", bound=Document)
FleetFile = Annotated[
    str, "the inventory; default: fleet.toml at the workspace's root, for --select and --group"
]
Select = Annotated[str, "boards of the fleet by labels, e.g. 'site=lyon and not canary', or all"]
Group = Annotated[str, "boards of the fleet that a group of its file means"]
Parallel = Annotated[int, "of several boards, how many are at work at once"]
State = Literal["done", "failed", "interrupted", "not_begun"]

SHOWN = 10  # boards that failed whose errors are shown whole


class BoardEnd(Part, Generic[Report]):
    """What became of one board."""

    name: str  # as it was named: a host, or a board of the fleet
    target: str
    kind: str  # its board profile
    state: State
    exit_code: int  # that the task would have had for this board alone
    seconds: float
    report: Report | None  # also of a board whose smoke test failed
    error: Problem | None


class BoardEnds(Document, Generic[Report]):
    """What became of each of many boards."""

    version: Literal[1] = 1
    command: str
    exit_code: int  # the worst of them
    boards: tuple[BoardEnd[Report], ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of many boards."""

    name: str
    target: Target
    profile: BoardProfile
    way: str  # the options that lead to it
    service_way: str = ""  # and those for tasks that take no board of a fleet
    window: Window | None = None  # in which it may be changed


@dataclass(frozen=True, kw_only=True)
class Boards:
    """The boards of a task, and the way to them: one, or many side by side."""

    board: BoardName
    host: Annotated[
        tuple[str, ...], "user@addr[:port] of a board; given several times: of several boards"
    ] = ()
    fleet: FleetFile = ""
    select: Select = ""
    group: Group = ""
    parallel: Parallel = 8
    emulated: Emulated = False
    lab: OfLab = False
    ask_password: AskPassword = False
    sudo: Sudo = False

    def __post_init__(self) -> None:
        require_pool(self.parallel)
        if not self.is_of_fleet:
            return
        if self.board or self.host or self.emulated or self.lab:
            raise UserError(
                "boards",
                "are named by --fleet, --select or --group and by another option",
                facts=["a board of a fleet has its kind and address there"],
                next="the same command without --board, --host, --emulated and --lab",
            )
        if not (self.select or self.group):
            raise UserError(
                "--fleet",
                "expected --select or --group besides",
                next="the same command with e.g. --select='site=lyon', or --select=all",
            )

    @property
    def is_of_fleet(self) -> bool:
        return any(getattr(self, name) for name in OF_FLEET)

    @property
    def is_one(self) -> bool:
        return not self.is_of_fleet and len(self.host) < 2

    def only_reach(self) -> Reach:
        """The only board."""
        return self._reach("".join(self.host))

    def _reach(self, host: str) -> Reach:
        return Reach(
            board=self.board,
            host=host,
            emulated=self.emulated,
            lab=self.lab,
            ask_password=self.ask_password,
            sudo=self.sudo,
        )

    def password(self) -> str | None:
        """One for all boards: typed if that was asked for, else from the environment."""
        return password(ask=self.ask_password)

    def members(self) -> tuple[Member, ...]:
        """Many boards. Raises UserError for one that is named twice."""
        if self.is_of_fleet:
            return self._of_fleet()
        hosts = [self._reach(host) for host in self.host]
        members = [
            Member(name=reach.host, target=reach.target(), profile=reach.profile, way=reach.way)
            for reach in hosts
        ]
        _require_different(members)
        return tuple(members)

    def _of_fleet(self) -> tuple[Member, ...]:
        inventory = inventory_of(self.fleet)
        boards = inventory.select(self.select, self.group)
        file = f" --fleet={self.fleet}" if self.fleet else ""
        profiles = {kind: profile_of(kind) for kind in {board.kind for board in boards}}
        return tuple(
            Member(
                name=board.name,
                target=replace(inventory.target(board), sudo=board.sudo or self.sudo),
                profile=profiles[board.kind],
                way=f"--select=name={board.name}{file}",
                service_way=f"--board={board.kind} --host={board.address}"
                + " --sudo" * (board.sudo or self.sudo),
                window=inventory.window(board),
            )
            for board in boards
        )


def require_pool(parallel: int) -> None:
    """Raises UserError for a pool of threads of no use."""
    if not 1 <= parallel <= MOST_PARALLEL:
        raise UserError(
            f"--parallel={parallel}",
            f"expected 1 to {MOST_PARALLEL}",
            next="the same command without --parallel",
        )


def inventory_of(fleet: str) -> Inventory:
    """The fleet that an option names; else `fleet.toml` at the workspace's root."""
    path = Path(fleet) if fleet else workspace().root / inventories.FILE
    if not fleet and not path.exists():
        raise UserError(
            str(path),
            "no such file; it says which boards there are",
            next="edgewright fleet.import --csv=FILE writes it; or --fleet=FILE",
        )
    return inventories.load(path, board_names(*board_folders()))


def require_window(member: Member) -> None:
    """Raises TargetError for a board that may not be changed now."""
    moment = datetime.now(UTC)
    if member.window is not None and not member.window.is_open(moment):
        opening = member.window.next_opening(moment)
        raise TargetError(
            member.name,
            "its maintenance window is closed",
            facts=[f"opens: {opening.isoformat(timespec='minutes')}"],
            next="the same command then, or with --outside-window",
        )


def _require_different(members: Sequence[Member]) -> None:
    places: dict[str, str] = {}
    twice = []
    for member in members:
        place = remote.place(member.target)
        if place in places:
            twice.append(f"{member.name} is {places[place]}: {place}")
        places.setdefault(place, member.name)
    if twice:
        raise UserError(
            "boards", "one is named twice", facts=twice, next="the same command with each once"
        )


@dataclass(frozen=True, kw_only=True)
class Task(Generic[Report]):
    """What a task does on each of many boards."""

    command: str
    work: Callable[[Member, Progress], Report]
    line: Callable[[Report], str]  # what is told of a board where it went well
    document: type[BoardEnds[Report]]
    judge: Callable[[Report], None] = lambda _: None  # raises for a report that says no


def run_connected(
    command: str,
    boards: Boards,
    work: Callable[[remote.Board, Member, Progress], Report],
    *,
    show: Callable[[Report], None] | None = None,
    line: Callable[[Report], str],
    document: type[BoardEnds[Report]],
    judge: Callable[[Report], None] = lambda _: None,
    json: bool,
) -> None:
    """Work that needs no more than a login: on one board, whose report `show` shows whole, or on
    many, as `run` does it. Without `show` the line of a board is all that there is to show."""
    if boards.is_one:
        # Here, as it brings all of building, which those of many boards do without.
        from edgewright.cli import screens

        reach = boards.only_reach()
        member = Member(
            name=reach.host, target=reach.target(), profile=reach.profile, way=reach.way
        )
        with reach.connect() as board, screens.deploy_progress(ERR) as progress:
            report = work(board, member, progress)
        if json:
            write_document(report)
        elif show is not None:
            show(report)
        else:
            say(f"{board.target}: {line(report)}")
        judge(report)
        return
    members, password, ssh = boards.members(), boards.password(), remote.user_ssh()

    def work_on(member: Member, progress: Progress) -> Report:
        with remote.connect(member.target, password=password, brief=True, ssh=ssh) as board:
            return work(board, member, progress)

    task = Task(command=command, work=work_on, line=line, document=document, judge=judge)
    run(task, members, parallel=boards.parallel, json=json)


def run(task: Task[Report], members: Sequence[Member], *, parallel: int, json: bool) -> None:
    """Work on all boards, and tell a line of each as it ends.

    Raises the worst fault of all boards, in a summary.
    """
    by_name = {member.name: member for member in members}
    board_ends: dict[str, BoardEnd[Report]] = {}
    faults: dict[str, EdgewrightError] = {}

    def note(end: End[Report]) -> None:
        fault = _fault(end, task.judge)
        board_ends[end.name] = _board_end(end, by_name[end.name], fault, task.command)
        if fault is None:
            assert end.result is not None
            OUT.write_line(f"{end.name}: {task.line(end.result)}")
            return
        faults[end.name] = fault
        OUT.write_line(f"{end.name}: {fault.problem}")
        if fault.exit_code is ExitCode.BUG and end.raised:
            say("".join(traceback.format_exception(end.raised)))

    side_by_side.run(
        [Job(name=member.name, work=_work(task, member)) for member in members],
        parallel=parallel,
        on_end=note,
        on_interrupt=tell_interrupt,
    )
    ends = tuple(board_ends[member.name] for member in members)
    code = worst(end.exit_code for end in ends)
    if json:
        write_document(task.document(command=task.command, exit_code=code, boards=ends))
    end_all(len(ends), faults, _summary(ends))


def end_all(count: int, faults: Mapping[str, EdgewrightError], summary: str) -> None:
    """Tell why boards failed, by their names, and the summary; raises it where any has a fault."""
    failed = [name for name in faults if faults[name].exit_code is not ExitCode.INTERRUPTED]
    for name in failed[:SHOWN]:
        text = str(faults[name])  # it may begin with the address instead
        say(text if text.startswith(f"{name}:") else f"{name}: {text}")
    if len(failed) > SHOWN:
        say(f"and {len(failed) - SHOWN} more boards that failed; --json tells of each")
    code = worst(fault.exit_code for fault in faults.values())
    if code is not ExitCode.OK:
        raise FAULTS[code](counted(count, "board"), summary)
    say(f"{counted(count, 'board')}: {summary}")


def _work(task: Task[Report], member: Member) -> Callable[[Progress], Report]:
    def work(progress: Progress) -> Report:
        with naming_the_way(member.way, member.service_way):
            return task.work(member, progress)

    return work


def _fault(end: End[Report], judge: Callable[[Report], None]) -> EdgewrightError | None:
    if end.result is None:
        return fault_of_end(end)
    try:
        judge(end.result)
    except EdgewrightError as refused:
        return refused
    return None


def fault_of_end(end: End[Any]) -> EdgewrightError:
    """Why there is no result."""
    if end.raised is None:
        return InterruptedWorkError(end.name, "not begun: nothing was changed")
    return fault_of(end.raised)


def _board_end(
    end: End[Report], member: Member, fault: EdgewrightError | None, command: str
) -> BoardEnd[Report]:
    state: State = "done"
    if not end.has_begun:
        state = "not_begun"
    elif isinstance(fault, InterruptedWorkError):
        state = "interrupted"
    elif fault is not None:
        state = "failed"
    return BoardEnd(
        name=member.name,
        target=str(member.target),
        kind=member.profile.name,
        state=state,
        exit_code=ExitCode.OK if fault is None else fault.exit_code,
        seconds=end.seconds,
        report=end.result,
        error=None if fault is None else failure(command, fault).error,
    )


WORDS = {"done": "done", "failed": "failed", "interrupted": "interrupted", "not_begun": "not begun"}


def _summary(ends: Sequence[BoardEnd[Report]]) -> str:
    counts = Counter[str](end.state for end in ends)
    return ", ".join(f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state])


def tell_interrupt(at_work: Sequence[str]) -> None:
    say(
        f"interrupted: no other board is begun, {len(at_work)} come to their end: "
        f"{', '.join(at_work[:SHOWN])}{' …' * (len(at_work) > SHOWN)}\n"
        "Ctrl-C again ends each at its next step; what has switched ends well or goes back"
    )
