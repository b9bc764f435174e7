"""The user's repository."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.layout import installed_resources
from edgewright.base.workspace import CI_FILES, create_workspace
from edgewright.board.catalogue import load_board
from edgewright.cli.common import Json, say, task, write_document
from edgewright.cli.documents import written_files


@task
def init(
    c: Context,
    board: Annotated[str, "the default board; invoke boards lists the catalogue"] = "a53-som",
    ci: Annotated[str, f"a pipeline, too, for one of {', '.join(CI_FILES)}"] = "",
    json: Json = False,
) -> None:
    """Make this folder a workspace. Example: edgewright init --ci=github"""
    root, resources = Path.cwd(), installed_resources()
    load_board(board, root / "board_profiles", resources.boards)
    paths = create_workspace(root, resources, board=board, ci=ci)
    for path in paths:
        say(str(path.relative_to(root)))
    say("next: edgewright build, or edgewright demo for all of it on an emulated board")
    if json:
        write_document(written_files(paths))
