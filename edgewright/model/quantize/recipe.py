"""Quantize FP32 ONNX to INT8 ONNX, post-training, in a form that suits the board."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import QDQQuantizer, QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.model.contract.network_file import read_graph
from edgewright.model.contract.session import IR_VERSION
from edgewright.model.importer.graphs import nodes_of
from edgewright.model.quantize.calibrate import Calibration, Method

# Every kind of node that can be INT8, except LayerNorm: it computes in float32 whatever its
# weights are, so INT8 weights would only cost accuracy.
QUANTIZABLE = {*QLinearOpsRegistry, *QDQRegistry} - {"LayerNormalization"}

QUANTIZER = str(Path(quantization.__file__).parent)
QUANTIZED = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}
_PER_CHANNEL_OPSET = 13  # the first whose DequantizeLinear has an axis


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to quantize a network. Weights are symmetric and never -128.

    `dynamic` finds ranges anew in each inference; then only `spared` matters beside it.
    """

    mode: Literal["static", "dynamic"] = "static"
    method: Method = "percentile"
    percentile: float = 99.99  # of the values, for the method of that name
    activations: Literal["u8", "s8"] = "u8"
    per_channel: bool = True
    spared: tuple[str, ...] = ()  # nodes that stay FP32
    note: str = ""  # for people: which nodes these are, or how the weights were rescaled before

    def __str__(self) -> str:
        if self.mode == "dynamic":
            return ", ".join(filter(None, ["dynamic", self.note]))
        weights = "per-channel" if self.per_channel else "per-tensor"
        ranges = f"percentile {self.percentile:g}" if self.method == "percentile" else self.method
        types = "" if self.activations == "u8" else " S8S8"
        return ", ".join(filter(None, [f"{ranges}{types} {weights}", self.note]))


RECIPES = (
    Recipe(percentile=99.99),
    Recipe(percentile=99.999),
    Recipe(method="minmax"),
)
DEFAULT = RECIPES[0]  # loses least on the demo model's validation part (docs/model.md)


def require_fp32(source: Path, network: Path) -> None:
    """Raise UserError for a network, imported from `source`, that is quantized already."""
    if source.suffix == ".ort":
        raise UserError(
            str(source), "is in ORT format", next="quantize the ONNX file it is made of"
        )
    kinds = {node.op_type for node in read_graph(network).graph.node}
    if kinds_of_int8 := sorted(kinds & QUANTIZED):
        raise UserError(
            str(source),
            "is quantized already",
            facts=["operators: " + ", ".join(kinds_of_int8)],
            next=f"take it as it is: invoke model.import --model={source}",
        )


def prepare(fp32: Path, out: Path) -> Path:
    """Write an imported network with constants folded, norms merged and shapes inferred."""
    model = onnx.load(fp32)
    opset = next((o.version for o in model.opset_import if not o.domain), 0)
    if opset < _PER_CHANNEL_OPSET:
        raise UserError(
            str(fp32),
            f"has opset {opset}, which cannot be quantized",
            facts=[f"expected: {_PER_CHANNEL_OPSET} or newer"],
            next="export it again with opset_version=17",
        )
    # A file, not the model: of a model it would put the weights into files, which it then loses.
    with _silent():
        quant_pre_process(fp32, out, skip_symbolic_shape=True)
    prepared = onnx.load(out)
    if flatten_biases(prepared):
        onnx.save(prepared, out)
    return out


def flatten_biases(model: onnx.ModelProto) -> bool:
    """Give every constant bias of a Gemm one value for each column; returns whether any changed.

    ONNX lets it be (1, N), or one value for all; ONNX Runtime's quantizer fails at both.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = False
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        weight = constants.get(node.input[1]) if node.op_type == "Gemm" else None
        if bias is None or weight is None:
            continue
        is_transposed = any(a.name == "transB" and a.i for a in node.attribute)
        columns = weight.dims[0] if is_transposed else weight.dims[1]
        values = onnx.numpy_helper.to_array(bias)
        if values.shape != (columns,) and values.size in (1, columns):
            name = f"{node.output[0]}_bias"  # of its own: others may take the same constant
            flat = np.ascontiguousarray(np.broadcast_to(values.reshape(-1), (columns,)))
            model.graph.initializer.append(onnx.numpy_helper.from_array(flat, name))
            node.input[2] = name
            changed = True
    used = {name for node in nodes_of(model) for name in node.input}
    for tensor in constants.values():
        if changed and tensor.name not in used:
            model.graph.initializer.remove(tensor)
    return changed


def quantize_prepared(
    prepared: Path, calibration: Calibration, out: Path, recipe: Recipe = DEFAULT
) -> Path:
    """Write the INT8 network of a prepared FP32 network.

    Raises UserError if a weight is -128, see `refuse_lowest_weight`.
    """
    with replacing(out) as aside:
        with _silent(), _refused(out):
            if recipe.mode == "dynamic":
                # ONNX Runtime's ConvInteger takes uint8 weights only, and no scales per channel.
                spared = list(recipe.spared)
                quantize_dynamic(
                    prepared, aside, weight_type=QuantType.QUInt8, nodes_to_exclude=spared
                )
            else:
                _write_static(prepared, calibration, aside, recipe)
        model = onnx.load(aside)
        model.ir_version = IR_VERSION  # the board's runtime reads no newer one
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, aside)
        refuse_lowest_weight(model, out)
    return out


def _write_static(prepared: Path, calibration: Calibration, out: Path, recipe: Recipe) -> None:
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(prepared),
        recipe.per_channel,
        False,
        QuantType.QInt8,
        QuantType.QUInt8 if recipe.activations == "u8" else QuantType.QInt8,
        calibration.ranges(recipe.method, recipe.percentile),
        [],
        list(recipe.spared),
        sorted(QUANTIZABLE),
        {"WeightSymmetric": True},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(out), False)


def refuse_lowest_weight(model: onnx.ModelProto, path: Path) -> None:
    """Raise if an int8 weight is -128: sums of two products would overflow 16 bits on ARM."""
    bad = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
        and not tensor.name.endswith("_zero_point")
        and (onnx.numpy_helper.to_array(tensor) == -128).any()
    ]
    if bad:
        raise UserError(str(path), "int8 weights reach -128", facts=["tensors: " + ", ".join(bad)])


@contextmanager
def _refused(subject: Path) -> Iterator[None]:
    """What ONNX Runtime's quantizer does not take is a fault of the network."""
    try:
        yield
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as refused:
        raise UserError(
            str(subject),
            "ONNX Runtime's quantizer does not take it",
            facts=[str(refused)],
            next="quantize the network as it was exported, before any optimiser saved it",
        ) from refused


class _NotOfQuantizer(logging.Filter):
    """Keeps ONNX Runtime's quantizer, which logs as root, from warning of what is intended here."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or not record.pathname.startswith(QUANTIZER)


@contextmanager
def _silent() -> Iterator[None]:
    # A filter and not a level: what other threads log goes on.
    unwanted = _NotOfQuantizer()
    logging.getLogger().addFilter(unwanted)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(unwanted)
