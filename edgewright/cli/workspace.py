"""The user's repository."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.layout import Resources, installed_resources
from edgewright.base.workspace import (
    CI_FILES,
    DEMO_MODEL,
    IMAGE_BUILDS,
    NIGHTLY,
    SETTINGS,
    add_image_build,
    add_pipeline,
    add_program,
    create_workspace,
    find_workspace,
)
from edgewright.board.catalogue import board_names, load_board
from edgewright.cli.common import Json, say, task, write_document
from edgewright.cli.documents import written_files


@task
def init(
    c: Context,
    board: Annotated[str, "the default board; invoke boards lists the catalogue"] = "a53-som",
    ci: Annotated[str, f"a pipeline, too, for one of {', '.join(CI_FILES)}"] = "",
    boards: Annotated[
        str,
        "of the pipeline: a,b; default: those of nightly.toml, else your own board profiles, "
        "else the default board",
    ] = "",
    yocto: Annotated[bool, "a layer for Yocto, too, that installs a release by its hash"] = False,
    buildroot: Annotated[bool, "an external tree for Buildroot, likewise"] = False,
    program: Annotated[bool, "an example of a program of yours for the release, too"] = False,
    json: Json = False,
) -> None:
    """Make this folder a workspace. Example: edgewright init --ci=github"""
    root, resources = Path.cwd(), installed_resources()
    own = root / "board_profiles"
    chosen = tuple(filter(None, boards.split(",")))
    for name in (board, *chosen):
        load_board(name, own, resources.boards)
    requested = {"yocto": yocto, "buildroot": buildroot}
    image_builds = [name for name in IMAGE_BUILDS if requested[name]]
    if (ci or image_builds or program) and (root / SETTINGS).is_file():
        paths = _add_pipeline(root, resources, ci, chosen) if ci else []
    else:
        paths = create_workspace(root, resources, board=board, ci=ci, boards=chosen)
    for name in image_builds:
        paths += add_image_build(root, name)
    paths += add_program(root) if program else []
    paths = list(dict.fromkeys(paths))
    for path in paths:
        say(str(path.relative_to(root)))
    say("next: edgewright build, or edgewright demo for all of it on an emulated board")
    if json:
        write_document(written_files(paths))


def _add_pipeline(root: Path, resources: Resources, ci: str, boards: tuple[str, ...]) -> list[Path]:
    from edgewright.nightly import settings

    workspace = find_workspace(root, resources)
    if not boards and (root / NIGHTLY).exists():
        boards = settings.load(workspace).boards
    boards = boards or tuple(board_names(workspace.boards))
    default = workspace.settings.default_board or "a53-som"
    model = workspace.settings.default_model or DEMO_MODEL
    return add_pipeline(root, ci, boards or (default,), model)
