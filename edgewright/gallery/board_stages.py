"""Build a network of the gallery for a board, run it on the emulated one, and count it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import update_file, write_file
from edgewright.base.layout import user_cache
from edgewright.base.progress import LineSink, Progress
from edgewright.base.schema import read_record
from edgewright.base.workspace import Workspace
from edgewright.board.cores import ANY_CORE
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildReport, BuildRequest
from edgewright.deploy import install, one_board
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.deploy.target import Target
from edgewright.gallery.documents import BoardResult
from edgewright.gallery.host_stages import StoppedError, stage
from edgewright.lab import emulate
from edgewright.model.contract.card import Card
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.contract.preprocess import Floats, load_input
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.convert.ops import parse_config, union
from edgewright.model.importer.classifier import CARD
from edgewright.model.pack.golden import read_expected
from edgewright.model.pack.task_golden import read_task_expected
from edgewright.model.tasks.inference import Engine
from edgewright.observe.count import instructions
from edgewright.observe.count.instructions import STEADY
from edgewright.observe.peers import peers
from edgewright.observe.peers.contestant import Setup, count_runs, ort
from edgewright.release import latest

LARGE = 1 << 30  # bytes: the gallery tells what a release costs, and judges nothing


@dataclass(frozen=True, kw_only=True)
class BoardSettings:
    """The board that the gallery is run on, and what serves it."""

    profile: BoardProfile
    workspace: Workspace  # of the gallery itself: its releases are nobody else's
    signing: SigningPolicy
    known_hosts: tuple[Path, ...]
    jobs: int
    with_debian: bool = False  # count Debian's ONNX Runtime too, which is slow
    runtime_ops: Path | None = None  # of a runtime for all networks; None: each has its own


def run_board(
    model: Path, folder: Path, settings: BoardSettings, progress: Progress, say: LineSink
) -> BoardResult:
    """The board stages of a model folder's network, or what is recorded of them where nothing has
    changed. Writes `folder`/board.json."""
    recorded = recorded_board(model, folder, settings)
    if recorded and recorded.shares_runtime and settings.runtime_ops is None:
        recorded = None  # a runtime of its own was asked for
    if recorded and not _lacks_debian(recorded, settings):
        return recorded
    result = recorded or BoardResult(
        key=board_key(model, settings), shares_runtime=settings.runtime_ops is not None
    )
    try:
        if not result.instructions:
            result = _through(model, settings, result, progress, say)
        if settings.with_debian:
            say(f"{folder.name}: Debian's ONNX Runtime")
            count = stage("debian", lambda: _debian(model, settings))
            result = result.model_copy(update={"debian_instructions": count})
    except StoppedError as stopped:
        result = result.model_copy(update={"refusal": stopped.refusal})
    write_file(folder / "board.json", result.to_json())
    return result


def recorded_board(model: Path, folder: Path, settings: BoardSettings) -> BoardResult | None:
    """What is recorded of the network as it is, if it was run on a board."""
    recorded = read_record(BoardResult, folder / "board.json")
    return recorded if recorded and recorded.key == board_key(model, settings) else None


def write_runtime_ops(models: Sequence[Path], settings: BoardSettings) -> Path:
    """The op config of one runtime for all these networks; those that no board runs are left out.

    A runtime takes minutes to build, and a network each of its own would take hours.
    """
    out = settings.workspace.build(settings.profile.name)
    configs = []
    for model in models:
        try:
            converted, _ = pipeline.converted_model(model, out, user_cache())
        except UserError:  # its own row tells why
            continue
        configs.append(parse_config(converted.ops_config.read_text(), str(model)))
    path = out.root / "gallery.config"
    update_file(path, union(configs).text())
    return path


def _lacks_debian(recorded: BoardResult, settings: BoardSettings) -> bool:
    return (
        settings.with_debian and recorded.refusal is None and recorded.debian_instructions is None
    )


def board_key(model: Path, settings: BoardSettings) -> str:
    """Hash of all that a row's board stages depend on."""
    resources = settings.workspace.resources
    return digest.text_sha256(
        network_sha256(model),
        digest.tree_sha256(model.parent / CARD, model.parent / "golden"),
        digest.tree_sha256(resources.recipes, resources.runtime_cpp, resources.toolchains),
        settings.profile.model_dump_json(),
    )


