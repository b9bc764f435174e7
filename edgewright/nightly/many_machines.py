"""A night that several machines share: each claims cells in a ledger, until none is left.

Not durable work of the rollouts' engine, which one process at a time conducts: no machine conducts
a night. A cell is as much as a machine may lose, its steps are idempotent and recorded by the hash
of their inputs, so a claim with a lease is all that takes.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewright.base.digest import text_sha256
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import write_file
from edgewright.base.progress import Progress
from edgewright.base.workspace import NIGHTLY
from edgewright.build import pipeline
from edgewright.nightly import history
from edgewright.nightly.ledger import Claim, Log, NightLedger, Terms
from edgewright.nightly.records import Begun, StepRecord
from edgewright.nightly.report import CellReport, NightReport, failed_steps
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import NightRequest, Step
from edgewright.nightly.work import alone

LOOK_S = 2.0  # between looks at cells that other machines have
LOG_BYTES = 1 << 20  # of the end of a log
LOG_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.log")


def join(
    request: NightRequest,
    cells: Sequence[Cell],
    ledger: NightLedger,
    progress: Progress,
    *,
    resume: bool = False,
) -> "ManyMachines":
    """The night that other machines are at work on, or a new one.

    Raises UserError where they work on something else, or could not take what this one publishes.
    """
    publish = request.settings.publish
    if publish and "://" not in publish.store and not Path(publish.store).is_absolute():
        raise UserError(
            f"{NIGHTLY}: publish.store",
            "is a folder of this workspace, which other machines do not have",
            facts=["expected: an absolute path that all have mounted, or a URL"],
            next=f"mend {NIGHTLY}",
        )
    night = ledger.join_or_begin(terms_of(request, cells), resume=resume)
    begun = Begun(
        night=night.name,
        began=night.began,
        boards=night.terms.boards,
        models=night.terms.models,
    )
    return ManyMachines(request, cells, begun, ledger, progress)


def terms_of(request: NightRequest, cells: Sequence[Cell]) -> Terms:
    source = pipeline.source_of(request.workspace)
    return Terms(
        boards=tuple(dict.fromkeys(cell.board for cell in cells)),
        models=tuple(dict.fromkeys(cell.model for cell in cells)),
        edgewright=f"{source.edgewright} {request.tool_sha256[:16]}",
        revision=source.revision,
        dirty=source.dirty,
        settings=text_sha256(request.settings.model_dump_json())[:16],
    )


class ManyMachines:
    """This machine's share of a night."""

    def __init__(
        self,
        request: NightRequest,
        cells: Sequence[Cell],
        begun: Begun,
        ledger: NightLedger,
        progress: Progress,
    ) -> None:
        self.begun, self.matrix = begun, cells
        self.resume = "the same command; other machines go on meanwhile"
        self._folder, self._nights = request.folder, request.settings.nights
        self._worker = request.deployer.holder
        self._ledger, self._progress = ledger, progress
        self._claim: Claim | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with alone(self._folder):
            try:
                with self._renewing():  # it has ended before the cell is given back
                    yield
            finally:
                if self._claim:
                    with suppress(TargetError):  # the lease ends by itself
                        self._ledger.give_back(self._claim)

    @contextmanager
    def _renewing(self) -> Iterator[None]:
        """Leases last, however long a step takes."""
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(self._ledger.lease_s / 4):
                claim = self._claim
                if claim:
                    with suppress(TargetError):  # the next one may come through in time
                        self._ledger.renew(claim)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def cells(self) -> Iterator[Cell]:
        """Those that no other machine has or had; waits for those that others have."""
        by_name = {(cell.board, cell.model): cell for cell in self.matrix}
        board, waits_for = "", ""
        while True:
            self._claim = self._ledger.claim(self.begun.night, self._worker, board)
            if self._claim:
                board = self._claim.board
                yield by_name[board, self._claim.model]
                continue
            workers = self._ledger.workers(self.begun.night)
            if not workers:
                return
            others = ", ".join(f"{worker or 'nobody'} ({n})" for worker, n in workers.items())
            if others != waits_for:
                waits_for = others
                self._progress.note(f"waits for cells of {others}")
            time.sleep(min(LOOK_S, self._ledger.lease_s / 4))

    def holds(self, cell: Cell) -> bool:
        claim = self._claim
        return (
            claim is not None
            and (claim.board, claim.model) == (cell.board, cell.model)
            and self._ledger.renew(claim)
        )

    def read_step(self, cell: Cell, step: Step) -> StepRecord | None:
        return self._ledger.read_step(cell, step)

    def write_step(self, cell: Cell, step: Step, record: StepRecord) -> None:
        self._ledger.write_step(cell, step, record)

    def finish(self, report: CellReport) -> None:
        claim, self._claim = self._claim, None
        assert claim is not None  # of a cell that `cells` gave
        report = report.model_copy(update={"worker": self._worker})
        self._ledger.finish(claim, report, self._logs(report))

    def _logs(self, report: CellReport) -> list[Log]:
        """The ends of those that the machine of a cell that failed has."""
        # A step may be from its record, and the ledger is no place to take paths from.
        names = {Path(log).name for step in failed_steps(report) for log in step.logs}
        paths = [
            self._folder / history.log_name(self.begun.night, report.board, report.model, name)
            for name in sorted(names)
            if LOG_NAME.fullmatch(name)
        ]
        return [
            Log(
                board=report.board,
                model=report.model,
                name=path.name,
                content=path.read_bytes()[-LOG_BYTES:],
            )
            for path in paths
            if path.is_file()
        ]

    def end(self, report_of: Callable[[Sequence[CellReport]], NightReport]) -> NightReport:
        """The report that all machines have, with the logs and former nights of the others."""
        report = report_of(self._ledger.reports(self.begun.night))
        report = self._ledger.end(report, nights=self._nights)
        cells = {(cell.board, cell.model) for cell in self.matrix}
        for log in self._ledger.logs(self.begun.night):
            # The ledger is no place to take paths from.
            if (log.board, log.model) in cells and LOG_NAME.fullmatch(log.name):
                name = history.log_name(self.begun.night, log.board, log.model, log.name)
                if not (self._folder / name).exists():  # this machine's own is whole
                    write_file(self._folder / name, log.content)
        for past in self._ledger.past(self._nights):
            history.write_past(self._folder, past)
        return report
