"""What builds, SDKs and wheels show in the terminal.

Apart from `screens`, as it brings all of building, which whoever reaches boards does without.
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.progress import StageReport
from edgewright.board.audit import Audit
from edgewright.board.elf import ElfFacts
from edgewright.build.pipeline import BuildReport
from edgewright.build.reproduce import ReproduceReport
from edgewright.build.sdk import SdkReport
from edgewright.build.wheel import DISTRIBUTION, WheelReport
from edgewright.cli import screens
from edgewright.observe.estimate.board_time import Range, TimeEstimate


class BuildDocument(BuildReport):
    """`invoke build --json`: the report of the build, and of the estimate where there is one."""

    # Here and not in `BuildReport`: a build does not depend on what observes its release.
    estimate: TimeEstimate | None = None


def build_document(
    report: BuildReport, later_stages: Sequence[StageReport], estimate: TimeEstimate | None
) -> BuildDocument:
    stages = (*report.stages, *later_stages)
    # `dict` and not `model_dump`: the parts are valid models already and stay as they are.
    return BuildDocument(**{**dict(report), "stages": stages, "estimate": estimate})


def build_screen(report: BuildDocument) -> RenderableType:
    """The end of a build: sizes, ELF facts, coverage, stages."""
    return Group(
        Text(f"release {report.release} for {report.board}", style="bold"),
        Text(str(report.folder)),
        Text(),
        _sizes(report),
        Text(),
        _elf_facts(report.audit),
        Text(),
        Text(coverage_text(report)),
        *([estimate_text(report.estimate)] if report.estimate else []),
        Text(),
        _stages(report.stages),
        Text(total_text(report), style="bold"),
    )


def sdk_screen(report: SdkReport) -> RenderableType:
    """The end of `invoke sdk`: sizes, ELF facts, stages."""
    sizes = Table("file", box=None, pad_edge=False)
    sizes.add_column("bytes", justify="right")
    for name, size in report.sizes.items():
        sizes.add_row(name, f"{size:,}")
    return Group(
        Text(f"SDK {report.sdk} for {report.board}", style="bold"),
        Text(str(report.folder)),
        Text(),
        sizes,
        Text(),
        _elf_facts(report.audit),
        Text(),
        Text(_operators_line(report)),
        Text(),
        _stages(report.stages),
    )


def _operators_line(report: SdkReport | WheelReport) -> str:
    count = f"operators: {len(report.operators)}"
    if report.operators_of == "models":
        return f"{count}, for {', '.join(report.models)}"
    return f"{count}, all that the CPU's kernels run"


def wheel_screen(report: WheelReport) -> RenderableType:
    """The end of `invoke wheel`: the file, what it is for, and how a board installs it."""
    # By its whole version: pip would take the highest hash among several boards or models.
    named = f"--find-links={report.index} {DISTRIBUTION}=={report.wheel_version}"
    requirement = named if report.index else report.wheel
    return Group(
        Text(f"wheel {report.wheel_version} for {report.board}", style="bold"),
        Text(str(report.wheel)),
        Text(),
        Text(f"{report.bytes:,} bytes, {report.platform}, Python {report.requires_python}"),
        Text(_operators_line(report)),
        Text(f"on the board: pip install {requirement}"),
    )


def reproduce_screen(report: ReproduceReport) -> Table:
    """Under which conditions a release was built again, and what came of it."""
    table = Table.grid(padding=(0, 2))
    table.add_row("release", f"{report.release} for {report.board}")
    table.add_row("again from", f"commit {report.revision}")
    for condition in report.conditions:
        table.add_row(condition.name, condition.value or f"the same: {condition.reason}")
    table.add_row("packages", f"compared: {', '.join(report.packages) or 'none'}")
    if report.not_compared:
        table.add_row("", f"not here any more: {', '.join(report.not_compared)}")
    same = len(report.files) - len(report.differing)
    table.add_row("files", f"{same} of {len(report.files)} are the same bytes")
    return table


def _sizes(report: BuildReport) -> Table:
    table = Table("file", box=None, pad_edge=False)
    table.add_column("bytes", justify="right")
    table.add_column("budget", justify="right")
    for name, size in report.sizes.items():
        budget = report.budgets.get(name)
        table.add_row(name, f"{size:,}", f"{budget:,}" if budget else "")
    return table


def _elf_facts(audit: Audit) -> Table:
    table = Table("ELF", "fact", "found", box=None, pad_edge=False)
    for file in audit.files:
        for index, (name, value) in enumerate(elf_rows(file.facts)):
            table.add_row(file.path if index == 0 else "", name, value)
    return table


def elf_rows(facts: ElfFacts) -> list[tuple[str, str]]:
    """The facts that release engineers ask for first."""
    rows = [("machine", f"{facts.machine}, {facts.bits} bits")]
    if facts.arm:
        rows += [
            ("CPU", f"{facts.arm.cpu_name}, {facts.arm.cpu_arch}"),
            ("FPU, SIMD", f"{facts.arm.fp_arch}, {facts.arm.simd_arch}"),
            ("float arguments in", facts.arm.vfp_args),
        ]
    glibc = facts.highest("GLIBC")
    return [
        *rows,
        ("needed libraries", ", ".join(facts.needed) or "none"),
        ("newest glibc symbol", glibc.version if glibc else "none"),
        ("build id", facts.build_id or "none"),
    ]


def coverage_text(report: BuildReport) -> str:
    coverage = report.coverage
    return (
        f"operators: {len(coverage.required)} needed by {coverage.nodes} nodes, "
        f"all of them among the {len(coverage.built)} built in"
    )


VERDICTS = {
    "within": "within",
    "undecided": "not decided by the estimate",
    "above": "missed by the whole range: take a smaller network, or raise budgets.latency_ms",
}


def estimate_text(estimate: TimeEstimate) -> Text:
    """The board's time against its budget; a range that is wholly above it stands out."""
    text = (
        f"estimate, not a measurement: {range_text(estimate.ms)}, on {estimate.threads} threads\n"
    )
    text += f"latency budget: {estimate.budget_ms:,.0f} ms, {VERDICTS[estimate.judgement]}"
    return Text(text, style="bold red" if estimate.judgement == "above" else "")


def range_text(ms: Range) -> str:
    return f"{ms.low:,.0f} to {ms.high:,.0f} ms, most likely {ms.likely:,.0f}"


def _stages(stages: Sequence[StageReport]) -> Table:
    table = Table("stage", "result", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for stage in stages:
        table.add_row(stage.name, screens.origin_text(stage), f"{stage.seconds:.1f}")
    return table


def total_text(report: BuildReport) -> str:
    if report.from_cache:
        return f"nothing changed: all of it came from cache, {report.seconds:.1f} s"
    built = [stage.name for stage in report.stages if stage.origin == "built"]
    return f"built: {', '.join(built)}; {report.seconds:.1f} s"
