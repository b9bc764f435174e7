"""Whose work a night is: this machine's alone, which files remember, or that of several.

What several machines share a night by is `many_machines`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgewright.base.errors import UserError
from edgewright.base.files import locked
from edgewright.nightly import records
from edgewright.nightly.records import Begun, StepRecord
from edgewright.nightly.report import CellReport, NightReport
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import Step


class Work(Protocol):
    """The cells of a night that this machine is to take, and what steps left."""

    @property
    def begun(self) -> Begun:
        """The night."""

    @property
    def matrix(self) -> Sequence[Cell]:
        """All of its cells."""

    @property
    def resume(self) -> str:
        """The command that goes on with it."""

    def at_work(self) -> AbstractContextManager[None]:
        """As long as this machine works on it. Raises UserError where the workspace is at one."""

    def cells(self) -> Iterator[Cell]:
        """The next cell to take, each when the one before has ended."""

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is still this machine's."""

    def read_step(self, cell: Cell, step: Step) -> StepRecord | None:
        """The last end of a step; None: it never ended, or nobody can read that."""

    def write_step(self, cell: Cell, step: Step, record: StepRecord) -> None:
        """Write down how a step ended."""

    def finish(self, report: CellReport) -> None:
        """Write down what became of a cell."""

    def end(self, report_of: Callable[[Sequence[CellReport]], NightReport]) -> NightReport:
        """The report of the night, once no cell is left."""


def alone(folder: Path) -> AbstractContextManager[None]:
    """Of the processes of one workspace, one works on a night. Raises UserError."""

    def refuse() -> None:
        begun = records.read_begun(folder)
        raise UserError(
            f"night {begun.night}" if begun else "nightly",
            "another night is at work in this workspace",
            facts=[f"lock: {folder / '.lock'}"],
            next="wait for it",
        )

    return locked(folder / ".lock", on_busy=refuse)


@dataclass(frozen=True, kw_only=True)
class OneMachine:
    """All cells, in their order."""

    folder: Path  # of the workspace's nights
    matrix: Sequence[Cell]
    begun: Begun
    resume: str = "invoke nightly --resume"
    _reports: list[CellReport] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with alone(self.folder):
            records.write_begun(self.folder, self.begun)
            yield
            records.begun_file(self.folder).unlink()

    def cells(self) -> Iterator[Cell]:
        yield from self.matrix

    def holds(self, cell: Cell) -> bool:
        return cell in self.matrix

    def read_step(self, cell: Cell, step: Step) -> StepRecord | None:
        return records.read_step(self.folder, cell, step)

    def write_step(self, cell: Cell, step: Step, record: StepRecord) -> None:
        records.write_step(self.folder, cell, step, record)

    def finish(self, report: CellReport) -> None:
        self._reports.append(report)

    def end(self, report_of: Callable[[Sequence[CellReport]], NightReport]) -> NightReport:
        return report_of(self._reports)
