"""A night: every cell of the matrix, one after the other, each step once.

A step whose inputs are those of its record is taken from there: one that passed always, one that
failed while it is the same night, which was interrupted. So a new night tries again what failed,
and `--resume` goes on where the night ended.
"""

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby

from edgewright.base.digest import text_sha256
from edgewright.base.errors import EdgewrightError, ExitCode, InterruptedWorkError, UserError, worst
from edgewright.base.faults import fault_of
from edgewright.base.files import copy_file
from edgewright.base.progress import Progress
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.lab import emulate
from edgewright.nightly import history
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
from edgewright.nightly.work import Work


def run(request: NightRequest, work: Work, progress: Progress) -> NightReport:
    """Take every step of the cells that are this machine's, and write the night's reports.

    What fails is in the report. Raises UserError where another night is at work in this
    workspace, InterruptedWorkError on Ctrl-C: `work.resume` then goes on, and TargetError where
    the ledger of several machines does not answer.
    """
    clock = time.monotonic()

    def report_of(cells: Sequence[CellReport]) -> NightReport:
        source = pipeline.source_of(request.workspace)
        return NightReport(
            night=work.begun.night,
            began=work.begun.began,
            seconds=round(time.monotonic() - clock, 1),
            edgewright=str(source.edgewright),
            revision=source.revision,
            dirty=source.dirty,
            exit_code=worst(cell.exit_code for cell in cells),
            cells=tuple(cells),
        )

    with work.at_work():
        _run_cells(request, work, progress)
        report = work.end(report_of)
        history.write_night(request.folder, report, nights=request.settings.nights)
    return report


def _run_cells(request: NightRequest, work: Work, progress: Progress) -> None:
    ended = 0
    try:
        for profile, of_board in groupby(work.cells(), key=lambda cell: cell.profile):
            with _own_board(request, profile):
                for cell in of_board:
                    report = _run_cell(request, cell, work, progress)
                    if report is None:
                        progress.note(f"{cell.name}: another machine has taken it over")
                    else:
                        work.finish(report)
                        ended += 1
    except (KeyboardInterrupt, InterruptedWorkError) as interrupt:
        raise InterruptedWorkError(
            f"night {work.begun.night}",
            f"interrupted after {ended} of {len(work.matrix)} cells",
            next=work.resume,
        ) from interrupt


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


def _run_cell(
    request: NightRequest, cell: Cell, work: Work, progress: Progress
) -> CellReport | None:
    """None where the cell is no longer this machine's."""
    at = CellAtWork(night=request, cell=cell, progress=progress)
    reports: list[StepReport] = []
    for step in steps_of(request, cell.model):
        if not work.holds(cell):
            return None
        lacking = [
            report.step
            for report in reports
            if report.step in step.needs and report.outcome != "passed"
        ]
        report = _skipped(step, lacking) if lacking else _run_step(step, at, work)
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


def _run_step(step: Step, at: CellAtWork, work: Work) -> StepReport:
    """From its record, or anew; what is raised becomes the report of a step that failed."""
    begun, clock = work.begun, time.monotonic()
    inputs, fault = _inputs(step, at)
    if fault is not None:
        return _report(step, at, begun, Result(fault=fault), clock)
    record = work.read_step(at.cell, step)
    if record and record.inputs == inputs and _is_valid(record, begun, step, at):
        return record.report.model_copy(update={"from_record": True})
    result = _work(step, at)
    report = _report(step, at, begun, result, clock)
    record = StepRecord(night=begun.night, inputs=inputs, report=report)
    work.write_step(at.cell, step, record)
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
        name = history.log_name(begun.night, at.cell.board, at.cell.model, source.name)
        copy_file(source, at.night.folder / name)
        logs.append(name)
    return tuple(logs)
