"""Channels: signed pointers to the release that boards of a kind are to have.

A pointer carries a sequence number. The highest one that this user has seen of a channel is kept
in the configuration folder, and an older one is refused: a store that somebody set back, or an old
copy of it, hands out nothing. Promotion is a new pointer.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.digest import text_sha256
from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import locked, read_file, write_file
from edgewright.base.schema import Excerpt, parse_json
from edgewright.release import dsse
from edgewright.release.dsse import ENVELOPE_BYTES
from edgewright.release.keys import Signer
from edgewright.release.minisign import PublicKey
from edgewright.release.store import CHANNELS, Contents

NAMES = ("nightly", "beta", "stable")
PAYLOAD_TYPE = "application/vnd.edgewright.channel+json"
Board = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
ReleaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Pointer(Excerpt):
    """What a channel of a board says."""

    schema_: Literal[1] = 1
    board: Board
    channel: Literal["nightly", "beta", "stable"]
    release: ReleaseId
    sequence: Annotated[int, Field(ge=1, lt=1 << 63)]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A channel of one board in a store, and what this user knows of it."""

    store: Contents
    board: str
    name: str
    floor_file: Path  # of the highest sequence number that this user has read

    @property
    def file(self) -> str:
        return f"{CHANNELS}/{self.board}/{self.name}.json"

    @property
    def _subject(self) -> str:
        return f"{self.store.place}: channel {self.name} of {self.board}"

    def read(self, trusted: Sequence[PublicKey]) -> Pointer | None:
        """What it points to; None while it points to nothing and never did.

        Raises UserError for a pointer that nobody trusted signed, of another channel, or older
        than one that this user has read.
        """
        subject = self._subject
        with locked(self.floor_file.with_name(f".{self.floor_file.name}.lock")):
            floor, pointer = self._floor(), self._stored(trusted, subject)
            if pointer is None:
                if floor:
                    raise UserError(
                        subject,
                        "is gone",
                        facts=[f"expected: sequence {floor} or higher"],
                        next="ask who keeps the store; a new release.promote goes beyond it",
                    )
                return None
            if pointer.sequence < floor:
                raise UserError(
                    subject,
                    "was set back",
                    facts=[
                        f"expected: sequence {floor} or higher",
                        f"found: {pointer.sequence}, release {pointer.release}",
                    ],
                    next="ask who keeps the store; a new release.promote goes beyond it",
                )
            self._raise_floor(pointer.sequence)
            return pointer

    def _stored(self, trusted: Sequence[PublicKey], subject: str) -> Pointer | None:
        """The pointer that the store has, however old it is."""
        if not self.store.exists(self.file):
            return None
        raw = self.store.read(self.file, limit=ENVELOPE_BYTES)
        opened = dsse.open_(raw, PAYLOAD_TYPE, trusted, subject)
        pointer = parse_json(Pointer, opened.payload, subject, "not a pointer")
        if (pointer.board, pointer.channel) != (self.board, self.name):
            facts = [f"found: {pointer.channel} of {pointer.board}"]
            raise UserError(subject, "holds another channel's pointer", facts=facts)
        return pointer

    def point(self, release: str, signer: Signer, trusted: Sequence[PublicKey]) -> Pointer:
        """Point to another release; the store is the caller's alone.

        Goes beyond what this user has read, also where the store was set back. Raises UserError
        for a pointer that nobody trusted signed, or of another channel.
        """
        floor, current = self._floor(), self._stored(trusted, self._subject)
        last = max(floor, current.sequence if current else 0)
        if current and current.release == release and current.sequence == last:
            return current
        at_least = last + 1
        pointer = Pointer.model_validate(
            {
                "board": self.board,
                "channel": self.name,
                "release": release,
                "sequence": signer.next_sequence(at_least=at_least),
            }
        )
        table = pointer.model_dump(by_alias=True)
        payload = json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
        comment = f"edgewright channel={self.name} board={self.board} release={release}"
        self.store.write(self.file, dsse.seal(payload, PAYLOAD_TYPE, signer, comment))
        with locked(self.floor_file.with_name(f".{self.floor_file.name}.lock")):
            self._raise_floor(pointer.sequence)
        return pointer

    def _floor(self) -> int:
        if not self.floor_file.exists():
            return 0
        text = read_file(self.floor_file, limit=64).decode(errors="replace").strip()
        if not re.fullmatch(r"[0-9]{1,19}", text):
            raise UserError(
                str(self.floor_file), "not a sequence number", next=f"remove {self.floor_file}"
            )
        return int(text)

    def _raise_floor(self, sequence: int) -> None:
        if sequence > self._floor():
            write_file(self.floor_file, f"{sequence}\n", durable=True)


def channel(store: Contents, board: str, name: str, config: Path) -> Channel:
    """A channel by its name; `config` is the user's folder. Raises UserError."""
    if name not in NAMES:
        raise UserError(
            f"channel '{name}'",
            f"unknown{near_miss(name, NAMES)}",
            facts=[f"channels: {', '.join(NAMES)}"],
            next="the same command with one of them",
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", board):
        raise UserError(f"board {board[:64]!r}", "is no name of a board", next="invoke boards")
    place = text_sha256(store.place)[:16]
    floor_file = config / "channels" / place / f"{board}.{name}"
    return Channel(store=store, board=board, name=name, floor_file=floor_file)
