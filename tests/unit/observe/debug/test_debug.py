"""What `debug` brings to a board, and how it calls gdb."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import copy_file
from edgewright.base.progress import Progress
from edgewright.board.symbol_store import debug_path, program_path
from edgewright.deploy.remote import ConnectionLostError, Result
from edgewright.observe.debug.session import Subject, debugger, server_command, subject_of
from edgewright.observe.tool_bundle import ToolBundle
from tests.boards import LocalBoard, StandIn
from tests.checkout import ROOT

BUILD = "85e83586e510573cb8cc397574938c1b5a2e78e1"
INFO = {
    "version": 1,
    "command": "info",
    "edge_infer": {"version": "0.1.0", "build_id": BUILD},
    "runtime": {"version": "1.21.0", "build": "", "linkage": "static", "providers": ["cpu"]},
    "operators": None,
}


@pytest.fixture
def server(tmp_path: Path) -> ToolBundle:
    """A gdbserver that only has a version."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "ld.so").write_text('#!/bin/sh\n[ "$4" = --version ] && [ -e "$3" ]\n')
    (folder / "gdbserver").write_text("program")
    return ToolBundle(folder=folder, loader="ld.so", program="gdbserver")


def test_a_server_is_brought_once(server: ToolBundle, tmp_path: Path) -> None:
    board, root = LocalBoard(), str(tmp_path / "root")

    target = server.install(board, root, Progress())
    first = len(board.sent)

    assert sorted(path.name for path in Path(target).iterdir()) == ["gdbserver", "ld.so"]
    assert target.startswith(f"{root}/debug/")
    assert server.install(board, root, Progress()) == target
    assert len(board.sent) == first + 1


@pytest.mark.parametrize("cut_at", [2, 3, 4, 5])
def test_an_upload_that_was_cut_is_begun_anew(
    server: ToolBundle, tmp_path: Path, cut_at: int
) -> None:
    root = str(tmp_path / "root")
    with pytest.raises(ConnectionLostError):
        server.install(LocalBoard(cut_at=cut_at, how="half"), root, Progress())

    target = server.install(LocalBoard(), root, Progress())

    assert (Path(target) / "gdbserver").read_text() == "program"


def test_a_server_that_does_not_start_is_told(server: ToolBundle, tmp_path: Path) -> None:
    (server.folder / "ld.so").write_text("#!/bin/sh\nexit 1\n")

    with pytest.raises(TargetError, match="does not start"):
        server.install(LocalBoard(), str(tmp_path / "root"), Progress())


class InformedBoard(StandIn):
    """Its edge-infer tells of itself."""

    def __init__(self, build_id: str = BUILD) -> None:
        super().__init__()
        self._build_id = build_id

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        program = INFO["edge_infer"] | {"build_id": self._build_id}  # type: ignore[operator]
        text = json.dumps(INFO | {"edge_infer": program})
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


def test_the_program_is_the_one_that_the_board_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its program and symbols are not here"):
        subject_of(InformedBoard(), "/r/releases/1", "1", [tmp_path])
    for place in (program_path, debug_path):
        copy_file(ROOT / "tests" / "data" / "elf" / "good-v7", place(tmp_path, BUILD))

    subject = subject_of(InformedBoard(), "/r/releases/1", "1", [tmp_path / "none", tmp_path])

    assert subject.program == program_path(tmp_path, BUILD)


@pytest.mark.parametrize("build_id", ["../../../etc/passwd", "", "abc"])
def test_a_build_id_of_a_board_leads_nowhere(build_id: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="tells no build id"):
        subject_of(InformedBoard(build_id), "/r/releases/1", "1", [tmp_path])


def test_gdb_speaks_with_the_server_over_ssh_alone(tmp_path: Path) -> None:
    subject = Subject(
        release="1", folder="/r/releases/1", build_id=BUILD, program=tmp_path / "program"
    )
    command = server_command(["ld.so", "gdbserver"], subject, ["run", "a b.png"])
    pipe, sources = ["ssh", shlex.join(command)], Path("/my work")
    argv = debugger(subject, pipe, [tmp_path], sources, Path("script"))

    assert command[4:] == [
        *("/r/releases/1", "ld.so", "gdbserver", "--once", "--no-startup-with-shell", "-"),
        *("bin/edge-infer", "run", "a b.png"),
    ]
    (remote,) = (word for word in argv if word.startswith("target remote | "))
    assert shlex.split(shlex.split(remote.removeprefix("target remote | "))[1]) == command
    assert "directory '/my work'" in argv  # gdb would take it for two
    assert argv.index("set auto-load off") < argv.index(str(subject.program))
    assert argv[:4] == ["gdb-multiarch", "--nx", "--quiet", "--batch"]
    assert argv[-3:] == ["-x", "script", str(subject.program)]
