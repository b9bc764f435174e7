"""A rollout over boards that are only simulated, whose controller is killed again and again.

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
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from edgewright.base.errors import TargetError
from edgewright.fleet.documents import SimulationReport
from edgewright.fleet.rollout import durable, gates, waves
from edgewright.fleet.rollout.controller import Controller, HopelessError, Observation
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.gates import Measured, Numbers
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Goal, State
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
# Of the others, after their first board, on average: some live long enough to give up on a board
# that hangs, which each death begins anew.
WORK_SECONDS = 0.8
START_SECONDS = 60.0


# The truth


@dataclass
class _Board:
    current: str = OLD
    fence: int = 0
    session: object = None  # that is at work


@dataclass
class _Truth:
    seed: str
    boards: dict[str, _Board] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            request = json.loads(await reader.readline())
            board = self.boards.setdefault(request["board"], _Board())
            if request["do"] == "counts":
                answer: dict[str, Any] = dict(self.counts)
            elif request["do"] == "look":
                answer = {"current": board.current}
            else:
                answer = await self._deploy(request, board, reader, writer)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

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
        if fault == "fails":
            return {"failed": "the self-test"}
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

    def _deploy(self, claim: Claim, release: str, next_fence: "NextFence") -> dict[str, Any]:
        request = {"do": "deploy", "board": claim.board, "release": release}
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


def _conduct(ledger_place: str, place: str) -> None:
    ledger = Ledger(open_database(ledger_place), time.time)
    controller = Controller(ledger, NAME, Simulated(place=place))
    durable.run(ledger.database, NAME, controller.conduct)


# The campaign


def simulate(
    folder: Path,
    *,
    boards: int,
    kills: int,
    parallel: int = 50,
    plan_waves: str = "10,5%,25%,100%",
    seed: str = "1",
    silent_s: float = 2.0,
    ledger_place: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> SimulationReport:
    """Bring a release to so many simulated boards, with a controller that is killed so often.

    `folder` gets the truth's socket, and the ledger unless `ledger_place` names another one. A
    board that is silent for `silent_s` seconds counts as failed.
    """
    place = str(folder / "truth")
    ledger_place = ledger_place or str(folder / "ledger.sqlite")
    ledger = Ledger(open_database(ledger_place), time.time)
    _plan(ledger, boards, parallel, plan_waves, silent_s)
    # Each controller is a fork of a process that has loaded its modules and done nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    truth = context.Process(target=_hold_truth, args=(place, seed), daemon=True)
    truth.start()
    try:
        _wait(Path(place).exists)
        began = time.monotonic()
        controllers = _conduct_to_its_end(
            ledger,
            lambda: context.Process(target=_conduct, args=(ledger_place, place)),
            kills,
            random.Random(seed),
            lambda killed: tell(
                f"{killed} controllers killed, {_done(ledger)} of {boards} boards done"
            ),
        )
        counts = Simulated(place=place).ask("counts", "")
        different = _different(ledger, Simulated(place=place))
        took = time.monotonic() - began
    finally:
        truth.kill()
        truth.join()
    return _report(ledger, controllers, counts, boards, parallel, different, took)


@dataclass
class _Controllers:
    """What became of the controllers of a rollout, one after the other."""

    killed: int = 0
    cpu_s: float = 0.0
    resumed_s: list[float] = field(default_factory=list)  # until a board was claimed again


def _conduct_to_its_end(
    ledger: Ledger,
    start: Callable[[], BaseProcess],
    kills: int,
    lives: random.Random,
    on_kill: Callable[[int], None],
) -> _Controllers:
    """Kill so many controllers; the last one brings the rollout to its end."""
    controllers = _Controllers()
    while True:
        life = _Life(is_early=lives.random() < EARLY, random=lives)
        is_last = controllers.killed >= kills
        resumed_s, cpu_s = _live(start(), ledger, None if is_last else life)
        controllers.cpu_s += cpu_s
        if resumed_s is not None:
            controllers.resumed_s.append(resumed_s)
        if ledger.rollout(NAME).is_over:
            return controllers
        controllers.killed += 1
        on_kill(controllers.killed)


def _report(
    ledger: Ledger,
    controllers: _Controllers,
    counts: Mapping[str, Any],
    boards: int,
    parallel: int,
    different: int,
    took: float,
) -> SimulationReport:
    members, resumed = ledger.members(NAME), controllers.resumed_s
    states = Counter(member.state for member in members)
    final = states[State.DONE] + states[State.QUARANTINED] + states[State.SKIPPED]
    return SimulationReport(
        boards=boards,
        database="sqlite" if ledger.database.file else "postgresql",
        parallel=parallel,
        kills=controllers.killed,
        seconds=round(took, 1),
        state=ledger.rollout(NAME).state,
        done=states[State.DONE],
        quarantined=states[State.QUARANTINED],
        at_once=counts.get("at once", 0),
        lost=len(members) - final,
        different=different,
        refused=counts.get("refused", 0),
        cut=counts.get("cut", 0),
        attempts=counts.get("attempts", 0),
        resumed_median_s=round(median(resumed), 2) if resumed else None,
        resumed_max_s=round(max(resumed), 2) if resumed else None,
        cpu_ms_per_board=round(controllers.cpu_s * 1000 / boards, 2),
    )


def _plan(ledger: Ledger, boards: int, parallel: int, plan_waves: str, silent_s: float) -> None:
    sites = {f"board-{number}": f"site-{number % SITES}" for number in range(boards)}
    plan = Plan(
        waves=plan_waves,
        ends=waves.ends(plan_waves, boards),
        salt="simulated",
        gates="failures<=20%,p95<=10%,accuracy<=0%",
        releases={"simulated": NEW},
        soak_s=0.5,
        parallel=parallel,
        per_site=25,
        tries=2,
        backoff_s=0.2,
        lease_s=2 * silent_s,
        board_s=silent_s,
    )
    gates.parse(plan.gates)
    entries = [
        Entry(board=board, site=sites[board], wave=wave, release=NEW, former=OLD)
        for board, wave in waves.assign(sites, plan.ends, plan.salt).items()
    ]
    ledger.plan(NAME, plan.model_dump_json(), entries)


class _Life:
    """When a controller is killed."""

    def __init__(self, *, is_early: bool, random: random.Random) -> None:
        self._is_early = is_early
        self._seconds = (
            random.uniform(*EARLY_SECONDS) if is_early else random.expovariate(1 / WORK_SECONDS)
        )

    def is_over(self, age: float, first: float | None) -> bool:
        if self._is_early:
            return age >= self._seconds
        return first is not None and age >= first + self._seconds


def _live(
    controller: BaseProcess, ledger: Ledger, life: _Life | None
) -> tuple[float | None, float]:
    """A controller's life: seconds from its start to its first board, and of processor time."""
    last, start, first, used = _last_attempt(ledger), time.monotonic(), None, 0.0
    controller.start()
    try:
        while controller.is_alive():
            age, used = time.monotonic() - start, max(used, _processor_seconds(controller.pid or 0))
            if first is None and _last_attempt(ledger) != last:
                first = age
            if life is not None and life.is_over(age, first):
                break
            controller.join(0.05)
    finally:
        controller.kill()  # after Ctrl-C, too: it would go on to the rollout's end
        controller.join()
    return first, used


def _last_attempt(ledger: Ledger) -> int | None:
    with ledger.database.steps.connect() as connection:
        last: int | None = connection.scalar(sa.select(sa.func.max(ATTEMPTS.c.id)))
        return last


def _done(ledger: Ledger) -> int:
    return ledger.counts(NAME)[Goal.RELEASE, State.DONE]


def _different(ledger: Ledger, truth: Simulated) -> int:
    """Boards whose state in the ledger is not what they run."""
    expected = {
        member.board: NEW if (member.state, member.goal) == (State.DONE, Goal.RELEASE) else OLD
        for member in ledger.members(NAME)
    }
    return sum(truth.look(board).current != release for board, release in expected.items())


def _processor_seconds(pid: int) -> float:
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
