"""What a night does for one board and one model: the steps, and what each depends on.

A step is recorded by the hash of its inputs. What the user's commit alone changes, the release's
id, is an input of building, signing and publishing; counting and testing go by the contents.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import edgewright
from edgewright.base import digest
from edgewright.base.errors import CheckError, EdgewrightError, UserError
from edgewright.base.progress import Progress
from edgewright.base.workspace import Workspace
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.build.bill import model_licence
from edgewright.build.container import BuilderChoice
from edgewright.build.pipeline import BuildRequest
from edgewright.deploy import one_board
from edgewright.deploy.install import Deployer
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.lab import emulate
from edgewright.lab.emulate import Instance
from edgewright.model.contract.card import Card
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.convert.to_ort import rules_sha256
from edgewright.model.importer.classifier import CARD
from edgewright.nightly.report import Figures, StepName, StepReport
from edgewright.nightly.settings import Cell, NightSettings
from edgewright.observe.build_cost import build_cost, judged_cpus
from edgewright.observe.count import baseline, instructions
from edgewright.release import channels, evidence, order, published
from edgewright.release.manifest import Release, load_release
from edgewright.release.store import Contents


@dataclass(frozen=True, kw_only=True)
class NightRequest:
    """All that a night depends on: the workspace, and who works on this machine."""

    workspace: Workspace
    settings: NightSettings
    signing: SigningPolicy
    deployer: Deployer
    known_hosts: tuple[Path, ...]
    store: Contents | None  # None: nothing is published
    config: Path  # of the user
    jobs: int
    builder: BuilderChoice = "auto"

    @property
    def folder(self) -> Path:
        """Records, reports and emulated boards of nights."""
        return self.workspace.root / "build" / "nightly"

    @property
    def channel(self) -> str:
        """That is pointed to what is published; empty: none is."""
        return (self.settings.publish and self.settings.publish.channel) or ""

    @cached_property
    def tool_sha256(self) -> str:
        """Of all code of edgewright's that has a say in what a step does."""
        resources = self.workspace.resources
        return digest.tree_sha256(
            Path(edgewright.__file__).parent,
            resources.recipes,
            resources.toolchains,
            resources.runtime_cpp,
            resources.docker,
            resources.counts_plugin,
        )

    def instance(self, profile: BoardProfile) -> Instance:
        """A board of the nights' own: the user's, if it runs, is left alone."""
        folder = self.folder / "boards" / profile.name
        return Instance(profile=profile, folder=folder, docker=self.workspace.resources.docker)


@dataclass(frozen=True, kw_only=True)
class CellAtWork:
    """A cell whose steps are taken; `built` once it is."""

    night: NightRequest
    cell: Cell
    progress: Progress
    built: Release | None = None

    @property
    def release(self) -> Release:
        assert self.built is not None  # of steps that need the build
        return self.built


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a step brought; `fault` is a verdict that says no and leaves figures."""

    figures: Figures = field(default_factory=Figures)
    release: str | None = None
    fault: EdgewrightError | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step, its inputs as texts, and whether what it left is there as its record says."""

    name: StepName
    needs: tuple[StepName, ...]
    inputs: Callable[[CellAtWork], tuple[str, ...]]
    work: Callable[[CellAtWork], Result]
    is_there: Callable[[CellAtWork, StepReport], bool] = lambda _at, _report: True
    per_model: bool = False  # alike for all boards


def steps_of(night: NightRequest, model: str) -> tuple[Step, ...]:
    """The steps of a model's cells, in their order. What is published has passed all others."""
    judged = (ACCURACY,) if model in night.settings.accuracy else ()
    steps = (*judged, BUILD, SIGN, SMOKE, COST)
    if night.store is None:
        return steps
    return (*steps, replace(PUBLISH, needs=tuple(step.name for step in steps)))


# Build


