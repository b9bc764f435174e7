"""The object stream: what is made of it on a board is the new object, with little sent."""

import hashlib
import io
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.deploy import transfer
from edgewright.deploy.transfer import (
    PART_CHUNK,
    BaseChunks,
    Outgoing,
    Packed,
    chunk_digest,
    plan_object,
)

SEED = random.Random(7)
MODEL = SEED.randbytes(600_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def applied(outgoing: Outgoing, base: bytes = b"", part: bytes = b"") -> bytes:
    """What docs/protocol.md says that the stream makes; a reader of its own."""
    raw = io.BytesIO()
    transfer.write_stream([outgoing], raw)
    stream = io.BytesIO(raw.getvalue())
    assert stream.read(5) == b"EWR1O"
    digest, size = stream.read(32), int.from_bytes(stream.read(8), "little")
    assert digest.hex() == sha256(outgoing.content)
    assert stream.read(32) == (bytes.fromhex(outgoing.base) if outgoing.base else bytes(32))
    built = b""
    while len(built) < size:
        built += _op(stream, len(built), base, part)
    assert stream.read() == b"E"
    assert len(built) == size
    return built


def _op(stream: io.BytesIO, at: int, base: bytes, part: bytes) -> bytes:
    kind = stream.read(1)
    offset = int.from_bytes(stream.read(8), "little") if kind == b"B" else at
    size = int.from_bytes(stream.read(4), "little")
    assert size > 0
    if kind == b"D":
        assert size <= 1 << 20
        return stream.read(size)
    if kind == b"Z":
        packed = int.from_bytes(stream.read(4), "little")
        assert packed < size <= 1 << 20
        return zstandard.ZstdDecompressor().decompress(stream.read(packed), max_output_size=size)
    source = base if kind == b"B" else part
    assert kind in b"BP"
    assert offset + size <= len(source)
    return source[offset : offset + size]


def update(new: bytes, old: bytes) -> Outgoing:
    return plan_object(sha256(new), new, base=sha256(old), base_content=old)


def test_new_object_is_sent_whole() -> None:
    outgoing = plan_object(sha256(MODEL), MODEL)
    assert applied(outgoing) == MODEL
    assert outgoing.bytes_to_send - len(MODEL) < 100


def test_object_of_more_than_one_op() -> None:
    big = bytes(3 * (1 << 20) + 5)
    assert applied(plan_object(sha256(big), big)) == big


def test_what_a_board_can_unpack_goes_packed() -> None:
    text = b"".join(b"weights %d\n" % number for number in range(60_000))
    outgoing = plan_object(sha256(text), text, pack=True)
    assert applied(outgoing) == text
    assert outgoing.bytes_to_send < len(text) / 3
    assert outgoing.new_bytes == len(text)


def test_bytes_that_do_not_shrink_go_as_they_are() -> None:
    plain, packed = (plan_object(sha256(MODEL), MODEL, pack=pack) for pack in (False, True))
    assert applied(packed) == MODEL
    assert packed.bytes_to_send < plain.bytes_to_send + 50
    assert not any(isinstance(op, Packed) for op in packed.ops)


def test_empty_object() -> None:
    assert applied(plan_object(sha256(b""), b"")) == b""


def test_model_update_sends_the_changed_bytes() -> None:
    """Three layers retrained: at most 1.05 times their bytes."""
    new, changed = bytearray(MODEL), 0
    for start, size in ((10_000, 4_096), (200_001, 30_000), (555_555, 9_999)):
        new[start : start + size] = SEED.randbytes(size)
        changed += size
    outgoing = update(bytes(new), MODEL)
    assert applied(outgoing, MODEL) == bytes(new)
    assert outgoing.bytes_to_send <= 1.05 * changed


def test_inserted_bytes_do_not_send_the_rest_again() -> None:
    new = MODEL[:100_000] + b"twelve bytes" + MODEL[100_000:]
    outgoing = update(new, MODEL)
    assert applied(outgoing, MODEL) == new
    assert outgoing.bytes_to_send < 400


def test_swapped_halves_are_found() -> None:
    new = MODEL[300_000:] + MODEL[:300_000]
    outgoing = update(new, MODEL)
    assert applied(outgoing, MODEL) == new
    assert outgoing.bytes_to_send < 1000


def test_base_that_only_the_board_has() -> None:
    size = 4096
    pieces = [MODEL[at : at + size] for at in range(0, len(MODEL), size)]
    chunks = BaseChunks(size=size, hashes=tuple(map(chunk_digest, pieces)))
    new = MODEL[:50_000] + b"!" + MODEL[50_001:]
    outgoing = plan_object(sha256(new), new, base=sha256(MODEL), base_content=chunks)
    assert applied(outgoing, MODEL) == new
    assert outgoing.bytes_to_send < size + 200


def test_base_with_nothing_in_common_is_not_named() -> None:
    outgoing = update(SEED.randbytes(5000), MODEL)
    assert outgoing.base is None


@pytest.mark.parametrize("part_bytes", [1, PART_CHUNK - 1, PART_CHUNK, 3 * PART_CHUNK + 7])
def test_cut_upload_goes_on_where_it_was_cut(part_bytes: int) -> None:
    part = MODEL[:part_bytes]
    hashes = [chunk_digest(part[at : at + PART_CHUNK]) for at in range(0, part_bytes, PART_CHUNK)]
    outgoing = plan_object(sha256(MODEL), MODEL, part_bytes=part_bytes, part_chunks=hashes)
    assert applied(outgoing, part=part) == MODEL
    assert outgoing.bytes_to_send < len(MODEL) - part_bytes + 100


def test_damaged_chunk_of_a_cut_upload_is_sent_again() -> None:
    part = bytearray(MODEL[: 4 * PART_CHUNK])
    part[PART_CHUNK + 3] ^= 1
    pieces = [bytes(part[at : at + PART_CHUNK]) for at in range(0, len(part), PART_CHUNK)]
    hashes = list(map(chunk_digest, pieces))
    outgoing = plan_object(sha256(MODEL), MODEL, part_bytes=len(part), part_chunks=hashes)
    assert applied(outgoing, part=bytes(part)) == MODEL
    assert len(MODEL) - 3 * PART_CHUNK < outgoing.bytes_to_send < len(MODEL) - 3 * PART_CHUNK + 200


edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "move"]),
        st.integers(0, 20_000),
        st.integers(1, 3_000),
    ),
    max_size=5,
)


@settings(max_examples=60)
@given(edits=edits, part_bytes=st.integers(0, 20_000), keep=st.booleans(), pack=st.booleans())
def test_any_edit_is_made_right(
    edits: list[tuple[str, int, int]], part_bytes: int, keep: bool, pack: bool
) -> None:
    old = MODEL[:20_000]
    new = old
    for kind, at, size in edits:
        piece = new[at : at + size]
        fresh = bytes([at % 256]) * size if pack else SEED.randbytes(size)
        remainder = new[:at] + new[at + size :]
        new = {
            "insert": new[:at] + fresh + new[at:],
            "delete": remainder,
            "replace": new[:at] + fresh + new[at + size :],
            "move": piece + remainder,
        }[kind]
    part = (new if keep else old)[:part_bytes]
    outgoing = plan_object(
        sha256(new),
        new,
        base=sha256(old),
        base_content=old,
        part_bytes=len(part),
        part_chunks=[chunk_digest(part)] if part else [],
        pack=pack,
    )
    assert applied(outgoing, old, part) == new
    assert outgoing.bytes_to_send <= len(new) + 200
