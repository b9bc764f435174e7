"""`edge-infer` sampled on a board by its own timer: no debugger, no perf, no right to trace."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import PurePosixPath

from edgewright.deploy.smoke import PROGRAM, Golden
from edgewright.observe.bench.measure import COMMAND_BYTES
from edgewright.observe.board_stream import MOST_BYTES, Ending, board_stream, stream_command
from edgewright.observe.profile.report import SampledStack
from edgewright.observe.profile.samples import Samples
from edgewright.observe.stacks.program import SymbolicProgram
from edgewright.observe.stacks.unwind import FIRST, Step
from edgewright.release.run_file import GOLDEN

SAMPLES = ("--samples", "3")  # the descriptor that a stream comes by
UNKNOWN = "(unknown)"
# A service looks so often, at the latest, whether somebody reads its samples (heartbeat.hpp).
NOTICED_S = 5
# In the folder `$1`: the FIFO that a service writes its samples to (docs/formats.md), as another
# user than the one who reads them.
ATTACHED = r"""
cd "$1" && rm -f samples && umask 155 && mkfifo samples || exit 1
trap 'rm -f samples' EXIT
trap 'kill $! 2>/dev/null; exit' TERM
cat samples >&3 &
wait $!
"""


def sampled_command(folder: str, arguments: Sequence[str]) -> list[str]:
    """The command on the board that runs the `edge-infer` of the release in `folder`."""
    command, *others = arguments
    return stream_command(folder, [PROGRAM, command, *SAMPLES, *others])


def attached_command(root: str) -> list[str]:
    """The command on the board that reads the samples of the service that runs there."""
    folder = f"{root}/crashes"  # the one that the service's user may enter
    return stream_command(root, ["sh", "-c", ATTACHED, "_", folder])


def golden_run(golden: Golden) -> list[str]:
    """Arguments of `edge-infer` that infer the golden images in turn, as many as a command line to
    the board takes."""
    names = [",".join(f"{GOLDEN}/{file}" for file in case.files) for case in golden.cases]
    most = COMMAND_BYTES // (max(map(len, names)) + 1)
    return ["run", *islice(cycle(names), most)]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What came of one."""

    text: str
    ended: Ending
    exit_code: int | None


def sample(pipe: Sequence[str], *, seconds: float, subject: str, next: str) -> Sampling:
    """Run a command line that leads to the board, and take its samples until it ends.

    After `seconds` the line is cut, which ends it on the board. Raises TargetError where it ended
    without a sample; `next` is what helps then.
    """
    with board_stream(pipe, seconds=seconds) as stream:
        raw = stream.output.read(MOST_BYTES)
        ended = stream.ending(is_too_much=len(raw) == MOST_BYTES)
    text = raw.decode("ascii", errors="replace")
    if "\nthread " not in text:
        heard = "the program heard of it, and took no CPU time"
        problem = f"nothing was sampled{': ' + heard if text else ''}"
        raise stream.nothing(subject, problem, next=next)
    return Sampling(text=text, ended=ended, exit_code=stream.exit_code(ended))


@dataclass(kw_only=True)
class SampledCalls:
    """The stacks of all samples by name, the most frequent first, and what their ends are."""

    stacks: tuple[SampledStack, ...]
    ends: Counter[str] = field(default_factory=Counter)  # the first functions of threads
    unrooted: int = 0
    searched: int = 0


def sampled_calls(samples: Samples, program: SymbolicProgram) -> SampledCalls:
    """Unwinds and names all samples."""
    chains = [program.steps(thread, samples.mappings) for thread in samples.threads]
    bias = program.bias(samples.mappings)
    names = program.names({step.place - bias for chain in chains for step in chain})
    counts, calls = Counter[tuple[str, ...]](), SampledCalls(stacks=())
    for chain in chains:
        frames = tuple(_name(step, bias, names, samples) for step in reversed(chain))
        counts[frames] += 1
        if frames[0] in FIRST:
            calls.ends[frames[0]] += 1
        else:
            calls.unrooted += 1
        calls.searched += any(step.origin == "searched" for step in chain)
    calls.stacks = tuple(
        SampledStack(frames=frames, samples=count) for frames, count in counts.most_common()
    )
    return calls


def _name(step: Step, bias: int, names: Mapping[int, str], samples: Samples) -> str:
    """The function, or the file whose code it is: `[libc.so.6]`."""
    if name := names.get(step.place - bias):
        return name
    paths = (at.path for at in samples.mappings if at.start <= step.place < at.end)
    path = next(paths, "")
    return f"[{PurePosixPath(path).name.strip('[]')}]" if path else UNKNOWN
