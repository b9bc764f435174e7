"""The report of a rollout: one HTML file that loads nothing and runs nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from edgewright.fleet import serve
from edgewright.fleet.documents import (
    SHOWN_STATES,
    WITHOUT_RELEASE,
    RolloutBoard,
    RolloutGates,
    RolloutStatus,
)
from edgewright.fleet.rollout import gates
from edgewright.fleet.rollout.gates import Gate, Verdict, Word
from edgewright.fleet.rollout.ledger import Event, Rollout
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Outcome
from edgewright.observe.shadow.report import Pair

LIVE_PAGE = Path(serve.__file__).parent / "page"  # whose style this one has
WIDTH, HEIGHT, BINS = 320, 60, 40  # of a histogram: pixels, pixels, bars
SHOWN_BOARDS = 50  # beyond a gate's limit
SHOWN_EVENTS = 1000
FAILURES = (Outcome.FAILED, Outcome.HOPELESS, Outcome.LOST)
OF_EVERY_BOARD = ("begun", "done")  # events that the list of boards tells already


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: float
    height: float
    is_beyond: bool  # the limit


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Boards by how much worse they became, as their gate counts it."""

    bars: tuple[Bar, ...]
    boards: int
    low: float
    high: float
    limit: float
    limit_x: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A gate of a wave."""

    wave: int
    shadow: bool  # before any board of the wave was switched
    verdict: Verdict
    histogram: Histogram | None
    boards: tuple[RolloutBoard, ...]  # beyond the limit, the worst first
    changes: Mapping[str, float]  # of each board that was measured before and after
    of_wave: int  # boards that it judged
    gate: Gate

    @property
    def subject(self) -> str:
        return f"shadow of wave {self.wave}" if self.shadow else f"wave {self.wave}"

    @property
    def answers(self) -> tuple[tuple[str, Pair], ...]:
        """Frames that a candidate answered otherwise, each with its board."""
        pairs = [
            (board.board, pair)
            for board in self.boards
            if self.gate.name == "shadow" and board.measured and board.measured.shadow
            for pair in board.measured.shadow.pairs
        ]
        return tuple(pairs[:SHOWN_BOARDS])

    def shown(self, change: float) -> str:
        return gates.shown_change(self.gate, change)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Some boards by their states."""

    name: str
    boards: int
    counts: Counter[str]


def render(status: RolloutStatus, rollout: Rollout, events: Sequence[Event]) -> str:
    """The page; the same bytes for the same ledger."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, LIVE_PAGE]),
        autoescape=select_autoescape(["j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["utc"] = _utc
    judged = [_judged(status, wave, gate) for wave in status.verdicts for gate in wave.gates]
    shown = [event for event in events if event.board is None or event.kind not in OF_EVERY_BOARD]
    sites = sorted({board.site for board in status.boards})
    return environment.get_template("report.html.j2").render(
        status=status,
        plan=Plan.model_validate_json(rollout.plan),
        states=SHOWN_STATES,
        total=_share("", status.boards),
        waves=[_share(str(n), _of_wave(status, n)) for n in range(1, len(status.waves) + 1)],
        verdicts={wave.wave: wave for wave in status.verdicts},
        sites=[_share(site, [b for b in status.boards if b.site == site]) for site in sites],
        judged=judged,
        stopping=[gate for gate in judged if gate.verdict.word is Word.NO],
        # A board that went back has its reason no more.
        failures={event.board: event.text for event in events if event.kind in FAILURES},
        without=[board for board in status.boards if board.state in WITHOUT_RELEASE],
        events=shown[:SHOWN_EVENTS],
        more_events=len(shown) - SHOWN_EVENTS,
        last=events[-1].at if events else rollout.started,
        shown_boards=SHOWN_BOARDS,
        width=WIDTH,
    )


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _share(name: str, boards: Sequence[RolloutBoard]) -> Share:
    counts = Counter(board.shown_state for board in boards)
    return Share(name=name, boards=len(boards), counts=counts)


def _of_wave(status: RolloutStatus, wave: int) -> list[RolloutBoard]:
    return [board for board in status.boards if board.wave == wave]


def _judged(status: RolloutStatus, wave: RolloutGates, verdict: Verdict) -> Judged:
    (gate,) = gates.parse(verdict.gate)
    members = {board.board: board for board in _of_wave(status, wave.wave)}
    # A small wave is judged with boards of earlier ones, which may be beyond the limit, too.
    boards = {board.board: board for board in status.boards}
    changes = {
        name: change
        for name, board in members.items()
        if board.measured and (change := gates.change_of(gate, board.measured)) is not None
    }
    return Judged(
        wave=wave.wave,
        shadow=wave.shadow,
        verdict=verdict,
        histogram=_histogram(list(changes.values()), gate.limit) if changes else None,
        boards=tuple(boards[name] for name in verdict.boards),
        changes=changes,
        gate=gate,
        of_wave=sum(board.state != "excluded" for board in members.values()),
    )


def _histogram(changes: Sequence[float], limit: float) -> Histogram:
    """Zero and the limit are always on it."""
    low, high = min(0.0, *changes), max(limit, *changes)
    margin = (high - low or 0.01) * 0.05
    low, high = low - margin, high + margin
    scale = BINS / (high - low)
    bins = Counter(min(int((change - low) * scale), BINS - 1) for change in changes)
    most = max(bins.values())
    return Histogram(
        bars=tuple(
            Bar(
                x=WIDTH / BINS * place,
                height=max(count / most * HEIGHT, 1.5),
                is_beyond=low + (place + 0.5) / scale > limit,
            )
            for place, count in sorted(bins.items())
        ),
        boards=len(changes),
        low=low,
        high=high,
        limit=limit,
        limit_x=(limit - low) / (high - low) * WIDTH,
    )
