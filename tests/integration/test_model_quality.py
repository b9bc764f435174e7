"""The pipeline from an ONNX file on, with ELPV's own images."""

import shutil
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS
from edgewright.model.judge.images import load_part
from edgewright.model.pack.workflow import Quantization, evaluate, judging, quantize
from tests.checkout import checkout
from tests.unit.model import small_cnn

pytestmark = pytest.mark.model
pytest.importorskip("elpv_dataset")

MODEL = checkout().default_model


def test_the_demo_model_finds_defects_in_elpvs_test_part() -> None:
    answers = evaluate(judging(MODEL, "elpv", count=40))

    assert answers.dataset.labels == LABELS
    assert answers.metrics.count == 40
    assert answers.metrics.auc.value > 0.65


def test_elpvs_test_images_are_no_calibration_images(tmp_path: Path) -> None:
    """By content: they come in a folder of one's own, under other names."""
    for number, sample in enumerate(load_part("elpv", "test").samples[:40]):
        folder = tmp_path / "cells" / LABELS[sample.label]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, folder / f"{number}.png")
    small_cnn.write_network(tmp_path / "net", tmp_path / "cells")
    request = Quantization(
        model=tmp_path / "net" / "net.onnx",
        out=tmp_path / "out",
        calibration=str(tmp_path / "cells"),
    )

    with pytest.raises(UserError, match="of its images are test images"):
        quantize(request, lambda line: None)
    assert not (tmp_path / "out").exists()
