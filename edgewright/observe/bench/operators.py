"""How long each operator takes on the board, by ONNX Runtime's own profiler, beside what it
executes.

The profiler takes time itself, some of it in each node: the times say where an inference's time
goes. `bench.board` without it says how long an inference takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from edgewright.base.errors import TargetError
from edgewright.base.schema import Document, Part, Shown, parse_json
from edgewright.base.text import last_lines
from edgewright.deploy.edge_infer import BenchAnswer
from edgewright.deploy.edgectl import PATIENCE
from edgewright.deploy.line import ANSWER_BYTES
from edgewright.deploy.smoke import PROGRAM, Subject
from edgewright.observe.bench.conditions import Gauge, Reading, firmware_events
from edgewright.observe.bench.measure import image_paths
from edgewright.observe.bench.operator_events import InferenceEvents, parse_events
from edgewright.observe.bench.report import Label
from edgewright.observe.count.instructions import InstructionReport

PROFILE_BYTES = ANSWER_BYTES - (64 << 10)  # beside the document of edge-infer
FAULT_LINES = 6

# In the folder `$1`. The profile goes through a file, whose name the runtime ends by itself; its
# first `$2` bytes come here, behind the program's own document.
PROFILE = r"""
cd "$1" || exit
most=$2
shift 2
folder=${TMPDIR:-/tmp}/edgewright-$$
(umask 077 && mkdir "$folder") || exit
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM PIPE
"$@" --operator-times "$folder/times" >"$folder/answer" || {
    code=$?
    cat "$folder/answer"
    exit "$code"
}
cat "$folder/answer"
head -c "$most" "$folder"/times*
"""


class NodeTime(Shown, Part):
    """One node of the network."""

    name: str
    operator: str
    ms: float  # median over inferences
    share: float  # of the sum of all nodes
    instructions: int | None  # guest instructions on one thread; null: not counted


class OperatorTime(Shown, Part):
    """All nodes of one operator."""

    operator: str
    nodes: int
    ms: float  # median over inferences of their sum
    share: float
    instructions: int | None
    instruction_share: float | None


class OperatorBench(Shown, Document):
    """`bench.board --by=operator --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    label: Label
    throttled: tuple[str, ...]  # the signs of it
    release: str
    model: str
    threads: int
    inferences: int  # that count, the first one of the process is none of them
    inference_ms: float  # median, the profiler's own work included
    nodes_ms: float  # of it, median of the sum of all nodes
    operators: tuple[OperatorTime, ...]  # the slowest first
    nodes: tuple[NodeTime, ...]  # in the order of execution
    counted_reason: str | None  # why there are no instructions
    start: Reading
    end: Reading


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What one process told."""

    threads: int
    inferences: tuple[InferenceEvents, ...]  # without the first one


def profile(subject: Subject, runs: int) -> Profiled:
    """One process that infers a golden image. Raises TargetError."""
    release, board = subject.release, subject.release.edgectl.board
    where = f"{board.target}: {PROGRAM}"
    image = image_paths(subject, 1)[0]
    options = subject.manifest.run_options(release.folder)
    command = [PROGRAM, "bench", *options, "--image", image, "--warmup", "1", "--runs", str(runs)]
    script = ["sh", "-c", PROFILE, "_", release.folder, str(PROFILE_BYTES), *command]
    result = board.run(script, timeout=PATIENCE)
    if result.returncode != 0:
        raise TargetError(
            where,
            "tells no operator's time",
            facts=[
                f"exit code: {result.returncode}",
                *last_lines(result.stderr or result.stdout, FAULT_LINES),
            ],
            next="invoke smoke; a release of an older edgewright cannot be asked: invoke deploy",
        )
    document, _, events = result.stdout.partition("\n")
    answer = parse_json(BenchAnswer, document, where, "is not what it should be", blame=TargetError)
    inferences = tuple(parse_events(events.split("\n"), f"{where}: operators"))[1:]
    same = {tuple((node.index, node.operator) for node in each.nodes) for each in inferences}
    if not inferences or len(same) != 1 or not inferences[0].nodes:
        raise TargetError(
            where,
            "does not tell the time of the same nodes in each inference",
            facts=[f"inferences: {len(inferences)}, in {len(same)} forms"],
            next="the same command with fewer --runs",
        )
    return Profiled(threads=answer.threads, inferences=inferences)


def bench_operators(
    subject: Subject, gauge: Gauge, runs: int, counted: InstructionReport | str
) -> OperatorBench:
    """`counted` is what the same release executes, or why that is not known."""
    start = gauge.read()
    profiled = profile(subject, runs)
    end = gauge.read()
    signs = dict.fromkeys([*start.throttled, *end.throttled, *firmware_events(start, end)])
    manifest, target = subject.manifest, subject.release.edgectl.board.target
    inferences = profiled.inferences
    label = Label.THROTTLED if signs else Label.MEASURED
    instructions, reason = instructions_of(inferences[0], counted)
    nodes = node_times(inferences, instructions)
    return OperatorBench(
        board=manifest.board,
        target=str(target),
        emulated=target.emulated,
        label=Label.EMULATED if target.emulated else label,
        throttled=tuple(signs),
        release=manifest.id,
        model=manifest.model.name,
        threads=profiled.threads,
        inferences=len(inferences),
        inference_ms=median(each.us for each in inferences) / 1000,
        nodes_ms=median(sum(node.us for node in each.nodes) for each in inferences) / 1000,
        operators=operator_times(inferences, nodes),
        nodes=nodes,
        counted_reason=reason,
        start=start,
        end=end,
    )


def instructions_of(
    inference: InferenceEvents, counted: InstructionReport | str
) -> tuple[Sequence[int | None], str | None]:
    """Of each node, by its place: nodes run one after the other, in the same order on any number
    of threads."""
    nothing = [None] * len(inference.nodes)
    if isinstance(counted, str):
        return nothing, counted
    if len(counted.nodes) != len(inference.nodes):
        words = f"the emulator counts {len(counted.nodes)} kernels, the board {len(nothing)} nodes"
        return nothing, words
    return [cost.instructions for cost in counted.nodes], None


def node_times(
    inferences: Sequence[InferenceEvents], instructions: Sequence[int | None]
) -> tuple[NodeTime, ...]:
    columns = list(zip(*(each.nodes for each in inferences), strict=True))
    times = [median(node.us for node in column) / 1000 for column in columns]
    total = sum(times) or 1.0
    return tuple(
        NodeTime(
            name=column[0].name,
            operator=column[0].operator,
            ms=ms,
            share=round(ms / total, 5),
            instructions=count,
        )
        for column, ms, count in zip(columns, times, instructions, strict=True)
    )


def operator_times(
    inferences: Sequence[InferenceEvents], nodes: Sequence[NodeTime]
) -> tuple[OperatorTime, ...]:
    """The slowest first; sums are made in each inference, so that their medians are of one."""
    counts = [node.instructions for node in nodes if node.instructions is not None]
    counted = sum(counts) if len(counts) == len(nodes) else 0
    rows = []
    for operator in dict.fromkeys(node.operator for node in nodes):
        own = [node for node in nodes if node.operator == operator]
        sums = [sum(n.us for n in each.nodes if n.operator == operator) for each in inferences]
        instructions = sum(node.instructions or 0 for node in own) if counted else None
        rows.append((median(sums) / 1000, operator, len(own), instructions))
    total = sum(ms for ms, *_ in rows) or 1.0
    return tuple(
        OperatorTime(
            operator=operator,
            nodes=count,
            ms=ms,
            share=round(ms / total, 5),
            instructions=instructions,
            instruction_share=None if instructions is None else round(instructions / counted, 5),
        )
        for ms, operator, count, instructions in sorted(rows, key=lambda row: (-row[0], row[1]))
    )
