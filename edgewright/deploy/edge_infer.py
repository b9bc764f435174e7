"""What `edge-infer` writes: a document for each command (docs/formats.md), as far as it is known.

A release is judged by its own `edge-infer`, which may be older or newer than we are.
"""

from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.schema import Foreign, Many, parse_json


class Problem(Foreign):
    """What went wrong, in a word for programs and a sentence for people."""

    code: str
    message: str
    next: str | None = None


class Answer(Foreign):
    """What every document has; with `error`, the rest may be missing."""

    version: Literal[1]
    command: str | None
    error: Problem | None = None


class Prediction(Foreign):
    """A class and the probabilities of all classes, in the order of the card's labels.

    Only a classifier's answer has them; those of other tasks are in docs/formats.md.
    """

    class_: str | None = None
    probabilities: Many[float] = ()


class Times(Foreign):
    """Milliseconds of one image."""

    decode: float
    preprocess: float
    inference: float
    postprocess: float | None = None  # from outputs to the answer; an older release tells none
    paced: float = 0.0  # waited before it, for the board to stay cool enough


class Decision(Foreign):
    """The label that an image has from a probability on; without it the likeliest is answered."""

    label: str
    index: int
    threshold: float


class ImageLine(Foreign):
    """One image of `run`: a prediction or an error."""

    image: str
    class_: str | None = None
    index: int | None = None
    probabilities: Many[float] = ()
    decision: Decision | None = None
    ms: Times | None = None
    error: Problem | None = None


class Limits(Foreign):
    """How large a picture may be."""

    image_bytes: int  # of the file
    image_pixels: int
    image_side: int  # pixels
    image_memory: int  # bytes of decoder, frame and an image that came over a socket, at once


class Thermal(Foreign):
    """What the governor saw and did since the program began."""

    limit_c: float
    sensor: str  # good, doubted, stuck or missing
    celsius: float | None  # of the hottest zone; null: nothing could be believed yet
    highest_c: float | None
    effort: float  # share of full power, 0 to 1
    least_effort: float  # likewise, so far
    threads: int  # that run at once
    waited_s: float  # between inferences
    samples: int
    doubts: int  # readings that were not believed
    capped: int  # samples at which the kernel held the clock down

    @property
    def words(self) -> str:
        celsius = "unknown" if self.celsius is None else f"{self.celsius:.1f} °C"
        return (
            f"{celsius} of {self.limit_c:g} °C, sensor {self.sensor}, "
            f"effort {self.effort:.0%} (at the least {self.least_effort:.0%})"
        )


class Settings(Foreign):
    """What was in force: of the release's `run.json`, or options in its place."""

    release: str | None  # its folder on the board; null: none
    model: str  # file
    threads: int
    execution_providers: Many[str]  # in the order in which they are asked
    thermal_limit_c: float | None = None  # of the hottest zone; null: none
    limits: Limits
    overridden: Many[str]  # options that took the release's place


class SettledAnswer(Answer):
    """That of a command that runs a network; 0.1.0 does not tell its settings."""

    settings: Settings | None = None


class RunAnswer(SettledAnswer):
    """`edge-infer run`."""

    model: str
    threads: int
    load_ms: float
    thermal: Thermal | None = None  # null: no limit is given
    results: Many[ImageLine]  # in the order of the images


class GoldenLine(Foreign):
    """One golden image: what the release promises, and what came out here."""

    image: str
    expected: Prediction
    got: Prediction
    max_abs_diff: float | None  # of probabilities or scores; null if it is no number
    problems: Many[str] = ()  # what is expected and did not come
    passed: bool


class SelftestAnswer(SettledAnswer):
    """`edge-infer selftest`; `error` too where it did not pass."""

    model: str
    tolerance: float
    passed: bool
    cases: Many[GoldenLine]

    def failures(self) -> list[str]:
        return [f"{case.image}: {difference(case)}" for case in self.cases if not case.passed]


class ProgramCase(Foreign):
    """One case of the self-test of a user's program."""

    name: str
    passed: bool
    problem: str = ""


