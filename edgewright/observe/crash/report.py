"""What `crash` says of a board."""

from pathlib import Path
from typing import Literal

from edgewright.base.schema import Document, Part, Shown
from edgewright.observe.stacks.program import Frame


class CrashedThread(Part):
    """One thread of the process."""

    id: int
    frames: tuple[Frame, ...]


class Crash(Shown, Part):
    """One crash file, explained."""

    name: str  # on the board
    file: Path  # the copy here
    release: str
    build_id: str
    command: str
    signal: str
    address: str | None  # hex, where memory was the cause; null: a process sent the signal
    unix_s: int  # by the board's clock
    uptime_s: int
    threads: tuple[CrashedThread, ...]  # the one that crashed first
    log: tuple[str, ...]  # what libraries printed last
    symbols: Path | None  # null: not here


class Cause(Shown, Part):
    """Crashes of one signal at one place."""

    summary: str
    crashes: tuple[str, ...]  # their names, the newest last


class UnreadFile(Shown, Part):
    """A file that is none of a crash, or half of one."""

    name: str
    problem: str


class BoardCrashes(Shown, Document):
    """`invoke crash --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    causes: tuple[Cause, ...]  # the most frequent first
    crashes: tuple[Crash, ...]  # the newest last
    unread: tuple[UnreadFile, ...]
