"""The proofs of docs/reliability.md: crash points, lost writes, fuzzing."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import CheckError
from edgewright.base.workspace import Workspace
from edgewright.build import container, packages, pipeline
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, checkout, say, task, workspace, write_document
from edgewright.cli.documents import FuzzedTarget, FuzzRuns
from edgewright.lab.proof import crashpoints as crashes
from edgewright.lab.proof import fuzz as fuzzing
from edgewright.lab.proof import lostwrites as writes

ProgramPath = Annotated[
    str, "an edgectl that runs here, such as another board's; default: this machine's own build"
]


@task
def crashpoints(
    c: Context,
    points: Annotated[int, "faults in each command, spread evenly; default: every call"] = 0,
    error: Annotated[str, "let each call fail with it, as EIO, instead of killing edgectl"] = "",
    call: Annotated[str, "only at these calls, as readlink; default: all"] = "",
    program: ProgramPath = "",
    jobs: Annotated[int, "faults side by side; default: twice the cores"] = 0,
    json: Json = False,
) -> None:
    """Kill edgectl before every system call. Example: invoke lab.crashpoints --points=5"""
    report = crashes.prove(
        edgectl_program(program),
        points=points or None,
        error=error or None,
        call=call or None,
        jobs=jobs or None,
        on_step=say,
    )
    if json:
        write_document(report)
    else:
        faults = f"calls that fail with {error}" if error else "kills"
        table = Table("command", "system calls", faults, "different boards", box=None)
        for step in report.steps:
            struck = step.killed + step.failed
            table.add_row(step.step, str(step.calls), str(struck), str(step.states))
        OUT.print(table)
        OUT.print(f"{report.killed + report.failed} {faults}, {report.states} different boards")
    _require_none(tuple(f"{v.step}, {v.call}: {v.problem}" for v in report.violations))


@task
def lostwrites(
    c: Context,
    states: Annotated[int, "states to look at, spread evenly; default: all that differ"] = 0,
    program: ProgramPath = "",
    jobs: Annotated[int, "states side by side; default: twice the cores"] = 0,
    teeth: Annotated[bool, "show what breaks without each sync instead"] = False,
    json: Json = False,
) -> None:
    """Lose unsynced writes in a power cut. Example: invoke lab.lostwrites --states=200"""
    if teeth:
        weakened = writes.teeth(edgectl_program(program), on_site=say)
        if json:
            write_document(weakened)
            return
        table = Table("without this sync", "what breaks", box=None)
        for bite in weakened.bites:
            table.add_row(bite.site, bite.problem or "nothing")
        OUT.print(table)
        return
    report = writes.prove(
        edgectl_program(program), states=states or None, jobs=jobs or None, on_state=say
    )
    if json:
        write_document(report)
    else:
        OUT.print(
            f"{report.judged} of {report.states} different states after {report.cuts} power cuts"
        )
    _require_none(report.violations)


@task
def fuzz(
    c: Context,
    seconds: Annotated[int, "for each target"] = 60,
    target: Annotated[str, f"one of {', '.join(fuzzing.TARGETS)}; default: all"] = "",
    json: Json = False,
) -> None:
    """Feed edgectl's parsers with hostile input. Example: invoke lab.fuzz --seconds=600"""
    chosen = (target,) if target else fuzzing.TARGETS
    libraries = _native_edgectl(checkout())
    targets = []
    for name in chosen:
        report = fuzzing.run(workspace(), libraries, name, seconds=seconds)
        OUT.print(f"{name}: {report.executions:,} inputs in {report.seconds} s, no fault")
        targets.append(FuzzedTarget(**vars(report)))
    if json:
        write_document(FuzzRuns(targets=tuple(targets)))


def edgectl_program(path: str = "") -> Path:
    """The file `path`; where none is named, `edgectl` built for this machine."""
    if path:
        return Path(path).resolve()
    return _native_edgectl(workspace())[packages.EDGECTL].folder / "bin" / "edgectl"


def _native_edgectl(sources: Workspace) -> dict[str, packages.Package]:
    with screens.progress(ERR) as progress:
        return pipeline.native_edgectl(sources, _builder(), jobs=2, progress=progress)


def _builder() -> container.Builder:
    return container.choose("auto", workspace(), workspace().root / "build" / "builder.log", say)


def _require_none(violations: tuple[str, ...]) -> None:
    if violations:
        raise CheckError("edgectl", f"{len(violations)} broken promises", facts=violations[:20])
