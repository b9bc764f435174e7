"""Light, angle and material that change on a line, through the demo's network on this machine.

A minute and a half on a quiet machine: `pytest -m nightly tests/integration/test_drift_played.py`.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from edgewright.model.contract.card import read_card
from edgewright.model.judge.data import load_elpv, split
from edgewright.model.judge.observed import Observation, histograms_of, observe
from edgewright.model.pack.reference import Reference, read_reference
from edgewright.observe.drift.trial import (
    HOUR_S,
    DriftTrial,
    PlayedChange,
    hourly,
    moved,
    try_out,
)
from tests.checkout import ROOT
from tests.schemas import require_valid

pytestmark = pytest.mark.nightly

MODEL = ROOT / "models" / "mobilevit-xxs-elpv"
NETWORK, CARD = MODEL / "model.onnx", read_card(MODEL / "card.json")
DAYS = 1000


@pytest.fixture(scope="module")
def trial() -> DriftTrial:
    """With the reference that the model comes with, on images that neither of them has seen."""
    images = [sample.path for sample in split(load_elpv()).test]
    return try_out(NETWORK, CARD, read_reference(MODEL / "reference.json"), images, days=DAYS)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("darker", {"brightness"}),
        ("brighter", {"brightness"}),
        ("blurred", {"sharpness"}),
        ("turned", {"direction"}),
        ("tilted", {"direction", "class"}),
        ("grained", {"sharpness", "class"}),
    ],
)
def test_a_change_is_named_in_the_hour_in_which_it_began(
    trial: DriftTrial, name: str, moves: set[str]
) -> None:
    change = {change.name: change for change in trial.changes}[name]

    assert moves <= {*change.moved}
    assert change.late_hours == 0


def test_what_the_network_answers_moves_with_angle_and_material(trial: DriftTrial) -> None:
    changes: dict[str, PlayedChange] = {change.name: change for change in trial.changes}

    for name in ("turned", "tilted", "grained"):
        assert {"score", "class"} & {*changes[name].moved}, name


def test_days_on_which_nothing_changed_raise_an_alarm_once_in_a_hundred_at_most(
    trial: DriftTrial,
) -> None:
    require_valid("bench.drift", trial.to_json())
    shuffled, in_order = trial.unchanged
    assert (shuffled.order, shuffled.days) == ("shuffled", DAYS)
    assert shuffled.alarms <= DAYS // 100
    # Of cells in the order of their modules each day has other modules: that is no chance.
    assert in_order.rate > shuffled.rate


@cache
def answered(kind: str) -> tuple[Observation, ...]:
    """Of cells of one kind in no order: those of one module are alike."""
    parts = split(load_elpv())
    cells = [sample for sample in parts.validation + parts.test if sample.cell_type == kind]
    order = np.random.default_rng(1).permutation(len(cells))[:300]
    return tuple(observe(NETWORK, CARD, [cells[place].path for place in order]))


def reference(observations: Sequence[Observation]) -> Reference:
    return Reference(schema_=1, images=len(observations), statistics=histograms_of(observations))


@pytest.mark.parametrize(("before", "after"), [("mono", "poly"), ("poly", "mono")])
def test_another_kind_of_cell_is_another_material(before: str, after: str) -> None:
    profile_reference, usual = reference(answered(before)[100:]), answered(before)[:100]
    other = [answered(after)[at : at + 50] for at in range(0, 200, 50)]

    assert moved(hourly([usual[:50], usual[50:]]), profile_reference) == ()
    drifts = moved(hourly([usual[:50], usual[50:], *other]), profile_reference)

    assert "sharpness" in {drift.name for drift in drifts}  # the grains of poly cells are edges
    assert min(drift.since for drift in drifts if drift.since is not None) == 2 * HOUR_S
