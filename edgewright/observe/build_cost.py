"""What a board's build of a model costs, on each core that its baseline judges."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgewright.base.layout import Resources
from edgewright.base.schema import Document, Part
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


def judged_cpus(profile: BoardProfile, accepted: AcceptedBuild | None) -> tuple[str, ...]:
    """QEMU's models of the board's own core, and of others that its build was accepted on."""
    others = sorted(accepted.cpus) if accepted else []
    return tuple(dict.fromkeys((profile.qemu_cpu, *others)))


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
    """Count a program on its core; its cycles too where a model covers the board."""
    report = measure(program, profile.name, resources)
    if not board_time.is_modelled(profile):
        return CoreCost(report=report)
    modelled = board_time.modelled(program, resources)
    return CoreCost(
        report=report,
        cycles=round(modelled.megacycles * 1e6),
        pipeline_cycles=round(modelled.compute * 1e6),
    )
