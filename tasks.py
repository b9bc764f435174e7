"""edgewright's tasks: parse, call edgewright, print.

`invoke --list` is the table of contents, `invoke --help TASK` explains one. The same tasks
answer to `edgewright TASK`.
"""

import functools
import getpass
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.tasks import task
from rich.console import Console
from rich.table import Table

from edgewright import (
    __version__,
    container,
    emulate,
    packages,
    pipeline,
    remote,
    terminal,
    toolchain,
)
from edgewright import (
    deploy as deployer,
)
from edgewright import (
    host as machine,
)
from edgewright import (
    profile as boards_,
)
from edgewright import (
    report as reports,
)
from edgewright import (
    smoke as smoke_test,
)
from edgewright import (
    target as targets,
)
from edgewright.errors import EdgewrightError, ExitCode, TargetError, UserError
from edgewright.layout import RepoLayout
from edgewright.profile import BoardProfile
from edgewright.release import Release
from edgewright.report import SmokeReport
from edgewright.target import Target

LAYOUT = RepoLayout()
OUT = Console(soft_wrap=False, highlight=False)
ERR = Console(stderr=True, highlight=False)

BOARD = "board profile, e.g. a53-som; invoke boards lists them"
HOST = "user@addr[:port] of the board"
EMULATED = "the emulated board of invoke emulate.up"
JSON = "one JSON document instead of a screen"
REACH = {
    "board": BOARD,
    "host": HOST,
    "emulated": EMULATED,
    "ask-password": "ask for the board's password; else keys, the agent or EDGEWRIGHT_PASSWORD",
}


def told(body: Callable[..., None]) -> Callable[..., None]:
    """Turn edgewright's exceptions into words and exit codes."""

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            body(*args, **kwargs)
        except EdgewrightError as fault:
            ERR.print(str(fault), markup=False, soft_wrap=True)
            raise Exit(code=fault.exit_code) from None
        except KeyboardInterrupt:
            ERR.print("interrupted: what was there before is unchanged")
            raise Exit(code=ExitCode.INTERRUPTED) from None

    return run


def _say(text: str) -> None:
    ERR.print(text, markup=False, soft_wrap=True)


def _print(text: str) -> None:
    sys.stdout.write(text)


def _profile(board: str) -> BoardProfile:
    return boards_.load_board(board, LAYOUT.boards)


def _instance(board: str) -> emulate.Instance:
    return emulate.Instance(profile=_profile(board), folder=LAYOUT.build(board).emulator)


def _target(board: str, host: str | None, emulated: bool) -> Target:
    if bool(host) == emulated:
        raise UserError(
            f"board '{board}'",
            "expected one of --host=user@addr[:port] and --emulated",
            next=f"invoke deploy --board={board} --emulated",
        )
    return targets.parse_host(host) if host else emulate.running(_instance(board)).target


def _connected(
    board: str, host: str, emulated: bool, ask_password: bool
) -> AbstractContextManager[remote.Board]:
    password = getpass.getpass("board's password: ") if ask_password else None
    return remote.connect(_target(board, host, emulated), password=password)


# Host and boards


@task(help={"yes": "install and start what is missing; else print the commands and exit 2"})
@told
def setup(c: Context, yes: bool = False) -> None:
    """Check what this machine lacks, and install it. Example: invoke setup --yes"""
    findings = machine.inspect()
    _say_findings(findings)
    actions = machine.plan(findings)
    if not actions:
        machine.require_ready(findings)
        return
    if not yes:
        OUT.print("to install and start what is missing, invoke setup --yes would run:")
        for action in actions:
            OUT.print(f"  {action}", markup=False, soft_wrap=True)
        raise Exit(code=ExitCode.USER)
    log = LAYOUT.root / "build" / "setup.log"
    machine.apply(actions, log, lambda action: _say(f"$ {action}"))
    machine.require_ready(machine.inspect())
    _say("this machine is ready")


