"""Compare what an inference and a release cost with what was last accepted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgewright.base.errors import CheckError, UserError
from edgewright.base.files import write_file
from edgewright.base.schema import Document, Excerpt, Part, parse_json
from edgewright.board.cores import ANY_CORE
from edgewright.observe.count.instructions import InstructionReport
from edgewright.release.manifest import Manifest

TOLERANCE = 0.02  # counts repeat exactly, but compilers and libraries are updated
CULPRITS = 5  # functions named in a failure
LEAST_SHARE = 0.001  # of an inference, for a function to be listed in the baseline
Figure = tuple[str, str, int, int | None]  # name, unit, what it is, what it was
JUDGED_FOLDERS = ("bin/", "model/")  # of a release: files whose sizes are accepted


class Accepted(Part):
    """What one inference and one load of a model cost on one core."""

    inference: int  # guest instructions
    load: int  # likewise
    cycles: int | None = None  # of an inference, modelled; null where no model covers the board
    functions: dict[str, int]  # instructions of the inference, the dearest ones


class AcceptedBuild(Part):
    """What one board's build of one model costs: its counts by the core that they hold for."""

    cpus: dict[str, Accepted] = Field(default_factory=dict)  # by QEMU's model of the core
    # Bytes of the release's files; 0.1.0 accepted none.
    sizes: dict[str, int] = Field(default_factory=dict)


class Baseline(Document):
    """`bench/baseline.json`: for each board what its builds of models were accepted to cost."""

    version: Literal[3] = 3
    boards: dict[str, dict[str, AcceptedBuild]] = Field(default_factory=dict)

    def of(self, board: str, model: str) -> AcceptedBuild | None:
        """What a board's build of a model was accepted to cost, if it was."""
        return self.boards.get(board, {}).get(model)

    def accepting(self, board: str, model: str, build: AcceptedBuild) -> "Baseline":
        """The same with another accepted build."""
        of_board = {**self.boards.get(board, {}), model: build}
        return self.model_copy(update={"boards": {**self.boards, board: of_board}})


class _Accepted2(Part):
    inference: int
    load: int
    cpu: str = ""  # earlier ones did not say: they were counted on QEMU's `max`
    functions: dict[str, int]
    sizes: dict[str, int] = Field(default_factory=dict)

    def upgraded(self) -> AcceptedBuild:
        cost = Accepted(inference=self.inference, load=self.load, functions=self.functions)
        return AcceptedBuild(cpus={self.cpu or ANY_CORE: cost}, sizes=self.sizes)


class _Baseline2(Document):
    version: Literal[2]
    boards: dict[str, dict[str, _Accepted2]] = Field(default_factory=dict)

    def upgraded(self) -> Baseline:
        boards = {
            board: {model: cost.upgraded() for model, cost in models.items()}
            for board, models in self.boards.items()
        }
        return Baseline(boards=boards)


class _Accepted1(_Accepted2):
    model: str


class _Baseline1(Document):
    """Of 0.1.0: one model a board."""

    version: Literal[1]
    boards: dict[str, _Accepted1]

    def upgraded(self) -> Baseline:
        boards = {board: {cost.model: cost.upgraded()} for board, cost in self.boards.items()}
        return Baseline(boards=boards)


class _Version(Excerpt):
    version: int


@dataclass(frozen=True, kw_only=True)
class CoreCost:
    """What a program costs on one core: counted instructions, modelled cycles if it has them."""

    report: InstructionReport
    cycles: int | None = None  # of the pipeline, and what it waits for its caches
    pipeline_cycles: int | None = None

    def accepted(self) -> Accepted:
        """The part that the baseline holds."""
        report = self.report
        return Accepted(
            inference=report.inference,
            load=report.load,
            cycles=self.cycles,
            functions={c.name: c.instructions for c in report.functions if c.share >= LEAST_SHARE},
        )


@dataclass(frozen=True, kw_only=True)
class BuildCost:
    """What a board's build of a model costs: on each core that it is judged on, and in bytes."""

    board: str
    model: str
    cores: tuple[CoreCost, ...]  # the board's own first
    sizes: Mapping[str, int]

    def accepted(self) -> AcceptedBuild:
        cpus = {cost.report.cpu: cost.accepted() for cost in self.cores}
        return AcceptedBuild(cpus=cpus, sizes=dict(self.sizes))


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
    version = parse_json(_Version, raw, subject, "malformed", next=next).version
    if version == 1:
        return parse_json(_Baseline1, raw, subject, "malformed", next=next).upgraded()
    if version == 2:
        return parse_json(_Baseline2, raw, subject, "malformed", next=next).upgraded()
    return parse_json(Baseline, raw, subject, "malformed", next=next)


def write_baseline(path: Path, baseline: Baseline) -> None:
    write_file(path, baseline.to_json())


def require_no_growth(cost: BuildCost, baseline: Baseline) -> AcceptedBuild:
    """What the build was accepted to cost.

    Raises CheckError if an inference, a load or a file grew by 2 %, UserError if none was accepted
    or not on a core that was counted. Where both have modelled cycles, they judge the inference:
    an instruction more may be a cycle less (a load that issues beside arithmetic).
    """
    accepted = baseline.of(cost.board, cost.model) or AcceptedBuild()
    accept = f"invoke bench.accept --board={cost.board} --model={cost.model}"
    for core in cost.cores:
        if core.report.cpu not in accepted.cpus:
            raise UserError(
                f"board '{cost.board}'",
                f"has no baseline of model '{cost.model}' on {core.report.cpu}",
                next=f"{accept} --cpus={','.join(c.report.cpu for c in cost.cores)}",
            )
    grown = [
        *(line for core in cost.cores for line in _growth(core, accepted.cpus[core.report.cpu])),
        *_grown(
            (name, "bytes", size, accepted.sizes.get(name)) for name, size in cost.sizes.items()
        ),
    ]
    if grown:
        raise CheckError(
            f"board '{cost.board}'",
            f"costs more than {TOLERANCE:.0%} above its baseline",
            facts=grown,
            next=f"mend it, or {accept} and say why",
        )
    return accepted


def judging_cycles(cost: CoreCost, accepted: Accepted) -> bool:
    """Whether modelled cycles judge an inference; instructions do where one side has none."""
    return cost.cycles is not None and accepted.cycles is not None


def _growth(cost: CoreCost, accepted: Accepted) -> Iterator[str]:
    """Each figure of one core that grew too much, and the functions that did."""
    report, cpu = cost.report, cost.report.cpu
    inference: Figure = ("inference", "instructions", report.inference, accepted.inference)
    if judging_cycles(cost, accepted):
        inference = ("inference", "modelled cycles", cost.cycles or 0, accepted.cycles)
    load: Figure = ("session load", "instructions", report.load, accepted.load)
    grown = [f"{cpu}: {line}" for line in _grown([inference, load])]
    yield from grown
    if not grown:
        return
    growth = Counter(
        {c.name: c.instructions - accepted.functions.get(c.name, 0) for c in report.functions}
    )
    for name, more in growth.most_common(CULPRITS):
        before = accepted.functions.get(name, 0)
        if more > 0:
            yield f"{name}: {before:,} → {before + more:,} instructions"


def _grown(figures: Iterable[Figure]) -> Iterator[str]:
    for part, unit, current, before in figures:
        if before is not None and current > before * (1 + TOLERANCE):
            growth = f" ({current / before - 1:+.1%})" if before else ""
            yield f"{part}: {current:,} {unit}, accepted {before:,}{growth}"
