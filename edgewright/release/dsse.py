"""DSSE envelopes: a payload of a stated type, signed as it is.

Format: the Dead Simple Signing Envelope, version 1, of the project secure-systems-lab. What is
signed is its pre-authentication encoding, which no manifest, key document or host key list can be
taken for. A signature's `sig` is the base64 of a signature file of minisign over that encoding, so
that keys that are commands (docs/keys.md) sign envelopes too.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.schema import Excerpt, parse_json
from edgewright.release import minisign
from edgewright.release.keys import Signer
from edgewright.release.minisign import PublicKey

ENVELOPE_BYTES = 8 << 20
SIGNATURES = 16


class EnvelopeSignature(Excerpt):
    """One signature; `keyid` tells which key to look at, and proves nothing."""

    keyid: str = ""
    sig: str


class Envelope(Excerpt):
    """The JSON of an envelope."""

    payload: str  # base64
    payload_type: Annotated[str, Field(alias="payloadType")]
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(max_length=SIGNATURES)]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The content of an envelope, the key that signed it, and the signature's comment."""

    payload: bytes
    key: PublicKey
    comment: str


def encoded(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that a signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, payload_type: str, signer: Signer, comment: str) -> bytes:
    """An envelope with one signature, whose trusted comment is `comment`."""
    signature = signer.sign(encoded(payload_type, payload), comment)
    text = signature.text(f"DSSE signature by key {signer.public.id}")
    table = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": signer.public.id, "sig": base64.b64encode(text.encode()).decode()}
        ],
    }
    return json.dumps(table, indent=2).encode() + b"\n"


def open_(raw: bytes, payload_type: str, trusted: Sequence[PublicKey], subject: str) -> Opened:
    """The payload of an envelope that one of the trusted keys signed. Raises UserError."""
    envelope = parse_json(Envelope, raw, subject, "not a DSSE envelope", limit=ENVELOPE_BYTES)
    if envelope.payload_type != payload_type:
        facts = [f"expected: {payload_type}", f"found: {envelope.payload_type[:200]!r}"]
        raise UserError(subject, "holds another type of payload", facts=facts)
    payload = _decoded(envelope.payload, subject)
    by_id = {key.id: key for key in trusted}
    signature = next((item for item in envelope.signatures if item.keyid in by_id), None)
    if signature is None:
        raise UserError(
            subject,
            "signed by a key that is not trusted here",
            facts=[
                f"expected: one of {', '.join(by_id) or 'none'}",
                f"found: {', '.join(ascii(item.keyid[:32]) for item in envelope.signatures)}",
            ],
            next="put its owner's .pub file into your key folder: invoke keys.list",
        )
    parsed = minisign.parse_signature(_decoded(signature.sig, subject), subject)
    key = by_id[signature.keyid]
    minisign.verify(parsed, encoded(payload_type, payload), key, subject)
    return Opened(payload=payload, key=key, comment=parsed.trusted_comment)


def _decoded(text: str, subject: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise UserError(subject, "not a DSSE envelope", facts=[f"no base64: {broken}"]) from broken
