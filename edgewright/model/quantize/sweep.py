"""Try the recipes that an engineer would, judge each, and choose.

In three steps, since a full cross would be hundreds: every mode, method, granularity and type;
then, on the one nearest to FP32, nodes that stay FP32; then weights rescaled before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnx
import onnxruntime

from edgewright.base.errors import UserError
from edgewright.base.memory import require_memory
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card
from edgewright.model.contract.session import open_session
from edgewright.model.convert.inspect import activation_bytes, weight_bytes
from edgewright.model.judge.answers import Answers, judge
from edgewright.model.judge.data import Dataset
from edgewright.model.judge.evaluate import Metrics
from edgewright.model.judge.images import Inputs, spread
from edgewright.model.quantize.calibrate import Calibration, calibrate
from edgewright.model.quantize.equalise import cross_layer, smooth
from edgewright.model.quantize.recipe import QUANTIZABLE, Recipe, prepare, quantize_prepared
from edgewright.model.quantize.sqnr import measure_noise, nodes_around, noisiest

ALIKE = 1.1  # costs within this factor are not told apart: clocks are noisy
NOISE_IMAGES = 4
NORMS = {"Softmax", "BatchNormalization", "InstanceNormalization"}
NOISY_SHARE = 0.05  # of the tensors, that are spared as the noisiest
ROUNDS = 15  # of the clock

Counter = Callable[[Path], int | None]  # guest instructions of an ONNX file's inference


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another network for the same labels, judged beside the candidates."""

    path: Path
    card: Card

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What candidates are made from and judged by."""

    fp32: Path
    card: Card
    calibration: Dataset
    held_out: Dataset
    positive: int
    folder: Path  # for candidates
    rivals: tuple[Rival, ...] = ()
    count_instructions: Counter | None = None
    progress: LineSink = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network that was judged."""

    name: str
    path: Path
    answers: Answers
    operators: tuple[str, ...]
    distance: float  # mean difference of probabilities from FP32
    agreement: float  # share of the answers that are FP32's
    time: float = 1.0  # x86 time by that of FP32, in one run
    instructions: int | None = None  # of one inference on the emulated board

    @property
    def metrics(self) -> Metrics:
        return self.answers.metrics

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A network ready to quantize, and what its tensors hold."""

    path: Path
    calibration: Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate(Network):
    recipe: Recipe
    base: Prepared


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """FP32, every candidate in the order tried, the one chosen, and the rivals as given."""

    fp32: Network
    candidates: tuple[Candidate, ...]
    rivals: tuple[Network, ...] = ()
    chosen: Candidate
    reason: str


def run(bench: Bench, recipes: Sequence[Recipe] | None = None, budget: float = 1.0) -> Outcome:
    """Make and judge candidates: those of `recipes`, or all of the sweep.

    `budget` is how many points (hundredths) of accuracy may be lost against FP32. Raises
    UserError, with the frontier, if every candidate loses more.
    """
    base = _prepare(bench)
    fp32 = _judge_fp32(bench)
    rivals = [_judge_rival(bench, one, fp32) for one in bench.rivals]
    tried = list(_tried(bench, base, fp32) if recipes is None else _try(bench, base, fp32, recipes))
    fp32, *others = _with_cost(bench, [fp32, *rivals, *tried])
    candidates = [one for one in others if isinstance(one, Candidate)]
    chosen, reason = choose(fp32, candidates, budget)
    return Outcome(
        fp32=fp32,
        candidates=tuple(candidates),
        rivals=tuple(others[: len(rivals)]),
        chosen=chosen,
        reason=reason,
    )


def choose(fp32: Network, candidates: Sequence[Candidate], budget: float) -> tuple[Candidate, str]:
    """Within the budget the cheapest; of those that cost alike, the nearest to FP32."""
    floor = fp32.metrics.accuracy.value - budget / 100
    fit = [one for one in candidates if one.metrics.accuracy.value >= floor - 1e-9]
    if not fit:
        raise UserError(
            str(fp32.path),
            f"no recipe of {len(candidates)} keeps accuracy within {budget:g} points of FP32",
            facts=[f"FP32: {fp32.metrics.accuracy.value:.3f}", *_told(frontier(candidates))],
            next="try --sweep, more calibration images, or a larger --budget",
        )
    cost = _cost(fit)
    least = min(cost(one) for one in fit)
    alike = [one for one in fit if cost(one) <= least * ALIKE]
    chosen = min(alike, key=lambda one: one.distance)
    if len(candidates) == 1:
        lost = 100 * (fp32.metrics.accuracy.value - chosen.metrics.accuracy.value)
        what = f"loses {lost:.1f} of {budget:g} points allowed"
        return chosen, f"the only recipe tried; it {what if lost > 0 else 'loses no accuracy'}"
    reason = (
        f"{len(fit)} of {len(candidates)} recipes lose at most {budget:g} points of accuracy; "
        f"{len(alike)} of them cost alike (within {ALIKE - 1:.0%} of the cheapest), "
        f"and the probabilities of this one are nearest to FP32's"
    )
    return chosen, reason


def frontier(candidates: Sequence[Network]) -> list[Network]:
    """Those that no other beats in accuracy, bytes and cost at once."""
    cost = _cost(candidates)
    points = [(-one.metrics.accuracy.value, one.bytes, cost(one)) for one in candidates]
    return [
        one
        for one, mine in zip(candidates, points, strict=True)
        if not any(_beats(theirs, mine) for theirs in points)
    ]


def _cost(candidates: Sequence[Network]) -> Callable[[Network], float]:
    """Instructions if all were counted, else time: the two cannot be compared."""
    if all(one.instructions for one in candidates):
        return lambda one: float(one.instructions or 0)
    return lambda one: one.time


def _beats(theirs: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    return theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True))


def _told(candidates: Sequence[Network]) -> list[str]:
    return [
        f"{one.name}: accuracy {one.metrics.accuracy.value:.3f}, {one.bytes:,} bytes, "
        f"time x{one.time:.2f}"
        for one in candidates
    ]


# Recipes


def grid() -> list[Recipe]:
    """Every mode, method, granularity and type of activations."""
    methods: list[Recipe] = [
        Recipe(percentile=99.99),
        Recipe(percentile=99.999),
        Recipe(method="entropy"),
        Recipe(method="minmax"),
    ]
    static = [
        replace(one, per_channel=per_channel, activations="u8" if unsigned else "s8")
        for per_channel, unsigned, one in product((True, False), (True, False), methods)
    ]
    return [Recipe(mode="dynamic"), *static]


def sparing(recipe: Recipe, graph: onnx.GraphProto, noisy: Sequence[str]) -> list[Recipe]:
    """The recipe with nodes left in FP32: norms, ends, those around the noisiest tensors."""
    norms = [n.name for n in graph.node if n.op_type in QUANTIZABLE & NORMS]
    layers = [n.name for n in graph.node if n.op_type in {"Conv", "Gemm", "MatMul"}]
    spared = {
        "FP32: Softmax and norms": norms,
        "FP32: first and last layer": [*layers[:1], *layers[-1:]],
        f"FP32: around the {len(noisy)} noisiest tensors": nodes_around(graph, noisy),
    }
    return [
        replace(recipe, spared=tuple(nodes), note=note) for note, nodes in spared.items() if nodes
    ]


def _tried(bench: Bench, base: Prepared, fp32: Network) -> Iterator[Candidate]:
    first = list(_try(bench, base, fp32, grid()))
    yield from first
    static = [one for one in first if one.recipe.mode == "static"]
    best = min(static, key=lambda one: one.distance)
    graph = onnx.load(base.path).graph
    second = list(_try(bench, base, fp32, sparing(best.recipe, graph, _noisy(bench, base, best))))
    yield from second
    yield from _rescaled(bench, base, fp32, best.recipe)


def _noisy(bench: Bench, base: Prepared, best: Candidate) -> list[str]:
    images = spread(bench.calibration, NOISE_IMAGES)
    noise = measure_noise(base.path, best.path, Inputs(samples=images.samples, card=bench.card))
    count = max(1, round(len(noise) * NOISY_SHARE))
    return [one.tensor for one in noisiest(noise, count)]


def _rescaled(bench: Bench, base: Prepared, fp32: Network, recipe: Recipe) -> Iterator[Candidate]:
    """Cross-layer equalisation and SmoothQuant, where the network has layers for them."""
    equal, smoothed = bench.folder / "equalised.onnx", bench.folder / "smoothed.onnx"
    done = {
        "cross-layer equalised": (equal, cross_layer(base.path, equal)),
        "smoothed": (smoothed, smooth(base.path, base.calibration.channels, smoothed)),
    }
    for note, (path, count) in done.items():
        if count == 0:
            bench.progress(f"{note}: the network has no layers for it")
            continue
        other = Prepared(path=path, calibration=_calibrate(bench, path))
        yield from _try(bench, other, fp32, [replace(recipe, note=f"{note} ({count})")])


# Judging


def _prepare(bench: Bench) -> Prepared:
    path = prepare(bench.fp32, bench.folder / "prepared.onnx", bench.card.input.shape)
    return Prepared(path=path, calibration=_calibrate(bench, path))


def _calibrate(bench: Bench, path: Path) -> Calibration:
    graph = onnx.load(path).graph
    require_memory(str(bench.fp32), 2 * activation_bytes(graph) + 3 * weight_bytes(graph))
    bench.progress(f"calibrating on {len(bench.calibration.samples)} images")
    return calibrate(path, Inputs(samples=bench.calibration.samples, card=bench.card))


def _judge_fp32(bench: Bench) -> Network:
    answers = judge(bench.fp32, bench.held_out, bench.card, bench.positive)
    made = Network(
        name="FP32",
        path=bench.fp32,
        answers=answers,
        operators=operators(bench.fp32, bench.folder),
        distance=0.0,
        agreement=1.0,
    )
    bench.progress(f"FP32: accuracy {made.metrics.accuracy}, {made.bytes:,} bytes")
    return made


def _judge_rival(bench: Bench, rival: Rival, fp32: Network) -> Network:
    answers = judge(rival.path, bench.held_out, rival.card, bench.positive)
    made = Network(
        name=rival.name,
        path=rival.path,
        answers=answers,
        operators=operators(rival.path, bench.folder),
        distance=answers.distance(fp32.answers),
        agreement=answers.agreement(fp32.answers),
    )
    bench.progress(f"{made.name}: accuracy {made.metrics.accuracy}, {made.bytes:,} bytes")
    return made


def _try(
    bench: Bench, base: Prepared, fp32: Network, recipes: Sequence[Recipe]
) -> Iterator[Candidate]:
    for recipe in recipes:
        number = len(list(bench.folder.glob("candidate-*.onnx")))
        path = bench.folder / f"candidate-{number:02}.onnx"
        quantize_prepared(base.path, base.calibration, path, recipe)
        answers = judge(path, bench.held_out, bench.card, bench.positive)
        made = Candidate(
            name=str(recipe),
            recipe=recipe,
            base=base,
            path=path,
            answers=answers,
            operators=operators(path, bench.folder),
            distance=answers.distance(fp32.answers),
            agreement=answers.agreement(fp32.answers),
        )
        bench.progress(
            f"{made.name}: accuracy {made.metrics.accuracy}, "
            f"defect recall {made.metrics.defect_recall.value:.3f}, "
            f"distance from FP32 {made.distance:.4f}"
        )
        yield made


def operators(model: Path, scratch: Path) -> tuple[str, ...]:
    """Kinds of nodes that ONNX Runtime runs, after its optimisations."""
    out = scratch / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3  # it warns that such a file suits this machine only
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    found = {node.op_type for node in onnx.load(out).graph.node}
    out.unlink()
    return tuple(sorted(found))


def _with_cost(bench: Bench, every: Sequence[Network]) -> list[Network]:
    """The same networks, costed by the first one, FP32."""
    bench.progress(f"timing {len(every)} networks in turns")
    times = time_in_turns([one.path for one in every], _example(bench))
    count = bench.count_instructions or (lambda _: None)
    counts = [count(one.path) for one in every]
    return [
        replace(one, time=seconds / times[0], instructions=instructions)
        for one, seconds, instructions in zip(every, times, counts, strict=True)
    ]


def _example(bench: Bench) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return next(iter(Inputs(samples=bench.held_out.samples[:1], card=bench.card)))


def time_in_turns(
    models: Sequence[Path], one: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> list[float]:
    """Median seconds of one inference, one thread; the networks take turns, so that what else
    runs on the machine disturbs all of them alike."""
    sessions = [open_session(model, threads=1) for model in models]
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for session, spent in zip(sessions, seconds, strict=True):
            start = perf_counter()
            session.run(None, {session.get_inputs()[0].name: one})
            spent.append(perf_counter() - start)
    return [median(spent[1:]) for spent in seconds]
