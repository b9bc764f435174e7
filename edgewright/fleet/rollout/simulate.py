"""A rollout over boards that are only simulated, whose controller is killed again and again, and
the workers of its sites with it.

A process of its own holds the truth: what each board runs, the last fence that it took, and whether
two deploys were ever at work on one board at once. At the end the ledger is held against it.
"""

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from edgewright.base.errors import TargetError
from edgewright.fleet.documents import SimulationReport
from edgewright.fleet.rollout import durable, waves
from edgewright.fleet.rollout.controller import Controller, Crew, HopelessError, Observation
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.gates import SHADOW, Measured, Numbers, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import OVER, Goal, Retry, State
from edgewright.fleet.rollout.tables import ATTEMPTS

if TYPE_CHECKING:
    from edgewright.deploy.install import NextFence

NAME, NEW, OLD = "simulated", "new", "old"
SITES = 20
FAULTS = ("hangs", "fails", "slow", "full", "wrong key")  # in a board of 500 each: 1 % in all
PART = 500
SECONDS = 0.05, 0.5  # that a deploy takes
SLOW_SECONDS = 1.0
EARLY = 0.25  # share of the controllers that are killed in their first seconds
EARLY_SECONDS = 0.05, 1.5
TURN_SECONDS, RENEW_SECONDS = 0.1, 1.0  # of a worker
# Of the others, after their first board, on average: some live long enough to give up on a board
# that hangs, which each death begins anew.
WORK_SECONDS = 0.8
WORKER_SECONDS = 4.0  # that a worker of sites lives, on average
START_SECONDS = 60.0
TRIES, TRIES_AT_SITES = 2, 6  # where a worker is killed, its boards' attempts are lost


# The truth


@dataclass
class _Board:
    current: str = OLD
    staged: str | None = None  # the release whose content it has
    fence: int = 0
    session: object = None  # that is at work


