"""The controller over boards in memory, with steps that a process may die in."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edgewright.base.errors import InterruptedWorkError, TargetError, UserError
from edgewright.deploy.install import NextFence
from edgewright.fleet.rollout import gates, report, waves
from edgewright.fleet.rollout.controller import Controller, HopelessError, Observation
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.durable import Json
from edgewright.fleet.rollout.gates import Measured, Numbers, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger, Report
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Goal, Outcome, Retry, State

FORMER = Numbers(p95_ms=40.0, peak_rss_kb=30_000, right=1.0, leak_kb=0.0)
SLOW = Numbers(p95_ms=60.0, peak_rss_kb=30_000, right=1.0, leak_kb=0.0)


@dataclass
class Fakes:
    """Boards of this process. `faults` are raised once each, the last one always."""

    count: int = 12
    after: Numbers = FORMER
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: "old"))
    fence: Counter[str] = field(default_factory=Counter)
    at_work: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)  # at work at once, of each site
    restarts: Counter[str] = field(default_factory=Counter)
    celsius: float | None = None  # after the soak time
    holds: threading.Event | None = None  # boards wait for it
    staged: Counter[str] = field(default_factory=Counter)  # how often each got the content
    shadowed: Shadowed = field(default_factory=lambda: Shadowed(offered=90, agreed=40))
    shadows: Counter[str] = field(default_factory=Counter)  # how often each ran beside
    is_open: bool = True  # the window of all boards
    sites: int = 3

    def site(self, board: str) -> str:
        return f"hall-{int(board.removeprefix('oven-')) % self.sites}"

    def _touch(self, claim: Claim, next_fence: NextFence) -> None:
        site = self.site(claim.board)
        self.at_work[site] += 1
        self.most[site] = max(self.most[site], self.at_work[site])
        try:
            self.fence[claim.board] = next_fence(self.fence[claim.board])
            if self.holds:
                self.holds.wait(10)
            faults = self.faults.get(claim.board)
            if faults and claim.goal is Goal.RELEASE:
                raise faults.pop(0) if len(faults) > 1 else faults[0]
        finally:
            self.at_work[site] -= 1

    def install(self, claim: Claim, next_fence: NextFence) -> Measured:
        self._touch(claim, next_fence)
        self.current[claim.board] = claim.release
        return Measured(before=FORMER, after=self.after, restarts=0)

    def stage(self, claim: Claim, next_fence: NextFence) -> None:
        self._touch(claim, next_fence)
        self.staged[claim.board] += 1

    def shadow(self, claim: Claim, next_fence: NextFence) -> Shadowed:
        self._touch(claim, next_fence)
        assert claim.shadow_s == 30.0
        self.shadows[claim.board] += 1
        return self.shadowed

    def go_back(self, claim: Claim, next_fence: NextFence) -> None:
        self._touch(claim, next_fence)
        self.current[claim.board] = "old"

    def look(self, board: str) -> Observation:
        return Observation(
            current=self.current[board], restarts=self.restarts[board], celsius=self.celsius
        )

    def opening(self, board: str) -> float:
        return 0.0 if self.is_open else time.time() + 0.05


class Death(BaseException):
    """The process is killed."""


class Memory:
    """Steps that are kept, and a process that dies in or after any one of them."""

    def __init__(self) -> None:
        self.done: dict[str, Json] = {}
        self.dies_before, self.dies_after = "", ""

    def __call__(self, name: str, work: Callable[[], Json], /) -> Json:
        if name not in self.done:
            if name == self.dies_before:
                raise Death
            answer = work()
            if name == self.dies_after:
                raise Death
            self.done[name] = answer
        return self.done[name]


def begin(database: Database, boards: Fakes, **changes: object) -> Ledger:
    ledger = Ledger(database, time.time)
    names = {f"oven-{number}": boards.site(f"oven-{number}") for number in range(boards.count)}
    ends = waves.ends(str(changes.pop("waves", "6,100%")), len(names))
    settings = {"backoff_s": 0.01, "soak_s": 0.0, "gates": gates.DEFAULT, **changes}
    plan = Plan.model_validate(
        {"waves": "", "ends": ends, "salt": "s", "releases": {"a53-som": "new"}, **settings}
    )
    members = waves.assign(names, ends, plan.salt)
    goal = Goal.STAGE if plan.stage_first else Goal.RELEASE
    goal = Goal.SHADOW if plan.shadow_s else goal
    entries = [
        Entry(
            board=board,
            site=names[board],
            wave=wave,
            release="new",
            former="old",
            goal=goal,
        )
        for board, wave in members.items()
    ]
    ledger.plan("bread", plan.model_dump_json(), entries)
    return ledger


def conduct(
    ledger: Ledger,
    boards: Fakes,
    steps: Memory | None = None,
    *,
    count: Callable[[str], int | None] = lambda _: None,
) -> str:
    controller = Controller(ledger, "bread", boards, count=count, tick_s=0.02)
    return controller.conduct(steps or Memory())


def states(ledger: Ledger) -> Counter[State]:
    return Counter(member.state for member in ledger.members("bread"))


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_all_waves_one_after_the_other(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards)

    assert conduct(ledger, boards) == "done"

    assert states(ledger) == {State.DONE: 12}
    assert set(boards.current.values()) == {"new"}
    begun = [event.board for event in ledger.events("bread") if event.kind == "begun"]
    waves_of = {member.board: member.wave for member in ledger.members("bread")}
    assert [waves_of[board or ""] for board in begun] == [1] * 6 + [2] * 6
    assert {*ledger.verdicts("bread")} == {1, 2}


def test_a_last_wave_of_few_boards_waits_for_nobody(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards, waves="10,100%")

    assert conduct(ledger, boards) == "done"

    assert states(ledger) == {State.DONE: 12}
    judged = gates.VERDICTS.validate_json(ledger.verdicts("bread")[2])
    assert {each.pairs for each in judged if each.pairs is not None} == {12}


def test_a_board_that_fails_once_is_tried_again_and_one_that_always_does_is_left(
    database: Database,
) -> None:
    boards = Fakes(
        faults={
            "oven-1": [TargetError("oven-1", "off"), TargetError("oven-1", "off")],
            "oven-2": [HopelessError("oven-2", "full")],
        }
    )
    boards.faults["oven-3"] = [TargetError("oven-3", "busy"), ValueError("a fault of ours")]
    ledger = begin(database, boards, gates="failures<=5")

    assert conduct(ledger, boards) == "done"

    members = {member.board: member for member in ledger.members("bread")}
    assert {name: members[name].tries for name in boards.faults} == {
        "oven-1": 3,
        "oven-2": 1,
        "oven-3": 3,
    }
    assert members["oven-3"].reason == "a bug: ValueError: a fault of ours"
    assert states(ledger) == {State.DONE: 9, State.QUARANTINED: 3}
    assert {*ledger.in_quarantine()} == {"oven-1", "oven-2", "oven-3"}


def test_boards_that_were_in_quarantine_before_are_no_failures_of_the_release(
    database: Database,
) -> None:
    boards = Fakes()
    for board in ("oven-1", "oven-2", "oven-3"):
        Ledger(database, time.time).quarantine(board, "its disk")
    ledger = begin(database, boards, gates="failures<=0")

    assert conduct(ledger, boards) == "done"

    assert states(ledger) == {State.DONE: 9, State.EXCLUDED: 3}
    verdicts = gates.VERDICTS.validate_json(ledger.verdicts("bread")[2])
    assert verdicts[0].found.startswith("0 of ")
    judged = [gates.VERDICTS.validate_json(ledger.verdicts("bread")[n])[0] for n in (1, 2)]
    assert sum(int(verdict.found.split()[2]) for verdict in judged) == 9


def test_a_wave_of_excluded_boards_alone_is_nothing_to_judge(database: Database) -> None:
    boards = Fakes(count=2)
    for board in ("oven-0", "oven-1"):
        Ledger(database, time.time).quarantine(board, "its disk")
    ledger = begin(database, boards, waves="100%", gates="failures<=0,restarts<=0")

    assert conduct(ledger, boards) == "done"


@pytest.mark.parametrize(
    ("after", "gate"),
    [
        (SLOW, "p95<=10%"),
        (Numbers(p95_ms=40.0, peak_rss_kb=50_000, right=1.0, leak_kb=0.0), "memory<=10%"),
        (Numbers(p95_ms=40.0, peak_rss_kb=30_000, right=0.5, leak_kb=0.0), "accuracy<=25%"),
        (Numbers(p95_ms=40.0, peak_rss_kb=30_000, right=1.0, leak_kb=4.0), "leak<=1"),
    ],
)
def test_a_wave_that_measured_worse_is_taken_back(
    database: Database, after: Numbers, gate: str
) -> None:
    boards = Fakes(after=after)
    ledger = begin(database, boards)

    assert conduct(ledger, boards) == "stopped"

    assert set(boards.current.values()) == {"old"}
    assert len(boards.current) == 6
    no = [v for v in gates_of(ledger) if v.word is gates.Word.NO]
    assert [(verdict.gate, len(verdict.boards)) for verdict in no] == [(gate, 6)]
    counts = ledger.counts("bread")
    assert counts == {(Goal.FORMER, State.DONE): 6, (Goal.RELEASE, State.SKIPPED): 6}
    assert ledger.rollout("bread").reason == "wave 1: a gate said no"


def test_a_release_that_executes_more_is_taken_back_by_counts_of_this_machine(
    database: Database,
) -> None:
    """Boards are not asked, and what one of them says of itself does not count."""
    boards = Fakes(after=FORMER.model_copy(update={"instructions": 1}))
    ledger = begin(database, boards, gates="failures<=0,instructions<=5%")
    counts = {"old": 600_000, "new": 900_000}

    assert conduct(ledger, boards, count=counts.get) == "stopped"

    (no,) = [v for v in gates_of(ledger) if v.word is gates.Word.NO]
    assert no.gate == "instructions<=5%"
    assert no.found.startswith("median +50.0 %")
    result = next(m.result for m in ledger.members("bread", 1) if m.result)
    after = Measured.model_validate_json(result).after
    assert after is not None
    assert after.instructions == 900_000


def test_releases_that_nobody_can_count_are_no_verdict(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards, gates="instructions<=5%", approval_s=0.1)

    assert conduct(ledger, boards) == "stopped"

    assert [verdict.word for verdict in gates_of(ledger)] == [gates.Word.NONE]
    assert ledger.rollout("bread").reason == "wave 1: nobody approved in time"


def gates_of(ledger: Ledger) -> tuple[gates.Verdict, ...]:
    return gates.VERDICTS.validate_json(ledger.verdicts("bread")[1])


def test_a_service_that_restarts_and_a_board_that_went_back_are_seen_after_the_soak_time(
    database: Database,
) -> None:
    boards = Fakes()
    ledger = begin(database, boards, soak_s=0.2)
    first = [member.board for member in ledger.members("bread", 1)]

    def harm() -> None:
        wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
        boards.restarts[first[0]] = 2
        boards.current[first[1]] = "old"

    in_background(harm)
    assert conduct(ledger, boards) == "stopped"

    named = {verdict.gate: verdict.boards for verdict in gates_of(ledger)}
    assert named["restarts<=0"] == (first[0],)
    assert named["failures<=5%"] == (first[1],)


def test_boards_that_run_hot_after_the_soak_time_are_taken_back_and_the_ledger_says_how_hot(
    database: Database,
) -> None:
    boards = Fakes(after=Numbers(p95_ms=40.0), celsius=71.0)
    install = boards.install

    def cool(claim: Claim, next_fence: NextFence) -> Measured:
        measured = install(claim, next_fence)
        return measured.model_copy(update={"before": Numbers(p95_ms=40.0, celsius=52.0)})

    boards.install = cool  # type: ignore[method-assign]
    ledger = begin(database, boards, gates="failures<=0,temperature<=10")

    assert conduct(ledger, boards) == "stopped"

    (no,) = [v for v in gates_of(ledger) if v.word is gates.Word.NO]
    assert no.found == "median +19.0 °C, at most +19.0 °C, 6 of 6 boards beyond the limit"
    results = [member.result for member in ledger.members("bread", 1)]
    measured = [Measured.model_validate_json(result) for result in results if result]
    assert [each.after for each in measured] == [Numbers(p95_ms=40.0, celsius=71.0)] * 6


def test_a_board_whose_answer_nobody_understands_ends_no_rollout(database: Database) -> None:
    boards = Fakes()
    boards.faults["oven-3"] = [ValueError("half \udc80 of a letter")]
    look = boards.look

    def misread(board: str) -> Observation:
        if board == "oven-5":
            raise ValueError("no number")
        return look(board)

    boards.look = misread  # type: ignore[method-assign]
    ledger = begin(database, boards, waves="100%", gates="failures<=2")

    assert conduct(ledger, boards) == "done"
    reasons = {member.board: member.reason for member in ledger.members("bread")}
    assert reasons["oven-3"] == "a bug: ValueError: half \\udc80 of a letter"


def test_too_many_failures_stop_a_wave_before_its_end(database: Database) -> None:
    boards = Fakes(count=30)
    boards.faults = {f"oven-{n}": [HopelessError("oven", "wrong answers")] for n in range(30)}
    ledger = begin(database, boards, waves="100%", gates="failures<=2", parallel=1)

    assert conduct(ledger, boards) == "stopped"

    begun = [event.board for event in ledger.events("bread") if event.text == "release"]
    assert len(begun) <= 5
    assert ledger.in_quarantine() == {}  # they went back: the release was to blame


def test_no_verdict_waits_for_a_person(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards, waves="2,100%")
    ends: list[str] = []
    thread = in_background(lambda: ends.append(conduct(ledger, boards)))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 waits for approval")
    assert len(boards.current) == 2

    ledger.approve("bread", 1, "ann", "looked at both")
    thread.join(10)

    assert ends == ["done"]


@pytest.mark.parametrize("answer", ["approve", "late"])
def test_an_approval_that_was_asked_for(database: Database, answer: str) -> None:
    boards = Fakes()
    late = {"approval_s": 0.1} if answer == "late" else {}
    ledger = begin(database, boards, approve_after=1, **late)
    if answer == "approve":  # while no controller is alive
        ledger.approve("bread", 1, "ann", "seen")

    assert conduct(ledger, boards) == ("done" if answer == "approve" else "stopped")
    assert set(boards.current.values()) == {"new" if answer == "approve" else "old"}


def test_abort_lets_boards_at_work_end(database: Database) -> None:
    boards = Fakes(holds=threading.Event())
    ledger = begin(database, boards, parallel=4)
    ends: list[str] = []
    thread = in_background(lambda: ends.append(conduct(ledger, boards)))
    wait_until(lambda: states(ledger)[State.RUNNING] == 4)

    ledger.wish("bread", "abort", "ann")
    time.sleep(0.1)
    assert boards.holds
    boards.holds.set()
    thread.join(10)

    assert ends == ["aborted"]
    assert states(ledger) == {State.DONE: 4, State.SKIPPED: 8}


def test_leaving_lets_boards_at_work_end_and_another_controller_goes_on(
    database: Database,
) -> None:
    boards = Fakes(holds=threading.Event())
    ledger = begin(database, boards, parallel=4)
    controller, steps = Controller(ledger, "bread", boards, tick_s=0.02), Memory()
    raised: list[str] = []

    def conduct_and_leave() -> None:
        try:
            controller.conduct(steps)
        except InterruptedWorkError as left:
            raised.append(str(left))

    thread = in_background(conduct_and_leave)
    wait_until(lambda: states(ledger)[State.RUNNING] == 4)
    controller.leave()
    assert boards.holds
    boards.holds.set()
    thread.join(10)

    assert raised == [
        "rollout 'bread': left: it is not over\nnext: edgewright rollout.resume --name=bread"
    ]
    assert states(ledger) == {State.DONE: 4, State.READY: 2, State.WAITING: 6}
    assert conduct(ledger, boards, steps) == "done"


def test_leaving_ends_a_judgement_that_silent_boards_would_draw_out(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards, parallel=1)
    controller, steps = Controller(ledger, "bread", boards, tick_s=0.02), Memory()
    looks: list[str] = []

    def look(board: str) -> Observation:
        looks.append(board)
        controller.leave()
        raise TargetError(board, "does not answer")

    boards.look = look  # type: ignore[method-assign]
    with pytest.raises(InterruptedWorkError):
        controller.conduct(steps)

    assert len({*looks}) == 1
    assert ledger.verdicts("bread") == {}


@dataclass
class DialOutSite:
    """hall-5: its board is worked on from there, when the test says so."""

    ledger: Ledger
    boards: Fakes

    def claim(self, goal: Goal) -> list[Claim]:
        claims = self.ledger.claim(
            "bread", worker="site", limit=1, lease_s=60, goal=goal, site="hall-5"
        )
        return [*claims]

    def wait_for(self, goal: Goal) -> list[Claim]:
        claims: list[Claim] = []

        def take() -> bool:
            claims.extend(self.claim(goal))
            return bool(claims)

        wait_until(take)
        return claims

    def end(self, claims: list[Claim], outcome: Outcome, current: str) -> None:
        for claim in claims:
            self.boards.current["oven-5"] = current
            self.ledger.finish([Report(claim=claim, outcome=outcome)], Retry())
        claims.clear()


@pytest.fixture
def site(database: Database) -> DialOutSite:
    boards = Fakes(count=6, sites=6, after=SLOW)
    wanted = "failures<=2,p95<=10%"
    ledger = begin(database, boards, waves="100%", gates=wanted, dial_out=("hall-5",))
    return DialOutSite(ledger=ledger, boards=boards)


def test_what_a_site_had_begun_when_its_wave_goes_back_goes_back_too(site: DialOutSite) -> None:
    ledger, boards = site.ledger, site.boards
    take_back, ended = ledger.take_back, threading.Event()

    def work() -> None:
        site.end(site.wait_for(Goal.RELEASE), Outcome.HOPELESS, "old")
        wait_until(lambda: bool(ledger.verdicts("bread")))
        ledger.reopen("bread")  # by an operator, when the gate has said no
        again = site.wait_for(Goal.RELEASE)
        wait_until(ended.is_set)
        time.sleep(0.1)
        site.end(again, Outcome.DONE, "new")
        site.end(site.wait_for(Goal.FORMER), Outcome.DONE, "old")

    def take_back_later(rollout: str, wave: int) -> int:
        if not ended.is_set():
            wait_until(lambda: states(ledger)[State.RUNNING] == 1)
        ended.set()
        return take_back(rollout, wave)

    ledger.take_back = take_back_later  # type: ignore[method-assign]
    thread = in_background(work)

    assert conduct(ledger, boards) == "stopped"
    thread.join(10)
    assert set(boards.current.values()) == {"old"}


@pytest.mark.parametrize("moment", range(1, 7))
def test_what_ends_at_a_site_at_any_moment_of_the_way_back_goes_back_too(
    site: DialOutSite, moment: int
) -> None:
    ledger, boards = site.ledger, site.boards
    open_wave, take_back, counts = ledger.open_wave, ledger.take_back, ledger.counts
    at_work: list[Claim] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        if ledger.verdicts("bread"):
            looks += 1
            if looks == moment:
                site.end(at_work, Outcome.DONE, "new")
            site.end(site.claim(Goal.FORMER), Outcome.DONE, "old")

    def open_and_fail(rollout: str, wave: int) -> None:
        open_wave(rollout, wave)
        site.end(site.claim(Goal.RELEASE), Outcome.HOPELESS, "old")

    def take_back_and_look(rollout: str, wave: int) -> int:
        if not looks:  # an operator, in the instant after the gate's word
            ledger.reopen("bread")
            at_work.extend(site.claim(Goal.RELEASE))
        count = take_back(rollout, wave)
        look()
        return count

    def count_and_look(rollout: str, wave: int | None = None) -> Counter[tuple[Goal, State]]:
        counted = counts(rollout, wave)
        look()
        return counted

    ledger.open_wave = open_and_fail  # type: ignore[method-assign]
    ledger.take_back = take_back_and_look  # type: ignore[method-assign]
    ledger.counts = count_and_look  # type: ignore[method-assign]

    assert conduct(ledger, boards) == "stopped"
    assert set(boards.current.values()) == {"old"}
    assert at_work == []


def test_a_pause_begins_no_board_and_ends(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards)
    ledger.wish("bread", "pause", "ann")
    ends: list[str] = []
    thread = in_background(lambda: ends.append(conduct(ledger, boards)))
    time.sleep(0.2)
    assert boards.current == {}

    ledger.wish("bread", "run", "ann")
    thread.join(10)
    assert ends == ["done"]


def test_a_site_has_no_more_boards_at_work_than_it_may(database: Database) -> None:
    boards = Fakes(count=24)
    ledger = begin(database, boards, waves="100%", per_site=2)

    assert conduct(ledger, boards) == "done"
    assert max(boards.most.values()) <= 2


def test_a_silent_board_counts_as_failed_after_its_deadline(database: Database) -> None:
    boards = Fakes(count=2, holds=threading.Event())
    changes = {"board_s": 0.05, "lease_s": 0.1, "tries": 1, "gates": "failures<=0"}
    ledger = begin(database, boards, waves="100%", **changes)

    assert conduct(ledger, boards) == "stopped"
    reasons = {event.text for event in ledger.events("bread") if event.kind == "lost"}
    assert reasons == {"nothing was heard of it until its deadline"}
    assert boards.holds
    boards.holds.set()


def test_a_closed_window_ends_with_the_wave_s_deadline(database: Database) -> None:
    boards = Fakes(count=2)
    boards.opening = lambda board: time.time() + 3600  # type: ignore[method-assign]
    ledger = begin(database, boards, waves="100%", wave_s=0.1, gates="failures<=2")

    assert conduct(ledger, boards) == "done"
    assert states(ledger) == {State.SKIPPED: 2}


STEPS = ["wave 1 ends", "wave 1", "soak 1", "rest 1", "judge 1", "wave 2", "judge 2", "end"]


@pytest.mark.parametrize(
    ("name", "when"), [("wave 1", "before"), *((name, "after") for name in STEPS)]
)
def test_a_controller_that_dies_in_any_step_is_resumed(
    database: Database, name: str, when: str
) -> None:
    boards, steps = Fakes(), Memory()
    ledger = begin(database, boards)
    setattr(steps, f"dies_{when}", name)
    with pytest.raises(Death):
        conduct(ledger, boards, steps)
    setattr(steps, f"dies_{when}", "")

    assert conduct(ledger, boards, steps) == "done"

    assert states(ledger) == {State.DONE: 12}
    assert sum(event.kind == "begun" for event in ledger.events("bread")) == 12


@pytest.mark.parametrize("name", ["judge 1", "back 1 ends", "back 1", "end"])
def test_a_take_back_is_resumed(database: Database, name: str) -> None:
    boards, steps = Fakes(after=SLOW), Memory()
    ledger = begin(database, boards)
    steps.dies_after = name
    with pytest.raises(Death):
        conduct(ledger, boards, steps)
    steps.dies_after = ""

    assert conduct(ledger, boards, steps) == "stopped"
    assert set(boards.current.values()) == {"old"}
    assert ledger.counts("bread")[Goal.FORMER, State.DONE] == 6


def new_entry(board: str, wave: int) -> Entry:
    return Entry(board=board, site="hall-0", wave=wave, release="new", former="old")


def test_boards_join_a_wave_that_is_at_work_and_one_that_is_to_come(database: Database) -> None:
    holds = threading.Event()
    boards = Fakes(holds=holds)
    ledger = begin(database, boards)
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: states(ledger)[State.RUNNING] == 6)
    ledger.join("bread", 1, [new_entry("oven-20", 1)], who="ann")
    ledger.join("bread", 2, [new_entry("oven-21", 2)], who="ann")
    holds.set()
    thread.join(10)

    assert states(ledger) == {State.DONE: 14}
    members = {member.board: member for member in ledger.members("bread")}
    assert [members[f"oven-{n}"].wave for n in (20, 21)] == [1, 2]
    assert members["oven-20"].joined is not None
    assert members["oven-1"].joined is None
    joined = [event.text for event in ledger.events("bread") if event.kind == "joined"]
    assert joined == ["wave 1: 1 boards by ann: oven-20", "wave 2: 1 boards by ann: oven-21"]
    assert report.status(ledger, "bread").waves == (7, 14)


def test_a_board_that_joins_while_its_wave_soaks_is_judged_with_it(database: Database) -> None:
    boards = Fakes(faults={"oven-20": [HopelessError("oven-20", "full")]})
    ledger = begin(database, boards, waves="100%", soak_s=0.5, gates="failures<=0")
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
    ledger.join("bread", 1, [new_entry("oven-20", 1)], who="ann")
    thread.join(10)

    assert ledger.rollout("bread").state == "stopped"
    (verdict,) = gates.VERDICTS.validate_json(ledger.verdicts("bread")[1])
    assert verdict.boards == ("oven-20",)


def test_no_board_joins_a_wave_that_is_judged_or_two_rollouts(database: Database) -> None:
    boards = Fakes()
    ledger = begin(database, boards, waves="6,100%", approve_after=1)
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase.endswith("approval"))
    with pytest.raises(UserError, match="wave 1 takes no more boards\n  phase: wave 1 waits"):
        ledger.join("bread", 1, [new_entry("oven-20", 1)], who="ann")
    with pytest.raises(UserError, match="1 of these boards are in it already\n  boards: oven-1"):
        ledger.join("bread", 2, [new_entry("oven-1", 2), new_entry("oven-20", 2)], who="ann")
    ledger.plan("cake", ledger.rollout("bread").plan, [new_entry("oven-30", 1)])
    with pytest.raises(UserError, match="are in rollout 'cake', which is not over"):
        ledger.join("bread", 2, [new_entry("oven-30", 2)], who="ann")
    assert "oven-20" not in {member.board for member in ledger.members("bread")}
    ledger.wish("bread", "abort", "ann")
    thread.join(10)
    with pytest.raises(UserError, match="is over"):
        ledger.join("bread", 2, [new_entry("oven-20", 2)], who="ann")


def test_a_closed_window_keeps_no_board_from_the_content(database: Database) -> None:
    boards = Fakes(is_open=False)
    ledger = begin(database, boards, waves="100%", stage_first=True)
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: len(boards.staged) == 12 and not states(ledger)[State.RUNNING])

    assert set(boards.current.values()) <= {"old"}
    shown = {board.shown_state for board in report.status(ledger, "bread").boards}
    assert shown == {"staged"}
    boards.is_open = True
    thread.join(10)

    assert states(ledger) == {State.DONE: 12}
    assert set(boards.staged.values()) == {1}
    assert set(boards.current.values()) == {"new"}


def abort_at_work(ledger: Ledger, boards: Fakes, holds: threading.Event) -> None:
    """Abort while all twelve boards are at work, and let them end."""
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: states(ledger)[State.RUNNING] == 12)
    ledger.wish("bread", "abort", "ann")
    holds.set()
    thread.join(10)
    assert ledger.rollout("bread").state == "aborted"


def test_an_abort_while_boards_get_the_content_switches_none(database: Database) -> None:
    holds = threading.Event()
    boards = Fakes(holds=holds)
    ledger = begin(database, boards, waves="100%", stage_first=True)
    abort_at_work(ledger, boards, holds)

    assert len(boards.staged) == 12
    assert set(boards.current.values()) <= {"old"}
    assert states(ledger) == {State.SKIPPED: 12}


def test_a_board_that_was_only_staged_has_no_way_to_go_back(database: Database) -> None:
    """Its former release is current: the wave is taken back without it."""
    boards = Fakes(is_open=False, faults={"oven-1": [HopelessError("oven-1", "full")]})
    ledger = begin(database, boards, waves="100%", stage_first=True, wave_s=0.5)
    assert conduct(ledger, boards) == "stopped"

    assert states(ledger) == {State.SKIPPED: 12}
    assert {event.kind for event in ledger.events("bread")}.isdisjoint({"take back"})


def test_a_board_that_runs_the_release_is_no_failure_though_nobody_told_how_its_deploy_ended(
    database: Database,
) -> None:
    holds = threading.Event()
    boards = Fakes(holds=holds)
    ledger = begin(database, boards, waves="100%", tries=1, board_s=0.2, lease_s=0.2)

    def look(board: str) -> Observation:
        wait_until(lambda: boards.current[board] == "new")
        return Observation(current=boards.current[board])

    boards.look = look  # type: ignore[method-assign]
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: states(ledger)[State.QUARANTINED] == 12)
    holds.set()  # too late for the ledger, which drops what they report
    thread.join(20)

    assert states(ledger) == {State.DONE: 12}
    assert not ledger.in_quarantine()
    assert [e.kind for e in ledger.events("bread")].count("read back") == 12
