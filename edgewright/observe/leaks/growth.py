"""Whether a series grows, beyond what page-sized steps and a settling allocator make of it.

Resident memory moves by pages and creeps for a while after the start; a slope by Theil and Sen
called 69 to 83 of 100 such series leaks. Here the warm-up is cut off, and what is resampled, in
blocks (Künsch 1989), are the steps from one sample to the next: a few steps, however large, do
not look like growth, since many resamples have none of them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WARM_UP = 0.2  # of the samples
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Of the mean step from one sample to the next, with its interval."""

    steps: int
    mean: float
    low: float
    high: float


def growth(series: Sequence[Sequence[float]], seed: int = 1) -> Growth | None:
    """Over all series, each of one process; None of too few samples for a single block."""
    steps: list[float] = []
    for samples in series:
        settled = samples[round(len(samples) * WARM_UP) :]
        steps += [after - before for before, after in pairwise(settled)]
    if steps and not any(steps):  # as descriptors mostly are
        return Growth(steps=len(steps), mean=0.0, low=0.0, high=0.0)
    length = max(round(len(steps) ** (1 / 3)), 1)
    blocks = [sum(steps[i : i + length]) for i in range(len(steps) - length + 1)]
    if len(blocks) < 2:
        return None
    rng, count = random.Random(seed), len(steps) // length
    means = sorted(sum(rng.choices(blocks, k=count)) / (count * length) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Growth(
        steps=len(steps), mean=sum(steps) / len(steps), low=means[tail], high=means[-1 - tail]
    )
