"""How long a cold build of the runtime takes, and what leaving out unused sources gains."""

import re
from collections.abc import Iterable
from typing import Literal

from edgewright.base.schema import Document, Part

STEP = re.compile(r"^\[\d+/(\d+)\] ")
COMPILED = re.compile(r"compiled in (\d+) s, (\d+) core-seconds")


class Compilation(Part):
    """One build of the runtime."""

    board: str
    what: str
    steps: int
    seconds: float  # from the recipe's sources to its package
    whole_seconds: float = 0.0  # of the whole build, to the release
    core_seconds: float  # of configuring, compiling and linking, on all cores
    program_sha256: str  # of the edge-infer that is linked with it


class BuildTimes(Document):
    """Builds of one runtime, the plainest first."""

    version: Literal[1] = 1
    builds: tuple[Compilation, ...]

    @property
    def identical(self) -> bool:
        """Whether the first board's programs are the same to the last bit."""
        first = self.builds[0].board
        return len({b.program_sha256 for b in self.builds if b.board == first}) == 1


def compilation(
    board: str,
    what: str,
    seconds: float,
    log: Iterable[str],
    program_sha256: str,
    *,
    whole_seconds: float,
) -> Compilation:
    """Read the log of a recipe's build. A package from the cache has no steps."""
    steps, counted, cores = 0, 0, 0.0
    for line in log:
        if step := STEP.match(line):
            counted = int(step[1])
        elif times := COMPILED.search(line):
            # The recipe may compile twice (docs/architecture.md): steps of the last, cores of both.
            steps, cores = counted, cores + float(times[2])
    return Compilation(
        board=board,
        what=what,
        steps=steps,
        seconds=round(seconds, 1),
        whole_seconds=round(whole_seconds, 1),
        core_seconds=cores,
        program_sha256=program_sha256,
    )
