"""What `bench.board` says: figures with their intervals, and under what they were measured."""

from enum import StrEnum
from typing import Literal

from edgewright.base.errors import CheckError, TargetError
from edgewright.base.schema import Document, Part, Shown
from edgewright.deploy.report import Check, Verdict
from edgewright.observe.bench.conditions import Power, Reading
from edgewright.observe.bench.order_statistics import Figures


class Label(StrEnum):
    """What a time is worth."""

    MEASURED = "measured"
    THROTTLED = "throttled"  # the board was held down while it was taken
    EMULATED = "emulated"  # of an emulator: it says nothing about a board


class Process(Shown, Part):
    """One process of `edge-infer`: the unit that releases are compared by."""

    release: str
    threads: int
    label: Label
    throttled: tuple[str, ...]  # the signs of it, before, while and after it ran
    load_ms: float
    first_inference_ms: float
    inference_ms: tuple[float, ...]  # after the warm-up, in their order
    decode_ms: float  # median of an image
    preprocess_ms: float  # likewise
    postprocess_ms: float | None  # likewise; null: an older release does not tell
    median_ms: float  # of inference_ms
    start: Reading
    end: Reading
    meanwhile: tuple[Reading, ...] = ()  # one a second while it ran; none without sensors


class Latency(Part):
    """Milliseconds of one inference, over all processes of one label: never over two."""

    label: Label
    processes: int
    ms: Figures


class Spread(Part):
    """Of one figure over processes."""

    least: float
    median: float
    most: float


class Stage(Part):
    """A part of one image's way; null: the program does not tell."""

    name: Literal["decode", "preprocess", "inference", "postprocess"]
    median_ms: float | None
    reason: str | None = None


class Throughput(Part):
    """Of one process that does nothing but infer."""

    threads: int
    label: Label
    per_second: float


class Comparison(Part):
    """The release beside another one, whose processes took turns with its own."""

    against: str
    pairs: int
    left_out: int  # pairs of which a process was throttled
    margin: float
    ratio: float | None  # time of the release over that of the other, of pairs; above 1 is slower
    low: float | None  # of its 95 % interval, over pairs
    high: float | None
    verdict: Literal["regression", "within", "undecided", "not judged"]
    reason: str
    processes: tuple[Process, ...]  # of the other one


class Soak(Part):
    """On to a thermal plateau."""

    seconds: float
    plateau_after_s: float | None
    plateau_c: float | None
    reason: str | None  # why there is no plateau
    cut: str | None  # why it ended before its time: then this is what there was until then
    latency: tuple[Latency, ...]  # of the processes after it, else of all


class BoardBench(Shown, Document):
    """`bench.board --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str
    model: str
    threads: int
    warmup: int  # inferences of each process that do not count, the first one included
    kernel: str | None
    boot_id: str | None
    governor: str | None
    latency: tuple[Latency, ...]  # one for each label that occurred
    load_ms: Spread
    first_inference_ms: Spread
    stages: tuple[Stage, ...]
    peak_rss_kb: int
    peak_rss_is_shared: bool  # with the emulator: its own memory is in the figure
    throughput: tuple[Throughput, ...]
    power: tuple[Power, ...]  # empty: not measured
    budgets: tuple[Check, ...]
    comparison: Comparison | None
    soak: Soak | None
    processes: tuple[Process, ...]


def require_good(report: BoardBench) -> None:
    """Raises CheckError for a budget that was not met, or a regression beyond the margin;
    TargetError for a soak that the board did not let come to its end.
    """
    facts = [
        f"{check.name}: expected {check.expected}, found {check.found}"
        for check in report.budgets
        if check.verdict is Verdict.FAILED
    ]
    comparison = report.comparison
    if comparison and comparison.verdict == "regression":
        facts.append(f"against {comparison.against}: {comparison.reason}")
    if facts:
        raise CheckError(
            f"{report.target}: release {report.release}",
            "the measurement says no",
            facts=facts,
            next=f"invoke rollback --board={report.board} goes back to the former release",
        )
    if report.soak and report.soak.cut:
        raise TargetError(
            report.target,
            f"the soak ended after {report.soak.seconds:.0f} s: {report.soak.cut}",
            facts=["what was measured until then is in the report"],
            next="check power and network, then run the same command again",
        )
