"""From a board profile and a model to a release."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.layout import user_cache
from edgewright.base.progress import Stages
from edgewright.base.workspace import DEMO_MODEL
from edgewright.build import container, packages, pipeline
from edgewright.build.external_toolchain import with_external_toolchain
from edgewright.build.mirror import Mirror, open_mirror
from edgewright.build.supply import Network
from edgewright.cli import build_screens, screens
from edgewright.cli import keys as key_tasks
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    checkout,
    model_path,
    profile_of,
    say,
    task,
    workspace,
    write,
    write_document,
)
from edgewright.cli.documents import written_files
from edgewright.observe.estimate import board_time
from edgewright.release.programs import DEFAULT_PROGRAM


@task
def render(
    c: Context,
    board: BoardName,
    stdout: Annotated[bool, "print both files instead of writing them"] = False,
    json: Json = False,
) -> None:
    """Render CMake toolchain file and Conan profile. Example: invoke render --board=a53-som"""
    profile, out = profile_of(board), workspace().build(board)
    # Nothing is built here; a local builder has this host's own paths, which the files then name.
    builder: container.Builder = container.LocalBuilder(
        workspace=workspace().root, cache=workspace().root
    )
    if profile.toolchain.external:  # its version is asked of it, where it would run
        log = out.logs / "builder.log"
        builder = container.choose("auto", workspace(), log, say)
        builder = with_external_toolchain(builder, profile, log)
    if stdout:
        texts = pipeline.rendered(profile, workspace(), builder)
        write(f"{texts.cmake}\n{texts.conan}")
        return
    pipeline.render(profile, workspace(), builder)
    say(f"{out.toolchain}\n{out.conan_profile}")
    if json:
        write_document(written_files([out.toolchain, out.conan_profile]))


ModelPath = Annotated[
    str,
    "ONNX model with card.json and golden/ beside it, or its name in edgewright.toml; "
    "default: default_model there, else the demo's",
]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What `invoke build` builds, and where."""

    board: BoardName
    model: ModelPath = ""
    builder: Annotated[str, "auto, docker or local"] = "auto"
    jobs: Annotated[int, "parallel compilations; default: the number of cores"] = 0
    estimate: Annotated[
        bool, "count the program and judge the latency budget; --no-estimate skips it"
    ] = True
    all_sources: Annotated[
        bool, "compile all of ONNX Runtime, not only what is linked; the same comes out"
    ] = False
    mirror: Annotated[str, "a folder of mirror.create, to take from in place of the network"] = ""


@task
def build(c: Context, options: BuildOptions, json: Json = False) -> None:
    """Cross-build a release for a board. Example: invoke build --board=a53-som"""
    report = build_release(options)
    if json:
        write_document(report)
    else:
        OUT.print(build_screens.build_screen(report), soft_wrap=True)


def build_release(options: BuildOptions) -> build_screens.BuildDocument:
    """Build, and sign with the default key if that opens by itself. Raises UserError."""
    mirror = open_mirror(Path(options.mirror)) if options.mirror else None
    request = pipeline.BuildRequest(
        profile=profile_of(options.board),
        model=_model(options.model, mirror),
        # A build from a mirror asks no shared store either: it has no network.
        workspace=workspace() if mirror is None else workspace().without_shared_stores(),
        builder=container.parse_choice(options.builder),
        jobs=options.jobs or os.cpu_count() or 1,
        all_sources=options.all_sources,
        supply=mirror or Network(),
    )
    # The report of an older release must not stand beside this one.
    request.out.estimate.unlink(missing_ok=True)
    with screens.progress(ERR) as progress:
        report = pipeline.build(request, progress)
        stages, estimate = Stages(progress), None
        if options.estimate and DEFAULT_PROGRAM.path in report.sizes:  # no other is counted
            estimate = board_time.estimate_release(
                report.folder, request.profile, workspace(), stages
            )
    # Last: without a signature, or with a lock on the key, there is a release all the same.
    key_tasks.sign_build(options.board)
    return build_screens.build_document(report, stages.reports, estimate)


def _model(model: str, mirror: Mirror | None) -> Path:
    """The workspace's own; of a mirror the one that the workspace has not."""
    try:
        return model_path(model)
    except UserError:
        if mirror is None or Path(model).name != model:
            raise
        return mirror.model(model or DEMO_MODEL, user_cache())


@task
def lock(c: Context, json: Json = False) -> None:
    """Write recipes/conan.lock anew after a recipe's version changed. Example: invoke lock"""
    log = checkout().root / "build" / "lock.log"
    packages.write_lock(workspace().resources, container.choose("auto", workspace(), log), log)
    say(str(workspace().resources.lockfile))
    if json:
        write_document(written_files([workspace().resources.lockfile]))