@dataclass
class _Truth:
    seed: str
    boards: dict[str, _Board] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            line = await reader.readline()
            if line:  # else whoever connected was killed before it asked
                answer = await self._answer(json.loads(line), reader, writer)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(
        self,
        request: Mapping[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> dict[str, Any]:
        if request["do"] == "counts":
            return dict(self.counts)
        board = self.boards.setdefault(request["board"], _Board())
        if request["do"] == "look":
            return {"current": board.current}
        return await self._deploy(request, board, reader, writer)

    async def _deploy(
        self,
        request: Mapping[str, str],
        board: _Board,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> dict[str, Any]:
        writer.write(json.dumps({"fence": board.fence}).encode() + b"\n")
        fence = int(await reader.readline() or 0)
        if fence <= board.fence:
            self.counts["refused"] += bool(fence)
            return {"failed": "fence_lost"}
        self.counts["at once"] += board.session is not None
        self.counts["attempts"] += 1
        fault = fault_of(request["board"], self.seed)
        session = object()
        board.fence, board.session = fence, session
        if fault == "hangs":  # it does nothing any more: whoever comes next is alone
            board.session = None
            await reader.read()
            return {}
        seconds = random.uniform(*SECONDS) + SLOW_SECONDS * (fault == "slow")
        # What a line that is lost ends, the board ends, too.
        is_cut = await _ends_within(reader, seconds)
        if board.session is not session:
            self.counts["refused"] += 1
            return {"failed": "fence_lost"}
        board.session = None
        if is_cut:
            self.counts["cut"] += 1
            return {}
        if fault in ("full", "wrong key"):
            return {"hopeless": fault}
        if request["do"] in ("stage", "shadow"):
            board.staged = request["release"]
            return {"offered": 200, "agreed": 99, "differing": 1}
        if fault == "fails":
            return {"failed": "the self-test"}
        self.counts["unstaged"] += request["release"] not in (board.staged, OLD)
        board.current = request["release"]
        return {"p95_ms": 40 * random.uniform(0.98, 1.02)}


async def _ends_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    try:
        await asyncio.wait_for(reader.read(), seconds)
    except TimeoutError:
        return False
    return True


def fault_of(board: str, seed: str) -> str | None:
    number = int.from_bytes(hashlib.sha256(f"{seed}{board}".encode()).digest()[:4]) % PART
    return FAULTS[number] if number < len(FAULTS) else None


def _hold_truth(place: str, seed: str) -> None:
    async def main() -> None:
        truth = _Truth(seed)
        server = await asyncio.start_unix_server(truth.serve, place, backlog=1024)
        await server.serve_forever()

    asyncio.run(main())


# The controller's side


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """`controller.Boards`, each call a connection to the truth."""

    place: str

    def ask(self, do: str, board: str, **more: str) -> dict[str, Any]:
        return self._ask({"do": do, "board": board, **more}, None)

    def _ask(self, request: Mapping[str, str], next_fence: "NextFence | None") -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rwb") as stream:
            line.connect(self.place)
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            if next_fence is not None:
                fence = next_fence(int(json.loads(stream.readline())["fence"]))
                stream.write(f"{fence}\n".encode())
                stream.flush()
            answer: dict[str, Any] = json.loads(stream.readline() or "{}")
            return answer

    def _deploy(
        self, claim: Claim, release: str, next_fence: "NextFence", do: str = "deploy"
    ) -> dict[str, Any]:
        request = {"do": do, "board": claim.board, "release": release}
        answer = self._ask(request, next_fence)
        if "hopeless" in answer:
            raise HopelessError(claim.board, answer["hopeless"])
        if "failed" in answer or not answer:
            raise TargetError(claim.board, answer.get("failed", "connection lost"))
        return answer

    def install(self, claim: Claim, next_fence: "NextFence") -> Measured:
        answer = self._deploy(claim, claim.release, next_fence)
        before = Numbers(p95_ms=40.0, right=1.0)
        return Measured(before=before, after=Numbers(p95_ms=answer["p95_ms"], right=1.0))

    def go_back(self, claim: Claim, next_fence: "NextFence") -> None:
        self._deploy(claim, OLD, next_fence)

    def look(self, board: str) -> Observation:
        return Observation(current=self.ask("look", board)["current"])

    def opening(self, board: str) -> float:
        return 0.0

    def stage(self, claim: Claim, next_fence: "NextFence") -> None:
        self._deploy(claim, claim.release, next_fence, do="stage")

    def shadow(self, claim: Claim, next_fence: "NextFence") -> Shadowed:
        answer = self._deploy(claim, claim.release, next_fence, do="shadow")
        return Shadowed.model_validate(answer)


def _conduct(ledger_place: str, place: str) -> None:
    ledger = Ledger(open_database(ledger_place), time.time)
    controller = Controller(ledger, NAME, Simulated(place=place))
    durable.run(ledger.database, NAME, controller.conduct)


def _work_for_site(ledger_place: str, place: str, site: str) -> None:
    """What `site.run` does for a site through `fleet.serve`, without the line between them."""
    ledger = Ledger(open_database(ledger_place), time.time)
    plan = Plan.model_validate_json(ledger.rollout(NAME).plan)
    crew = Crew(Simulated(place=place), ledger, plan.lease_s, plan.board_s, time.time)
    worker, renewed_at = secrets.token_hex(8), 0.0
    while not ledger.rollout(NAME).is_over:
        ledger.finish(crew.reports(TURN_SECONDS), Retry(tries=plan.tries, backoff_s=plan.backoff_s))
        if time.time() - renewed_at >= RENEW_SECONDS:
            crew.renew()
            renewed_at = time.time()
        for goal in (Goal.FORMER, Goal.RELEASE, Goal.STAGE, Goal.SHADOW):
            room = plan.per_site - ledger.at_work(NAME, site)
            if room > 0:
                crew.start(
                    ledger.claim(
                        NAME,
                        worker=f"{site} {worker}",
                        limit=room,
                        lease_s=plan.lease_s,
                        goal=goal,
                        site=site,
                    )
                )


# The campaign


def simulate(
    folder: Path,
    *,
    boards: int,
    kills: int,
    workers: int = 0,
    parallel: int = 50,
    plan_waves: str = "10,5%,25%,100%",
    seed: str = "1",
    silent_s: float = 2.0,
    stage_first: bool = False,
    shadow: bool = False,
    ledger_place: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> SimulationReport:
    """Bring a release to so many simulated boards, with a controller that is killed so often.

    All kills come before the rollout's end. Of the sites, one for each of the `workers` dials
    out to one, which are killed, too, while controllers are.
    `folder` gets the truth's socket, and the ledger unless `ledger_place` names another one. A
    board that is silent for `silent_s` seconds counts as failed.
    """
    place = str(folder / "truth")
    ledger_place = ledger_place or str(folder / "ledger.sqlite")
    ledger = Ledger(open_database(ledger_place), time.time)
    sites = [f"site-{number}" for number in range(workers)]
    plan = _plan(boards, parallel, plan_waves, silent_s, sites, stage_first=stage_first)
    if shadow:
        plan = plan.model_copy(update={"shadow_s": 1.0, "gates": f"{plan.gates},{SHADOW}"})
    _enter(ledger, plan, boards)
    processes = _Processes(ledger_place, place)
    campaign = _Campaign(
        ledger=ledger,
        processes=processes,
        workers=_Workers(processes.worker, sites, random.Random(seed)),
        kills=kills,
        boards=boards,
        lives=random.Random(seed),
        tell=tell,
    )
    with processes.truth(seed):
        _wait(Path(place).exists)
        began = time.monotonic()
        campaign.run()
        counts = Simulated(place=place).ask("counts", "")
        different = _different(ledger, Simulated(place=place))
    return _report(campaign, counts, plan, different, time.monotonic() - began)


class _Processes:
    """Each is a fork of a process that has loaded its modules and done nothing else."""

    def __init__(self, ledger_place: str, place: str) -> None:
        self._ledger_place, self._place = ledger_place, place
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    @contextlib.contextmanager
    def truth(self, seed: str) -> Iterator[None]:
        process = self._context.Process(target=_hold_truth, args=(self._place, seed), daemon=True)
        process.start()
        try:
            yield
        finally:
            process.kill()
            process.join()

    def controller(self) -> BaseProcess:
        return self._context.Process(target=_conduct, args=(self._ledger_place, self._place))

    def worker(self, site: str) -> BaseProcess:
        places = (self._ledger_place, self._place)
        return self._context.Process(target=_work_for_site, args=(*places, site), daemon=True)


class _Workers:
    """The workers of sites, one for each, which are killed at random and followed by others."""

    def __init__(
        self, start: Callable[[str], BaseProcess], sites: Sequence[str], lives: random.Random
    ) -> None:
        self._start, self._sites, self._lives = start, sites, lives
        self._alive: dict[str, tuple[BaseProcess, float]] = {}  # with the time of its death
        self.killed = 0

    def turn(self, *, is_killing: bool) -> None:
        """Kill those whose time is over, and start what is missing."""
        for site in self._sites:
            worker, until = self._alive.get(site, (None, 0.0))
            if worker is not None and is_killing and time.monotonic() >= until:
                worker.kill()
                worker.join()
                self.killed += 1
            if worker is None or not worker.is_alive():
                worker = self._start(site)
                worker.start()
                until = time.monotonic() + self._lives.expovariate(1 / WORKER_SECONDS)
                self._alive[site] = worker, until

    def end(self) -> None:
        for worker, _ in self._alive.values():
            worker.kill()
            worker.join()


@dataclass(kw_only=True)
class _Campaign:
    """Controllers of one rollout, one after the other, and what became of them."""

    ledger: Ledger
    processes: _Processes
    workers: _Workers
    kills: int
    boards: int
    lives: random.Random
    tell: Callable[[str], None]
    killed: int = 0
    cpu_s: float = 0.0
    peak_kib: int = 0
    resumed_s: list[float] = field(default_factory=list)  # until a board was claimed again

    def run(self) -> None:
        """Kill so many controllers; the last one brings the rollout to its end."""
        try:
            self._kill_and_follow()
        finally:
            self.workers.end()

    def _kill_and_follow(self) -> None:
        while True:
            self._live(_Life(is_early=self.lives.random() < EARLY, random=self.lives))
            if self.ledger.rollout(NAME).is_over:
                return
            self.killed += 1
            self.tell(
                f"{self.killed} controllers and {self.workers.killed} workers killed, "
                f"{_settled(self.ledger)} of {self.boards} boards at their end"
            )

    def _live(self, life: "_Life") -> None:
        """The life of a controller."""
        controller, last, used, first = (
            self.processes.controller(),
            _last_attempt(self.ledger),
            0.0,
            None,
        )
        # Else the last boards might be through before the last kill, or the first ones be cut by
        # so many kills that their wave fails.
        share = self.boards / (self.kills + 1)
        few, enough = self.killed * share / 2, (self.killed + 1) * share
        is_killing, begin = self.killed < self.kills, time.monotonic()
        controller.start()
        try:
            while controller.is_alive():
                age, used = time.monotonic() - begin, max(used, _processor_seconds(controller.pid))
                self.peak_kib = max(self.peak_kib, _peak_kib(controller.pid))
                self.workers.turn(is_killing=is_killing)
                if first is None and _last_attempt(self.ledger) != last:
                    first = age
                settled = _settled(self.ledger)
                may_end = life.is_early or settled >= few
                is_over = (may_end and life.is_over(age, first)) or settled >= enough
                if is_killing and is_over:
                    break
                controller.join(0.05)
        finally:
            controller.kill()  # after Ctrl-C, too: it would go on to the rollout's end
            controller.join()
        self.cpu_s += used
        if first is not None:
            self.resumed_s.append(first)


def _report(
    campaign: _Campaign, counts: Mapping[str, Any], plan: Plan, different: int, took: float
) -> SimulationReport:
    ledger, resumed = campaign.ledger, campaign.resumed_s
    states = Counter(member.state for member in ledger.members(NAME))
    return SimulationReport(
        boards=campaign.boards,
        database="sqlite" if ledger.database.file else "postgresql",
        parallel=plan.parallel,
        kills=campaign.killed,
        worker_kills=campaign.workers.killed,
        seconds=round(took, 1),
        state=ledger.rollout(NAME).state,
        done=states[State.DONE],
        quarantined=states[State.QUARANTINED],
        at_once=counts.get("at once", 0),
        lost=states.total() - sum(states[state] for state in OVER),
        different=different,
        falling=_falling_fences(ledger),
        unstaged=counts.get("unstaged", 0) if plan.stage_first else 0,
        refused=counts.get("refused", 0),
        cut=counts.get("cut", 0),
        attempts=counts.get("attempts", 0),
        resumed_median_s=round(median(resumed), 2) if resumed else None,
        resumed_max_s=round(max(resumed), 2) if resumed else None,
        cpu_ms_per_board=round(campaign.cpu_s * 1000 / campaign.boards, 2),
        peak_mib=round(campaign.peak_kib / 1024, 1),
        ledger_kib=_ledger_kib(ledger),
    )


def _plan(
    boards: int,
    parallel: int,
    plan_waves: str,
    silent_s: float,
    dial_out: Sequence[str],
    *,
    stage_first: bool,
) -> Plan:
    return Plan(
        waves=plan_waves,
        ends=waves.ends(plan_waves, boards),
        salt="simulated",
        gates="failures<=20%,p95<=10%,accuracy<=0%",
        releases={"simulated": NEW},
        soak_s=0.5,
        parallel=parallel,
        per_site=25,
        stage_first=stage_first,
        dial_out=tuple(dial_out),
        tries=TRIES_AT_SITES if dial_out else TRIES,
        backoff_s=0.2,
        lease_s=2 * silent_s,
        board_s=silent_s,
    )


def _enter(ledger: Ledger, plan: Plan, boards: int) -> None:
    sites = {f"board-{number}": f"site-{number % SITES}" for number in range(boards)}
    goal = Goal.STAGE if plan.stage_first else Goal.RELEASE
    goal = Goal.SHADOW if plan.shadow_s else goal
    entries = [
        Entry(board=board, site=sites[board], wave=wave, release=NEW, former=OLD, goal=goal)
        for board, wave in waves.assign(sites, plan.ends, plan.salt).items()
    ]
    ledger.plan(NAME, plan.model_dump_json(), entries)


class _Life:
    """When a controller is killed."""

    def __init__(self, *, is_early: bool, random: random.Random) -> None:
        self.is_early = is_early
        self._seconds = (
            random.uniform(*EARLY_SECONDS) if is_early else random.expovariate(1 / WORK_SECONDS)
        )

    def is_over(self, age: float, first: float | None) -> bool:
        if self.is_early:
            return age >= self._seconds
        return first is not None and age >= first + self._seconds


def _last_attempt(ledger: Ledger) -> int | None:
    with ledger.database.steps.connect() as connection:
        last: int | None = connection.scalar(sa.select(sa.func.max(ATTEMPTS.c.id)))
        return last


def _settled(ledger: Ledger) -> int:
    """Boards that are at their end."""
    return sum(n for (_, state), n in ledger.counts(NAME).items() if state in OVER)


def _falling_fences(ledger: Ledger) -> int:
    """Attempts whose fence is not above all those that their board had before."""
    last, falling = Counter[str](), 0
    with ledger.database.steps.connect() as connection:
        query = sa.select(ATTEMPTS.c.board, ATTEMPTS.c.fence).order_by(ATTEMPTS.c.id)
        for board, fence in connection.execute(query):
            falling += fence <= last[board]
            last[board] = fence
    return falling


def _ledger_kib(ledger: Ledger) -> int:
    """What the ledger takes, its log of what is to be written included."""
    if ledger.database.file is not None:
        folder, name = ledger.database.file.parent, ledger.database.file.name
        return sum(file.stat().st_size for file in folder.glob(f"{name}*")) >> 10
    with ledger.database.engine.connect() as connection:
        size = connection.scalar(sa.select(sa.func.pg_database_size(sa.func.current_database())))
        return int(size or 0) >> 10


def _different(ledger: Ledger, truth: Simulated) -> int:
    """Boards whose state in the ledger is not what they run."""
    expected = {
        member.board: NEW if (member.state, member.goal) == (State.DONE, Goal.RELEASE) else OLD
        for member in ledger.members(NAME)
    }
    return sum(truth.look(board).current != release for board, release in expected.items())


def _peak_kib(pid: int | None) -> int:
    """The most memory that a process had; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) if peaks else 0


def _processor_seconds(pid: int | None) -> float:
    """Of a process that may have ended: then 0."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TargetError("simulation", "its boards did not start")
        time.sleep(0.05)
