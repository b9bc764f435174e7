"""What is remembered between runs: the night that is at work, and each step's last end.

Where one machine works on a night, one step after the other, a step is idempotent: a file by
rename for each is all the durability that takes. What is lost or damaged is done again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.base.schema import Part, read_record
from edgewright.nightly.report import StepReport
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import Step


class Begun(Part):
    """A night that has begun and not ended."""

    night: str
    began: datetime
    boards: tuple[str, ...]
    models: tuple[str, ...]


class StepRecord(Part):
    """The last end of a step of a cell."""

    night: str
    inputs: str  # hash
    report: StepReport


def begin(cells: Sequence[Cell]) -> Begun:
    """A night that begins now."""
    began = datetime.now(UTC)
    return Begun(
        night=night_name(began),
        began=began,
        boards=tuple(dict.fromkeys(cell.board for cell in cells)),
        models=tuple(dict.fromkeys(cell.model for cell in cells)),
    )


def night_name(began: datetime) -> str:
    return began.strftime("%Y-%m-%dT%H-%M-%SZ")


def begun_file(folder: Path) -> Path:
    return folder / "begun.json"


def write_begun(folder: Path, begun: Begun) -> None:
    write_file(begun_file(folder), begun.model_dump_json(indent=2) + "\n")


def read_begun(folder: Path) -> Begun | None:
    return read_record(Begun, begun_file(folder))


def require_begun(folder: Path) -> Begun:
    """The night to go on with. Raises UserError where none was interrupted."""
    begun = read_begun(folder)
    if begun is None:
        raise UserError(
            "nightly",
            "no night was interrupted",
            facts=[f"expected: {begun_file(folder)}"],
            next="invoke nightly",
        )
    return begun


def record_file(folder: Path, cell: Cell, step: Step) -> Path:
    """A step that is alike for all boards has one record for them."""
    place = folder / "records" / cell.model
    return (place if step.per_model else place / cell.board) / f"{step.name}.json"


def read_step(folder: Path, cell: Cell, step: Step) -> StepRecord | None:
    return read_record(StepRecord, record_file(folder, cell, step))


def write_step(folder: Path, cell: Cell, step: Step, record: StepRecord) -> None:
    write_file(record_file(folder, cell, step), record.model_dump_json(indent=2) + "\n")
