"""`drift` tried on images of which it is known whether anything changed.

Of days on which nothing did it is counted how many raise an alarm; of changes that are played, what
is named, and since when. All images go through the network.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part
from edgewright.model.contract.task_cards import ImageTaskCard
from edgewright.model.judge.observed import Name, Observation, histograms_of, observe
from edgewright.model.pack.reference import Reference
from edgewright.observe.drift.board_file import Window
from edgewright.observe.drift.compare import NEWEST_IMAGES, choose, compare
from edgewright.observe.drift.played import CHANGES, Change, played
from edgewright.observe.drift.report import StatisticDrift

HOUR_S = 3600
HOUR_IMAGES = 60
MOST_IMAGES = 800  # an inference each
SEED = 1


class UnchangedDays(Part):
    """Days of images that are like the reference's."""

    order: Literal["shuffled", "as they came"]
    days: int
    images: int  # of each
    alarms: int  # days of which something was said to have moved
    rate: float
    # That the rate of such draws is below, with 97.5 % (Clopper and Pearson); null where the days
    # overlap, so that they are not independent.
    high: float | None
    moved: tuple[Name, ...]  # all that was said to have moved on any


class PlayedChange(Part):
    """A change that began at a known hour."""

    name: str
    words: str
    moved: tuple[Name, ...]  # the farthest first
    late_hours: int | None  # from its begin to the `since` of the first; null: not noticed


class DriftTrial(Document):
    """`invoke bench.drift --json`."""

    version: Literal[1] = 1
    model: str
    images: int
    reference_images: int
    unchanged: tuple[UnchangedDays, ...]
    changes: tuple[PlayedChange, ...]


def hourly(
    parts: Sequence[Sequence[Observation]], release: str = "0" * 16, start: int = 0
) -> tuple[Window, ...]:
    """What a board keeps of these observations, an hour for each part."""
    return tuple(
        Window(
            version=1,
            command="watch",
            release=release,
            start=start + HOUR_S * number,
            end=start + HOUR_S * number + HOUR_S - 1,
            images=len(part),
            statistics=histograms_of(part),
        )
        for number, part in enumerate(parts)
    )


def moved(windows: Sequence[Window], reference: Reference) -> tuple[StatisticDrift, ...]:
    """The statistics that `drift` would name."""
    drifts = compare(reference, choose(windows, has_reference=True))
    return tuple(drift for drift in drifts if drift.verdict == "moved")


def try_out(
    network: Path,
    card: ImageTaskCard,
    reference: Reference,
    images: Sequence[Path],
    *,
    days: int,
    say: Callable[[str], None] = lambda line: None,
) -> DriftTrial:
    """Days without a change, and each change of `CHANGES`, on images that the network was not
    trained on, in the order in which they came.

    Raises UserError for too few images, or one that cannot be read.
    """
    if len(images) < NEWEST_IMAGES:  # `drift` would fill up a changed day with unchanged images
        raise UserError(
            f"{len(images)} images",
            f"expected {NEWEST_IMAGES} or more, that the network was not trained on",
            next="the same command with another --images",
        )
    images = images[:: -(-len(images) // MOST_IMAGES)]
    say(f"an inference of each of {len(images)} images")
    observations = observe(network, card, images)
    changes = []
    for change in CHANGES:
        say(f"played: {change.words}")
        changes.append(try_change(change, network, card, reference, images, observations))
    return DriftTrial(
        model=card.name,
        images=len(images),
        reference_images=reference.images,
        unchanged=(
            unchanged_days(observations, reference, days, is_shuffled=True),
            unchanged_days(observations, reference, days, is_shuffled=False),
        ),
        changes=tuple(changes),
    )


def unchanged_days(
    observations: Sequence[Observation], reference: Reference, days: int, *, is_shuffled: bool
) -> UnchangedDays:
    """Days that are drawn from all images, or follow each other from any of them on."""
    random, size = np.random.default_rng(SEED), min(NEWEST_IMAGES, len(observations) // 2)
    alarms, names = 0, dict[Name, None]()
    for _ in range(days):
        if is_shuffled:
            places = random.permutation(len(observations))[:size]
        else:
            places = (random.integers(len(observations)) + np.arange(size)) % len(observations)
        drifts = moved(hourly([[observations[place] for place in places]]), reference)
        alarms += bool(drifts)
        names |= dict.fromkeys(drift.name for drift in drifts)
    return UnchangedDays(
        order="shuffled" if is_shuffled else "as they came",
        days=days,
        images=size,
        alarms=alarms,
        rate=alarms / days,
        high=_upper_bound(alarms, days) if is_shuffled else None,
        moved=tuple(names),
    )


def _upper_bound(alarms: int, days: int) -> float:
    return 1.0 if alarms == days else float(stats.beta.ppf(0.975, alarms + 1, days - alarms))


def try_change(
    change: Change,
    network: Path,
    card: ImageTaskCard,
    reference: Reference,
    images: Sequence[Path],
    observations: Sequence[Observation],
) -> PlayedChange:
    """Two hours as ever, then as many changed images as `drift` looks at."""
    order = np.random.default_rng(SEED).permutation(len(images))
    before = [observations[place] for place in order[: 2 * HOUR_IMAGES]]
    with played(change, [images[place] for place in order[-NEWEST_IMAGES:]]) as paths:
        after = observe(network, card, paths)
    drifts = moved(hourly([*_by_hour(before), *_by_hour(after)]), reference)
    begin = len(_by_hour(before)) * HOUR_S
    since = min((drift.since for drift in drifts if drift.since is not None), default=None)
    return PlayedChange(
        name=change.name,
        words=change.words,
        moved=tuple(drift.name for drift in drifts),
        late_hours=None if since is None else (since - begin) // HOUR_S,
    )


def _by_hour(observations: Sequence[Observation]) -> list[Sequence[Observation]]:
    return [observations[at : at + HOUR_IMAGES] for at in range(0, len(observations), HOUR_IMAGES)]
