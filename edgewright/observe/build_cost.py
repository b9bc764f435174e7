"""What a board's build of a model costs, on each core that its baseline judges."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgewright.base.errors import UserError, near_miss
from edgewright.base.layout import Resources
from edgewright.base.schema import Document, Part
from edgewright.board.cores import ANY_CORE, QEMU_CORES
from edgewright.board.profile import BoardProfile
from edgewright.observe.count.baseline import (
    AcceptedBuild,
    BuildCost,
    CoreCost,
    judged_sizes,
    judging_cycles,
)
from edgewright.observe.count.instructions import Program, measure
from edgewright.observe.estimate import board_time
from edgewright.release.manifest import Manifest


class JudgedCost(Part):
    """An inference on one core, and what it was accepted to cost there."""

    cpu: str  # QEMU's model of the core
    judged_by: Literal["cycles", "instructions"]
    instructions: int
    accepted: int
    cycles: int | None  # modelled; null where no model covers the board
    accepted_cycles: int | None

    @property
    def sentence(self) -> str:
        """Both figures of the core; the one that judges comes first."""
        instructions = f"{self.instructions:,} instructions (accepted {self.accepted:,})"
        if self.judged_by == "cycles":
            cycles = f"{self.cycles:,} modelled cycles (accepted {self.accepted_cycles:,})"
            return f"an inference on {self.cpu}: {cycles}, {instructions}"
        return f"an inference on {self.cpu}: {instructions}; no model of cycles for this board"


class CostVerdict(Document):
    """An inference that costs no more than what was accepted, within the tolerance."""

    version: Literal[2] = 2
    board: str
    cores: tuple[JudgedCost, ...]

    @classmethod
    def of(cls, cost: BuildCost, accepted: AcceptedBuild) -> "CostVerdict":
        pairs = [(core, accepted.cpus[core.report.cpu]) for core in cost.cores]
        return cls(
            board=cost.board,
            cores=tuple(
                JudgedCost(
                    cpu=core.report.cpu,
                    judged_by="cycles" if judging_cycles(core, before) else "instructions",
                    instructions=core.report.inference,
                    accepted=before.inference,
                    cycles=core.cycles,
                    accepted_cycles=before.cycles,
                )
                for core, before in pairs
            ),
        )


def judged_cpus(
    profile: BoardProfile, accepted: AcceptedBuild | None, added: Sequence[str] = ()
) -> tuple[str, ...]:
    """QEMU's models of the board's own core, of those that its build was accepted on, and more."""
    others = sorted(accepted.cpus) if accepted else []
    return tuple(dict.fromkeys((profile.qemu_cpu, *others, *added)))


def parse_cpus(text: str, profile: BoardProfile) -> tuple[str, ...]:
    """QEMU's models of cores from a list with commas; none from an empty one.

    Raises UserError for one that does not run the board's programs.
    """
    models = sorted({*QEMU_CORES[profile.bits], ANY_CORE, profile.qemu_cpu})
    cpus = tuple(cpu.strip() for cpu in text.split(",")) if text else ()
    for cpu in cpus:
        if cpu not in models:
            raise UserError(
                f"--cpus={text}",
                f"'{cpu}': not a model of a {profile.bits}-bit core{near_miss(cpu, models)}",
                facts=[f"expected: {', '.join(models)}, with commas"],
                next=f"invoke bench.accept --board={profile.name} --cpus={profile.qemu_cpu}",
            )
    return cpus


def build_cost(
    program: Program,
    profile: BoardProfile,
    manifest: Manifest,
    model: str,
    cpus: Sequence[str],
    resources: Resources,
) -> BuildCost:
    """Count the program of a release on each of `cpus`. Raises UserError as `measure` does."""
    cores = tuple(core_cost(replace(program, cpu=cpu), profile, resources) for cpu in cpus)
    return BuildCost(board=profile.name, model=model, cores=cores, sizes=judged_sizes(manifest))


def core_cost(program: Program, profile: BoardProfile, resources: Resources) -> CoreCost:
    """Count a program on its core; its cycles too if that is the board's, and a model covers it."""
    report = measure(program, profile.name, resources)
    if program.cpu != profile.qemu_cpu or not board_time.is_modelled(profile):
        return CoreCost(report=report)
    modelled = board_time.modelled(program, resources)
    return CoreCost(
        report=report,
        cycles=round(modelled.megacycles * 1e6),
        pipeline_cycles=round(modelled.compute * 1e6),
    )
