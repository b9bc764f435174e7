"""Quantization-aware training: what is rounded, and that nothing of it stays."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS, Dataset, Sample, Split, split

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.train.activations import activation_bytes  # noqa: E402
from edgewright.model.train.architectures import new_network  # noqa: E402
from edgewright.model.train.checkpoint import facts, load_network, read_checkpoint  # noqa: E402
from edgewright.model.train.config import FULL, TrainConfig, fine_tuning  # noqa: E402
from edgewright.model.train.rounding import (  # noqa: E402
    learn_rounding,
    round_values,
    round_weights,
)
from edgewright.model.train.run import train  # noqa: E402
from tests.unit.model.train.test_run import Watch  # noqa: E402

pytestmark = pytest.mark.model


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


@pytest.fixture
def dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(name="sliver", labels=LABELS, samples=samples)


def test_weights_take_255_steps_of_each_output_and_never_minus_128() -> None:
    torch.manual_seed(0)
    weights = torch.randn(3, 5, 7) * torch.tensor([1.0, 100.0, 0.0])[:, None, None]
    steps = weights.flatten(1).abs().amax(1).clamp_min(1e-8)[:, None, None] / 127
    units = round_weights(weights) / steps
    np.testing.assert_allclose(units, (weights / steps).round(), atol=1e-4)
    assert units.abs().max() <= 127.001


@pytest.mark.parametrize("low", [-3.0, 0.0, 2.0])
def test_values_take_256_steps_and_zero_stays_zero(low: float) -> None:
    values = torch.linspace(low, 9.0, 10_000)
    values[5] = 0.0
    rounded = round_values(values)
    step = (9 - min(low, 0.0)) / 255
    assert len(rounded.unique()) <= 256
    assert rounded[5] == 0
    assert (rounded - values).abs().max() <= step * 1.01  # zero's own place is rounded too


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    values = torch.linspace(-1, 1, 64, requires_grad=True)
    round_values(values).sum().backward()
    np.testing.assert_array_equal(values.grad, 1)


@pytest.mark.parametrize("arch", ["mobilevit-xxs", "efficientnet-lite0"])
def test_a_network_rounds_while_it_learns_and_is_itself_otherwise(arch: str) -> None:
    torch.manual_seed(0)
    plain = new_network(arch, 2).eval()
    images = torch.rand(2, 1, 64, 64)
    before, names = plain(images), [*plain.state_dict()]
    learn_rounding(plain)
    assert [*plain.state_dict()] == names
    assert torch.equal(plain(images), before)
    plain.train()
    learnt = plain(images)
    assert not torch.allclose(learnt, before)
    learnt.sum().backward()
    assert all(
        value.grad is None or bool(torch.isfinite(value.grad).all()) for value in plain.parameters()
    )


@pytest.mark.parametrize("arch", ["mobilevit-xxs", "efficientnet-lite0"])
def test_a_run_goes_on_from_weights_and_leaves_a_plain_network(
    arch: str, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    first = TrainConfig(
        checkpoint=tmp_path / "run.pt", arch=arch, resolution=32, epochs=1, batch=8, threads=1
    )
    train(first, dataset, data, Watch())
    on = replace(
        first,
        checkpoint=tmp_path / "on.pt",
        weights=first.checkpoint,
        stages=FULL,
        learning_rate=5e-5,
    )
    if arch == "efficientnet-lite0":
        on = fine_tuning(on, 5)
    rounding = replace(on, checkpoint=tmp_path / "rounding.pt", quantization_aware=True)
    plain, watch = Watch(), Watch()
    train(on, dataset, data, plain)
    train(rounding, dataset, data, watch)
    assert watch.losses != plain.losses
    assert facts(rounding.checkpoint)["quantization_aware"] is True
    assert facts(on.checkpoint)["quantization_aware"] is False
    saved = read_checkpoint(rounding.checkpoint)
    assert [*load_network(rounding.checkpoint).state_dict()] == [*saved["average"]]
    with pytest.raises(UserError, match="quantization_aware: it has True, asked for False"):
        train(replace(on, checkpoint=rounding.checkpoint), dataset, data, Watch())


def test_rounding_is_for_weights_that_are_good(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        TrainConfig(checkpoint=tmp_path / "run.pt", arch="xxs", quantization_aware=True)
    assert str(caught.value) == (
        "--quantized: is for weights that are good already\n"
        "next: invoke model.train --arch=xxs --quantized --weights=build/model/xxs/run.pt "
        "--run=build/model/xxs-int8"
    )


def test_rounding_goes_on_from_the_whole_of_a_network(
    dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    small = TrainConfig(
        checkpoint=tmp_path / "xxs.pt", arch="xxs", resolution=32, epochs=1, batch=8, threads=1
    )
    train(small, dataset, data, Watch())
    other = replace(
        small,
        checkpoint=tmp_path / "xs.pt",
        arch="xs",
        weights=small.checkpoint,
        quantization_aware=True,
    )
    with pytest.raises(UserError, match=r"xxs\.pt: is of another network"):
        train(other, dataset, data, Watch())


def test_the_memory_that_rounding_takes_is_asked_for() -> None:
    network = new_network("mobilevit-xxs", 2)
    plain, statistics = activation_bytes(network, 64), deepcopy(network.state_dict())
    learn_rounding(network)
    assert activation_bytes(network, 64) > 1.2 * plain
    for name, value in network.state_dict().items():
        assert torch.equal(value, statistics[name]), name