def _say_findings(findings: list[machine.Finding]) -> None:
    table = Table("need", "state", "why", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.need.name, finding.problem or "ready", finding.need.why)
    OUT.print(table)


@task(help={"check": "validate every profile file", "json": JSON})
@told
def boards(c: Context, check: bool = False, json: bool = False) -> None:
    """List the boards. Example: invoke boards --check"""
    found = [_profile(name) for name in boards_.board_names(LAYOUT.boards)]
    if json:
        body = ",".join(profile.model_dump_json() for profile in found)
        _print(f'{{"version":1,"boards":[{body}]}}\n')
        return
    OUT.print(_board_table(found))
    if check:
        _say(f"{len(found)} profiles are sound")


def _board_table(found: list[BoardProfile]) -> Table:
    table = Table("board", "CPU", "ABI", "libc floor", "linkage", box=None, pad_edge=False)
    table.add_column("description")
    for profile in found:
        fpu = f" {profile.cpu.fpu}" if profile.cpu.fpu else ""
        table.add_row(
            profile.name,
            f"{profile.cpu.cores}x {profile.cpu.core}{fpu}",
            profile.abi.arch,
            f"{profile.libc.family} {profile.libc.floor}",
            profile.runtime.linkage,
            profile.description,
        )
    return table


@task(help={"board": BOARD, "stdout": "print both files instead of writing them"})
@told
def render(c: Context, board: str, stdout: bool = False) -> None:
    """Render CMake toolchain file and Conan profile. Example: invoke render --board=a53-som"""
    profile, out = _profile(board), LAYOUT.build(board)
    if stdout:
        texts = toolchain.render(profile, LAYOUT.toolchains, out.toolchain)
        _print(f"{texts.cmake}\n{texts.conan}")
        return
    builder = container.LocalBuilder(repo=LAYOUT.root, cache=LAYOUT.root)
    pipeline.render(profile, LAYOUT, builder)
    _say(f"{out.toolchain}\n{out.conan_profile}")


# Build


@task(
    help={
        "board": BOARD,
        "model": "ONNX model with card.json and golden/ beside it; default: the demo model",
        "builder": "auto, docker or local",
        "jobs": "parallel compilations; default: the number of cores",
        "json": JSON,
    }
)
@told
def build(
    c: Context,
    board: str,
    model: str = "",
    builder: str = "auto",
    jobs: int = 0,
    json: bool = False,
) -> None:
    """Cross-build a release for a board. Example: invoke build --board=a53-som"""
    made = _build(board, model, builder, jobs)
    if json:
        _print(made.model_dump_json(indent=2) + "\n")
    else:
        OUT.print(terminal.build_screen(made))


def _build(
    board: str, model: str = "", builder: str = "auto", jobs: int = 0
) -> pipeline.BuildReport:
    request = pipeline.BuildRequest(
        profile=_profile(board),
        model=Path(model).resolve() if model else LAYOUT.default_model,
        layout=LAYOUT,
        builder=container.parse_choice(builder),
        jobs=jobs or os.cpu_count() or 1,
    )
    with terminal.progress(ERR) as progress:
        return pipeline.build(request, progress)


@task
@told
def lock(c: Context) -> None:
    """Write recipes/conan.lock anew after a recipe's version changed. Example: invoke lock"""
    log = LAYOUT.root / "build" / "lock.log"
    packages.write_lock(LAYOUT, container.choose("auto", LAYOUT, log), log)
    _say(str(LAYOUT.lockfile))


@task
@told
def schema(c: Context) -> None:
    """Write board_profiles/schema.json from the models. Example: invoke schema"""
    LAYOUT.board_schema.write_text(boards_.schema_json())
    _say(str(LAYOUT.board_schema))


# Emulated boards


@task(help={"board": BOARD})
@told
def emulate_up(c: Context, board: str) -> None:
    """Start an emulated board. Example: invoke emulate.up --board=a53-som"""
    up = emulate.up(_instance(board), on_line=None)
    _say(f"{board} answers at {up.target}\n{up.ssh_command}")


