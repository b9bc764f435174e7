"""Export a PyTorch network as FP32 ONNX, check it, and compare the answers of the two."""

import warnings
from copy import deepcopy
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.shape_inference import infer_shapes
from torch import nn
from torch.onnx import OperatorExportTypes

from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import IR_VERSION, open_session
from edgewright.model.train.mobilevit import Attention

OPSET = 17
TOLERANCE = 1e-3  # in a logit, between PyTorch and ONNX Runtime
STANDARD = {"", "ai.onnx"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file, and the largest difference in a logit from PyTorch on `images` images."""

    path: Path
    batch: str  # 1 or any
    opset: int
    bytes: int
    images: int
    difference: float


def export(
    network: nn.Module,
    out: Path,
    *,
    size: int = 256,
    dynamic: bool = False,
    labels: int = 2,
    opset: int = OPSET,
) -> Path:
    """Write the network as ONNX: input `image` (1, 1, size, size), output `logits` (1, labels).

    With `dynamic` the first dimension is any number, named `batch`. Written aside, then
    renamed. Raises UserError for operators that ONNX lacks, with the modules that use
    them, and for shapes that cannot be inferred.
    """
    with replacing(out) as aside:
        _trace(without_division(network).eval(), aside, size, dynamic, opset)
        model = onnx.load(aside)
        model.ir_version = IR_VERSION
        refuse_custom(model, str(out))  # first: the checker knows no foreign operators
        onnx.checker.check_model(model, full_check=True)
        graph = infer_shapes(model, strict_mode=True, data_prop=True).graph
        sizes = [size.dim_value for size in graph.output[0].type.tensor_type.shape.dim[1:]]
        if sizes != [labels]:
            raise UserError(
                str(out), "has another output than its labels", facts=[f"{labels} labels, {sizes}"]
            )
        onnx.save(model, aside)
    return out


def parity(network: nn.Module, model: Path, inputs: Floats) -> float:
    """Largest difference in any logit between PyTorch and ONNX Runtime on (N, 1, H, W).

    The model gets images one by one, or all at once where its batch is open.

    Raises UserError above `TOLERANCE`.
    """
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(inputs)).numpy()
    session = open_session(model)
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    batches = [inputs] if isinstance(shape[0], str) else np.split(inputs, len(inputs))
    answers = np.concatenate([session.run(None, {name: batch})[0] for batch in batches])
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:  # not `>`: a NaN must be refused too
        raise UserError(
            str(model),
            "says something else than the PyTorch network",
            facts=[f"largest difference in a logit: {difference:.2g}", f"allowed: {TOLERANCE:g}"],
        )
    return difference


def _trace(network: nn.Module, out: Path, size: int, dynamic: bool, opset: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes become constants: they should
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, size, size),),
            str(out),
            dynamo=False,  # the tracer names nodes by their modules, see refuse_custom
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}} if dynamic else None,
            # An operator that ONNX lacks stays in the graph, so that it can be named.
            operator_export_type=OperatorExportTypes.ONNX_FALLTHROUGH,
        )


def refuse_custom(model: onnx.ModelProto, subject: str) -> None:
    """Raise UserError naming the nodes that are not ONNX's own, and the modules that made them."""
    strange = [node for node in model.graph.node if node.domain not in STANDARD]
    # The tracer names a node `/body/body.layer/Erf`: its module, then its operator.
    modules = [node.name.strip("/").rpartition("/")[0] for node in strange]
    if strange:
        raise UserError(
            subject,
            "uses operators that ONNX has not",
            facts=[
                f"{node.domain}::{node.op_type}, made by {module or 'the network itself'}"
                for node, module in zip(strange, modules, strict=True)
            ],
            next="replace these modules, or export with a higher opset",
        )


def without_division(network: nn.Module) -> nn.Module:
    """A copy whose attention needs no division: its queries are scaled by 1 / sqrt(head size).

    INT8 has no division, so each would cost the board a trip through float32.
    """
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Attention):
                setattr(module, name, ScaledAttention(child))
    return copy


class ScaledAttention(nn.Module):  # type: ignore[misc, unused-ignore]
    """The attention of one layer, with the scale folded into the query's weights."""

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.query, self.key, self.value = plain.query, plain.key, plain.value
        self.head_size = plain.query.out_features // plain.heads
        with torch.no_grad():
            self.query.weight /= sqrt(self.head_size)
            self.query.bias /= sqrt(self.head_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (areas, patches, width) -> the same shape."""
        query, key, value = (self._heads(of(patches)) for of in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-1, -2), dim=-1)
        return (weights @ value).transpose(1, 2).flatten(2)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        areas, patches, _ = projected.shape
        return projected.view(areas, patches, -1, self.head_size).transpose(1, 2)
