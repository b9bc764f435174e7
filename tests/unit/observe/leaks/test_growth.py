"""A leak is told from page-sized steps and a settling allocator, as often as promised."""

import random

import pytest

from edgewright.observe.leaks.growth import growth
from edgewright.observe.leaks.soak import LEAST_DESCRIPTORS, LEAST_KIB, Sample, judge

SAMPLES = 600  # ten minutes
PAGE_KIB = 4


def settling(rng: random.Random) -> list[float]:
    """A clean process: pages that come and go, and a heap that settles with time."""
    levels, level = [], 30_000.0
    for n in range(SAMPLES):
        if rng.random() < 4 / (n + 4):  # ever rarer: some 6 steps after the warm-up
            level += PAGE_KIB * rng.randrange(0, 8)
        levels.append(level + PAGE_KIB * rng.randrange(0, 4))
    return levels


def leaking(rng: random.Random, kib: float) -> list[float]:
    """The same, with so much more at each inference, ten of them a second."""
    return [level + (n * 10 * kib) // PAGE_KIB * PAGE_KIB for n, level in enumerate(settling(rng))]


def verdict(levels: list[float]) -> str:
    series = [[Sample(pid=1, descriptors=9, resident_kib=int(level)) for level in levels]]
    return judge(series, 10.0, is_shared=False)[0].verdict


def test_a_clean_process_is_hardly_ever_called_a_leak() -> None:
    rng = random.Random(5)

    assert sum(verdict(settling(rng)) == "leak" for _ in range(40)) <= 2


def test_a_kib_an_inference_is_always_seen() -> None:
    rng = random.Random(6)

    assert [verdict(leaking(rng, 1.0)) for _ in range(10)] == ["leak"] * 10


def test_a_leak_is_measured() -> None:
    levels = leaking(random.Random(7), 1.0)
    series = [[Sample(pid=1, descriptors=9, resident_kib=int(level)) for level in levels]]

    memory, descriptors = judge(series, 10.0, is_shared=False)

    # What settles after the warm-up is growth too, some 3 % of it here.
    assert memory.per_1000_inferences == pytest.approx(1000, rel=0.05)
    assert memory.per_1000_inferences is not None
    assert memory.low is not None
    assert memory.high is not None
    assert 950 <= memory.low <= memory.per_1000_inferences <= memory.high <= 1100
    assert descriptors.verdict == "steady"


def test_a_descriptor_now_and_then_is_a_leak() -> None:
    series = [[Sample(pid=1, descriptors=9 + n // 20, resident_kib=1) for n in range(SAMPLES)]]

    assert judge(series, 10.0, is_shared=False)[1].verdict == "leak"


def test_one_large_step_is_no_growth() -> None:
    levels = [30_000.0] * 300 + [34_000.0] * 300

    assert verdict(levels) == "steady"


def test_too_few_samples_are_not_judged_nor_is_an_emulator_s_memory() -> None:
    few = [[Sample(pid=1, descriptors=9, resident_kib=n) for n in range(20)]]
    many = [[Sample(pid=1, descriptors=9, resident_kib=n * 100) for n in range(200)]]

    assert judge(few, 10.0, is_shared=False)[0].reason == "20 samples; it needs 60"
    shared = judge(many, 10.0, is_shared=True)[0]
    assert (shared.verdict, shared.reason) == ("not judged", "the emulator's own is in the figure")
    assert growth([[1.0]]) is None
    assert LEAST_KIB > PAGE_KIB * LEAST_DESCRIPTORS
