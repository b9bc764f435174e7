from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import UserError
from edgewright.model.card import Card
from edgewright.model.data import Sample, Split, split
from edgewright.model.folder import (
    calibration_inputs,
    choose_recipe,
    data_facts,
    judge,
    metrics_facts,
    new_card,
)
from edgewright.model.quantize import Recipe


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


def test_calibration_takes_train_images(data: Split, card: Card) -> None:
    assert calibration_inputs(data, card).shape == (len(data.train), 1, 48, 64)


def test_calibration_refuses_test_images(data: Split, card: Card) -> None:
    leaking = Split(train=data.test[:4], validation=(), test=data.test)
    with pytest.raises(UserError, match="calibration: 4 of its images are test images"):
        calibration_inputs(leaking, card)


def test_the_recipe_nearest_to_fp32_is_chosen(network_file: Path, data: Split, card: Card) -> None:
    good, bad = Recipe(), Recipe(percentile=60.0)
    told: list[str] = []
    chosen, tried = choose_recipe(network_file, data, card, told.append, [bad, good])
    assert chosen == good
    assert tried[str(good)] < tried[str(bad)]
    assert len(told) == 2


def test_judging_keeps_samples_and_scores_together(
    network_file: Path, data: Split, card: Card
) -> None:
    judged = judge(network_file, data.test, card)
    assert [one.sample for one in judged.scored] == list(data.test)
    assert ((judged.scores > 0) & (judged.scores < 1)).all()
    facts = metrics_facts(judged, judged)
    assert facts["fp32"] == facts["int8"]
    assert facts["same_answer"] == 1.0


def test_the_card_tells_what_was_learnt_from(data: Split, network_file: Path) -> None:
    facts = data_facts(data)
    assert facts["license"] == "CC BY-NC-SA 4.0"
    card = new_card("name", network_file).model_copy(update={"data": facts})
    assert Card.model_validate_json(card.model_dump_json(by_alias=True)) == card
    assert np.prod(card.input.shape) == 256 * 256
