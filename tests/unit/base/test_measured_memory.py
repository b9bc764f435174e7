"""What a test of memory measures: neither what came before, nor less than was taken."""

from tests.memory import Memory

MIB = 1 << 20


def test_a_peak_counts_beyond_a_higher_one_of_another_test() -> None:
    bytearray(b"x") * (300 * MIB)

    with Memory() as memory:
        bytearray(b"x") * (100 * MIB)

    assert 95 * MIB < memory.grown < 110 * MIB


def test_small_pieces_that_were_freed_before_count() -> None:
    pieces = [bytes(1000) for _ in range(100_000)]
    pieces.clear()

    with Memory() as memory:
        pieces = [bytes(1000) for _ in range(100_000)]

    assert memory.grown > 80 * MIB
