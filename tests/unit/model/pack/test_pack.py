"""From a checkpoint to a model folder, in one go."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card, read_card
from edgewright.model.convert.inspect import inspect
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import LABELS, Dataset, Sample, write_split
from edgewright.model.pack import golden
from edgewright.model.pack.golden import Choice
from edgewright.model.pack.licence import licence
from edgewright.model.pack.readme import readme
from edgewright.model.quantize.recipe import RECIPES
from edgewright.model.train import run_folder
from edgewright.model.train.run_folder import RunFolder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.pack.folder import (  # noqa: E402
    advice_on_int8,
    export_run,
    make_model_folder,
    with_temperature,
)
from edgewright.model.train.checkpoint import Origin, fresh_state, write_checkpoint  # noqa: E402
from edgewright.model.train.config import TrainConfig  # noqa: E402
from edgewright.model.train.export import Exported  # noqa: E402
from edgewright.model.train.mobilevit import MobileViT  # noqa: E402

pytestmark = pytest.mark.model


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A run, the model folder made of it, and the export on the way."""

    run: RunFolder
    folder: Path
    card: Card
    exported: Exported


@pytest.fixture(autouse=True, scope="module")
def sliver(samples: tuple[Sample, ...]) -> Iterator[Dataset]:
    """Few images and one recipe."""
    dataset = Dataset(name="elpv", labels=LABELS, samples=samples)
    few = {"RECIPES": RECIPES[:1], "CALIBRATION_IMAGES": 8, "COMPARED_IMAGES": 8}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(f"edgewright.model.pack.folder.{name}", value)
        patch.setattr(run_folder, "load_dataset", lambda name: dataset)
        yield dataset


@pytest.fixture(scope="module")
def run(sliver: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose network was not trained: it is unsure about every image."""
    run = RunFolder(root=tmp_path_factory.mktemp("runs") / "run")
    parts = run_folder.begin(run, sliver, resume=False)
    config = TrainConfig(checkpoint=run.checkpoint, arch="xxs", resolution=64)
    torch.manual_seed(0)
    network = MobileViT("xxs")
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    state = fresh_state(config, network, torch.device("cpu"))
    write_split(parts, run.split)
    write_checkpoint(state, Origin.of(config, sliver, parts), run.checkpoint)
    return run


@pytest.fixture(scope="module")
def packed(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    folder = tmp_path_factory.mktemp("models") / "small"
    exports: list[Exported] = []

    def noted(run: RunFolder, out: Path) -> Exported:
        exports.append(export_run(run, out))
        return exports[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden, "MARGIN", -1)  # golden answers of an unsure network
        two = lambda answers, _: Choice(samples=answers.dataset.samples[:2], left_out=())  # noqa: E731
        patch.setattr(golden, "choose", two)
        patch.setattr(golden, "_is_steady", lambda moved, lead: True)
        patch.setattr("edgewright.model.pack.folder.export_run", noted)
        card = make_model_folder(run, folder, lambda _: None)
    return Packed(run=run, folder=folder, card=card, exported=exports[0])


def test_a_model_folder_is_made_as_a_whole(packed: Packed) -> None:
    folder, card = packed.folder, read_card(packed.folder / "card.json")
    assert card == packed.card
    assert card.input.shape == (1, 1, 64, 64)
    assert card.training["architecture"] == "mobilevit-xxs"
    assert (folder / "README.md").read_text() == readme(card)
    assert (folder / "LICENSE").read_text() == licence(card)
    assert len(list((folder / "golden").glob("*.*g"))) == 4
    assert inspect(folder / card.file.name).types["int8"] > 900_000
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_the_card_gets_the_temperature_of_the_validation_part(
    sliver: Dataset, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is right three times in four, and sure of it each time, is too sure."""
    truth = np.array([sample.label for sample in sliver.samples])
    is_right = np.arange(len(truth)) // 2 % 4 != 0
    sure = np.where((truth == 1) == is_right, 0.99, 0.01)
    answers = Answers(dataset=sliver, probabilities=np.stack([1 - sure, sure], axis=1), positive=1)
    monkeypatch.setattr("edgewright.model.pack.folder.judge", lambda *_: answers)
    temperature = with_temperature(card, Path("model.onnx"), sliver).output.temperature
    mended = 1 / (1 + np.exp(-np.log(0.99 / 0.01) / temperature))
    assert mended == pytest.approx(is_right.mean(), abs=0.01)


def test_int8_that_costs_accuracy_is_named_with_what_mends_it(sliver: Dataset) -> None:
    truth = np.array([sample.label for sample in sliver.samples])

    def answers(wrong: int) -> Answers:
        defective = np.where(np.arange(len(truth)) < wrong, 1 - truth, truth).astype(float)
        probabilities = np.stack([1 - defective, defective], axis=1)
        return Answers(dataset=sliver, probabilities=probabilities, positive=1)

    run = RunFolder(root=Path("build/model/small"))
    assert advice_on_int8(answers(3), answers(2), run, "xxs") is None
    advice = advice_on_int8(answers(0), answers(3), run, "xxs") or ""
    assert float(advice.split()[2]) == pytest.approx(300 / len(truth), abs=0.1)
    assert advice.endswith(
        " points; to learn with its rounding: invoke model.train --arch=xxs --quantized "
        "--weights=build/model/small/run.pt --run=build/model/small-int8"
    )


def test_a_folder_that_cannot_be_finished_leaves_the_old_one(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export and quantization go well, as before; then the answers are no golden ones."""

    def quantized(fp32: Path, parts: object, card: object, out: Path, tell: object) -> list[Any]:
        shutil.copy(packed.folder / "model.onnx", out)
        return [SimpleNamespace(name="as before", distance=0.0)]

    monkeypatch.setattr("edgewright.model.pack.folder.export_run", lambda *_: packed.exported)
    monkeypatch.setattr("edgewright.model.pack.folder.choose_recipe", quantized)
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("old")
    with pytest.raises(UserError, match=r"golden: none of .* is answered rightly and surely"):
        make_model_folder(packed.run, folder, lambda _: None)
    assert (folder / "model.onnx").read_text() == "old"
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_weights_that_are_not_finite_are_not_exported(run: RunFolder, tmp_path: Path) -> None:
    saved = torch.load(run.checkpoint)
    saved["average"]["body.classifier.bias"][0] = float("nan")
    bad = RunFolder(root=tmp_path / "run")
    shutil.copytree(run.root, bad.root)
    torch.save(saved, bad.checkpoint)
    with pytest.raises(UserError, match=r"not finite\n  body\.classifier\.bias"):
        export_run(bad, tmp_path / "fp32.onnx")
    assert not (tmp_path / "fp32.onnx").exists()
