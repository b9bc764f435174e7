"""The keys that a board trusts: put there at first contact, then changed by one of themselves.

docs/protocol.md, "Trusted keys", is the contract. What a board says of its keys is not believed:
it tells which document the next one follows, and nothing else of it is signed.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import Excerpt, Part, parse_json
from edgewright.board.profile import Compatible
from edgewright.deploy.clocks import require_present
from edgewright.deploy.edgectl import Edgectl, ForgetAnswer, signed_input
from edgewright.release.keys import Signer, believable
from edgewright.release.minisign import PublicKey, public_key_of

KEYS = "keys.json"  # below the deploy root
LIMIT = 16
KEYS_BYTES = 64 << 10
SEQUENCES = 1 << 64  # one beyond the largest


class _AnyKeySet(Excerpt):
    schema_: Literal[1, 2]


class _KeyDocument(Part):
    sequence: int = Field(ge=1)
    keys: tuple[str, ...] = Field(max_length=LIMIT)  # the second line of a `.pub` file

    def canonical(self) -> bytes:
        table = self.model_dump(mode="json", by_alias=True)
        for change in ("floor", "names"):
            if not table.get(change, True):
                del table[change]
        return json.dumps(table, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @property
    def public(self) -> tuple[PublicKey, ...]:
        # Each once: a board may list one twice, and what is signed is a set.
        return tuple(dict.fromkeys(public_key_of(line, KEYS) for line in self.keys))


class KeySet(_KeyDocument):
    """`keys.json` of boards with protocol 1: bound to no board."""

    schema_: Literal[1] = 1

    @property
    def comment(self) -> str:
        """The trusted comment of its signature."""
        return f"edgewright keys sequence={self.sequence}"


class TheseBoards(Part):
    """A scope: boards by the ids that `edgectl identify` told."""

    boards: tuple[str, ...]

    def __str__(self) -> str:
        return f"boards:{','.join(self.boards)}"


class KindOfBoard(Part):
    """A scope: every board of a kind, whose document in force is the one before this."""

    compatible: str

    def __str__(self) -> str:
        return f"compatible:{self.compatible}"


class BoundKeySet(_KeyDocument):
    """`keys.json`: every key that a board trusts; the whole set is replaced at a time.

    It counts on boards in its scope, and there only right after the document before it.
    """

    schema_: Literal[2] = 2
    scope: TheseBoards | KindOfBoard
    previous: str | None  # SHA-256 of the document before it; null at first contact
    floor: int | None = None  # what the board's floor becomes; left out: it stays
    # What the board calls its kind from then on, then aliases; left out: that stays.
    names: Annotated[tuple[Compatible, ...], Field(max_length=LIMIT)] = ()

    @property
    def comment(self) -> str:
        """The trusted comment of its signature. No keys: an order to forget the board."""
        verb = "keys" if self.keys else "forget"
        floor = f" floor={self.floor}" if self.floor is not None else ""
        names = f" names={'/'.join(self.names)}" if self.names else ""
        return (
            f"edgewright {verb} sequence={self.sequence} previous={self.previous or 'none'}"
            f" scope={self.scope}{floor}{names}"
        )


@dataclass(frozen=True, kw_only=True)
class InForce:
    """What a board says that it trusts."""

    board_id: str | None  # None: its helper speaks protocol 1
    text: bytes | None  # of `keys.json`; None before first contact
    document: KeySet | BoundKeySet | None
    names: tuple[str, ...]  # of its kind, the `compatible` first; none before first contact

    @property
    def public(self) -> tuple[PublicKey, ...]:
        return self.document.public if self.document else ()

    def known_name(self, names: tuple[str, ...]) -> str:
        """That of a kind's names which the board goes by."""
        return next((name for name in names if name in self.names), names[0])

    def new_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """What a board of this kind should call it; nothing if it does, or is of another kind."""
        if not self.names:
            return names if len(names) > 1 else ()
        is_renamed = self.names[0] != names[0] or not {*names} <= {*self.names}
        return names if is_renamed and self.names[0] in names else ()

    def next(
        self,
        keys: Sequence[PublicKey],
        *,
        floor: int | None = None,
        names: tuple[str, ...] = (),
        of_kind: str | None = None,
    ) -> BoundKeySet:
        """The document that follows, for this board alone, or for all boards `of_kind`.

        Raises UserError if none can.
        """
        assert self.board_id is not None, "a helper of protocol 2 has told it"
        sequence = (self.document.sequence if self.document else 0) + 1
        if sequence >= SEQUENCES:
            raise UserError(KEYS, "no document can follow the one in force", next="invoke status")
        return BoundKeySet(
            scope=KindOfBoard(compatible=of_kind)
            if of_kind is not None
            else TheseBoards(boards=(self.board_id,)),
            previous=hashlib.sha256(self.text).hexdigest() if self.text is not None else None,
            sequence=sequence,
            keys=tuple(key.line for key in keys),
            floor=floor,
            names=names,
        )


