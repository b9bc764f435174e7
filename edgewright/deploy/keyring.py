"""The keys that a board trusts: put there at first contact, then changed by one of themselves."""

import json
from collections.abc import Sequence
from typing import Literal

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import Part, parse_json
from edgewright.deploy.edgectl import Edgectl, signed_input
from edgewright.release.keys import Signer, believable
from edgewright.release.minisign import PublicKey, parse_public_key, public_key_text

KEYS = "keys.json"  # below the deploy root
LIMIT = 16


class KeySet(Part):
    """`keys.json`: every key that a board trusts; the whole set is replaced at a time."""

    schema_: Literal[1] = 1
    sequence: int
    keys: tuple[str, ...]  # the second line of a `.pub` file

    def canonical(self) -> bytes:
        table = self.model_dump(mode="json", by_alias=True)
        return json.dumps(table, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @property
    def public(self) -> tuple[PublicKey, ...]:
        files = (f"untrusted comment: \n{line}\n" for line in self.keys)
        return tuple(parse_public_key(file.encode(), KEYS) for file in files)


def read(edgectl: Edgectl) -> KeySet | None:
    """The keys that the board trusts; None before the first contact. Raises TargetError."""
    path = f"{edgectl.root}/{KEYS}"
    answer = edgectl.board.run(["cat", path])
    if answer.returncode != 0:
        return None
    subject = f"{edgectl.board.target}: {path}"
    return parse_json(KeySet, answer.stdout, subject, "not a set of keys", blame=TargetError)


def provision(
    edgectl: Edgectl, compatible: str, key: PublicKey, signer: Signer, *, after: int = 0
) -> tuple[str, ...]:
    """Make a board trust `key` too; returns the ids of all keys that it trusts then.

    Raises UserError if it trusts `LIMIT` keys already, RefusedError if it does not trust `signer`.
    """
    key_set = read(edgectl)
    trusted = key_set.public if key_set else ()
    if key in trusted:
        return tuple(trusted_key.id for trusted_key in trusted)
    if len(trusted) >= LIMIT:
        raise UserError(
            f"key {key.id}", f"the board trusts {LIMIT} keys", next="invoke keys.revoke"
        )
    return _replace(edgectl, compatible, (*trusted, key), signer, _next_at_least(key_set, after))


def revoke(
    edgectl: Edgectl, compatible: str, key_id: str, signer: Signer, *, after: int = 0
) -> tuple[str, ...]:
    """Make a board forget a key. What it signed stays installed; nothing new of it is taken.

    Raises UserError for a key that the board does not trust, and for a signer that would revoke
    itself; RefusedError if the board does not trust `signer`.
    """
    key_set = read(edgectl)
    trusted = key_set.public if key_set else ()
    remaining = [key for key in trusted if key.id != key_id]
    if len(remaining) == len(trusted):
        facts = [f"trusted: {key.id}" for key in trusted]
        raise UserError(f"key {key_id}", "is not trusted by the board", facts=facts)
    if signer.public not in remaining:
        raise UserError(
            f"key {key_id}",
            "would be revoked by a key that is not to stay",
            facts=[f"signing key: {signer.public.id}", *(f"stays: {key.id}" for key in remaining)],
            next="provision another key first, and revoke with --by=THAT",
        )
    return _replace(edgectl, compatible, remaining, signer, _next_at_least(key_set, after))


def _next_at_least(key_set: KeySet | None, after: int) -> int:
    return max(after, believable(key_set.sequence) if key_set else 0) + 1


def _replace(
    edgectl: Edgectl, compatible: str, trusted: Sequence[PublicKey], signer: Signer, at_least: int
) -> tuple[str, ...]:
    sequence = signer.next_sequence(at_least=at_least)
    lines = tuple(public_key_text(key).splitlines()[1] for key in trusted)
    keys = KeySet(sequence=sequence, keys=lines)
    signature = signer.sign(keys.canonical(), f"edgewright keys sequence={sequence}")
    order = signed_input(signature.text("of a set of keys").encode(), keys.canonical())
    return edgectl.keys(order, compatible=compatible).keys