def _through(
    model: Path, settings: BoardSettings, result: BoardResult, progress: Progress, say: LineSink
) -> BoardResult:
    profile, name = _roomy(settings.profile), model.parent.parent.name
    say(f"{name}: build")
    request = BuildRequest(
        profile=profile,
        model=model,
        workspace=settings.workspace,
        runtime_ops=settings.runtime_ops,
        jobs=settings.jobs,
    )
    report = stage("build", lambda: pipeline.build(request, progress))
    result = result.model_copy(
        update={
            "release": report.release,
            "program_bytes": report.sizes["bin/edge-infer"],
            "model_bytes": report.sizes["model/model.ort"],
        }
    )
    say(f"{name}: run")
    target = stage("run", lambda: _board(settings))
    stage("run", lambda: _deploy(settings, profile, target))
    result = result.model_copy(update=_golden(model))
    say(f"{name}: count")
    count = stage("count", lambda: _count(settings, report))
    return result.model_copy(update={"instructions": count})


def _roomy(profile: BoardProfile) -> BoardProfile:
    budgets = profile.budgets.model_copy(update={"binary_bytes": LARGE, "model_bytes": LARGE})
    return profile.model_copy(update={"budgets": budgets})


def _board(settings: BoardSettings) -> Target:
    """The emulated board, which the first network starts."""
    instance = emulate.Instance(
        profile=settings.profile,
        folder=settings.workspace.build(settings.profile.name).emulator,
        docker=settings.workspace.resources.docker,
    )
    return emulate.up(instance).target


def _deploy(settings: BoardSettings, profile: BoardProfile, target: Target) -> None:
    """Install the release; its golden set, on the board, decides whether it becomes current."""
    one_board.deploy(
        DeploySettings(
            target=target,
            release=latest.release_of(settings.workspace.build(profile.name)),
            signing=settings.signing,
            deployer=install.this_user(),
            known_hosts=settings.known_hosts,
        )
    )


def _golden(model: Path) -> dict[str, object]:
    folder = model.parent / "golden"
    if isinstance(read_any_card(model.parent / CARD), Card):
        expected = read_expected(folder)
        return {"golden_cases": len(expected.cases), "tolerance": expected.tolerance}
    task_expected = read_task_expected(folder)
    return {"golden_cases": len(task_expected.cases), "tolerance": task_expected.tolerance}


def _count(settings: BoardSettings, report: BuildReport) -> int:
    out = settings.workspace.build(settings.profile.name)
    program = instructions.program_of_release(report.folder, settings.profile, out)
    return instructions.measure(program, report.board, settings.workspace.resources).inference


def _first_input(model: Path) -> Floats:
    """The input of the golden set's first case, of a network that has one input."""
    card, golden = read_any_card(model.parent / CARD), model.parent / "golden"
    if isinstance(card, Card):
        return load_input(golden / read_expected(golden).cases[0].image, card)
    case = read_task_expected(golden).cases[0]
    inputs = Engine(model, card).load([golden / name for name in case.files])[0]
    if len(inputs) != 1:
        raise UserError(
            str(model), f"has {len(inputs)} inputs, the program that runs peers takes one"
        )
    return next(iter(inputs.values()))


def _debian(model: Path, settings: BoardSettings) -> int:
    """Guest instructions of a steady inference of the same file in Debian's ONNX Runtime."""
    log = settings.workspace.build(settings.profile.name).logs / "debian.log"
    peer = peers.debian(Arch.ARMHF, log)
    values = _first_input(model)
    with TemporaryDirectory(prefix="edgewright-gallery-") as scratch:
        setup = Setup(
            workspace=settings.workspace,
            arch=Arch.ARMHF,
            cpu=ANY_CORE,
            log=log,
            shape=values.shape,
            values=Path(scratch) / "input",
        )
        values.tofile(setup.values)
        return count_runs(setup, ort(setup, peer, "INT8", model)).total(STEADY)
