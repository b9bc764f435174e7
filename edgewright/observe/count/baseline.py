"""Compare what an inference and a release cost with what was last accepted."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgewright.base.errors import CheckError, UserError
from edgewright.base.files import write_file
from edgewright.base.schema import Document, Excerpt, Part, parse_json
from edgewright.observe.count.instructions import InstructionReport
from edgewright.release.manifest import Manifest

TOLERANCE = 0.02  # counts repeat exactly, but compilers and libraries are updated
CULPRITS = 5  # functions named in a failure
LEAST_SHARE = 0.001  # of an inference, for a function to be listed in the baseline
JUDGED_FOLDERS = ("bin/", "model/")  # of a release: files whose sizes are accepted


class Accepted(Part):
    """What one board's build of one model costs."""

    inference: int  # guest instructions
    load: int  # likewise
    cpu: str = ""  # QEMU's model of the core; earlier versions did not say
    functions: dict[str, int]  # of the inference, the dearest ones
    # Bytes of the release's files; 0.1.0 accepted none.
    sizes: dict[str, int] = Field(default_factory=dict)


class Baseline(Document):
    """`bench/baseline.json`: for each board what its builds of models were accepted to cost."""

    version: Literal[2] = 2
    boards: dict[str, dict[str, Accepted]] = Field(default_factory=dict)

    def of(self, board: str, model: str) -> Accepted | None:
        """What a board's build of a model was accepted to cost, if it was."""
        return self.boards.get(board, {}).get(model)

    def accepting(self, board: str, model: str, cost: Accepted) -> "Baseline":
        """The same with another accepted cost."""
        of_board = {**self.boards.get(board, {}), model: cost}
        return self.model_copy(update={"boards": {**self.boards, board: of_board}})


class _Accepted1(Accepted):
    model: str


class _Baseline1(Document):
    """Of 0.1.0: one model a board."""

    version: Literal[1]
    boards: dict[str, _Accepted1]

    def upgraded(self) -> Baseline:
        baseline = Baseline()
        for board, cost in self.boards.items():
            same = Accepted(**cost.model_dump(exclude={"model"}))
            baseline = baseline.accepting(board, cost.model, same)
        return baseline


class _Version(Excerpt):
    version: int


def accepted(report: InstructionReport, sizes: Mapping[str, int]) -> Accepted:
    """The part of a report that the baseline holds, and the sizes of the release's files."""
    return Accepted(
        inference=report.inference,
        load=report.load,
        cpu=report.cpu,
        functions={c.name: c.instructions for c in report.functions if c.share >= LEAST_SHARE},
        sizes=dict(sizes),
    )


def judged_sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of the programs, libraries and network of a release, by their names in it."""
    return {
        file.path: file.bytes for file in manifest.files if file.path.startswith(JUDGED_FOLDERS)
    }


def read_baseline(path: Path) -> Baseline:
    """An absent file is an empty baseline. Raises UserError if it is malformed."""
    if not path.is_file():
        return Baseline()
    raw, subject, next = path.read_bytes(), str(path), "git checkout it"
    if parse_json(_Version, raw, subject, "malformed", next=next).version == 1:
        return parse_json(_Baseline1, raw, subject, "malformed", next=next).upgraded()
    return parse_json(Baseline, raw, subject, "malformed", next=next)


def write_baseline(path: Path, baseline: Baseline) -> None:
    write_file(path, baseline.to_json())


def require_no_growth(
    report: InstructionReport, sizes: Mapping[str, int], baseline: Baseline, model: str
) -> Accepted:
    """The accepted cost of a model on the board.

    Raises CheckError if an inference, a load or a file grew by 2 %, UserError if none was accepted.
    """
    accepted = baseline.of(report.board, model)
    if accepted is None:
        raise UserError(
            f"board '{report.board}'",
            f"has no baseline of model '{model}'",
            next=f"invoke bench.accept --board={report.board} --model={model}",
        )
    costs = [
        ("inference", "instructions", report.inference, accepted.inference),
        ("session load", "instructions", report.load, accepted.load),
        *(
            (name, "bytes", current, accepted.sizes[name])
            for name, current in sizes.items()
            if name in accepted.sizes
        ),
    ]
    grown = [
        f"{part}: {current:,} {unit}, accepted {before:,} ({current / before - 1:+.1%})"
        for part, unit, current, before in costs
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
            next=f"mend it, or invoke bench.accept --board={report.board} --model={model} "
            "and say why",
        )
    return accepted
