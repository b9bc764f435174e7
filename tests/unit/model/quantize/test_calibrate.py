"""Ranges: exact extremes, percentiles near numpy's, outliers cut."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import Floats
from edgewright.model.judge.data import Sample
from edgewright.model.judge.images import Inputs
from edgewright.model.quantize.calibrate import Calibration, calibrate
from edgewright.model.quantize.recipe import Recipe, prepare, quantize_prepared
from edgewright.model.quantize.sqnr import measure_noise, nodes_around, noisiest


@pytest.fixture(scope="module")
def images() -> Floats:
    """Noise, with one bright pixel in one of the images."""
    pixels = np.random.default_rng(5).normal(0, 1, (8, 1, 48, 64)).astype(np.float32)
    pixels[3, 0, 10, 10] = 500
    return pixels


@pytest.fixture(scope="module")
def prepared(network_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "net.onnx"
    return prepare(network_file, out)


@pytest.fixture(scope="module")
def calibration(prepared: Path, images: Floats) -> Calibration:
    return calibrate(prepared, (image[np.newaxis] for image in images))


def bounds(calibration: Calibration, *how: object) -> tuple[float, float]:
    low, high = calibration.ranges(*how)["image"].range_value  # type: ignore[arg-type]
    return float(low), float(high)


def test_minmax_is_exact(calibration: Calibration, images: Floats) -> None:
    assert bounds(calibration, "minmax") == (images.min(), 500)


@pytest.mark.parametrize(("method", "limit"), [("percentile", 20), ("entropy", 300)])
def test_an_outlier_is_cut(method: str, limit: float, calibration: Calibration) -> None:
    assert bounds(calibration, method, 99.9)[1] < limit


def test_a_percentile_is_numpys(calibration: Calibration, prepared: Path, images: Floats) -> None:
    calm = np.delete(images, 3, axis=0)
    low, high = bounds(calibrate(prepared, (x[np.newaxis] for x in calm)), "percentile", 98.0)
    expected = np.percentile(calm, [1, 99])
    np.testing.assert_allclose([low, high], expected, atol=0.02)


def test_every_method_has_a_range_for_every_tensor(calibration: Calibration) -> None:
    names = {"minmax": set(calibration.ranges("minmax"))}
    names["percentile"] = set(calibration.ranges("percentile"))
    names["entropy"] = set(calibration.ranges("entropy"))
    assert len(set(map(frozenset, names.values()))) == 1
    assert {"image", "logits"} <= names["minmax"]


def test_a_tensor_that_overflows_is_named(prepared: Path) -> None:
    with pytest.raises(UserError, match="not finite on a calibration image\n  tensor: "):
        calibrate(prepared, [np.full((1, 1, 48, 64), np.inf, np.float32)])


def test_noise_of_a_network_against_itself_is_none(prepared: Path, images: Floats) -> None:
    noise = measure_noise(prepared, prepared, [images[:1]])
    assert {tensor.total for tensor in noise} == {120.0}
    assert all(tensor.local is None for tensor in noise)


def test_the_tensor_rounded_worst_is_found(
    network_file: Path, samples: tuple[Sample, ...], card: Card, tmp_path: Path
) -> None:
    """Ranges stretched a thousandfold for one tensor make it the noisiest."""
    rows = list(Inputs(samples=samples[:4], card=card))
    path = prepare(network_file, tmp_path / "prepared.onnx")
    ranges = calibrate(path, rows)
    ranges.extremes["c"][1] *= 1000
    int8 = quantize_prepared(path, ranges, tmp_path / "int8.onnx", Recipe(method="minmax"))
    worst = noisiest(measure_noise(path, int8, rows), 1)[0]
    assert (worst.tensor, worst.operator) == ("c", "Mul")
    assert worst.local is not None
    assert worst.local < 20
    around = nodes_around(onnx.load(path).graph, [worst.tensor])
    assert set(around) == {"mul", "mean"}


@pytest.mark.parametrize("method", ["percentile", "minmax"])
def test_a_tensor_that_is_nearly_zero_at_first_has_the_range_of_all(
    method: str, prepared: Path, images: Floats
) -> None:
    """A mask, or a detector's answer to an empty picture: bins of that width would be millions."""
    rows = [images[:1] * np.float32(1e-9), *(images[place : place + 1] for place in (1, 2))]

    first, last = calibrate(prepared, rows), calibrate(prepared, rows[::-1])

    np.testing.assert_allclose(bounds(first, method, 99.9), bounds(last, method, 99.9), rtol=0.05)
    assert len(first.histogram("image")[0]) < 100_000