@task(help={"board": BOARD})
@told
def emulate_down(c: Context, board: str) -> None:
    """Remove an emulated board. Example: invoke emulate.down --board=a53-som"""
    was_there = emulate.down(_instance(board))
    _say(f"{board}: {'removed' if was_there else 'was not there'}")


@task(help={"board": BOARD, "json": JSON})
@told
def emulate_status(c: Context, board: str, json: bool = False) -> None:
    """Tell whether an emulated board runs. Example: invoke emulate.status --board=a53-som"""
    now = emulate.status(_instance(board))
    address = str(now.board.target) if now.board else None
    if json:
        OUT.print_json(data={"version": 1, "board": board, "state": now.state, "target": address})
    else:
        OUT.print(f"{board}: {now.state}{f', {address}' if address else ''}")


# Boards over SSH


@task(
    help={
        "host": HOST,
        "yes": "pin without asking",
        "fingerprint": "pin only the key with this SHA256:… fingerprint",
        "replace": "replace a key that was pinned before",
    }
)
@told
def trust(
    c: Context, host: str, yes: bool = False, fingerprint: str = "", replace: bool = False
) -> None:
    """Show a board's host key and pin it. Example: invoke trust --host=root@10.0.0.7"""
    key = remote.scan_host_key(targets.parse_host(host))
    _say(f"{host} offers {key.kind} {key.fingerprint}")
    if key.is_pinned:
        _say("it is pinned already")
        return
    if not (yes or fingerprint or _confirmed("pin it? [y/N] ")):
        raise UserError(host, "host key not pinned", next=f"invoke trust --host={host} --yes")
    remote.pin(key, expected=fingerprint or None, replace=replace)
    _say(f"pinned in {remote.pins()}")


def _confirmed(question: str) -> bool:
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


@task(help={**REACH, "dry-run": "print the plan, change nothing", "json": JSON})
@told
def deploy(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    dry_run: bool = False,
    ask_password: bool = False,
    json: bool = False,
) -> None:
    """Install the last build on a board. Example: invoke deploy --board=a53-som --emulated"""
    release = pipeline.latest_release(LAYOUT.build(board))
    with _connected(board, host, emulated, ask_password) as there:
        if dry_run:
            reserve = _profile(board).deploy.reserve_mb << 20
            _say_plan(deployer.dry_run(there, release, reserve_bytes=reserve))
            return
        outcome, report = _deploy(there, release, board)
        subject = str(there.target)
    if json:
        OUT.print_json(data=terminal.deploy_document(outcome, report, subject))


def _deploy(
    there: remote.Board, release: Release, board: str
) -> tuple[deployer.Outcome, SmokeReport | None]:
    """Deploy with the smoke test as the gate; its report is None if nothing was to do."""
    seen: list[SmokeReport] = []

    def keep(report: SmokeReport) -> None:
        seen.append(report)
        _keep(report)

    with terminal.upload(ERR) as uploaded:
        outcome = deployer.deploy(
            there,
            release,
            reserve_bytes=_profile(board).deploy.reserve_mb << 20,
            gate=smoke_test.gate(release.manifest, on_report=keep, on_step=_say),
            on_step=_say,
            on_bytes=uploaded,
        )
    if outcome.unchanged:
        _say(f"{there.target}: runs release {release.id} already; nothing was sent")
    else:
        _say(f"{there.target}: release {release.id} is current; {outcome.plan.bytes:,} bytes sent")
    return outcome, seen[-1] if seen else None


def _say_plan(plan: deployer.Plan) -> None:
    for line in terminal.told_plan(plan):
        _say(line)


@task(help={**REACH, "json": JSON})
@told
def smoke(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    ask_password: bool = False,
    json: bool = False,
) -> None:
    """Prove that a board's release works. Example: invoke smoke --board=a53-som --emulated"""
    with _connected(board, host, emulated, ask_password) as there:
        report = _smoke(there, _profile(board).deploy.root)
    if json:
        _print(report.to_json())
    else:
        OUT.print(reports.render(report))
    smoke_test.require_passed(report)


