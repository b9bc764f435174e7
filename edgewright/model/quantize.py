"""FP32 ONNX -> INT8 ONNX: static QDQ, weights int8 per channel, activations uint8."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgewright.errors import UserError
from edgewright.model.preprocess import Floats
from edgewright.model.session import IR_VERSION

Method = Literal["minmax", "average", "percentile", "entropy"]

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "average": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_CHUNK = 4  # images whose activations are in memory together, about 160 MB each


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the ranges of activations are found; `average` is the mean of images' extremes."""

    method: Method = "minmax"
    percentile: float | None = None  # of the values, for the method of that name

    def __str__(self) -> str:
        return self.method if self.percentile is None else f"{self.method} {self.percentile}"


RECIPES = (
    Recipe(method="minmax"),
    Recipe(method="average"),
    Recipe(method="percentile", percentile=99.99),
    Recipe(method="percentile", percentile=99.999),
)


def quantize(fp32: Path, calibration: Floats, out: Path, recipe: Recipe = RECIPES[0]) -> Path:
    """Write the INT8 network; `calibration` is network inputs (N, C, H, W) of the train part."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            _Images(prepared, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=_METHODS[recipe.method],
            op_types_to_quantize=_quantizable(),
            extra_options=_options(recipe),
        )
    _finish(out)
    return out


def _options(recipe: Recipe) -> dict[str, object]:
    options: dict[str, object] = {
        "WeightSymmetric": True,
        "CalibTensorRangeSymmetric": False,  # the percentile method's default wastes half
        "CalibStridedMinMax": _CHUNK,
    }
    if recipe.method == "average":
        options["CalibMovingAverage"] = True
    if recipe.percentile is not None:
        options["CalibPercentile"] = recipe.percentile
    return options


def _quantizable() -> list[str]:
    """Every kind of node that can be INT8, except LayerNorm: it computes in float32
    whatever its weights are, so INT8 weights would only cost accuracy."""
    return sorted({*QLinearOpsRegistry, *QDQRegistry} - {"LayerNormalization"})


def _finish(path: Path) -> None:
    """Fix the IR version, then check what the board relies on."""
    model = onnx.load(path)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    refuse_lowest_weight(model, path)


def refuse_lowest_weight(model: onnx.ModelProto, path: Path) -> None:
    """Raise if an int8 weight is -128: sums of two products would overflow 16 bits on ARM."""
    bad = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
        and (onnx.numpy_helper.to_array(tensor) == -128).any()
    ]
    if bad:
        raise UserError(str(path), "int8 weights reach -128", facts=["tensors: " + ", ".join(bad)])


class _Images(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    """Feeds network inputs one by one, in chunks of `_CHUNK`."""

    def __init__(self, model: Path, inputs: Floats) -> None:
        self.name = onnx.load(model, load_external_data=False).graph.input[0].name
        self.inputs = inputs[: len(inputs) - len(inputs) % _CHUNK]
        self.rows: Iterator[Floats] = iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.rows = iter(self.inputs[start_index:end_index])

    def get_next(self) -> dict[str, Floats] | None:
        row = next(self.rows, None)
        return None if row is None else {self.name: row[np.newaxis]}
