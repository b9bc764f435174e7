"""Compare the cost of an inference with the one that was last accepted."""

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgewright.base.errors import CheckError, UserError
from edgewright.base.files import write_file
from edgewright.base.schema import Document, Part, parse_json
from edgewright.observe.count.instructions import InstructionReport

TOLERANCE = 0.02  # counts repeat exactly, but compilers and libraries are updated
CULPRITS = 5  # functions named in a failure
LEAST_SHARE = 0.001  # of an inference, for a function to be listed in the baseline


class Accepted(Part):
    """Guest instructions of one board's build of one model."""

    model: str
    inference: int
    load: int
    functions: dict[str, int]  # of the inference, the dearest ones


class Baseline(Document):
    """`bench/baseline.json`."""

    version: Literal[1] = 1
    boards: dict[str, Accepted] = Field(default_factory=dict)


def accepted(report: InstructionReport, model: str) -> Accepted:
    """The part of a report that the baseline holds."""
    return Accepted(
        model=model,
        inference=report.inference,
        load=report.load,
        functions={c.name: c.instructions for c in report.functions if c.share >= LEAST_SHARE},
    )


def read_baseline(path: Path) -> Baseline:
    """An absent file is an empty baseline. Raises UserError if it is malformed."""
    if not path.is_file():
        return Baseline()
    return parse_json(Baseline, path.read_bytes(), str(path), "malformed", next="git checkout it")


def write_baseline(path: Path, baseline: Baseline) -> None:
    write_file(path, baseline.to_json())


def require_no_growth(report: InstructionReport, baseline: Baseline, model: str) -> Accepted:
    """The accepted cost of a model on the board.

    Raises CheckError if an inference or a load grew by 2 %, UserError if none was accepted.
    """
    accepted = baseline.boards.get(report.board)
    if accepted is None or accepted.model != model:
        raise UserError(
            f"board '{report.board}'",
            f"has no baseline of model '{model}'",
            next=f"invoke bench.accept --board={report.board}",
        )
    grown = [
        f"{part}: {current:,} instructions, accepted {before:,} ({current / before - 1:+.1%})"
        for part, current, before in (
            ("inference", report.inference, accepted.inference),
            ("session load", report.load, accepted.load),
        )
        if current > before * (1 + TOLERANCE)
    ]
    growth = Counter(
        {c.name: c.instructions - accepted.functions.get(c.name, 0) for c in report.functions}
    )
    culprits = [
        f"{name}: {before:,} → {before + more:,}"
        for name, more in growth.most_common(CULPRITS)
        if more > 0
        for before in [accepted.functions.get(name, 0)]
    ]
    if grown:
        raise CheckError(
            f"board '{report.board}'",
            f"costs more than {TOLERANCE:.0%} above its baseline",
            facts=[*grown, *culprits],
            next=f"mend it, or invoke bench.accept --board={report.board} and say why",
        )
    return accepted
