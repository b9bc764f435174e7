"""gdb-multiarch of this machine, set up for the program that a board runs."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import Document, Shown, parse_json
from edgewright.board.symbol_store import debug_path, program_path
from edgewright.deploy.edge_infer import InfoAnswer
from edgewright.deploy.remote import Board

DEBUGGER = "gdb-multiarch"
# In the folder of the release, which is what `edgectl` runs it in.
START = 'cd "$1" && shift && exec "$@"'


class DebugReport(Shown, Document):
    """`invoke debug --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str
    build_id: str
    output: tuple[str, ...]  # of the debugger, line by line


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The program to debug: where it lies on the board, and here."""

    release: str
    folder: str  # of the release, on the board
    build_id: str
    program: Path


def subject_of(board: Board, folder: str, release: str, stores: Sequence[Path]) -> Subject:
    """The `edge-infer` of a release on the board. Raises TargetError, and UserError if its
    program or symbols are not here."""
    program, where = f"{folder}/bin/edge-infer", f"{board.target}: edge-infer info"
    answer = board.check([program, "info"]).stdout
    info = parse_json(InfoAnswer, answer, where, "is not what it should be", blame=TargetError)
    build_id = info.edge_infer.build_id
    if not re.fullmatch("[0-9a-f]{40}", build_id):
        raise TargetError(where, "tells no build id", facts=[f"found: {build_id}"])
    for store in stores:
        copy = program_path(store, build_id)
        if copy.is_file() and debug_path(store, build_id).is_file():
            return Subject(release=release, folder=folder, build_id=build_id, program=copy)
    raise UserError(
        f"release {release}",
        "its program and symbols are not here",
        facts=[f"build id: {build_id}", *(f"looked in: {store}" for store in stores)],
        next="the same with --symbols=FOLDER, from the machine that built this release",
    )


def server_command(server: Sequence[str], subject: Subject, arguments: Sequence[str]) -> list[str]:
    """What runs on the board: gdbserver, which speaks over its standard input and output."""
    program = ["bin/edge-infer", *arguments]
    own = [*server, "--once", "--no-startup-with-shell", "-", *program]
    return ["sh", "-c", START, "_", subject.folder, *own]


def debugger(
    subject: Subject,
    pipe: Sequence[str],
    stores: Sequence[Path],
    sources: Path,
    script: Path | None = None,
) -> list[str]:
    """The command line of gdb. `pipe` leads to the server, `sources` is the folder that holds
    `runtime_cpp/`; with a script gdb ends after it."""
    before = [
        "set auto-load off",  # nothing of a board's, nor of the working folder's, is run
        f"set debug-file-directory {':'.join(map(str, stores))}",
        "set sysroot",  # a static program; a board's libraries are not read over the line
        f"directory {shlex.quote(str(sources))}",
        # With libthread_db a static program is taken for one without threads.
        "set remote symbol-lookup-packet off",
        "set exec-file-mismatch off",  # the build id was compared; the files' names differ
        "set confirm off",
    ]
    argv = [DEBUGGER, "--nx", "--quiet", *(["--batch"] if script else [])]
    argv += [part for command in before for part in ("-iex", command)]
    argv += ["-ex", f"target remote | {shlex.join(pipe)}"]
    return [*argv, *(["-x", str(script)] if script else []), str(subject.program)]
