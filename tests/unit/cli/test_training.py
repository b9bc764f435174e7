"""What `model.train` makes of its options."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.cli.training import TrainOptions, _say_what_is_odd, _train_config
from edgewright.model.judge.data import load_folder, split
from edgewright.model.train.config import FULL, STAGES
from tests.unit.model.conftest import draw_cell

pytestmark = pytest.mark.model
RUN = Path("run.pt")


def test_a_network_from_random_weights_grows_with_its_resolution() -> None:
    config = _train_config(TrainOptions(arch="xxs"), RUN)
    assert (config.epochs, config.learning_rate, config.stages) == (60, 6e-4, STAGES)
    assert not config.fine_tunes


@pytest.mark.parametrize("source", [{"pretrained": True}, {"weights": "other/run.pt"}])
def test_good_weights_are_adapted_gently(source: dict[str, object]) -> None:
    options = TrainOptions(arch="efficientnet-lite0", **source)  # type: ignore[arg-type]
    config = _train_config(options, RUN)
    assert (config.epochs, config.learning_rate, config.stages) == (10, 2e-4, FULL)
    assert config.frozen == 3
    assert config.patience > 0


def test_what_is_asked_for_is_taken() -> None:
    options = TrainOptions(
        arch="efficientnet-lite0", pretrained=True, frozen=0, epochs=3, learning_rate=0.01
    )
    config = _train_config(options, RUN)
    assert (config.frozen, config.epochs, config.learning_rate) == (0, 3, 0.01)


def test_a_teacher_is_the_checkpoint_of_a_run(tmp_path: Path) -> None:
    config = _train_config(TrainOptions(arch="xxs", teacher=str(tmp_path)), RUN)
    assert config.teacher == tmp_path / "run.pt"


def test_an_image_that_trains_and_judges_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cracked", "sound"):
        (tmp_path / name).mkdir()
        for index in range(10):
            draw_cell(index, name == "cracked").save(tmp_path / name / f"{index:02}.png")
    data = load_folder(tmp_path)
    parts = split(data.samples)
    trains, judges = parts.train[0], parts.test[0]
    judges.path.write_bytes(trains.path.read_bytes())

    _say_what_is_odd(data, parts)

    message = capsys.readouterr().err
    assert "1 images that judge look like one that trains: figures flatter" in message
    assert f"  {trains.key}, {judges.key}\n" in message
