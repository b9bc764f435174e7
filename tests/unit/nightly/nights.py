"""Nights without builds: steps that only note that they were taken."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base.layout import installed_resources
from edgewright.base.progress import Progress
from edgewright.base.workspace import Workspace, create_workspace, find_workspace
from edgewright.deploy.install import Deployer
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.nightly import many_machines, night, records, settings
from edgewright.nightly.ledger import NightLedger
from edgewright.nightly.records import Begun
from edgewright.nightly.report import Figures, NightReport, StepName
from edgewright.nightly.settings import Cell, NightSettings
from edgewright.nightly.steps import CellAtWork, NightRequest, Result, Step
from edgewright.nightly.work import OneMachine
from edgewright.release.keys import KeyFolder

Work = Callable[[str], Result]  # at a place: board/model/step

NAMES: tuple[StepName, ...] = ("accuracy", "sign", "smoke", "cost")
NEEDS: dict[StepName, tuple[StepName, ...]] = {"smoke": ("sign",)}


def workspace_in(folder: Path) -> Workspace:
    """A workspace with two models."""
    folder.mkdir(exist_ok=True)
    create_workspace(folder, installed_resources(), board="a53-som")
    settings_file = folder / "edgewright.toml"
    models = '[models]\none = "models/one/model.onnx"\ntwo = "models/two/model.onnx"\n'
    settings_file.write_text(settings_file.read_text().replace("[models]", f"{models}#"))
    return find_workspace(folder, installed_resources())


@dataclass
class Steps:
    """Steps whose inputs and ends a test decides on; `runs` counts what was worked on."""

    inputs: str = "same"
    work: Work = lambda _name: Result(figures=Figures(inference=100))
    runs: Counter[str] = field(default_factory=Counter)

    def of(self, _night: NightRequest, model: str) -> tuple[Step, ...]:
        return tuple(self._step(name) for name in NAMES)

    def _step(self, name: StepName) -> Step:
        def work(at: CellAtWork) -> Result:
            place = f"{at.cell.board}/{at.cell.model}/{name}"
            self.runs[place] += 1
            return self.work(place)

        return Step(
            name=name,
            needs=NEEDS.get(name, ()),
            inputs=lambda _: (self.inputs,),
            work=work,
        )


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@dataclass(frozen=True, kw_only=True)
class Nights:
    """Nights of one workspace."""

    request: NightRequest
    cells: tuple[Cell, ...]
    notes: Notes = field(default_factory=Notes)

    def run(self, name: str = "2026-01-01") -> NightReport:
        return self.resume(records.begin(self.cells).model_copy(update={"night": name}))

    def resume(self, begun: Begun) -> NightReport:
        work = OneMachine(folder=self.request.folder, matrix=self.cells, begun=begun)
        return night.run(self.request, work, self.notes)

    def share(self, ledger: NightLedger, *, resume: bool = False) -> NightReport:
        """As one of several machines."""
        work = many_machines.join(self.request, self.cells, ledger, self.notes, resume=resume)
        return night.run(self.request, work, self.notes)


def nights_in(
    folder: Path,
    *,
    boards: Sequence[str] = ("a53-som", "rpi2"),
    nights: int = 30,
    holder: str = "me",
) -> Nights:
    workspace = workspace_in(folder)
    chosen = NightSettings(boards=tuple(boards), models=("one", "two"), nights=nights)
    request = NightRequest(
        workspace=workspace,
        settings=chosen,
        signing=SigningPolicy(keys=KeyFolder(folder / "keys"), ask=lambda _: None),
        deployer=Deployer(holder=holder, locks=folder / "locks"),
        known_hosts=(),
        store=None,
        config=folder / "config",
        jobs=1,
    )
    return Nights(request=request, cells=settings.cells(chosen, workspace))