def read(edgectl: Edgectl) -> InForce:
    """The keys that the board trusts. Raises TargetError."""
    if edgectl.protocol == 1:
        answer = edgectl.board.run(["cat", f"{edgectl.root}/{KEYS}"])
        text, board_id = answer.stdout if answer.returncode == 0 else None, None
        names = edgectl.status().names
    else:
        identity = edgectl.identify()
        text, board_id, names = identity.document, identity.board_id, identity.names
    if text is None:
        return InForce(board_id=board_id, text=None, document=None, names=names)
    subject = f"{edgectl.board.target}: {edgectl.root}/{KEYS}"
    options: dict[str, Any] = {"blame": TargetError, "limit": KEYS_BYTES}
    schema = parse_json(_AnyKeySet, text, subject, "not a set of keys", **options).schema_
    document: KeySet | BoundKeySet
    if schema == 1:
        document = parse_json(KeySet, text, subject, "not a set of keys", **options)
    else:
        document = parse_json(BoundKeySet, text, subject, "not a set of keys", **options)
    return InForce(board_id=board_id, text=text.encode(), document=document, names=names)


def provision(
    edgectl: Edgectl,
    names: tuple[str, ...],
    key: PublicKey,
    signer: Signer,
    *,
    confirmed: Collection[PublicKey] = (),
    after: int = 0,
    for_kind: bool = False,
) -> tuple[str, ...]:
    """Make a board trust `key` too; returns the ids of all keys that it trusts then.

    The document is for this board alone; with `for_kind` it is for every board of the kind that
    has the same document in force, whoever sends it there.

    `names` are those of its kind, the `compatible` first. A board that goes by another of them is
    told all, also if it trusts the key already. A board of protocol 1 that has the helper of
    protocol 2 by now gets a document that is bound to it, likewise. Raises UserError if it trusts
    `LIMIT` keys already, or one that is neither `key`, the signer's nor `confirmed`; RefusedError
    if it does not trust `signer`.
    """
    in_force = read(edgectl)
    trusted, name = in_force.public, in_force.known_name(names)
    if for_kind:
        _require_shared(edgectl, in_force)
    is_bound = isinstance(in_force.document, BoundKeySet) or edgectl.protocol == 1
    new_names = in_force.new_names(names) if edgectl.protocol > 1 else ()
    is_known = bool(in_force.names)  # a board that lost `board` has keys and no name
    if key in trusted and is_bound and is_known and not new_names:
        return tuple(trusted_key.id for trusted_key in trusted)
    if key not in trusted:
        if len(trusted) >= LIMIT:
            raise UserError(
                f"key {key.id}", f"the board trusts {LIMIT} keys", next="invoke keys.revoke"
            )
        trusted = (*trusted, key)
    _require_confirmed(edgectl, trusted, (key, signer.public, *confirmed))
    document: KeySet | BoundKeySet
    if for_kind:
        document = in_force.next(trusted, names=new_names, of_kind=name)
    else:
        document = _successor(edgectl, in_force, trusted, signer, after=after, names=new_names)
    return _send(edgectl, name, document, signer)


def first_of_kind(signer: Signer, compatible: str) -> bytes:
    """Standard input of `edgectl keys`, for boards of a kind that trust no key yet.

    They trust the signer's from then on. Any other board refuses it.
    """
    document = BoundKeySet(
        scope=KindOfBoard(compatible=compatible),
        previous=None,
        sequence=1,
        keys=(signer.public.line,),
    )
    signature = signer.sign(document.canonical(), document.comment)
    return signed_input(signature.text("of a set of keys").encode(), document.canonical())


def _require_shared(edgectl: Edgectl, in_force: InForce) -> None:
    """Of a document that is one board's alone, no successor counts on another board."""
    _require_bound(edgectl)
    document = in_force.document
    if isinstance(document, BoundKeySet) and isinstance(document.scope, TheseBoards):
        raise UserError(
            str(edgectl.board.target),
            "its keys are signed for this board alone: no other takes what follows them",
            facts=[f"in force: number {document.sequence}, {document.scope}"],
            next="invoke keys.provision without --scope",
        )


