"""Whether a wave was good enough for the next one, by what its boards measured.

Measurements are compared with the former release *of the same board*: kinds of boards, sites and
ages differ by more than releases do.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Literal

from pydantic import Field, TypeAdapter

from edgewright.base.errors import UserError
from edgewright.base.schema import Part, Shown
from edgewright.observe.shadow.report import LEAST_FRAMES, Pair

SIGNIFICANCE = 0.05
# Below it, not even boards that all agree reach the significance: one half to the fourth is 0.06.
MINIMUM_PAIRS = 5
STRAY = 0.05  # share of the boards that may be beyond the limit by themselves
WORDS, MOST_PAIRS = 500, 5  # of what is kept of a board: characters of a reason; pairs of answers
DIGITS = 9  # of a share; what is beyond is how a processor rounds, and no board's doing
EXACT = 50  # pairs; above, the normal distribution is as good

GATE = re.compile(r"(?P<name>[a-z0-9]+)<=(?P<limit>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?P<percent>%?)")
DEFAULT = "failures<=5%,p95<=10%,memory<=10%,leak<=1,accuracy<=25%,restarts<=0"
SHADOW = "shadow<=5%"  # where a wave begins with it, and no other limit is named
# Not among them: boards without a sensor, and releases that were not built here, would have every
# wave wait for a person.
EXAMPLE = f"{DEFAULT},temperature<=10,instructions<=5%,{SHADOW}"


class Numbers(Part):
    """What a release measured on one board; null: it was not measured there."""

    p95_ms: float | None = None  # of an inference
    peak_rss_kb: int | None = None
    leak_kb: float | None = None  # that an inference leaves on the heap
    # Of an inference on one thread, counted in an emulator of the controller's: of the release
    # itself, and so the same for all boards that have it.
    instructions: int | None = None
    right: float | None = None  # share of the former release's golden images, 0 to 1
    # Of the hottest zone, while the service runs: of the former release just before the deploy, of
    # the new one at the end of the soak time.
    celsius: float | None = None


class Shadowed(Shown, Part):
    """What a candidate came to on one board, beside the release in charge."""

    offered: int = Field(0, ge=0)  # frames that the service had meanwhile
    agreed: int = Field(0, ge=0)  # frames that both answered alike
    differing: int = Field(0, ge=0)  # frames that the candidate answered otherwise, or not
    fault: str | None = Field(None, max_length=WORDS)  # how it ended before its time
    reason: str | None = Field(None, max_length=WORDS)  # why nothing was compared
    pairs: tuple[Pair, ...] = Field((), max_length=MOST_PAIRS)  # that differ, the first

    @property
    def share(self) -> float | None:
        """Of the frames, those that were not answered alike; None of too few."""
        frames = self.agreed + self.differing
        return self.differing / frames if frames >= LEAST_FRAMES else None


class Measured(Part):
    """A board before and after its deploy."""

    shadow: Shadowed | None = None  # before that, if the wave began with it

    before: Numbers | None = None  # of its former release
    after: Numbers | None = None
    restarts: int | None = None  # of its service, when the deploy ended
    restarted: int | None = None  # how often since then, at the end of the soak time


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A board of a wave, at the end of the soak time."""

    board: str
    failure: str | None  # why the release does not run there
    measured: Measured


class Word(StrEnum):
    YES = "yes"
    NO = "no"
    NONE = "no verdict"


class Verdict(Part):
    """What one gate says of a wave."""

    gate: str  # as it was written
    word: Word
    test: str  # what was tested, in words
    found: str
    boards: tuple[str, ...]  # beyond the limit, the worst first
    pairs: int | None  # boards that were compared with themselves
    p: float | None  # how likely such boards are if the release is within the limit


def measured_of(result: str | None, shadow: str | None) -> Measured | None:
    """What the ledger keeps of a board; None: nothing was measured there."""
    if result is None and shadow is None:
        return None
    measured = Measured.model_validate_json(result) if result is not None else Measured()
    if shadow is None:
        return measured
    return measured.model_copy(update={"shadow": Shadowed.model_validate_json(shadow)})


