import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS, Dataset, Sample, Split, split

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.contract.card import PerImage  # noqa: E402
from edgewright.model.contract.preprocess import normalize  # noqa: E402
from edgewright.model.train import arrays  # noqa: E402
from edgewright.model.train import run as training  # noqa: E402
from edgewright.model.train.activations import activation_bytes  # noqa: E402
from edgewright.model.train.arrays import load  # noqa: E402
from edgewright.model.train.augment import augment, standardize  # noqa: E402
from edgewright.model.train.checkpoint import Epoch, facts, history, load_network  # noqa: E402
from edgewright.model.train.config import Stage, TrainConfig  # noqa: E402
from edgewright.model.train.mobilevit import MobileViT  # noqa: E402
from edgewright.model.train.run import Tick, train  # noqa: E402
from edgewright.model.train.scores import calibrate  # noqa: E402
from edgewright.model.train.weights import load_weights  # noqa: E402

pytestmark = pytest.mark.model


class Watch:
    """Remembers what it is told, and may do something at a step."""

    def __init__(self, at: int = -1, then: object = None) -> None:
        self.begun: list[tuple[int, str]] = []
        self.ticks: list[Tick] = []
        self.epochs: list[Epoch] = []
        self.at, self.then = at, then
        self.share = -1.0

    def begin(self, step: int, source: str) -> None:
        self.begun.append((step, source))

    def head(self, accuracy: float, auc: float) -> None:
        """Nothing to remember: with a share of 0 it is the result."""

    def choice(self, share: float, accuracy: float, auc: float) -> None:
        self.share = share

    def step(self, tick: Tick) -> None:
        self.ticks.append(tick)
        if tick.step == self.at:
            if isinstance(self.then, Exception):
                raise self.then
            signal.raise_signal(signal.SIGINT)

    def epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    @property
    def losses(self) -> list[float]:
        return [tick.loss for tick in self.ticks]


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


@pytest.fixture
def dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(name="sliver", labels=LABELS, samples=samples)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        checkpoint=tmp_path / "run.pt",
        arch="xxs",
        resolution=32,
        epochs=2,
        batch=8,
        threads=1,
        learning_rate=2e-3,
    )


def test_the_loss_falls_through_the_stages(
    config: TrainConfig, dataset: Dataset, data: Split
) -> None:
    watch = Watch()
    stages = (Stage(until=0.5, scale=0.5), Stage(until=1.0, scale=1.0))
    longer = replace(config, epochs=4, resolution=64, stages=stages)
    train(longer, dataset, data, watch)
    assert [epoch.size for epoch in watch.epochs] == [32, 32, 64, 64]
    assert np.mean(watch.losses[-6:]) < np.mean(watch.losses[:6]) - 0.02
    assert history(config.checkpoint) == watch.epochs
    facts_of_run = facts(config.checkpoint)
    assert (facts_of_run["architecture"], facts_of_run["from"]) == ("mobilevit-xxs", "scratch")
    assert facts_of_run["resolutions"] == [32, 64]


