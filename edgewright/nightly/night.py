"""A night: every cell of the matrix, one after the other, each step once.

A step whose inputs are those of its record is taken from there: one that passed always, one that
failed while it is the same night, which was interrupted. So a new night tries again what failed,
and `--resume` goes on where the night ended.
"""

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from edgewright.base.digest import text_sha256
from edgewright.base.errors import EdgewrightError, ExitCode, InterruptedWorkError, UserError, worst
from edgewright.base.faults import fault_of
from edgewright.base.files import copy_file, locked
from edgewright.base.progress import Progress
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.lab import emulate
from edgewright.nightly import history, records
from edgewright.nightly.records import Begun, StepRecord
from edgewright.nightly.report import CellReport, NightReport, StepReport, cell_report
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import (
    CellAtWork,
    NightRequest,
    Result,
    Step,
    release_of,
    steps_of,
)


def run(
    request: NightRequest, cells: Sequence[Cell], begun: Begun, progress: Progress
) -> NightReport:
    """Take every step of every cell, and write the night's reports.

    What fails is in the report. Raises UserError where another night is at work in this
    workspace, InterruptedWorkError on Ctrl-C: `--resume` then goes on.
    """
    with _alone(request.folder):
        records.write_begun(request.folder, begun)
        clock = time.monotonic()
        cell_reports = _run_cells(request, cells, begun, progress)
        source = pipeline.source_of(request.workspace)
        report = NightReport(
            night=begun.night,
            began=begun.began,
            seconds=round(time.monotonic() - clock, 1),
            edgewright=str(source.edgewright),
            revision=source.revision,
            dirty=source.dirty,
            exit_code=worst(cell.exit_code for cell in cell_reports),
            cells=cell_reports,
        )
        history.write_night(request.folder, report, nights=request.settings.nights)
        records.begun_file(request.folder).unlink()
    return report


def _run_cells(
    request: NightRequest, cells: Sequence[Cell], begun: Begun, progress: Progress
) -> tuple[CellReport, ...]:
    reports: list[CellReport] = []
    try:
        for profile, of_board in groupby(cells, key=lambda cell: cell.profile):
            with _own_board(request, profile):
                for cell in of_board:
                    reports.append(_run_cell(request, cell, begun, progress))
    except (KeyboardInterrupt, InterruptedWorkError) as interrupt:
        raise InterruptedWorkError(
            f"night {begun.night}",
            f"interrupted after {len(reports)} of {len(cells)} cells",
            next="invoke nightly --resume",
        ) from interrupt
    return tuple(reports)


def begin(cells: Sequence[Cell]) -> Begun:
    """A night that begins now."""
    began = datetime.now(UTC)
    return Begun(
        night=began.strftime("%Y-%m-%dT%H-%M-%SZ"),
        began=began,
        boards=tuple(dict.fromkeys(cell.board for cell in cells)),
        models=tuple(dict.fromkeys(cell.model for cell in cells)),
    )


def _alone(folder: Path) -> AbstractContextManager[None]:
    def refuse() -> None:
        begun = records.read_begun(folder)
        raise UserError(
            f"night {begun.night}" if begun else "nightly",
            "another night is at work in this workspace",
            facts=[f"lock: {folder / '.lock'}"],
            next="wait for it",
        )

    return locked(folder / ".lock", on_busy=refuse)


@contextmanager
def _own_board(request: NightRequest, profile: BoardProfile) -> Iterator[None]:
    """However a board's cells end, the emulated board that a smoke test started goes."""
    instance = request.instance(profile)
    try:
        yield
    finally:
        if instance.folder.exists():
            with suppress(UserError):  # Docker may be what failed, and no verdict goes by this
                emulate.down(instance)


def _run_cell(request: NightRequest, cell: Cell, begun: Begun, progress: Progress) -> CellReport:
    at = CellAtWork(night=request, cell=cell, progress=progress)
    reports: list[StepReport] = []
    for step in steps_of(request, cell.model):
        lacking = [
            report.step
            for report in reports
            if report.step in step.needs and report.outcome != "passed"
        ]
        report = _skipped(step, lacking) if lacking else _run_step(step, at, begun)
        reports.append(report)
        progress.note(f"{cell.name}: {_line(report)}")
        if step.name == "build" and report.outcome == "passed":
            at = replace(at, built=release_of(at, report))
    return cell_report(cell.board, cell.model, reports)