VERDICTS = TypeAdapter(tuple[Verdict, ...])  # of a wave, as the ledger keeps them


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A limit of what a wave may show."""

    name: Literal[
        "failures",
        "p95",
        "memory",
        "leak",
        "instructions",
        "accuracy",
        "temperature",
        "restarts",
        "shadow",
    ]
    limit: float  # of a share: 0.05 for 5 %; of a leak: KiB an inference; of a temperature: °C
    is_share: bool

    def __str__(self) -> str:
        return (
            f"{self.name}<={self.limit * 100:g}%"
            if self.is_share
            else f"{self.name}<={self.limit:g}"
        )


SHARES: Mapping[str, bool | None] = {  # whether a limit is one; None: as it is written
    "failures": None,
    "p95": True,
    "memory": True,
    "leak": False,
    "instructions": True,
    "accuracy": True,
    "temperature": False,
    "restarts": False,
    "shadow": True,
}


def parse(text: str) -> tuple[Gate, ...]:
    """`failures<=5%,p95<=10%`. Raises UserError."""
    gates: dict[str, Gate] = {}
    for word in text.split(","):
        match = GATE.fullmatch(word.strip())
        name = match["name"] if match else ""
        is_share = bool(match and match["percent"])
        if match is None or name not in SHARES or SHARES[name] not in (None, is_share):
            raise UserError(
                f"--gate={text}",
                f"'{word.strip()}' is no gate",
                facts=[f"expected some of: {EXAMPLE}"],
                next="the same command without --gate, or with some of these and your limits",
            )
        if name in gates:
            raise UserError(f"--gate={text}", f"{name} is there twice", next="leave one out")
        limit = float(match["limit"]) / (100 if is_share else 1)
        gates[name] = Gate(name=name, limit=limit, is_share=is_share)  # type: ignore[arg-type]
    return tuple(gates.values())


def judge(
    gates: Sequence[Gate], readings: Sequence[Reading], earlier: Sequence[Reading] = ()
) -> tuple[Verdict, ...]:
    """What each gate says. A wave with a `no` is taken back, one without a verdict waits.

    A wave with fewer boards than a comparison takes is compared together with `earlier` ones, which
    have the same release.
    """
    return tuple(
        JUDGES[gate.name](gate, [*readings, *earlier] if _has_few(gate, readings) else readings)
        for gate in gates
    )


def _has_few(gate: Gate, readings: Sequence[Reading]) -> bool:
    """Whether some were measured, and too few for a verdict."""
    if gate.name not in COMPARED:
        return False
    change = COMPARED[gate.name].change
    measured = sum(change(reading.measured) is not None for reading in _sound(readings))
    return 0 < measured < MINIMUM_PAIRS


def with_shadow(text: str, *, begins: bool) -> str:
    """Gates with one for the shadow where waves begin with it. Raises UserError."""
    is_named = any(gate.name == "shadow" for gate in parse(text))
    if is_named and not begins:
        raise UserError(
            f"--gate={text}", "no wave begins with a shadow", next="add --shadow=10m, for example"
        )
    return f"{text},{SHADOW}" if begins and not is_named else text


def before_switch(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Those that are judged while the former release is still in charge."""
    return tuple(gate for gate in gates if gate.name in ("failures", "shadow"))


