"""Host keys of many boards at once: from a signed list, or by fingerprints that were compared.

A list has a line for each board or gateway of the fleet, its name and its key or the key's
fingerprint: `oven-1 ssh-ed25519 AAAA…`, `oven-2 SHA256:…`. A fingerprint is compared with the key
that the board offers; a whole key is pinned without asking the board.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgewright.base.errors import TargetError, UserError, near_miss
from edgewright.base.files import read_file
from edgewright.deploy import remote
from edgewright.deploy.known_hosts import KnownKey, Pin, key_blob, known_keys, pinned_key
from edgewright.deploy.target import Target
from edgewright.fleet.inventory import Inventory
from edgewright.release import minisign
from edgewright.release.minisign import PublicKey

LIST_BYTES = 64 << 20
SIGNATURE_BYTES = 64 << 10
SUFFIX = ".minisig"
State = Literal["pinned", "replaced", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A board or gateway, and the key that it should have."""

    name: str
    key: KnownKey
    blob: bytes | None  # the key itself; None where its fingerprint alone is known


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What came of it; `pin` is to be written, unless it stands there already."""

    state: State
    fingerprint: str
    pin: Pin


def read_list(path: Path, trusted: Sequence[PublicKey]) -> bytes:
    """The content of a list that one of these keys signed.

    Raises UserError for a signature that is missing, by another key, or over something else.
    """
    content = read_file(path, limit=LIST_BYTES)
    beside = Path(f"{path}{SUFFIX}")
    next = f"minisign -S -m {path}, by somebody whose .pub file is in your key folder"
    raw = read_file(beside, limit=SIGNATURE_BYTES, next=next)
    signature = minisign.parse_signature(raw, str(beside))
    key = {key.key_id: key for key in trusted}.get(signature.key_id)
    if key is None:
        key_ids = ", ".join(key.id for key in trusted) or "none"
        raise UserError(
            str(beside),
            "signed by a key that is not in your key folder",
            facts=[f"expected: one of {key_ids}", f"found: {signature.id}"],
            next="edgewright keys.list",
        )
    minisign.verify(signature, content, key, str(beside))
    return content


def parse_list(content: bytes, subject: str, inventory: Inventory) -> tuple[Listed, ...]:
    """The lines of a list. Raises UserError that names every line that is wrong."""
    numbered = enumerate(content.decode(errors="replace").splitlines(), 1)
    lines = [(number, line.split("#")[0].strip()) for number, line in numbered]
    return listed([(f"{subject}:{number}", line) for number, line in lines if line], inventory)


def listed(lines: Sequence[tuple[str, str]], inventory: Inventory) -> tuple[Listed, ...]:
    """Boards and keys from `NAME KEY`, each with where it was said.

    Raises UserError that names all that is wrong: names that the fleet lacks or that stand twice,
    keys that are none, that two have, or that are not the one of the fleet's own file.
    """
    entries, wrong = list[Listed](), list[str]()
    names: dict[str, str] = {}
    keys: dict[str, str] = {}
    for source, line in lines:
        name, _, text = line.partition(" ")
        try:
            entry = _entry(name, text.strip(), source, inventory)
        except ValueError as error:
            wrong.append(f"{source}: {error}")
            continue
        if name in names:
            wrong.append(f"{source}: '{name}' stands in {names[name]}, too")
        elif entry.key.fingerprint in keys:
            wrong.append(f"{source}: '{name}' has the key of '{keys[entry.key.fingerprint]}'")
        names[name] = source
        keys.setdefault(entry.key.fingerprint, name)
        entries.append(entry)
    if wrong:
        raise UserError(
            "host keys", f"{len(wrong)} cannot be pinned", facts=wrong, next="mend the list"
        )
    return tuple(entries)


def _entry(name: str, text: str, source: str, inventory: Inventory) -> Listed:
    """Raises ValueError."""
    if name not in inventory.hosts:
        near = near_miss(name, inventory.hosts)
        raise ValueError(f"no board or gateway '{name[:63]}' in {inventory.path}{near}")
    key = pinned_key(" ".join(text.split()[:2]), source)
    own = inventory.target(inventory.hosts[name]).host_key
    if own is not None and own.fingerprint != key.fingerprint:
        raise ValueError(f"'{name}' has another key in {own.source}: {own.fingerprint}")
    blob = key_blob(key.kind, text.split()[1]) if key.kind else None
    return Listed(name=name, key=key, blob=blob)


def enrol(entry: Listed, inventory: Inventory, *, may_replace: bool) -> Enrolled:
    """What is to be pinned for one board; a fingerprint is compared with what it offers.

    Raises TargetError for a board that is not reached or offers another key, UserError for a key
    that is revoked, and, unless it `may_replace`, where another one is pinned.
    """
    target = replace(inventory.target(inventory.hosts[entry.name]), host_key=None)
    pin = _pin(entry, target)
    host_keys = known_keys(remote.user_known_hosts(), pin.name)
    if revocation := host_keys.revocation(entry.key.fingerprint):
        raise UserError(
            entry.name, "its host key is revoked", facts=[f"revoked by: {revocation.source}"]
        )
    state: State = "pinned"
    if entry.key.fingerprint in host_keys.fingerprints:
        state = "unchanged"
    elif host_keys.pinned:
        if not may_replace:
            raise UserError(
                entry.name,
                "ANOTHER HOST KEY IS PINNED",
                facts=[
                    *(f"pinned: {key.fingerprint} in {key.source}" for key in host_keys.pinned),
                    f"listed: {entry.key.fingerprint}",
                ],
                next="find out why; if the board was set up anew, the same command with --replace",
            )
        state = "replaced"
    return Enrolled(state=state, fingerprint=entry.key.fingerprint, pin=pin)


def _pin(entry: Listed, target: Target) -> Pin:
    if entry.blob is not None:
        assert entry.key.kind is not None
        return Pin(name=remote.pin_name(target), kind=entry.key.kind, blob=entry.blob)
    offered = remote.scan_host_key(target)
    if offered.fingerprint != entry.key.fingerprint:
        raise TargetError(
            entry.name,
            "offers another host key",
            facts=[f"expected: {entry.key.fingerprint}", f"found: {offered.fingerprint}"],
            next="read the fingerprint at the board itself",
        )
    return Pin(name=offered.name, kind=offered.kind, blob=offered.blob)