def _line(report: StepReport) -> str:
    if report.outcome == "skipped":
        return f"{report.step} skipped"
    source = "from its record" if report.from_record else f"{report.seconds:.1f} s"
    problem = f": {(report.problem or '').splitlines()[0]}" if report.problem else ""
    return f"{report.step} {report.outcome}, {source}{problem}"


def _skipped(step: Step, lacking: Sequence[str]) -> StepReport:
    return StepReport(
        step=step.name,
        outcome="skipped",
        exit_code=ExitCode.OK,
        seconds=0.0,
        from_record=False,
        problem=f"needs {' and '.join(lacking)}",
    )


def _run_step(step: Step, at: CellAtWork, begun: Begun) -> StepReport:
    """From its record, or anew; what is raised becomes the report of a step that failed."""
    folder, clock = at.night.folder, time.monotonic()
    inputs, fault = _inputs(step, at)
    if fault is not None:
        return _report(step, at, begun, Result(fault=fault), clock)
    record = records.read_step(folder, at.cell, step)
    if record and record.inputs == inputs and _is_valid(record, begun, step, at):
        return record.report.model_copy(update={"from_record": True})
    result = _work(step, at)
    report = _report(step, at, begun, result, clock)
    record = StepRecord(night=begun.night, inputs=inputs, report=report)
    records.write_step(folder, at.cell, step, record)
    return report


def _is_valid(record: StepRecord, begun: Begun, step: Step, at: CellAtWork) -> bool:
    """Whether a record with these inputs stands for the step."""
    if record.report.outcome == "passed":
        return step.is_there(at, record.report)
    return record.night == begun.night


def _inputs(step: Step, at: CellAtWork) -> tuple[str, EdgewrightError | None]:
    """The hash of a step's inputs, or why there is none."""
    try:
        return text_sha256(step.name, *step.inputs(at)), None
    except Exception as raised:  # one step that fails, for whatever reason, stops no other cell
        return "", _fault_of_step(raised)


def _work(step: Step, at: CellAtWork) -> Result:
    try:
        return step.work(at)
    except InterruptedWorkError:
        raise
    except Exception as raised:  # likewise
        return Result(fault=_fault_of_step(raised))


def _fault_of_step(raised: Exception) -> EdgewrightError:
    """A bug of ours is told with its traceback: nobody sees it on a screen at night."""
    fault = fault_of(raised)
    if fault.exit_code is not ExitCode.BUG:
        return fault
    lines = "".join(traceback.format_exception(raised)).splitlines()
    return EdgewrightError(fault.subject, fault.problem, facts=lines)


def _report(step: Step, at: CellAtWork, begun: Begun, result: Result, clock: float) -> StepReport:
    fault = result.fault
    return StepReport(
        step=step.name,
        outcome="failed" if fault else "passed",
        exit_code=fault.exit_code if fault else ExitCode.OK,
        seconds=round(time.monotonic() - clock, 2),
        from_record=False,
        release=result.release,
        figures=result.figures,
        problem="\n".join((f"{fault.subject}: {fault.problem}", *fault.facts)) if fault else None,
        next=fault.next if fault else None,
        logs=_copied_logs(step, at, begun) if fault else (),
    )


def _copied_logs(step: Step, at: CellAtWork, begun: Begun) -> tuple[str, ...]:
    """What was written while a step failed, before the next cell writes over it."""
    folders = {
        "build": at.night.workspace.build(at.cell.board).logs,
        "smoke": emulate.log_of(at.night.instance(at.cell.profile)).parent,
    }
    logs = []
    for source in sorted(folders[step.name].glob("*.log")) if step.name in folders else []:
        name = f"{history.NIGHTS}/{begun.night}/{at.cell.board}/{at.cell.model}/{source.name}"
        copy_file(source, at.night.folder / name)
        logs.append(name)
    return tuple(logs)
