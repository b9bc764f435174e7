"""What ONNX Runtime prints and logs is kept back without touching the process's own streams."""

import logging

import numpy as np
import pytest
from onnxruntime.quantization import calibrate as ort_calibrate
from onnxruntime.quantization import quantize

from edgewright.model.quantize import calibrate, recipe


def test_its_ranges_print_nothing_and_standard_output_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate  # which keeps it from printing
    collector = ort_calibrate.HistogramCollector("percentile", False, 8, 8, 99.9, "same")
    collector.histogram_dict = {"x": (np.ones(8), np.linspace(-1, 1, 9), -1.0, 1.0)}

    collector.compute_percentile()

    assert capsys.readouterr().out == ""


def test_its_warnings_are_kept_back_and_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    def log(pathname: str, level: int) -> None:
        root = logging.getLogger()
        root.handle(root.makeRecord("root", level, pathname, 1, pathname, (), None))

    with recipe._silent():
        log(quantize.__code__.co_filename, logging.WARNING)
        log(quantize.__code__.co_filename, logging.ERROR)
        log("/home/me/app.py", logging.WARNING)

    assert [(r.levelname, r.pathname) for r in caplog.records] == [
        ("ERROR", quantize.__code__.co_filename),
        ("WARNING", "/home/me/app.py"),
    ]
