"""Checkpoint -> FP32 ONNX, and how closely the two agree."""

from copy import deepcopy
from math import sqrt
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from transformers.models.mobilevit.modeling_mobilevit import MobileViTSelfAttention

from edgewright.model.network import Network
from edgewright.model.preprocess import Floats
from edgewright.model.session import IR_VERSION, logits, open_session

OPSET = 17


def export(network: Network, out: Path, *, size: int = 256) -> Path:
    """Write the network as ONNX: input `image` (1, 1, size, size), output `logits` (1, labels)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        without_division(network).eval(),
        (torch.zeros(1, 1, size, size),),
        str(out),
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
    )
    model = onnx.load(out)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)
    return out


def without_division(network: Network) -> Network:
    """A copy whose attention needs no division: its queries are scaled by 1 / sqrt(head size).

    INT8 has no division, so each would cost the board a trip through float32.
    """
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MobileViTSelfAttention):
                setattr(module, name, ScaledAttention(child))
    return copy


class ScaledAttention(nn.Module):  # type: ignore[misc, unused-ignore]
    """The attention of one layer, with the scale folded into the query's weights."""

    def __init__(self, plain: MobileViTSelfAttention) -> None:
        super().__init__()
        self.query, self.key, self.value = plain.query, plain.key, plain.value
        self.head_size = plain.attention_head_size
        with torch.no_grad():
            self.query.weight /= sqrt(self.head_size)
            self.query.bias /= sqrt(self.head_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (areas, patches, width) -> the same shape."""
        query, key, value = (self._heads(of(patches)) for of in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-1, -2), dim=-1)
        return (weights @ value).transpose(1, 2).reshape(patches.shape)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        areas, patches, _ = projected.shape
        return projected.view(areas, patches, -1, self.head_size).transpose(1, 2)


def parity(network: Network, model: Path, inputs: Floats) -> float:
    """Largest difference in any logit between PyTorch and ONNX Runtime on (N, 1, H, W)."""
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(inputs)).numpy()
    return float(np.abs(logits(open_session(model), inputs) - expected).max())
