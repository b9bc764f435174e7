"""The keys that a board trusts: put there at first contact, then changed by one of themselves."""

import json
from collections.abc import Collection, Sequence
from typing import Literal

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import Part, parse_json
from edgewright.deploy.edgectl import Edgectl, signed_input
from edgewright.release.keys import Signer, believable
from edgewright.release.minisign import PublicKey, public_key_of

KEYS = "keys.json"  # below the deploy root
LIMIT = 16
KEYS_BYTES = 64 << 10


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
        return tuple(public_key_of(line, KEYS) for line in self.keys)


def read(edgectl: Edgectl) -> KeySet | None:
    """The keys that the board trusts; None before the first contact. Raises TargetError."""
    path = f"{edgectl.root}/{KEYS}"
    answer = edgectl.board.run(["cat", path])
    if answer.returncode != 0:
        return None
    subject = f"{edgectl.board.target}: {path}"
    return parse_json(
        KeySet, answer.stdout, subject, "not a set of keys", blame=TargetError, limit=KEYS_BYTES
    )


def provision(
    edgectl: Edgectl,
    compatible: str,
    key: PublicKey,
    signer: Signer,
    *,
    confirmed: Collection[PublicKey] = (),
    after: int = 0,
) -> tuple[str, ...]:
    """Make a board trust `key` too; returns the ids of all keys that it trusts then.

    Raises UserError if it trusts `LIMIT` keys already, or one that is neither `key`, the signer's
    nor `confirmed`; RefusedError if it does not trust `signer`.
    """
    key_set = read(edgectl)
    trusted = key_set.public if key_set else ()
    if key in trusted:
        return tuple(trusted_key.id for trusted_key in trusted)
    if len(trusted) >= LIMIT:
        raise UserError(
            f"key {key.id}", f"the board trusts {LIMIT} keys", next="invoke keys.revoke"
        )
    _require_confirmed(edgectl, trusted, (signer.public, *confirmed))
    return _replace(edgectl, compatible, (*trusted, key), signer, _next_at_least(key_set, after))


def revoke(
    edgectl: Edgectl,
    compatible: str,
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
    key_set = read(edgectl)
    trusted = key_set.public if key_set else ()
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
    return _replace(edgectl, compatible, remaining, signer, _next_at_least(key_set, after))


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
            facts=[f"key {key.id}: {key.line}" for key in strange],
            next="compare each with its owner's .pub file, then repeat with --confirm=KEY for "
            "each; or invoke keys.revoke --id=ID for one that nobody owns",
        )


def _next_at_least(key_set: KeySet | None, after: int) -> int:
    return max(after, believable(key_set.sequence) if key_set else 0) + 1


def _replace(
    edgectl: Edgectl, compatible: str, trusted: Sequence[PublicKey], signer: Signer, at_least: int
) -> tuple[str, ...]:
    sequence = signer.next_sequence(at_least=at_least)
    keys = KeySet(sequence=sequence, keys=tuple(key.line for key in trusted))
    signature = signer.sign(keys.canonical(), f"edgewright keys sequence={sequence}")
    order = signed_input(signature.text("of a set of keys").encode(), keys.canonical())
    return edgectl.keys(order, compatible=compatible).keys