class ProgramSelftest(Answer):
    """What the self-test of a user's program writes (docs/programs.md)."""

    passed: bool
    cases: Many[ProgramCase]

    def failures(self) -> list[str]:
        return [f"{case.name}: {case.problem}" for case in self.cases if not case.passed]


def selftest_failures(report: str, most: int = 3) -> list[str]:
    """Why a self-test's document says that it did not pass: the first cases and how many more, or
    what kept the program from trying them."""
    kinds: tuple[type[SelftestAnswer | ProgramSelftest], ...] = (SelftestAnswer, ProgramSelftest)
    for kind in kinds:
        try:
            document = parse_json(kind, report, "selftest", "no answer")
        except UserError:  # it ended before it had cases, or is another program's
            continue
        failures = document.failures()
        more = len(failures) - most
        others = [f"and {more} of {len(document.cases)} cases more"] if more > 0 else []
        return [*failures[:most], *others]
    return _error_of(report)


def _error_of(report: str) -> list[str]:
    try:
        error = parse_json(Answer, report, "selftest", "no answer").error
    except UserError:  # it ended before it could write one
        return []
    return [error.message] if error else []


def difference(case: GoldenLine) -> str:
    """In words, in what an answer differs from the golden one."""
    if case.problems:
        return "; ".join(case.problems)
    size = "unknown" if case.max_abs_diff is None else f"{case.max_abs_diff:.4f}"
    return f"differs by {size}"


class Latency(Foreign):
    """Milliseconds of one inference, over all runs."""

    min: float
    median: float
    p95: float
    p99: float
    max: float


Bytes = Annotated[int, Field(ge=0, lt=1 << 53)]


class Heap(Foreign):
    """What is allocated and not freed, of all threads, in the course of a bench."""

    runs: Annotated[int, Field(ge=1, le=1_000_000)]  # from one sample to the next
    bytes: Annotated[Many[Bytes], Field(max_length=33)]


class BenchAnswer(SettledAnswer):
    """`edge-infer bench`."""

    model: str
    threads: int
    runs: int
    ended_early: bool = False  # by a signal; a release that does not tell is taken at its word
    load_ms: float
    latency_ms: Latency
    peak_rss_kb: int
    rss_growth_kb: int  # from the end of the warm-up to the end of the runs
    heap: Heap | None = None  # null: of a release that does not tell
    thermal: Thermal | None = None


class Program(Foreign):
    version: str
    build_id: str


class Runtime(Foreign):
    version: str
    build: str
    linkage: str
    providers: Many[str]  # in the order in which they are asked


class Tensor(Foreign):
    name: str
    type: str
    shape: Many[int]


class LoadedModel(Foreign):
    name: str
    bytes: int
    inputs: Many[Tensor]
    outputs: Many[Tensor]
    labels: Many[str]


class InfoAnswer(SettledAnswer):
    """`edge-infer info`."""

    edge_infer: Program
    runtime: Runtime
    operators: tuple[str, ...] | None  # null: a full runtime
    model: LoadedModel | None = None


class WatchResult(SettledAnswer, ImageLine):
    """The file that `edge-infer watch` writes for an image."""

    model: str


class ServeCounts(Foreign):
    """Requests since the service's start, by what became of them."""

    done: int
    failed: int  # their image could not be used
    busy: int  # not taken, for lack of room
    refused: int  # none of the protocol
    abandoned: int  # their client had gone before the answer


class ServeAnswer(SettledAnswer):
    """What `edge-infer serve` answers: for an image, or for how it does (`requests`)."""

    model: str | None = None
    class_: str | None = None
    index: int | None = None
    probabilities: Many[float] = ()
    decision: Decision | None = None
    ms: Times | None = None
    waiting: int | None = None  # requests
    queue: int | None = None  # requests that may wait
    thermal: Thermal | None = None
    requests: ServeCounts | None = None


class Heartbeat(Answer):
    """The file that `edge-infer watch` and `serve` write anew every few seconds."""

    pid: int
    uptime_s: int  # of the board, so that a wrong clock does not matter
    images: int
    failed: int
    heap_bytes: Bytes | None = None  # allocated and not freed
    thermal: Thermal | None = None
