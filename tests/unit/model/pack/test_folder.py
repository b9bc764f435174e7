from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.judge.answers import judge
from edgewright.model.judge.data import LABELS, Dataset, Sample, Split, split
from edgewright.model.pack.folder import (
    Parts,
    centre,
    choose_recipe,
    data_facts,
    metrics_facts,
    new_card,
    parts_of,
)


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


@pytest.fixture
def parts(samples: tuple[Sample, ...], data: Split) -> Parts:
    return parts_of(Dataset(name="elpv", labels=LABELS, samples=samples), data)


def test_calibration_takes_train_images(parts: Parts) -> None:
    assert set(parts.calibration.samples) == set(parts.train.samples)


def test_calibration_refuses_test_images(parts: Parts) -> None:
    leaking = replace(parts, train=replace(parts.train, samples=parts.test.samples[:4]))
    with pytest.raises(UserError, match="calibration: 4 of its images are test images"):
        assert leaking.calibration


@pytest.fixture
def biased(network_file: Path, tmp_path: Path) -> Path:
    """The network with a bias in its last layer, as a classifier of PyTorch has it."""
    network = onnx.load(network_file)
    last = network.graph.node[-1]
    last.op_type = "Gemm"
    last.input.append("last_bias")
    zeros = np.zeros(2, np.float32)
    network.graph.initializer.append(onnx.numpy_helper.from_array(zeros, "last_bias"))
    onnx.save(network, tmp_path / "fp32.onnx")
    return tmp_path / "fp32.onnx"


def test_an_int8_network_is_made_and_its_answers_are_centred(
    biased: Path, parts: Parts, card: Card, tmp_path: Path
) -> None:
    out = tmp_path / "model.onnx"
    tried = choose_recipe(biased, parts, card, out, lambda _: None)
    assert tried[0].distance == min(trial.distance for trial in tried)
    shift = centre(out, parts.validation, card)
    after = judge(out, parts.validation, card, 1)
    assert abs(shift) > 0.01
    assert after.defect.mean() == pytest.approx(after.truth.mean(), abs=0.05)


def test_facts_of_quality_are_those_of_the_answers(
    network_file: Path, parts: Parts, card: Card
) -> None:
    answers = judge(network_file, parts.test, card, 1)
    facts = metrics_facts(answers, answers)
    assert facts["fp32"] == facts["int8"] == answers.metrics.as_json()
    assert facts["same_answer"] == 1.0


def test_the_card_tells_what_was_learnt_from(data: Split, network_file: Path) -> None:
    facts = data_facts(Dataset(name="elpv", labels=LABELS, samples=()), data)
    assert facts["license"] == "CC BY-NC-SA 4.0"
    card = new_card("name", network_file).model_copy(update={"data": facts})
    assert Card.model_validate_json(card.model_dump_json(by_alias=True)) == card
    assert np.prod(card.input.shape) == 256 * 256
