import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright.model.data import Sample, Split, split

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model import train as training  # noqa: E402
from edgewright.model.augment import augment, standardize  # noqa: E402
from edgewright.model.card import PerImage  # noqa: E402
from edgewright.model.export import export, parity, without_division  # noqa: E402
from edgewright.model.network import Network  # noqa: E402
from edgewright.model.preprocess import normalize  # noqa: E402

pytestmark = pytest.mark.model
SLIVER = (
    training.Stage(until=0.5, size=32, batch=8),
    training.Stage(until=1.0, size=64, batch=8),
)


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> training.TrainConfig:
    """Thirty seconds by a clock that ticks once each time it is looked at."""
    monkeypatch.setattr(training, "FINAL_SIZE", 64)
    monkeypatch.setattr(training, "monotonic", itertools.count().__next__)
    return training.TrainConfig(
        checkpoint=tmp_path / "run.pt", minutes=0.5, threads=1, stages=SLIVER
    )


def test_training_ends_on_time_and_goes_through_the_stages(
    config: training.TrainConfig, data: Split
) -> None:
    epochs: list[training.Epoch] = []
    training.train(config, data, epochs.append)
    assert [epoch.epoch for epoch in epochs] == list(range(len(epochs)))
    assert {epoch.size for epoch in epochs} == {32, 64}
    assert epochs[-2].seconds < 30 <= epochs[-1].seconds
    assert training.history(config.checkpoint) == epochs
    assert training.facts(config.checkpoint)["resolutions"] == [32, 64]


def test_a_killed_run_goes_on(config: training.TrainConfig, data: Split) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: training.Epoch) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        training.train(config, data, kill)
    before = training.history(config.checkpoint)
    after: list[training.Epoch] = []
    training.train(config, data, after.append)
    assert after[0].epoch == len(before)
    assert after[0].seconds > before[-1].seconds


def test_no_half_checkpoint_is_left(
    config: training.TrainConfig, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(replace(config, minutes=0.1), data, lambda epoch: None)
    whole = config.checkpoint.read_bytes()

    def torn(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space"):
        training.train(config, data, lambda epoch: None)
    assert config.checkpoint.read_bytes() == whole


def test_the_learning_rate_rises_then_falls(config: training.TrainConfig) -> None:
    rates = [training.learning_rate_at(config, second) for second in np.linspace(0, 30, 100)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(config.learning_rate, rel=0.01)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * config.learning_rate)


def test_stages_follow_the_clock(config: training.TrainConfig) -> None:
    stages = [training.stage_at(config, seconds) for seconds in (0, 14, 16, 29, 30)]
    assert stages == [SLIVER[0], SLIVER[0], SLIVER[1], SLIVER[1], None]


def test_training_standardises_as_the_board_does() -> None:
    images = torch.rand(3, 1, 16, 16)
    expected = normalize(images[1].numpy() * 255, PerImage())
    np.testing.assert_allclose(standardize(images)[1].numpy(), expected, atol=1e-5)


def test_views_differ_and_keep_the_shape() -> None:
    torch.manual_seed(0)
    views = augment(torch.rand(1, 1, 32, 32).expand(4, 1, 32, 32))
    assert views.shape == (4, 1, 32, 32)
    assert torch.isfinite(views).all()
    assert not torch.allclose(views[0], views[1])


@pytest.fixture
def stirred() -> Network:
    """A network whose every weight matters."""
    torch.manual_seed(0)
    network = Network().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return network  # type: ignore[no-any-return, unused-ignore]


def test_signals_reach_the_head_at_the_start() -> None:
    torch.manual_seed(0)
    network = Network().train()
    assert network.body.mobilevit(torch.randn(4, 1, 64, 64)).pooler_output.std() > 0.01


def test_the_scale_moves_into_the_queries(stirred: Network) -> None:
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        before, after = stirred(image), without_division(stirred)(image)
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_the_mean_probability_becomes_the_share_of_defects(stirred: Network, data: Split) -> None:
    held = training.load(data.train, 64)
    training.calibrate(stirred, held)
    with torch.no_grad():
        scores = stirred(standardize(held.images)).softmax(1)[:, 1]
    assert float(scores.mean()) == pytest.approx(float(held.labels.double().mean()), abs=1e-3)


def test_onnx_agrees_with_pytorch(stirred: Network, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    out = export(stirred, tmp_path / "fp32.onnx", size=64)
    images = np.random.default_rng(0).normal(size=(3, 1, 64, 64)).astype(np.float32)
    assert parity(stirred, out, images) < 1e-3
    graph = onnx.load(out).graph
    assert [graph.input[0].name, graph.output[0].name] == ["image", "logits"]
    makers = {output: node.op_type for node in graph.node for output in node.output}
    scored = [makers[node.input[0]] for node in graph.node if node.op_type == "Softmax"]
    assert scored == ["MatMul"] * 9