def _smoke(there: remote.Board, root: str) -> SmokeReport:
    manifest = deployer.status(there, root).manifest
    if manifest is None:
        raise TargetError(str(there.target), "no release is installed", next="invoke deploy")
    report = smoke_test.run(there, f"{root}/releases/{manifest.id}", manifest, on_step=_say)
    _keep(report)
    return report


def _keep(report: SmokeReport) -> None:
    folder = LAYOUT.build(report.board).reports
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "smoke.json").write_text(report.to_json())


@task(help={**REACH, "json": JSON})
@told
def status(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    ask_password: bool = False,
    json: bool = False,
) -> None:
    """Tell what a board runs. Example: invoke status --board=a53-som --emulated"""
    with _connected(board, host, emulated, ask_password) as there:
        now = deployer.status(there, _profile(board).deploy.root)
        subject = str(there.target)
    if json:
        OUT.print_json(data=terminal.status_document(now, subject))
    else:
        OUT.print(terminal.status_screen(now, subject))


@task(help=REACH)
@told
def rollback(
    c: Context, board: str, host: str = "", emulated: bool = False, ask_password: bool = False
) -> None:
    """Go back to the former release. Example: invoke rollback --board=a53-som --emulated"""
    with _connected(board, host, emulated, ask_password) as there:
        before, now = deployer.rollback(there, _profile(board).deploy.root)
        _say(f"{there.target}: release {now} is current, {before} was")


# The model

CHECKPOINT = LAYOUT.root / "build" / "model" / "run.pt"
FP32 = LAYOUT.root / "build" / "model" / "fp32.onnx"


@task(
    help={
        "minutes": "length of the whole run; the clock paces learning rate and resolution",
        "checkpoint": "written after each epoch; the same command goes on from it",
        "threads": "of the processor",
    }
)
@told
def model_train(
    c: Context, minutes: float = 80.0, checkpoint: str = str(CHECKPOINT), threads: int = 2
) -> None:
    """Train MobileViT-S on ELPV. Example: invoke model.train --minutes=80"""
    train = _heavy("train")
    config = train.TrainConfig(checkpoint=Path(checkpoint), minutes=minutes, threads=threads)
    Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
    train.train(config, _elpv(), lambda epoch: _say(str(epoch)))


@task(help={"checkpoint": "of invoke model.train", "out": "the ONNX file to write"})
@told
def model_export(c: Context, checkpoint: str = str(CHECKPOINT), out: str = str(FP32)) -> None:
    """Export a checkpoint to ONNX and compare with PyTorch. Example: invoke model.export"""
    difference = _heavy("folder").export_checkpoint(Path(checkpoint), Path(out), _elpv())
    _say(f"{out}: logits differ from PyTorch by {difference:.1e} at most")


@task(help={"checkpoint": "of invoke model.train", "folder": "the model folder to write"})
@told
def model_quantize(
    c: Context,
    checkpoint: str = str(CHECKPOINT),
    folder: str = str(LAYOUT.default_model.parent),
) -> None:
    """Export, quantize, judge, write card and golden set. Example: invoke model.quantize"""
    made = _heavy("folder").make_model_folder(Path(checkpoint), Path(folder), _elpv(), _say, FP32)
    _say(f"{folder}: {made.file.bytes:,} bytes")


@task(help={"model": "ONNX model with card.json beside it", "json": JSON})
@told
def model_evaluate(c: Context, model: str = str(LAYOUT.default_model), json: bool = False) -> None:
    """Judge a model on ELPV's test part. Example: invoke model.evaluate"""
    card = _heavy("card").read_card(Path(model).parent / "card.json")
    found = _heavy("folder").judge(Path(model), _elpv().test, card).metrics
    if json:
        OUT.print_json(data={"version": 1, **found.as_json()})
    else:
        OUT.print(_metrics_table(found))


