"""Regressions: what an inference cost when it was last accepted, and what it costs now."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.base.schema import Document, Part, parse_json
from edgewright.observe.count.instructions import Cost, InstructionReport

TOLERANCE = 0.02
TOLD = 5  # functions named in a failure
LEAST_SHARE = 0.001  # of an inference, for a function to be kept


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
    """What is kept of a report."""
    return Accepted(
        model=model,
        inference=report.inference,
        load=report.load,
        functions=_by_name(c for c in report.functions if c.share >= LEAST_SHARE),
    )


def _by_name(costs: Iterable[Cost]) -> dict[str, int]:
    return {cost.name: cost.instructions for cost in costs}


def read_baseline(path: Path) -> Baseline:
    """An absent file is an empty baseline. Raises UserError if it is malformed."""
    if not path.is_file():
        return Baseline()
    return parse_json(Baseline, path.read_bytes(), str(path), "malformed", next="git checkout it")


def write_baseline(path: Path, baseline: Baseline) -> None:
    write_file(path, baseline.to_json())


def require_no_growth(found: InstructionReport, before: Baseline) -> Accepted:
    """What was accepted for the board. Raises UserError if an inference or a load grew by 2 %."""
    known = before.boards.get(found.board)
    if known is None:
        raise UserError(
            f"board '{found.board}'",
            "has no baseline",
            next=f"invoke bench.accept --board={found.board}",
        )
    grown = [
        f"{what}: {now:,} instructions, accepted {then:,} ({now / then - 1:+.1%})"
        for what, now, then in (
            ("inference", found.inference, known.inference),
            ("session load", found.load, known.load),
        )
        if now > then * (1 + TOLERANCE)
    ]
    if grown:
        raise UserError(
            f"board '{found.board}'",
            f"costs more than {TOLERANCE:.0%} above its baseline",
            facts=[*grown, *_culprits(found.functions, known.functions)],
            next=f"mend it, or invoke bench.accept --board={found.board} and say why",
        )
    return known


def _culprits(now: Iterable[Cost], then: Mapping[str, int]) -> list[str]:
    """The functions that grew most."""
    growth = Counter({c.name: c.instructions - then.get(c.name, 0) for c in now})
    grown = [(name, more) for name, more in growth.most_common(TOLD) if more > 0]
    return [f"{name}: {then.get(name, 0):,} → {then.get(name, 0) + more:,}" for name, more in grown]
