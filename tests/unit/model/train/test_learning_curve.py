"""How many images are enough: the last layer fitted to some of those that train."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS, Dataset, Sample, split

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.train.architectures import new_network  # noqa: E402
from edgewright.model.train.arrays import load  # noqa: E402
from edgewright.model.train.config import TrainConfig  # noqa: E402
from edgewright.model.train.efficientnet_lite import LITE0  # noqa: E402
from edgewright.model.train.head_fit import fit_head  # noqa: E402
from edgewright.model.train.learning_curve import CurveRequest, learning_curve  # noqa: E402
from edgewright.model.train.scores import validate  # noqa: E402
from edgewright.model.train.weights import first_weights  # noqa: E402

pytestmark = pytest.mark.model

REQUEST = CurveRequest(arch=LITE0, counts=(10, 20, 1000), draws=3, resolution=32, threads=1)


@pytest.fixture
def dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(name="sliver", labels=LABELS, samples=samples)


def test_all_images_give_what_training_starts_from(dataset: Dataset, tmp_path: Path) -> None:
    data = split(dataset.samples)
    curve = learning_curve(dataset, data, REQUEST)
    assert [point.images for point in curve.points] == [10, 20, len(data.train)]
    assert [point.draws for point in curve.points] == [3, 3, 1]
    assert curve.judged_by == len(data.validation)
    config = TrainConfig(checkpoint=tmp_path / "run.pt", arch=LITE0, resolution=32, pretrained=True)
    network = new_network(LITE0, 2, 0)
    first_weights(network, config)
    fit_head(network, load(data.train, 32, 2, config))
    accuracy, area = validate(network, load(data.validation, 32, 2, config))
    all_images = curve.points[-1]
    assert (all_images.accuracy.mean, all_images.auc.mean) == (round(accuracy, 4), round(area, 4))


def test_the_choices_of_images_differ_and_come_again(dataset: Dataset) -> None:
    data = split(dataset.samples)
    few = replace(REQUEST, counts=(20,), resolution=64)
    first, again = (learning_curve(dataset, data, few) for _ in range(2))
    assert first == again
    (point,) = first.points
    assert point.accuracy.lowest < point.accuracy.mean < point.accuracy.highest


def test_numbers_that_no_curve_can_have() -> None:
    with pytest.raises(UserError, match="9 images: are too few to train on, expected 10"):
        replace(REQUEST, counts=(100, 9))
    with pytest.raises(UserError, match="draws 0: must be above 0"):
        replace(REQUEST, draws=0)
