"""The values that the tensors of a network take on real images, and ranges for quantization.

One pass over the images serves every method: all ranges come from the same histograms.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import calibrate as ort_calibrate
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationMethod,
    HistogramCollector,
    TensorsData,
)

from edgewright.base.errors import UserError
from edgewright.model.contract.operators import VIEWS
from edgewright.model.contract.preprocess import Floats

# ONNX Runtime prints the progress of its ranges. Its module gets a `print` of its own, since
# standard output is the whole process's, and other threads may write to it.
vars(ort_calibrate)["print"] = lambda *_: None

Method = Literal["minmax", "percentile", "entropy"]
# One inference: the only input (1, C, H, W), or all inputs by name.
Feed = Floats | Mapping[str, Floats]
BinCounts = tuple[NDArray[np.int64], Floats]  # counts (bins,), edges (bins + 1,)

_BINS = 2048
_MOST_BINS = 16 * _BINS
_ENTROPY_BINS = 512  # its cost grows with the square
_LEVELS = 128  # what entropy compares a clipped histogram with
_SAMPLE = 1 << 15  # values of one tensor and image that enter its histogram: enough for 99.99 %


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Histograms of every float tensor over `images` images; extremes are exact."""

    collector: Any  # ONNX Runtime's HistogramCollector
    extremes: Mapping[str, Floats]  # (2,): lowest and highest
    channels: Mapping[str, Floats]  # largest magnitude in each place of LayerNorm's last axis
    views: Mapping[str, str]  # tensors with the values of another
    images: int
    _cache: dict[tuple[Method, float], TensorsData] = field(default_factory=dict, repr=False)

    def ranges(self, method: Method, percentile: float = 99.99) -> TensorsData:
        """The range of every tensor by one method.

        `minmax`: the extremes. `percentile`: that share of the values lies inside. `entropy`:
        least Kullback-Leibler divergence between the values and their 128 levels (Migacz,
        GTC 2017), by ONNX Runtime.
        """
        key = (method, percentile if method == "percentile" else 0.0)
        if key not in self._cache:
            kind, pairs = self._ranges(*key)
            pairs |= {view: pairs[of] for view, of in self.views.items() if of in pairs}
            self._cache[key] = TensorsData(kind, pairs)
        return self._cache[key]

    def _ranges(self, method: Method, percentile: float) -> tuple[Any, dict[str, Any]]:
        if method == "percentile":
            self.collector.percentile = percentile
            return CalibrationMethod.Percentile, self.collector.compute_percentile()
        if method == "entropy":
            return CalibrationMethod.Entropy, _coarse(self.collector).compute_entropy()
        return CalibrationMethod.MinMax, {k: tuple(pair) for k, pair in self.extremes.items()}

    def histogram(self, tensor: str) -> BinCounts:
        """Counts and edges of a tensor's values."""
        counts, edges = self.collector.histogram_dict[tensor][:2]
        return counts, edges


def calibrate(prepared: Path, inputs: Iterable[Feed]) -> Calibration:
    """Run a prepared FP32 network on inputs and collect the values of every float tensor.

    Raises UserError if a tensor is not finite on a real image.
    """
    graph = onnx.load(prepared).graph
    norms = {n.output[0] for n in graph.node if n.op_type == "LayerNormalization"}
    collector = HistogramCollector("percentile", False, _BINS, _LEVELS, 99.99, "same")
    extremes: dict[str, Floats] = {}
    channels: dict[str, Floats] = {}
    random = np.random.default_rng(0)
    count = 0
    for activations in observe(prepared, inputs):
        count += 1
        for name, values in activations.items():
            bounds = _finite_bounds(prepared, name, values)
            low, high = extremes.get(name, bounds)
            extremes[name] = np.array([min(low, bounds[0]), max(high, bounds[1])], np.float32)
            # The extremes go along, so that a sample never makes the histogram too narrow.
            sample = values.reshape(-1)
            if sample.size > _SAMPLE:
                sample = sample[random.integers(0, sample.size, _SAMPLE)]
            _make_room(collector, name, float(np.abs(bounds).max()))
            collector.collect_value({name: np.concatenate([sample, bounds])})
            if name in norms:
                magnitudes = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
                channels[name] = np.maximum(magnitudes, channels.get(name, 0))
    return Calibration(
        collector=collector,
        extremes=extremes,
        channels=channels,
        views=view_sources(graph),
        images=count,
    )


