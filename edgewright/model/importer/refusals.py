"""What no rewrite can mend: each raises UserError with the node and the remedy."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.importer.graphs import label, nodes_of, tensors_of
from edgewright.model.importer.rewrites import is_training_norm

# Domains whose operators a board's runtime can register. Those of ai.onnx.ml are built out, the
# others are ONNX Runtime's for one machine, or a user's own.
DOMAINS = {"", "ai.onnx", "com.microsoft"}
_NCHWC = "com.microsoft.nchwc"
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_EVALUATION = "call model.eval() before the export"
# Operators whose sums an infinite operand makes infinite or NaN; as a mask it is legal elsewhere.
_SUMS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization"}


def refuse_unfit(model: ModelProto, path: Path) -> None:
    """Raise UserError for operators, modes and weights that no board can run."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in nodes_of(model):
        if (node.domain, node.op_type) in functions:
            continue
        if node.domain == _NCHWC:
            raise UserError(
                str(path),
                "was saved by ONNX Runtime's optimiser for the processor of another machine",
                facts=[f"node: {label(node)}"],
                next="take the network as it was before, or save it at a level below ALL",
            )
        if node.domain not in DOMAINS:
            raise UserError(
                str(path),
                "has an operator that no board's runtime has",
                facts=[f"node: {label(node)}"],
                next="export it again with operators of ONNX, such as with zipmap=False"
                if node.domain == "ai.onnx.ml"
                else "export it again with operators of ONNX, or with a function that defines it",
            )
        if problem := _training_mode(model, node):
            raise UserError(str(path), problem, facts=[f"node: {label(node)}"], next=_EVALUATION)
    _refuse_not_finite(model, path)


def _training_mode(model: ModelProto, node: NodeProto) -> str | None:
    if is_training_norm(node):
        return "normalises by the statistics of its own input, as in training"
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        flag = constants.get(node.input[2])
        if flag is not None and numpy_helper.to_array(flag).any():
            return "drops values at random, as in training"
    return None


def _refuse_not_finite(model: ModelProto, path: Path) -> None:
    """NaN anywhere, and infinity in a sum's weights: they spread to the answers unnoticed."""
    summed = {name for node in nodes_of(model) if node.op_type in _SUMS for name in node.input}
    bad = [tensor.name for tensor in tensors_of(model) if _is_bad(tensor, tensor.name in summed)]
    if bad:
        raise UserError(
            str(path),
            f"{len(bad)} of its weights are not finite (NaN or infinite)",
            facts=["tensors: " + ", ".join(bad[:5])],
            next="train or export it again",
        )


def _is_bad(tensor: TensorProto, is_summed: bool) -> bool:
    if tensor.data_type not in _FLOATS:
        return False
    values = numpy_helper.to_array(tensor).astype(np.float64)
    return bool(np.isnan(values).any() or (is_summed and np.isinf(values).any()))


def infinite(model: ModelProto) -> Iterator[str]:
    """Names of constants that hold an infinity: masks, and the start of a maximum."""
    for tensor in tensors_of(model):
        if tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor).astype(np.float64)
            if np.isinf(values).any():
                yield tensor.name