def test_an_interrupted_run_goes_on_with_the_same_numbers(
    config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    uninterrupted, first, second = Watch(), Watch(at=8), Watch()
    train(config, dataset, data, uninterrupted)
    cut = replace(config, checkpoint=tmp_path / "cut.pt")
    with pytest.raises(KeyboardInterrupt):
        train(cut, dataset, data, first)
    train(cut, dataset, data, second)
    assert first.begun + second.begun == [(0, "scratch"), (8, "scratch")]
    assert second.ticks[0].step == 9  # inside the second epoch
    assert first.losses + second.losses == uninterrupted.losses
    assert [epoch.auc for epoch in first.epochs + second.epochs] == [
        e.auc for e in uninterrupted.epochs
    ]
    pairs = [load_network(c.checkpoint).state_dict() for c in (config, cut)]
    assert all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


@pytest.mark.parametrize("is_kept", [True, False])
def test_batch_statistics_measured_anew_are_kept_where_they_serve_better(
    is_kept: bool,
    config: TrainConfig,
    dataset: Dataset,
    data: Split,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[MobileViT] = []
    monkeypatch.setattr(training, "settle", lambda network, _: measured.append(network))
    monkeypatch.setattr(
        training,
        "validate",
        lambda network, _: (0.5, 0.9 if (network in measured) == is_kept else 0.8),
    )
    monkeypatch.setattr(training, "calibrate", lambda network, _: centred.append(network))
    centred: list[MobileViT] = []
    train(replace(config, epochs=1), dataset, data, Watch())
    assert (centred == measured) == is_kept


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    config: TrainConfig, dataset: Dataset, data: Split
) -> None:
    with pytest.raises(MemoryError):
        train(config, dataset, data, Watch(at=8, then=MemoryError()))
    watch = Watch()
    train(config, dataset, data, watch)
    assert watch.ticks[0].step == 7  # after the first epoch


def test_a_run_by_the_clock_ends_on_time(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(training, "monotonic", lambda: float(next(clock)))
    watch = Watch()
    train(replace(config, minutes=0.25), dataset, data, watch)
    assert watch.ticks[-2].passed < 1 <= watch.ticks[-1].passed
    assert 15 <= watch.epochs[-1].seconds < 30


def test_no_half_checkpoint_is_left(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(config, epochs=1), dataset, data, Watch())
    checkpoint = config.checkpoint.read_bytes()

    def torn(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space"):
        train(config, dataset, data, Watch())
    assert config.checkpoint.read_bytes() == checkpoint


def test_a_checkpoint_of_another_run_is_refused(
    config: TrainConfig, dataset: Dataset, data: Split
) -> None:
    train(replace(config, epochs=1), dataset, data, Watch())
    with pytest.raises(UserError) as caught:
        train(replace(config, arch="xs"), dataset, data, Watch())
    assert str(caught.value) == (
        f"{config.checkpoint}: is of another run\n"
        "  arch: it has mobilevit-xxs, asked for mobilevit-xs\n"
        "next: give the same options, or another --run"
    )


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_network(tmp_path / "none.pt")
    torn = tmp_path / "torn.pt"
    torn.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match="is not a checkpoint of this program"):
        load_network(torn)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = MobileViT("xxs").state_dict()
    state["body.classifier.bias"][0] = float("nan")
    path = tmp_path / "nan.pt"
    torch.save(state, path)
    with pytest.raises(UserError) as caught:
        load_weights(MobileViT("xxs"), path)
    assert "hold values that are not finite\n  body.classifier.bias" in str(caught.value)


def test_given_weights_are_taken_where_they_fit(tmp_path: Path) -> None:
    """Names without our prefix, colours in the first layer, a head of another size."""
    state = {name.removeprefix("body."): v for name, v in MobileViT("xxs").state_dict().items()}
    stem = "mobilevit.conv_stem.convolution.weight"
    state[stem] = state[stem].repeat(1, 3, 1, 1)
    state["classifier.weight"] = torch.zeros(1000, 320)
    torch.save(state, tmp_path / "given.pt")
    network = MobileViT("xxs")
    source = load_weights(network, tmp_path / "given.pt")
    assert re.fullmatch(r"given\.pt; 1 of \d+ tensors did not fit", source)
    loaded = network.state_dict()[f"body.{stem}"]
    torch.testing.assert_close(loaded, state[stem].sum(1, keepdim=True))


def test_a_run_starts_from_another_ones_averaged_weights(
    config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    train(replace(config, epochs=1), dataset, data, Watch())
    network, watch = MobileViT("xxs"), Watch()
    assert load_weights(network, config.checkpoint) == "mobilevit-xxs, 1 epochs from scratch"
    weights = load_network(config.checkpoint).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    other = replace(config, weights=config.checkpoint, checkpoint=tmp_path / "on.pt", epochs=1)
    train(other, dataset, data, watch)
    assert watch.begun == [(0, "mobilevit-xxs, 1 epochs from scratch")]
    assert facts(other.checkpoint)["from"] == "mobilevit-xxs, 1 epochs from scratch"


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="has no tensor that fits"):
        load_weights(MobileViT("xxs"), tmp_path / "other.pt")
    (tmp_path / "torn.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match="holds no weights"):
        load_weights(MobileViT("xxs"), tmp_path / "torn.pt")


def test_a_loss_that_is_not_finite_ends_the_run(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "augment", lambda images: images * float("nan"))
    with pytest.raises(UserError, match="step 0: the loss is not finite"):
        train(config, dataset, data, Watch())
    assert not config.checkpoint.exists()


def test_too_little_memory_is_told_before_it_runs_out(
    config: TrainConfig, dataset: Dataset, data: Split
) -> None:
    with pytest.raises(UserError, match="training at 256x256: there is too little memory"):
        train(replace(config, resolution=256, batch=100_000), dataset, data, Watch())
    assert not list(config.checkpoint.parent.iterdir())


def test_memory_for_activations_grows_with_the_image() -> None:
    network = MobileViT("xxs")
    small, large = (activation_bytes(network, size) for size in (64, 128))
    assert 2**20 < small < 2**25
    assert large == 4 * small


def test_the_learning_rate_rises_then_falls(config: TrainConfig) -> None:
    rates = [training.learning_rate_at(config, passed) for passed in np.linspace(0, 1, 100)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(config.learning_rate, rel=0.01)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * config.learning_rate)


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


def test_the_mean_probability_becomes_the_share_of_defects(
    config: TrainConfig, data: Split
) -> None:
    torch.manual_seed(0)
    network = MobileViT("xxs").eval()
    held = load(data.train, 64, 2, config)
    calibrate(network, held)
    with torch.no_grad():
        scores = network(next(held.inputs.plain(len(held.labels)))).softmax(1)[:, 1]
    assert float(scores.mean()) == pytest.approx(float(held.labels.double().mean()), abs=1e-3)


def test_three_classes_of_a_folder_train_too(
    config: TrainConfig, samples: tuple[Sample, ...]
) -> None:
    three = tuple(Sample(path=s.path, category=i % 3) for i, s in enumerate(samples))
    dataset = Dataset(name="folder", labels=("a", "b", "c"), samples=three)
    watch = Watch()
    train(replace(config, epochs=1), dataset, split(three), watch)
    assert load_network(config.checkpoint)(torch.zeros(1, 1, 64, 64)).shape == (1, 3)
    assert 0 <= watch.epochs[0].auc <= 1
