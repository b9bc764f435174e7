from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import UserError

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from edgewright.model.convert.inspect import inspect  # noqa: E402
from edgewright.model.judge.data import LABELS, Dataset, Sample, split  # noqa: E402
from edgewright.model.train import pruned_run, run_folder  # noqa: E402
from edgewright.model.train.checkpoint import facts, load_network  # noqa: E402
from edgewright.model.train.config import FULL, TrainConfig  # noqa: E402
from edgewright.model.train.export import export  # noqa: E402
from edgewright.model.train.mobilevit import MobileViT  # noqa: E402
from edgewright.model.train.network import reshape_like  # noqa: E402
from edgewright.model.train.prune import Target, cost_of, prune  # noqa: E402
from edgewright.model.train.pruned_run import begin_pruned, parse_amount  # noqa: E402
from edgewright.model.train.run import train  # noqa: E402
from edgewright.model.train.run_folder import RunFolder  # noqa: E402
from tests.unit.model.train.test_run import Watch  # noqa: E402

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True, scope="module")
def few_rounds() -> Iterator[None]:
    """A bisection in three steps is exact enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewright.model.train.prune.ROUNDS", 3)
        yield


def losses(network: MobileViT) -> Any:
    torch.manual_seed(0)
    yield network(torch.randn(4, 1, 64, 64)).logsumexp(1).mean()


def stirred() -> MobileViT:
    """A network whose every weight matters: blocks start at zero."""
    torch.manual_seed(0)
    network = MobileViT("xxs")
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return network  # type: ignore[no-any-return, unused-ignore]


@pytest.fixture(scope="module")
def pruned() -> MobileViT:
    network = stirred()
    return prune(network, Target(macs=cost_of(network, 64).macs * 8 // 10), losses, 64)


def test_the_target_is_met_by_multiples_of_eight(pruned: MobileViT) -> None:
    before, after = cost_of(MobileViT("xxs"), 64), cost_of(pruned, 64)
    assert 0.65 < after.macs / before.macs <= 0.8
    assert after.bytes < before.bytes
    widths = {m.weight.shape[0] for m in pruned.body.mobilevit.modules() if hasattr(m, "weight")}
    assert {width % 8 for width in widths} == {0}


def test_the_network_between_blocks_is_as_wide_as_before(pruned: MobileViT) -> None:
    unpruned = MobileViT("xxs")
    for name, module in unpruned.named_modules():
        if name.endswith(("reduce_1x1.convolution", "fusion.convolution", "output.dense")):
            assert module.weight.shape[0] == pruned.get_submodule(name).weight.shape[0], name


def test_a_pruned_network_is_rebuilt_from_its_weights(pruned: MobileViT) -> None:
    again = MobileViT("xxs")
    reshape_like(again, pruned.state_dict())
    again.load_state_dict(pruned.state_dict())
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(image), pruned.eval()(image))


def test_multiplications_count_as_in_the_onnx_file(pruned: MobileViT, tmp_path: Path) -> None:
    counted = inspect(export(pruned, tmp_path / "fp32.onnx", size=64)).macs
    assert cost_of(pruned, 64).macs == pytest.approx(counted, rel=0.01)


def test_weights_can_be_the_target() -> None:
    pruned = prune(stirred(), Target(bytes=900_000), losses, 64)
    assert 800_000 < cost_of(pruned, 64).bytes <= 900_000


def test_a_target_out_of_reach_is_told_with_the_smallest() -> None:
    with pytest.raises(UserError) as caught:
        prune(MobileViT("xxs"), Target(macs=1_000_000), losses, 64)
    assert "target 1 MMAC: cannot be met" in str(caught.value)
    assert "smallest: " in str(caught.value)


def test_a_target_that_is_met_is_told() -> None:
    with pytest.raises(UserError, match="target 5,000 MMAC: is met already"):
        prune(MobileViT("xxs"), Target(macs=5_000_000_000), losses, 64)


def test_a_pruned_run_trains_and_keeps_its_widths(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(name="sliver", labels=LABELS, samples=samples)
    monkeypatch.setattr(run_folder, "load_dataset", lambda name: dataset)
    monkeypatch.setattr(pruned_run, "IMAGES", 4)
    old, new = RunFolder(root=tmp_path / "old"), RunFolder(root=tmp_path / "new")
    parts = run_folder.begin(old, dataset, resume=False)
    config = TrainConfig(checkpoint=old.checkpoint, arch="xxs", resolution=32, epochs=1, threads=1)
    train(config, dataset, parts, Watch())
    half = cost_of(load_network(old.checkpoint), 32).bytes * 9 // 10
    tune = replace(config, checkpoint=new.checkpoint, stages=FULL)
    pruned = begin_pruned(old, new, Target(bytes=half), tune)
    train(tune, dataset, split(samples), Watch())
    assert cost_of(load_network(new.checkpoint), 32) == pruned.after != pruned.before
    source = str(facts(new.checkpoint)["from"])
    assert source.startswith("mobilevit-xxs, 1 epochs from scratch, pruned to")
    with pytest.raises(UserError, match="a run is there already"):
        begin_pruned(old, new, Target(bytes=half), tune)


def test_amounts_are_read() -> None:
    assert [parse_amount(text) for text in ("1.6G", "4m", "12")] == [1_600_000_000, 4_000_000, 12]
    with pytest.raises(UserError, match="amount 'much': is no number"):
        parse_amount("much")