def observe(
    model: Path, inputs: Iterable[Feed], exact: bool = False
) -> Iterator[dict[str, Floats]]:
    """For each inference, the values of every float tensor by name.

    Tensors that only view another one are left out unless `exact` is set.
    """
    with TemporaryDirectory() as scratch:
        augmented = _with_float_outputs(model, Path(scratch) / "augmented.onnx", exact)
        session = _plain_session(augmented)
    image = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    for feed in inputs:
        tensors = feed if isinstance(feed, Mapping) else {image: feed}
        outputs = session.run(names, tensors)
        values = {**tensors, **dict(zip(names, outputs, strict=True))}
        yield {name: value for name, value in values.items() if value.dtype == np.float32}


def view_sources(graph: onnx.GraphProto) -> dict[str, str]:
    """For each tensor that is a view, the tensor whose values it has."""
    sources: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in VIEWS:
            sources[node.output[0]] = sources.get(node.input[0], node.input[0])
    return sources


def _with_float_outputs(model: Path, out: Path, exact: bool) -> Path:
    """Write the network with all its float tensors as outputs."""
    base = CalibraterBase(model)
    graph = base.model.graph
    tensors, infos = base.select_tensors_to_calibrate(base.model)
    skipped = {value.name for value in (*graph.output, *graph.input)}
    hidden = tensors - skipped - (set() if exact else set(view_sources(graph)))
    graph.output.extend(infos[name] for name in sorted(hidden))
    onnx.save(base.model, out)
    return out


def _plain_session(model: Path) -> onnxruntime.InferenceSession:
    """A session that runs the graph as it is: optimisation would fuse away tensors to observe."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _finite_bounds(model: Path, name: str, values: Floats) -> Floats:
    """Lowest and highest value (2,), and 0 among them: INT8 must hold 0 exactly."""
    bounds = np.array([values.min(initial=0), values.max(initial=0)], np.float32)
    if not np.isfinite(bounds).all():
        raise UserError(
            str(model),
            "computes values that are not finite on a calibration image",
            facts=[f"tensor: {name}"],
        )
    return bounds


def _make_room(collector: HistogramCollector, name: str, threshold: float) -> None:
    """Widen the bins of a tensor's histogram before it gets values far beyond them.

    The collector would keep their width and add as many as it takes: a tensor that is nearly zero
    on the first image, and is not on the next, would have millions.
    """
    if name not in collector.histogram_dict:
        return
    counts, edges, low, high, former = collector.histogram_dict[name]
    if not 0 < former < threshold or len(counts) * threshold / former <= _MOST_BINS:
        return
    middles = (edges[:-1] + edges[1:]) / 2
    wide, wide_edges = np.histogram(middles, _BINS, (-threshold, threshold), weights=counts)
    bound = np.array(threshold, np.float32)
    collector.histogram_dict[name] = (wide.astype(np.int64), wide_edges, low, high, bound)


def _coarse(fine: HistogramCollector) -> HistogramCollector:
    """The same histograms with fewer bins, since entropy compares every pair of ranges."""
    coarse = HistogramCollector("entropy", False, _ENTROPY_BINS, _LEVELS, None, "same")
    for name, (counts, edges, *rest) in fine.histogram_dict.items():
        # An even factor, and the margin in two halves: a histogram is symmetric around zero, and
        # its middle stays between two bins.
        factor = 2 * -(-counts.size // (2 * _ENTROPY_BINS))
        margin = (-counts.size % factor) // 2
        width = edges[1] - edges[0]
        merged = np.pad(counts, margin).reshape(-1, factor).sum(axis=1)
        low = edges[0] - width * margin
        merged_edges = low + width * factor * np.arange(merged.size + 1)
        coarse.histogram_dict[name] = (merged, merged_edges.astype(np.float32), *rest)
    return coarse
