"""Where quantization adds noise: signal-to-quantization-noise ratio of every tensor, in dB.

`local` is the noise of a tensor's own rounding, `total` what it differs by from FP32, noise
from before included (a matching by ONNX Runtime's qdq_loss_debug).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.qdq_loss_debug import create_activation_matching

from edgewright.model.contract.preprocess import Floats
from edgewright.model.quantize.calibrate import observe, view_sources

_LIMIT = 120.0  # dB; nothing above it is told apart
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
    """Noise of each tensor of a prepared network in its INT8 one, in the order of execution."""
    local: dict[str, _Power] = defaultdict(_Power)
    total: dict[str, _Power] = defaultdict(_Power)
    rows = list(inputs)
    graph = onnx.load(prepared).graph
    clipping = {node.output[0] for node in graph.node if node.op_type in _CLIPPING}
    for exact, rounded in zip(
        observe(prepared, rows), observe(int8, rows, exact=True), strict=True
    ):
        pairs = _rounded_pairs(rounded)
        for name, (before, after) in pairs.items():
            clipped = name in clipping and name in exact
            local[name].add(_clip(before, exact[name]) if clipped else before, after)
        for name in exact.keys() & rounded.keys():
            if exact[name].shape == rounded[name].shape:  # a pruned network's are narrower
                total[name].add(exact[name], pairs[name][1] if name in pairs else rounded[name])
    return list(_in_order(graph, local, total))


def _clip(values: Floats, like: Floats) -> Floats:
    """ONNX Runtime drops a ReLU whose zero the rounding keeps: what that cuts is no noise."""
    return np.clip(values, like.min(), like.max())


def _rounded_pairs(activations: Mapping[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Each quantized tensor before and after its rounding."""
    matched = create_activation_matching({name: [value] for name, value in activations.items()})
    return {name: (pair["pre_qdq"][0], pair["post_qdq"][0]) for name, pair in matched.items()}


def _in_order(
    graph: onnx.GraphProto, local: Mapping[str, _Power], total: Mapping[str, _Power]
) -> Iterable[TensorNoise]:
    views = view_sources(graph)
    for node in graph.node:
        name = node.output[0]
        if name in total and name not in views:
            yield TensorNoise(
                tensor=name,
                node=node.name,
                operator=node.op_type,
                local=local[name].decibels if name in local else None,
                total=total[name].decibels,
            )


def noisiest(noise: Iterable[TensorNoise], count: int) -> list[TensorNoise]:
    """The tensors that suffer most from their own rounding."""
    rounded = [one for one in noise if one.local is not None]
    return sorted(rounded, key=lambda one: one.local or 0.0)[:count]


def nodes_around(graph: onnx.GraphProto, tensors: Iterable[str]) -> tuple[str, ...]:
    """Every node that computes or reads one of the tensors, or a view of it: left in FP32,
    they keep these tensors from being rounded."""
    views = view_sources(graph)
    wanted = set(tensors)
    touched = [
        node.name
        for node in graph.node
        if any(views.get(name, name) in wanted for name in (*node.input, *node.output))
    ]
    return tuple(touched)
