"""Boards, their toolchains and builds."""

import os
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task
from rich.table import Table

from edgewright.base.progress import Stages
from edgewright.board import profile as boards_
from edgewright.board import toolchain
from edgewright.board.profile import BoardProfile
from edgewright.build import container, packages, pipeline
from edgewright.cli import keys as key_tasks
from edgewright.cli import screens as terminal
from edgewright.cli.common import BOARD, ERR, JSON, LAYOUT, OUT, profile_of, say, told, write
from edgewright.observe.estimate import board_time


@task(help={"check": "validate every profile file", "json": JSON})
@told
def boards(c: Context, check: bool = False, json: bool = False) -> None:
    """List the boards. Example: invoke boards --check"""
    found = [profile_of(name) for name in boards_.board_names(LAYOUT.boards)]
    if json:
        body = ",".join(profile.model_dump_json() for profile in found)
        write(f'{{"version":1,"boards":[{body}]}}\n')
        return
    OUT.print(_board_table(found))
    if check:
        say(f"{len(found)} profiles are sound")


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
    profile, out = profile_of(board), LAYOUT.build(board)
    if stdout:
        texts = toolchain.render(profile, LAYOUT.toolchains, out.toolchain)
        write(f"{texts.cmake}\n{texts.conan}")
        return
    builder = container.LocalBuilder(repo=LAYOUT.root, cache=LAYOUT.root)
    pipeline.render(profile, LAYOUT, builder)
    say(f"{out.toolchain}\n{out.conan_profile}")


@task(
    help={
        "board": BOARD,
        "model": "ONNX model with card.json and golden/ beside it; default: the demo model",
        "builder": "auto, docker or local",
        "jobs": "parallel compilations; default: the number of cores",
        "estimate": "count the program and judge the latency budget; --no-estimate skips it",
        "all-sources": "compile all of ONNX Runtime, not only what is linked; the same comes out",
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
    estimate: bool = True,
    all_sources: bool = False,
    json: bool = False,
) -> None:
    """Cross-build a release for a board. Example: invoke build --board=a53-som"""
    made = build_release(board, model, builder, jobs, estimate=estimate, all_sources=all_sources)
    if json:
        write(made.model_dump_json(indent=2) + "\n")
    else:
        OUT.print(terminal.build_screen(made))


def build_release(
    board: str,
    model: str = "",
    builder: str = "auto",
    jobs: int = 0,
    *,
    estimate: bool = False,
    all_sources: bool = False,
) -> terminal.BuildDocument:
    request = pipeline.BuildRequest(
        profile=profile_of(board),
        model=Path(model).resolve() if model else LAYOUT.default_model,
        layout=LAYOUT,
        builder=container.parse_choice(builder),
        jobs=jobs or os.cpu_count() or 1,
        all_sources=all_sources,
    )
    # The report of an older release must not stand beside this one.
    request.out.estimate.unlink(missing_ok=True)
    with terminal.progress(ERR) as progress:
        report = pipeline.build(request, progress)
        stages, estimated = Stages(progress), None
        if estimate:
            estimated = board_time.estimate_release(report.folder, request.profile, LAYOUT, stages)
    key_tasks.sign_build(board)
    return terminal.build_document(report, stages.reports, estimated)


@task
@told
def lock(c: Context) -> None:
    """Write recipes/conan.lock anew after a recipe's version changed. Example: invoke lock"""
    log = LAYOUT.root / "build" / "lock.log"
    packages.write_lock(LAYOUT, container.choose("auto", LAYOUT, log), log)
    say(str(LAYOUT.lockfile))


@task
@told
def schema(c: Context) -> None:
    """Write board_profiles/schema.json from the models. Example: invoke schema"""
    LAYOUT.board_schema.write_text(boards_.schema_json())
    say(str(LAYOUT.board_schema))
