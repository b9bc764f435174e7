"""What tasks write under --json that no room below has a document for, errors first."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from edgewright.base.errors import EdgewrightError
from edgewright.base.schema import Document, Part
from edgewright.cli.words import as_called


class Problem(Part):
    """What went wrong; a board's program answers in the same words."""

    code: str  # user, target, check, interrupted or bug; or the word of what the board refused
    message: str  # subject and problem, then a line for each fact
    next: str | None  # the command or the deed that helps


class Failure(Document):
    """What a command writes that ends without a document of its own."""

    version: Literal[1] = 1
    command: str  # empty where the program knows none of that name
    error: Problem


class WrittenFile(Part):
    path: str
    bytes: int


class WrittenFiles(Document):
    """The files that a command wrote, or found as they should be."""

    version: Literal[1] = 1
    files: tuple[WrittenFile, ...]


class MachineNeed(Part):
    """Something that this machine must have."""

    need: str
    problem: str | None  # null: it is there
    why: str


class MachineState(Document):
    """What this machine lacks, and the commands that install it."""

    version: Literal[1] = 1
    needs: tuple[MachineNeed, ...]
    commands: tuple[str, ...]


class ChecksPassed(Document):
    """The programs that found nothing wrong with the sources."""

    version: Literal[1] = 1
    checks: tuple[str, ...]


class Page(Document):
    """A page of the documentation, in Markdown, or the list of all commands."""

    version: Literal[1] = 1
    topic: str | None
    text: str


class OfferedHostKey(Document):
    """The host key that a board offers, which is pinned now."""

    version: Literal[1] = 1
    host: str
    kind: str  # ssh-ed25519 …
    fingerprint: str
    pinned_before: bool
    file: str  # of our pins


class TrustedKeys(Document):
    """The ids of all signing keys that a board trusts."""

    version: Literal[1] = 1
    target: str
    keys: tuple[str, ...]


class BoardFloor(Document):
    """The sequence number that a board's next orders must exceed."""

    version: Literal[1] = 1
    target: str
    floor: int


class ForgottenBoard(Document):
    """A board that was taken out of service."""

    version: Literal[1] = 1
    target: str
    releases: tuple[str, ...]  # that were removed
    objects: int  # likewise
    bytes: int  # of them
    remains: tuple[str, ...]  # names below the deploy root


class SignedRelease(Document):
    version: Literal[1] = 1
    release: str
    key: str
    sequence: int
    signature: str  # the file


class FuzzedTarget(Part):
    target: str
    executions: int
    seconds: int


class FuzzRuns(Document):
    """Parsers of `edgectl` that were fuzzed without a fault."""

    version: Literal[1] = 1
    targets: tuple[FuzzedTarget, ...]


def failure(command: str, fault: EdgewrightError) -> Failure:
    lines = [f"{fault.subject}: {fault.problem}", *fault.facts]
    problem = Problem(
        code=fault.code,
        message=as_called("\n".join(lines)),
        next=as_called(fault.next) if fault.next else None,
    )
    return Failure(command=command, error=problem)


def written_files(paths: Iterable[Path]) -> WrittenFiles:
    return WrittenFiles(
        files=tuple(WrittenFile(path=str(path), bytes=path.stat().st_size) for path in paths)
    )
