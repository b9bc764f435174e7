"""Where quantization adds noise: signal-to-quantization-noise ratio of every tensor, in dB.

`local` is the noise of a tensor's own rounding, `total` what it differs by from FP32, noise
from before included (a matching by ONNX Runtime's qdq_loss_debug).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.qdq_loss_debug import create_activation_matching

from edgewright.model.contract.preprocess import Floats
from edgewright.model.quantize.calibrate import observe, view_sources

_LIMIT = 120.0  # dB; above it float32 itself is the noise
_CLIPPING = {"Relu", "Clip"}


@dataclass(frozen=True, kw_only=True)
class TensorNoise:
    """One tensor of the FP32 network that is also in the INT8 one."""

    tensor: str
    node: str  # that computes it
    operator: str
    local: float | None  # dB; None where the tensor is not quantized
    total: float  # dB


class _Power:
    """Sums of squares over images."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, exact: Floats, rounded: Floats) -> None:
        flat = exact.astype(np.float64).reshape(-1)
        self.signal += float(flat @ flat)
        difference = flat - rounded.reshape(-1)
        self.noise += float(difference @ difference)

    @property
    def decibels(self) -> float:
        if self.noise <= self.signal * 10 ** (-_LIMIT / 10):
            return _LIMIT
        return float(10 * np.log10(max(self.signal, 1e-30) / self.noise))


def measure_noise(prepared: Path, int8: Path, inputs: Iterable[Floats]) -> list[TensorNoise]:
    """Noise of each tensor of a prepared network in its INT8 network, in the order of execution."""
    local: dict[str, _Power] = defaultdict(_Power)
    total: dict[str, _Power] = defaultdict(_Power)
    rows = list(inputs)
    graph = onnx.load(prepared).graph
    clipping = {node.output[0] for node in graph.node if node.op_type in _CLIPPING}
    for exact, rounded in zip(
        observe(prepared, rows), observe(int8, rows, exact=True), strict=True
    ):
        # ONNX Runtime's matching: each quantized tensor before and after its rounding.
        matched = create_activation_matching({name: [value] for name, value in rounded.items()})
        pairs = {n: (pair["pre_qdq"][0], pair["post_qdq"][0]) for n, pair in matched.items()}
        for name, (before, after) in pairs.items():
            if name in clipping and name in exact:
                # ONNX Runtime drops a ReLU whose zero the rounding keeps. What the rounding cuts
                # off for it is not noise.
                before = np.clip(before, exact[name].min(), exact[name].max())
            local[name].add(before, after)
        for name in exact.keys() & rounded.keys():
            if exact[name].shape == rounded[name].shape:  # a pruned network's are narrower
                total[name].add(exact[name], pairs[name][1] if name in pairs else rounded[name])
    views = view_sources(graph)
    return [
        TensorNoise(
            tensor=node.output[0],
            node=node.name,
            operator=node.op_type,
            local=local[node.output[0]].decibels if node.output[0] in local else None,
            total=total[node.output[0]].decibels,
        )
        for node in graph.node
        if node.output[0] in total and node.output[0] not in views
    ]


def noisiest(noise: Iterable[TensorNoise], count: int) -> list[TensorNoise]:
    """The tensors that suffer most from their own rounding."""
    rounded = [tensor for tensor in noise if tensor.local is not None]
    return sorted(rounded, key=lambda tensor: tensor.local or 0.0)[:count]


def nodes_around(graph: onnx.GraphProto, tensors: Iterable[str]) -> tuple[str, ...]:
    """Every node that computes or reads one of the tensors, or a view of it.

    Left in FP32, these nodes keep the tensors from being rounded.
    """
    views = view_sources(graph)
    targets = set(tensors)
    touched = [
        node.name
        for node in graph.node
        if any(views.get(name, name) in targets for name in (*node.input, *node.output))
    ]
    return tuple(touched)