def _metrics_table(found: Any) -> Table:
    table = Table("metric", f"on {found.count} images", box=None, pad_edge=False)
    for name in ("accuracy", "auc", "defect_recall"):
        table.add_row(name.replace("_", " "), str(getattr(found, name)))
    for truth, row in enumerate(found.confusion):
        table.add_row(f"label {truth} answered 0, 1", ", ".join(map(str, row)))
    return table


@task(help={"model": "INT8 ONNX model with card.json beside it"})
@told
def model_golden(c: Context, model: str = str(LAYOUT.default_model)) -> None:
    """Write the golden set of a model anew. Example: invoke model.golden"""
    path, folder, golden = Path(model), _heavy("folder"), _heavy("golden")
    card = _heavy("card").read_card(path.parent / "card.json")
    chosen = golden.choose(folder.judge(path, _elpv().test, card).scored)
    _say(str(golden.write_golden(path, card, chosen)))


def _heavy(module: str) -> Any:
    """A module of the model pipeline, some of which need the extra [model]."""
    try:
        return importlib.import_module(f"edgewright.model.{module}")
    except ModuleNotFoundError as missing:
        raise UserError(
            f"edgewright.model.{module}",
            f"needs {missing.name}",
            next="pip install -e '.[model]'",
        ) from missing


def _elpv() -> Any:
    data = _heavy("data")
    return data.split(data.load_elpv())


# The whole of it, and development


@task(help={"board": BOARD})
@told
def demo(c: Context, board: str = "a53-som") -> None:
    """Build, emulate, deploy and smoke-test. Example: invoke demo"""
    made = _build(board)
    OUT.print(terminal.build_screen(made))
    up = emulate.up(_instance(board))
    _say(f"{board} answers at {up.target}")
    release = pipeline.latest_release(LAYOUT.build(board))
    with remote.connect(up.target) as there:
        _, gated = _deploy(there, release, board)
        report = gated or _smoke(there, release.manifest.deploy_root)
    OUT.print(reports.render(report))
    smoke_test.require_passed(report)


@task(help={"unit": "only the fast, offline tests", "select": "pytest -k expression"})
@told
def test(c: Context, unit: bool = False, select: str = "") -> None:
    """Lint, types and every test. Example: invoke test --unit"""
    _lint()
    argv = [sys.executable, "-m", "pytest", *(["tests/unit"] if unit else [])]
    _run([*argv, *(["-k", select] if select else [])])


@task
@told
def lint(c: Context) -> None:
    """ruff, mypy and clang-format. Example: invoke lint"""
    _lint()


def _lint() -> None:
    sources = sorted(
        str(path)
        for folder in ("cli", "include", "src", "tests")
        for path in (LAYOUT.runtime_cpp / folder).rglob("*.[ch]pp")
    )
    for argv in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["clang-format", "--dry-run", "--Werror", *sources],
    ):
        _run([str(Path(sys.executable).parent / argv[0]), *argv[1:]])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, cwd=LAYOUT.root, check=False)
    if done.returncode != 0:
        raise Exit(code=done.returncode)


emulation = Collection("emulate")
emulation.add_task(emulate_up, name="up")
emulation.add_task(emulate_down, name="down")
emulation.add_task(emulate_status, name="status")

model = Collection("model")
model.add_task(model_train, name="train")
model.add_task(model_export, name="export")
model.add_task(model_quantize, name="quantize")
model.add_task(model_evaluate, name="evaluate")
model.add_task(model_golden, name="golden")

namespace = Collection(
    setup,
    boards,
    render,
    build,
    emulation,
    model,
    trust,
    deploy,
    smoke,
    status,
    rollback,
    demo,
    test,
    lint,
    lock,
    schema,
)


def main() -> None:
    """The console script `edgewright`."""
    Program(name="edgewright", version=__version__, namespace=namespace).run()
