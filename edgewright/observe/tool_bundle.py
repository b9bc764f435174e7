"""Debian's gdbserver and strace, with their own loader and libraries, on a board without them."""

import posixpath
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgewright.base import debs
from edgewright.base.digest import tree_sha256
from edgewright.base.errors import TargetError
from edgewright.base.files import cached_folder, copy_file
from edgewright.base.progress import Progress
from edgewright.board.profile import Arch
from edgewright.build.supply import SUITE
from edgewright.deploy.remote import Board

LOADERS = {Arch.ARMHF: "ld-linux-armhf.so.3", Arch.ARM64: "ld-linux-aarch64.so.1"}

IS_THERE = '[ -x "$1" ]'
# A folder appears whole: an upload that was cut is begun anew.
MAKE = 'rm -rf "$1" && mkdir -p "$1"'
MOVE = 'chmod 0755 "$1"/* && rm -rf "$2" && mv "$1" "$2"'


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program of Debian's, and what it needs beside the loader."""

    program: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...]


GDBSERVER = Tool(
    program="gdbserver",
    packages=("gdbserver", "libc6", "libgcc-s1", "libstdc++6"),
    libraries=("libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"),
)
STRACE = Tool(program="strace", packages=("strace", "libc6"), libraries=("libc.so.6",))


@dataclass(frozen=True, kw_only=True)
class ToolBundle:
    """The files of a tool for one architecture, in one folder of the cache."""

    folder: Path
    loader: str
    program: str

    def install(self, board: Board, root: str, progress: Progress) -> str:
        """Its folder below the deploy root `root`, filled if it was not there. Raises TargetError.

        It is called by the hash of what is in it.
        """
        target = posixpath.join(root, "debug", tree_sha256(self.folder)[:16])
        program = f"{target}/{self.program}"
        if board.run(["sh", "-c", IS_THERE, "_", program]).returncode == 0:
            return target
        progress.start(f"upload of {self.program}")
        aside = f"{target}.new"
        board.script(MAKE, aside)
        for file in sorted(self.folder.iterdir()):
            with file.open("rb") as content:
                board.put(content, f"{aside}/{file.name}")
        board.script(MOVE, aside, target)
        if board.run([*self.command(target), "--version"]).returncode != 0:
            raise TargetError(
                f"{board.target}: {program}",
                "does not start",
                next=f"look at the board's kernel: {self.program} of Debian needs Linux 3.2",
            )
        return target

    def command(self, folder: str) -> list[str]:
        """How it is run on a board that has it in `folder`."""
        return [f"{folder}/{self.loader}", "--library-path", folder, f"{folder}/{self.program}"]


def debian_tool(tool: Tool, arch: Arch, cache: Path, log: Path) -> ToolBundle:
    """That of the Debian release which boards are built with, fetched once. Raises UserError."""
    folder, loader = cache / "debug" / f"{tool.program}-{SUITE}-{arch}", LOADERS[arch]
    if not folder.is_dir():
        with cached_folder(folder) as files, TemporaryDirectory(prefix="edgewright-") as scratch:
            unpacked = Path(scratch)
            debs.unpack_all(tool.packages, arch, SUITE, unpacked, log)
            for name in (tool.program, loader, *tool.libraries):
                # Where Debian puts libraries depends on the package: /lib, or /usr/lib.
                places = (path for path in sorted(unpacked.rglob(name)) if path.is_file())
                copy_file(next(places).resolve(), files / name)
    return ToolBundle(folder=folder, loader=loader, program=tool.program)