def after_switch(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    return tuple(gate for gate in gates if gate.name != "shadow")


def counts_instructions(gates: Sequence[Gate]) -> bool:
    """Whether one of these gates compares what this machine is to count."""
    return any(gate.name == "instructions" for gate in gates)


def worst(verdicts: Sequence[Verdict]) -> Word:
    words = {verdict.word for verdict in verdicts}
    return next((word for word in (Word.NO, Word.NONE) if word in words), Word.YES)


def may_fail(gate: Gate, boards: int) -> int:
    """How many of so many boards may fail."""
    # 29 % of 100 boards are 28.999999999999996 of them.
    return math.floor(round(gate.limit * boards, DIGITS)) if gate.is_share else int(gate.limit)


def _failures(gate: Gate, readings: Sequence[Reading]) -> Verdict:
    failed = sorted(reading.board for reading in readings if reading.failure is not None)
    return Verdict(
        gate=str(gate),
        word=Word.NO if len(failed) > may_fail(gate, len(readings)) else Word.YES,
        test="boards of the wave that failed, or were not heard of: all counted",
        found=f"{len(failed)} of {len(readings)} boards",
        boards=tuple(failed),
        pairs=None,
        p=None,
    )


def _restarts(gate: Gate, readings: Sequence[Reading]) -> Verdict:
    counts = {
        reading.board: reading.measured.restarted
        for reading in readings
        if reading.measured.restarted is not None
    }
    beyond = Counter({board: n for board, n in counts.items() if n > gate.limit})
    word = Word.NO if beyond else Word.YES
    return Verdict(
        gate=str(gate),
        word=word if counts or not _sound(readings) else Word.NONE,
        test="restarts of each board's service between its deploy and the end of the soak time",
        found=f"at most {max(counts.values())} on one of {len(counts)} boards"
        if counts
        else "no board has a service",
        boards=tuple(board for board, _ in beyond.most_common()),
        pairs=None,
        p=None,
    )


def _sound(readings: Sequence[Reading]) -> list[Reading]:
    return [reading for reading in readings if reading.failure is None]


@dataclass(frozen=True, kw_only=True)
class _Paired:
    """A gate on a measurement of the same board with its former release and with the new one."""

    words: str
    unit: str
    # How much worse a board became, as a share: 0.1 for 10 % more; or in `unit`. None where it was
    # not measured with both.
    change: Callable[[Measured], float | None]
    scale: int = 100  # from a change to the number that is shown

    def __call__(self, gate: Gate, readings: Sequence[Reading]) -> Verdict:
        changes: dict[str, float] = {}
        for reading in _sound(readings):
            change = self.change(reading.measured)
            if change is not None:
                changes[reading.board] = change
        excess = {board: round(changes[board] - gate.limit, DIGITS) for board in changes}
        beyond = sorted(
            (board for board in excess if excess[board] > 0),
            key=lambda board: (-excess[board], board),
        )
        p = signed_rank([*excess.values()])
        if len(changes) < MINIMUM_PAIRS:
            word = Word.NONE
        elif p < SIGNIFICANCE:
            word = Word.NO
        else:
            word = Word.YES if len(beyond) <= len(changes) * STRAY else Word.NONE
        summary = f"{len(changes)} boards compared, expected at least {MINIMUM_PAIRS}"
        if len(changes) >= MINIMUM_PAIRS:
            middle, top = median(changes.values()), max(changes.values())
            summary = (
                f"median {self.shown(middle)}, at most {self.shown(top)}, "
                f"{len(beyond)} of {len(changes)} boards beyond the limit"
            )
        return Verdict(
            gate=str(gate),
            word=word,
            test=f"{self.words}, against the former release of the same board: "
            f"Wilcoxon's signed-rank test, one-sided, {SIGNIFICANCE:.0%}",
            found=summary,
            boards=tuple(beyond),
            pairs=len(changes),
            p=round(p, 6) if changes else None,
        )

    def shown(self, change: float) -> str:
        return f"{change * self.scale:+.1f} {self.unit}"


def _both(
    worse: Callable[[Numbers, Numbers], float | None],
) -> Callable[[Measured], float | None]:
    """A change from what was measured before the deploy to what was after it."""

    def change(measured: Measured) -> float | None:
        before, after = measured.before, measured.after
        return worse(before, after) if before and after else None

    return change


def _more(before: float | None, after: float | None) -> float | None:
    return after / before - 1 if before and after is not None else None


def _leaks_more(before: Numbers, after: Numbers) -> float | None:
    # Releases of before this was measured are taken for steady.
    return None if after.leak_kb is None else after.leak_kb - (before.leak_kb or 0.0)


def _hotter(before: Numbers, after: Numbers) -> float | None:
    if before.celsius is None or after.celsius is None:
        return None
    return after.celsius - before.celsius


def _fewer_right(before: Numbers, after: Numbers) -> float | None:
    if before.right is None or after.right is None:
        return None
    return before.right - after.right


COMPARED: Mapping[str, _Paired] = {
    "p95": _Paired(
        words="95th percentile of the time of an inference",
        unit="%",
        change=_both(lambda before, after: _more(before.p95_ms, after.p95_ms)),
    ),
    "memory": _Paired(
        words="peak memory",
        unit="%",
        change=_both(lambda before, after: _more(before.peak_rss_kb, after.peak_rss_kb)),
    ),
    "leak": _Paired(
        words="heap that an inference leaves allocated",
        unit="KiB",
        change=_both(_leaks_more),
        scale=1,
    ),
    "instructions": _Paired(
        words="instructions of an inference on one thread, counted in an emulator, not timed, and "
        "the same for all boards of a release",
        unit="%",
        change=_both(lambda before, after: _more(before.instructions, after.instructions)),
    ),
    "accuracy": _Paired(
        words="share of the former release's golden images that is not answered as it does",
        unit="points",
        change=_both(_fewer_right),
    ),
    "temperature": _Paired(
        words="hottest zone at the end of the soak time", unit="°C", change=_both(_hotter), scale=1
    ),
    "shadow": _Paired(
        words=f"share of the same live frames, {LEAST_FRAMES} at least, that the candidate answers "
        "otherwise",
        unit="%",
        change=lambda measured: measured.shadow.share if measured.shadow else None,
    ),
}


def _shadow(gate: Gate, readings: Sequence[Reading]) -> Verdict:
    """A candidate that crashes says no by itself, unless on stray boards."""
    verdict = COMPARED[gate.name](gate, readings)
    faults = {
        reading.board: reading.measured.shadow.fault
        for reading in _sound(readings)
        if reading.measured.shadow and reading.measured.shadow.fault
    }
    if len(faults) <= len(_sound(readings)) * STRAY:
        return verdict
    return verdict.model_copy(
        update={
            "word": Word.NO,
            "found": f"on {len(faults)} of {len(_sound(readings))} boards {min(faults.values())}",
            "boards": tuple(sorted(faults)),
        }
    )


JUDGES: Mapping[str, Callable[[Gate, Sequence[Reading]], Verdict]] = {
    **COMPARED,
    "failures": _failures,
    "restarts": _restarts,
    "shadow": _shadow,
}


def change_of(gate: Gate, measured: Measured) -> float | None:
    """What the gate compares on one board; None where that was not measured, or is no number."""
    if gate.name == "restarts":
        return measured.restarted
    compared = COMPARED.get(gate.name)
    return compared.change(measured) if compared else None


def shown_change(gate: Gate, change: float) -> str:
    """`+12.0 %`, `+1.0 points`, `+3.2 °C`, `+2.0 restarts`."""
    if gate.name == "restarts":
        return f"{change:+.1f} restarts"
    return COMPARED[gate.name].shown(change)


def signed_rank(differences: Sequence[float]) -> float:
    """Wilcoxon's signed-rank test: how likely a sum of positive ranks as large as this one is.

    The null hypothesis is a distribution around zero (or below); zeros are left out, ties have the
    mean of their ranks. Exact up to `EXACT` differences, above by the normal distribution with
    corrections for ties and continuity. Source: Wilcoxon 1945; Lehmann, Nonparametrics, 1975, 3.2.
    """
    values = sorted((value for value in differences if value), key=abs)
    doubled = _doubled_ranks([abs(value) for value in values])
    positive = sum(rank for rank, value in zip(doubled, values, strict=True) if value > 0)
    if len(values) <= EXACT:
        ways = Counter({0: 1})  # sum of doubled ranks → subsets that have it
        for rank in doubled:
            ways += Counter({total + rank: count for total, count in ways.items()})
        return sum(n for total, n in ways.items() if total >= positive) / (1 << len(values))
    deviation = math.sqrt(sum(rank**2 for rank in doubled)) / 2
    above = (positive - 1 - sum(doubled) / 2) / deviation
    return math.erfc(above / math.sqrt(2)) / 2


def _doubled_ranks(sizes: Sequence[float]) -> list[int]:
    """Twice the rank of each of the sorted sizes: a whole number also where ties share a mean."""
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for rank, size in enumerate(sizes, 1):
        first.setdefault(size, rank)
        last[size] = rank
    return [first[size] + last[size] for size in sizes]
