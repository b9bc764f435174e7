"""All that has a goal, in one table: kernels, load and memory, frames of a camera, sizes.

The goals are those of the demo network and of boards with a Cortex-A53 (docs/performance.md);
figures of other networks and cores stand without one.
"""

from collections.abc import Iterator
from typing import Literal

from edgewright.base.schema import Document, Part
from edgewright.board.profile import Arch, BoardProfile
from edgewright.deploy.smoke import PROGRAM
from edgewright.observe import goals
from edgewright.observe.count.baseline import BuildCost, CoreCost
from edgewright.observe.count.instructions import Program
from edgewright.observe.estimate.board_time import CORE
from edgewright.observe.frame_cost import FrameCosts, Peak, peak
from edgewright.observe.goals import Goal
from edgewright.release.run_file import MODEL

DEMO = "mobilevit-s-elpv"
MIB = 1 << 10  # KiB
# Of the demo network: instructions of an inference, by the width and QEMU's model of the core.
INFERENCE_GOALS = {
    (Arch.ARMHF, "max"): 700e6,
    (Arch.ARM64, "cortex-a53"): 650e6,
    (Arch.ARM64, "cortex-a76"): 330e6,
}
CYCLES_GOAL = 690e6  # of the pipeline; what it waits for its caches is not in it
# On 64-bit boards in proportion to what they took when the goals of 32-bit boards were set.
LOAD_GOALS = {Arch.ARMHF: 70e6, Arch.ARM64: 107e6}
ANONYMOUS_GOALS_KB = {Arch.ARMHF: 4.5 * MIB, Arch.ARM64: 8.4 * MIB}
PEAK_GOALS_KB = {Arch.ARMHF: 13 * MIB, Arch.ARM64: 20.8 * MIB}
PROGRAM_GOALS = {Arch.ARMHF: 1_750_000, Arch.ARM64: 2_500_000}

Table = Literal["kernels", "load and memory", "frames", "sizes"]


class Figure(Part):
    """One figure and its goal: the value may be as large."""

    table: Table
    name: str
    cpu: str | None = None  # QEMU's model of the core that it was counted on; null for bytes
    unit: Literal["instructions", "modelled cycles", "KiB", "bytes"]
    value: int
    goal: int | None

    @property
    def is_above(self) -> bool:
        return self.goal is not None and self.value > self.goal


class GoalReport(Document):
    """`bench.all`."""

    version: Literal[1] = 1
    board: str
    model: str
    figures: tuple[Figure, ...]


def report(cost: BuildCost, frames: FrameCosts, peak: Peak, profile: BoardProfile) -> GoalReport:
    """All figures of a build beside their goals; `held` is of a run on a picture as it is."""
    has_goals = cost.model == DEMO and profile.cpu.core == CORE
    figures = (
        *(figure for core in cost.cores for figure in _kernels(core, profile.abi.arch)),
        *_load_and_memory(cost, peak, profile.abi.arch),
        *_frames(frames),
        *_sizes(cost, profile.abi.arch),
    )
    if not has_goals:
        figures = tuple(figure.model_copy(update={"goal": None}) for figure in figures)
    return GoalReport(board=cost.board, model=cost.model, figures=figures)


def require_goals(report: GoalReport) -> None:
    """Raises CheckError where a figure is above its goal."""
    goals.require(
        f"{report.board}: figures",
        (
            Goal(
                name=f"{figure.table}: {', '.join(filter(None, (figure.name, figure.cpu)))}",
                value=figure.value,
                most=figure.goal,
                unit=figure.unit,
            )
            for figure in report.figures
        ),
        next=f"invoke bench.instructions --board={report.board} --model={report.model}",
    )


def held_at_inference(program: Program) -> Peak:
    """The peak of a run on the program's first picture."""
    argv = [str(program.binary), "run", *program.options, "--threads", "1"]
    return peak(program, [*argv, ",".join(map(str, program.inputs))])


def _kernels(core: CoreCost, arch: Arch) -> Iterator[Figure]:
    cpu = core.report.cpu
    goal = INFERENCE_GOALS.get((arch, cpu))
    inference = Figure(
        table="kernels",
        name="inference",
        cpu=cpu,
        unit="instructions",
        value=core.report.inference,
        goal=None if goal is None else round(goal),
    )
    yield inference
    if core.pipeline_cycles is not None:
        cycles = {"unit": "modelled cycles", "value": core.pipeline_cycles}
        yield inference.model_copy(update={**cycles, "goal": round(CYCLES_GOAL)})


def _load_and_memory(cost: BuildCost, peak: Peak, arch: Arch) -> Iterator[Figure]:
    for core in cost.cores:
        yield Figure(
            table="load and memory",
            name="session load",
            cpu=core.report.cpu,
            unit="instructions",
            value=core.report.load,
            goal=round(LOAD_GOALS[arch]),
        )
    for name, value, goal in (
        ("anonymous memory", peak.anonymous_kb, ANONYMOUS_GOALS_KB[arch]),
        ("peak memory", peak.resident_kb, PEAK_GOALS_KB[arch]),
    ):
        yield Figure(table="load and memory", name=name, unit="KiB", value=value, goal=round(goal))


def _frames(frames: FrameCosts) -> Iterator[Figure]:
    for cost in frames.frames:
        yield Figure(
            table="frames",
            name=cost.frame,
            cpu=frames.cpu,
            unit="instructions",
            value=cost.instructions,
            goal=cost.goal,
        )
        if cost.peak_kb is not None:
            yield Figure(
                table="frames",
                name=f"{cost.frame}, peak memory",
                unit="KiB",
                value=cost.peak_kb,
                goal=cost.peak_goal_kb,
            )


def _sizes(cost: BuildCost, arch: Arch) -> Iterator[Figure]:
    for name, size in cost.sizes.items():
        if name.startswith("bin/") or name == MODEL:
            goal = PROGRAM_GOALS[arch] if name == PROGRAM else None
            yield Figure(table="sizes", name=name, unit="bytes", value=size, goal=goal)
