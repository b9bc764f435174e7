"""From a checkpoint to a model folder, in one go."""

from pathlib import Path

import pytest

from edgewright.errors import UserError
from edgewright.model import golden, run_folder
from edgewright.model.card import read_card
from edgewright.model.data import LABELS, Dataset, Sample
from edgewright.model.inspect import inspect
from edgewright.model.quantize import RECIPES
from edgewright.model.readme import readme
from edgewright.model.run_folder import RunFolder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.folder import export_run, make_model_folder  # noqa: E402
from edgewright.model.network import Network  # noqa: E402
from edgewright.model.train import (  # noqa: E402
    Origin,
    TrainConfig,
    fresh_state,
    write_checkpoint,
)

pytestmark = pytest.mark.model


@pytest.fixture
def run(samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run whose network was not trained: it is unsure about every image."""
    for name, few in {
        "RECIPES": RECIPES[:1],
        "CALIBRATION_IMAGES": 8,
        "COMPARED_IMAGES": 8,
    }.items():
        monkeypatch.setattr(f"edgewright.model.folder.{name}", few)
    dataset = Dataset(name="elpv", labels=LABELS, samples=samples)
    monkeypatch.setattr(run_folder, "load_dataset", lambda name: dataset)
    found = RunFolder(root=tmp_path / "run")
    parts = run_folder.begin(found, dataset, resume=False)
    config = TrainConfig(checkpoint=found.checkpoint, arch="xxs", resolution=64)
    torch.manual_seed(0)
    network = Network("xxs")
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    state = fresh_state(config, network, torch.device("cpu"))
    write_checkpoint(state, Origin.of(config, dataset, parts), found.checkpoint)
    return found


def test_a_model_folder_is_made_as_a_whole(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "MARGIN", -1)  # golden answers of an unsure network
    monkeypatch.setattr(
        "edgewright.model.folder.choose", lambda answers: answers.dataset.samples[:2]
    )
    folder = tmp_path / "models" / "small"
    made = make_model_folder(run, folder, lambda _: None)
    card = read_card(folder / "card.json")
    assert card == made
    assert card.input.shape == (1, 1, 64, 64)
    assert card.training["architecture"] == "mobilevit-xxs"
    assert (folder / "README.md").read_text() == readme(card)
    assert len(list((folder / "golden").glob("*.*g"))) == 4
    assert inspect(folder / card.file.name).types["int8"] > 900_000
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_folder_that_cannot_be_finished_leaves_the_old_one(
    run: RunFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("old")
    with pytest.raises(UserError, match="golden: too few right answers"):
        make_model_folder(run, folder, lambda _: None)
    assert (folder / "model.onnx").read_text() == "old"
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_weights_that_are_not_finite_are_not_exported(run: RunFolder, tmp_path: Path) -> None:
    saved = torch.load(run.checkpoint)
    saved["average"]["body.classifier.bias"][0] = float("nan")
    torch.save(saved, run.checkpoint)
    with pytest.raises(UserError, match=r"not finite\n  body\.classifier\.bias"):
        export_run(run, tmp_path / "fp32.onnx")
    assert not (tmp_path / "fp32.onnx").exists()