def _build_inputs(at: CellAtWork) -> tuple[str, ...]:
    network = at.cell.network
    if not network.is_file():
        raise UserError(str(network), "no such model", next="mend [models] in edgewright.toml")
    licence = model_licence(network)
    return (
        at.night.tool_sha256,
        at.night.builder,
        rules_sha256(),
        at.cell.profile.model_dump_json(),
        pipeline.promise_sha256(network),
        repr(licence),
        pipeline.source_of(at.night.workspace).model_dump_json(),
    )


def _build(at: CellAtWork) -> Result:
    request = BuildRequest(
        profile=at.cell.profile,
        model=at.cell.network,
        workspace=at.night.workspace,
        builder=at.night.builder,
        jobs=at.night.jobs,
    )
    report = pipeline.build(request, at.progress)
    # The archive's name is the release's, which changes from night to night.
    archive = f"{report.release}.tar.gz"
    sizes = {"archive" if name == archive else name: report.sizes[name] for name in report.sizes}
    figures = Figures(sizes=sizes, build_seconds=round(report.seconds, 2))
    return Result(release=report.release, figures=figures)


RELEASE_ID = re.compile(r"[0-9a-f]{16}")


def release_of(at: CellAtWork, report: StepReport) -> Release | None:
    """The release that a build made, here or on a machine that published it; None: it is lost."""
    releases, name = at.night.workspace.build(at.cell.board).release, str(report.release)
    if not RELEASE_ID.fullmatch(name):  # a record may be from a ledger
        return None
    with suppress(UserError):  # it is not there, or not whole
        release = load_release(releases / name)
        if release.id == name and release.archive.is_file():
            return release
    if at.night.store is not None:
        with suppress(UserError):  # nor there, or of a key that this machine does not trust
            trusted = [key.public for key in at.night.signing.keys.listed()]
            return published.pull(at.night.store, at.cell.board, name, releases, trusted)
    return None


BUILD = Step(
    name="build",
    needs=(),
    inputs=_build_inputs,
    work=_build,
    is_there=lambda at, report: release_of(at, report) is not None,
)


# Sign


def _sign_inputs(at: CellAtWork) -> tuple[str, ...]:
    statement = evidence.beside(at.release).statement
    return (
        at.release.id,
        digest.file_sha256(statement) if statement.is_file() else "",
        at.night.signing.keys.stored(at.night.settings.key).public.id,
    )


def _sign(at: CellAtWork) -> Result:
    at.night.signing.signature_of(at.release, emulated=False)
    if evidence.is_unsigned(evidence.beside(at.release)):  # the order is older
        evidence.sign_release(at.release, at.night.signing.signer(emulated=False))
    return Result()


SIGN = Step(
    name="sign",
    needs=("build",),
    inputs=_sign_inputs,
    work=_sign,
    is_there=lambda at, _: (
        order.read_signature(at.release) is not None
        and not evidence.is_unsigned(evidence.beside(at.release))
    ),
)


# Prove


def _contents(release: Release) -> tuple[str, ...]:
    """All of a release but its manifest, which names the commit."""
    return tuple(f"{file.path} {file.mode} {file.sha256}" for file in release.manifest.files)


def _smoke_inputs(at: CellAtWork) -> tuple[str, ...]:
    return (at.night.tool_sha256, at.cell.profile.model_dump_json(), *_contents(at.release))


def _smoke(at: CellAtWork) -> Result:
    board = emulate.up(at.night.instance(at.cell.profile), at.progress)
    settings = DeploySettings(
        target=board.target,
        release=at.release,
        signing=at.night.signing,
        deployer=at.night.deployer,
        known_hosts=at.night.known_hosts,
        former_names=at.cell.profile.former_names,
        smoke_unchanged=True,
        smoke_file=at.night.workspace.build(at.cell.board).reports / "smoke.json",
    )
    one_board.deploy(settings, at.progress)
    return Result()


SMOKE = Step(name="smoke", needs=("build", "sign"), inputs=_smoke_inputs, work=_smoke)