def revoke(
    edgectl: Edgectl,
    names: tuple[str, ...],
    key_ids: Sequence[str],
    signer: Signer,
    *,
    confirmed: Collection[PublicKey] = (),
    after: int = 0,
) -> tuple[str, ...]:
    """Make a board forget keys. What they signed stays installed; nothing new of them is taken.

    Raises UserError for a key that the board does not trust, for a signer that would revoke
    itself, and for a key to stay that is neither the signer's nor `confirmed`; RefusedError if the
    board does not trust `signer`.
    """
    in_force = read(edgectl)
    trusted = in_force.public
    for key_id in key_ids:
        if key_id not in [key.id for key in trusted]:
            facts = [f"trusted: {key.id}" for key in trusted]
            raise UserError(f"key {key_id}", "is not trusted by the board", facts=facts)
    remaining = [key for key in trusted if key.id not in key_ids]
    if signer.public not in remaining:
        raise UserError(
            f"key {', '.join(key_ids)}",
            "would be revoked by a key that is not to stay",
            facts=[f"signing key: {signer.public.id}", *(f"stays: {key.id}" for key in remaining)],
            next="provision another key first, and revoke with --by=THAT",
        )
    _require_confirmed(edgectl, remaining, (signer.public, *confirmed))
    document = _successor(edgectl, in_force, remaining, signer, after=after)
    return _send(edgectl, in_force.known_name(names), document, signer)


def set_floor(
    edgectl: Edgectl,
    names: tuple[str, ...],
    floor: int,
    signer: Signer,
    *,
    confirmed: Collection[PublicKey] = (),
) -> None:
    """Set the number above which a board takes orders, also to a lower one.

    The keys stay as they are; the same UserErrors as of `provision`, and one for a number from the
    future by the board's clock.
    """
    _require_bound(edgectl)
    require_present(edgectl, floor, edgectl.status().clock)
    in_force = read(edgectl)
    _require_confirmed(edgectl, in_force.public, (signer.public, *confirmed))
    document = in_force.next(in_force.public, floor=floor)
    _send(edgectl, in_force.known_name(names), document, signer)


def forget(edgectl: Edgectl, signer: Signer) -> ForgetAnswer:
    """Take a board out of service: it loses releases, objects, keys, and stops its service.

    Raises UserError for a board that trusts no key, RefusedError if it does not trust `signer`.
    """
    _require_bound(edgectl)
    in_force = read(edgectl)
    if not in_force.public:
        raise UserError(str(edgectl.board.target), "trusts no key: there is nothing to forget")
    return edgectl.forget(_signed(edgectl, in_force.next(()), signer))


def _require_bound(edgectl: Edgectl) -> None:
    if edgectl.protocol == 1:
        raise UserError(
            str(edgectl.board.target),
            "its edgectl, and the last build's, speak protocol 1",
            next="invoke build, then the same command again",
        )


def _require_confirmed(
    edgectl: Edgectl, trusted: Sequence[PublicKey], confirmed: Collection[PublicKey]
) -> None:
    """A board may list any key as trusted; what we sign, other boards would believe.

    Keys are compared as a whole: a key's id proves nothing, anybody can make a key of any id.
    """
    strange = [key for key in trusted if key not in confirmed]
    if strange:
        raise UserError(
            str(edgectl.board.target),
            "trusts keys that are not in your key folder",
            facts=[f"key {key.id}: {key.line}, {key.fingerprint}" for key in strange],
            next="compare each with what invoke keys.list tells its owner, then repeat with "
            "--confirm=FINGERPRINT for each; or invoke keys.revoke --id=ID for one that nobody "
            "owns",
        )


def _successor(
    edgectl: Edgectl,
    in_force: InForce,
    keys: Sequence[PublicKey],
    signer: Signer,
    *,
    after: int,
    names: tuple[str, ...] = (),
) -> KeySet | BoundKeySet:
    if edgectl.protocol > 1:
        return in_force.next(keys, names=names)
    believed = believable(in_force.document.sequence) if in_force.document else 0
    sequence = signer.next_sequence(at_least=max(after, believed) + 1)
    return KeySet(sequence=sequence, keys=tuple(key.line for key in keys))


def _send(
    edgectl: Edgectl, name: str, document: KeySet | BoundKeySet, signer: Signer
) -> tuple[str, ...]:
    return edgectl.keys(_signed(edgectl, document, signer), compatible=name).keys


def _signed(edgectl: Edgectl, document: KeySet | BoundKeySet, signer: Signer) -> bytes:
    if isinstance(document, BoundKeySet) and isinstance(document.scope, TheseBoards):
        for board_id in document.scope.boards:
            _require_known(edgectl, board_id, signer)
    signature = signer.sign(document.canonical(), document.comment)
    return signed_input(signature.text("of a set of keys").encode(), document.canonical())


def _require_known(edgectl: Edgectl, board_id: str, signer: Signer) -> None:
    """A board that takes another's id would have orders signed for that one."""
    board, record = edgectl.board, signer.board_record(board_id)
    expected = record.host_key(board.host_key)
    if expected != board.host_key:
        raise UserError(
            str(board.target),
            f"calls itself board {board_id}, which you know by another host key",
            facts=[f"expected: {expected}", f"found: {board.host_key}"],
            next=f"look at what runs there; if you replaced its host key: rm {record.path}; if its "
            f"storage is a copy of the other's: rm {edgectl.root}/id*, there",
        )
