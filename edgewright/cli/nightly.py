"""Nights: the matrix of boards and models."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import FAULTS, ExitCode, UserError
from edgewright.base.layout import user_config
from edgewright.base.progress import Progress
from edgewright.build import container
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    heavy,
    open_store,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.keys import signing_policy
from edgewright.cli.ledgers import rollout_module
from edgewright.deploy import install, remote
from edgewright.nightly import history, night, records, settings
from edgewright.nightly.records import Begun
from edgewright.nightly.report import NightReport, failed_steps
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import NightRequest
from edgewright.nightly.work import OneMachine, Work

if TYPE_CHECKING:  # it needs the extra [rollout]
    from edgewright.nightly.ledger import Terms


@dataclass(frozen=True, kw_only=True)
class NightOptions:
    boards: Annotated[str, "of nightly.toml, these alone: a,b"] = ""
    models: Annotated[str, "of nightly.toml, these alone: a,b"] = ""
    resume: Annotated[bool, "go on with the night that was interrupted"] = False
    builder: Annotated[str, "auto, docker or local"] = "auto"
    jobs: Annotated[int, "parallel compilations; default: the number of cores"] = 0
    ledger: Annotated[str, "a file, or postgresql://…, by which machines share the night"] = ""

    def __post_init__(self) -> None:
        if self.resume and (self.boards or self.models):
            raise UserError(
                "--resume",
                "goes on with the boards and models of the night that was interrupted",
                next="invoke nightly --resume, or without it",
            )


@task
def nightly(c: Context, options: NightOptions, json: Json = False) -> None:
    """Build, prove and publish boards x models. Example: invoke nightly --resume"""
    request = _request(options)
    work_of = _of_many_machines if options.ledger else _of_this_machine
    with screens.progress(ERR) as progress:
        report = night.run(request, work_of(request, options, progress), progress)
    if json:
        write_document(report)
    else:
        OUT.print(_table(report))
    say(f"{request.folder / history.INDEX} shows it")
    _require_green(report)


def _of_this_machine(request: NightRequest, options: NightOptions, progress: Progress) -> Work:
    begun = records.require_begun(request.folder) if options.resume else None
    cells = _cells(request, options, begun)
    return OneMachine(folder=request.folder, matrix=cells, begun=begun or records.begin(cells))


def _of_many_machines(request: NightRequest, options: NightOptions, progress: Progress) -> Work:
    database = rollout_module("database").open_database(options.ledger)
    ledger = heavy("ledger", "nightly", "rollout").NightLedger(database, time.time)
    terms = ledger.require_unfinished().terms if options.resume else None
    work: Work = heavy("many_machines", "nightly", "rollout").join(
        request, _cells(request, options, terms), ledger, progress, resume=options.resume
    )
    return work


def _cells(
    request: NightRequest, options: NightOptions, night: "Begun | Terms | None"
) -> tuple[Cell, ...]:
    """Those of a night that is gone on with, or the options'."""
    return settings.cells(
        request.settings,
        request.workspace,
        boards=night.boards if night else _names(options.boards),
        models=night.models if night else _names(options.models),
    )


def _request(options: NightOptions) -> NightRequest:
    current = workspace()
    chosen = settings.load(current)
    return NightRequest(
        workspace=current,
        settings=chosen,
        signing=signing_policy(chosen.key),
        deployer=install.this_user(),
        known_hosts=remote.user_known_hosts(),
        # A folder is the workspace's, wherever in it the command was called.
        store=open_store(chosen.place(current.root), make=True) if chosen.publish else None,
        config=user_config(),
        jobs=options.jobs or os.cpu_count() or 1,
        builder=container.parse_choice(options.builder),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _table(report: NightReport) -> Table:
    table = Table("board", "model", "release", box=None, pad_edge=False)
    for column in ("M each", "M load", "kB", "accuracy"):
        table.add_column(column, justify="right")
    table.add_column("")
    for cell in report.cells:
        figures = cell.figures
        size = figures.sizes.get("archive")
        table.add_row(
            cell.board,
            cell.model,
            cell.release or "",
            "" if figures.inference is None else f"{figures.inference / 1e6:,.1f}",
            "" if figures.load is None else f"{figures.load / 1e6:,.1f}",
            "" if size is None else f"{size / 1e3:,.0f}",
            "" if figures.accuracy is None else f"{figures.accuracy:.1%}",
            ", ".join(f"{step.step} failed" for step in failed_steps(cell)) or "passed",
        )
    return table


def _require_green(report: NightReport) -> None:
    """Say what failed, and end as the worst of it."""
    for cell in report.cells:
        for step in failed_steps(cell):
            next = f"\nnext: {step.next}" if step.next else ""
            say(f"{cell.board}, {cell.model}: {step.step}: {step.problem}{next}")
    counts = Counter(bool(cell.exit_code) for cell in report.cells)
    if report.exit_code == ExitCode.OK:
        say(f"night {report.night}: all {counts[False]} cells are green")
        return
    raise FAULTS[ExitCode(report.exit_code)](
        f"night {report.night}",
        f"{counts[True]} of {len(report.cells)} cells failed",
        next="mend what is said above, then invoke nightly",
    )