def _accepted(at: CellAtWork) -> baseline.AcceptedBuild | None:
    accepted = baseline.read_baseline(at.night.workspace.baseline)
    return accepted.of(at.cell.board, at.cell.network.parent.name)


def _cost_inputs(at: CellAtWork) -> tuple[str, ...]:
    accepted = _accepted(at)
    cost = "" if accepted is None else accepted.model_dump_json()
    return (at.night.tool_sha256, at.cell.profile.qemu_cpu, cost, *_contents(at.release))


def _cost(at: CellAtWork) -> Result:
    workspace, profile = at.night.workspace, at.cell.profile
    at.progress.start("count the instructions of an inference")
    program = instructions.program_of_release(
        at.release.folder, profile, workspace.build(profile.name)
    )
    cost = build_cost(
        program,
        profile,
        at.release.manifest,
        at.cell.network.parent.name,
        judged_cpus(profile, _accepted(at)),
        workspace.resources,
    )
    own = cost.cores[0].report
    figures = Figures(inference=own.inference, load=own.load)
    try:
        baseline.require_no_growth(cost, baseline.read_baseline(workspace.baseline))
    except EdgewrightError as verdict:
        return Result(figures=figures, fault=verdict)
    return Result(figures=figures)


COST = Step(name="cost", needs=("build",), inputs=_cost_inputs, work=_cost)


def _accuracy_inputs(at: CellAtWork) -> tuple[str, ...]:
    judged = at.night.settings.accuracy[at.cell.model]
    network = at.cell.network
    images = at.night.workspace.root / judged.images
    return (
        at.night.tool_sha256,
        rules_sha256(),
        judged.model_dump_json(),
        network_sha256(network),
        digest.tree_sha256(images, network.parent / CARD),
    )


def _accuracy(at: CellAtWork) -> Result:
    # Here, as it brings ONNX Runtime and more, for those nights that judge.
    from edgewright.model.pack import workflow

    judged, network = at.night.settings.accuracy[at.cell.model], at.cell.network
    if not isinstance(read_any_card(network.parent / CARD), Card):
        raise UserError(
            at.cell.model,
            "is no classifier: nights judge the accuracy of classifiers",
            next=f"take [accuracy.{at.cell.model}] out of nightly.toml",
        )
    at.progress.start(f"judge {at.cell.model}")
    images = at.night.workspace.root / judged.images
    judging = workflow.judging(network, str(images), at.progress.note)
    accuracy = workflow.evaluate(judging).metrics.accuracy.value
    figures = Figures(accuracy=round(accuracy, 4))
    if accuracy >= judged.least:
        return Result(figures=figures)
    fault = CheckError(
        at.cell.model,
        "is less accurate than it has to be",
        facts=[
            f"expected: {judged.least:.2%} of {len(judging.dataset.samples)} images",
            f"found: {accuracy:.2%}",
        ],
        next=f"invoke model.evaluate --model={at.cell.model} --images={images}",
    )
    return Result(figures=figures, fault=fault)


ACCURACY = Step(name="accuracy", needs=(), inputs=_accuracy_inputs, work=_accuracy, per_model=True)


# Publish


def _publish_inputs(at: CellAtWork) -> tuple[str, ...]:
    store = at.night.store
    assert store is not None  # of a night that publishes
    signature = order.beside(at.release.archive)
    return (at.release.id, digest.file_sha256(signature), store.place, at.night.channel)


def _publish(at: CellAtWork) -> Result:
    store = at.night.store
    assert store is not None
    trusted = [key.public for key in at.night.signing.keys.listed()]
    published.publish(at.release, store, trusted)
    if at.night.channel:
        channel = channels.channel(store, at.cell.board, at.night.channel, at.night.config)
        signer = at.night.signing.signer(emulated=False)
        published.point(channel, at.release.id, signer, trusted)
    return Result()


PUBLISH = Step(name="publish", needs=("build", "sign"), inputs=_publish_inputs, work=_publish)
