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
from edgewright.model.importer.classifier import Classifier
from edgewright.model.judge.answers import Answers, judge
from edgewright.model.judge.data import Dataset
from edgewright.model.judge.evaluate import Metrics
from edgewright.model.judge.images import Inputs, spread
from edgewright.model.quantize.calibrate import Calibration, calibrate
from edgewright.model.quantize.equalise import cross_layer, smooth
from edgewright.model.quantize.recipe import QUANTIZABLE, Recipe, prepare, quantize_prepared
from edgewright.model.quantize.sqnr import measure_noise, nodes_around, noisiest

ALIKE = 1.1  # costs within this factor count as equal: clocks are noisy
NOISE_IMAGES = 4
NORMS = {"Softmax", "BatchNormalization", "InstanceNormalization"}
NOISY_SHARE = 0.05  # of the tensors, that are spared as the noisiest
ROUNDS = 15  # of the clock

InstructionCounter = Callable[[Path], int | None]  # guest instructions of an ONNX file's inference


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another network for the same labels, judged beside the candidates."""

    classifier: Classifier
    card: Card

    @property
    def name(self) -> str:
        source = self.classifier.source
        return f"{source.parent.name}/{source.name}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The inputs of a sweep: what candidates are made from and judged on."""

    fp32: Path
    card: Card
    calibration: Dataset
    held_out: Dataset
    positive: int
    folder: Path  # for candidates
    rivals: tuple[Rival, ...] = ()
    count_instructions: InstructionCounter | None = None
    progress: LineSink = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedNetwork:
    """A network, its answers to the held-out images, and its cost."""

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
    """A network ready to quantize, and the values that its tensors take."""

    path: Path
    calibration: Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate(JudgedNetwork):
    """A network that one recipe made."""

    recipe: Recipe
    base: Prepared


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """FP32, every candidate in the order of the sweep, the chosen one, and the rivals."""

    fp32: JudgedNetwork
    candidates: tuple[Candidate, ...]
    rivals: tuple[JudgedNetwork, ...] = ()
    chosen: Candidate
    reason: str


def run(bench: Bench, recipes: Sequence[Recipe] | None = None, budget: float = 1.0) -> SweepResult:
    """Make and judge candidates: those of `recipes`, or all of the sweep.

    `budget` is how many points (hundredths) of accuracy may be lost against FP32. Raises
    UserError, with the frontier, if every candidate loses more.
    """
    path = prepare(bench.fp32, bench.folder / "prepared.onnx")
    base = Prepared(path=path, calibration=_calibrate(bench, path))
    fp32 = _judge(bench, "FP32", bench.fp32, bench.card)
    rivals = [
        _judge(bench, rival.name, rival.classifier.path, rival.card, fp32) for rival in bench.rivals
    ]
    new = _sweep(bench, base, fp32) if recipes is None else _try(bench, base, fp32, recipes)
    # Costs come last, of all networks in one run: only then do times compare.
    fp32, *judged = _with_cost(bench, [fp32, *rivals, *new])
    candidates = [network for network in judged if isinstance(network, Candidate)]
    chosen, reason = choose(fp32, candidates, budget)
    return SweepResult(
        fp32=fp32,
        candidates=tuple(candidates),
        rivals=tuple(judged[: len(rivals)]),
        chosen=chosen,
        reason=reason,
    )


def choose(
    fp32: JudgedNetwork, candidates: Sequence[Candidate], budget: float
) -> tuple[Candidate, str]:
    """The cheapest candidate within the budget, of those that cost alike the nearest to FP32.

    Also why, as a sentence for people. Raises UserError, with the frontier, if none is within.
    """
    floor = fp32.metrics.accuracy.value - budget / 100
    fit = [c for c in candidates if c.metrics.accuracy.value >= floor - 1e-9]
    if not fit:
        raise UserError(
            str(fp32.path),
            f"no recipe of {len(candidates)} keeps accuracy within {budget:g} points of FP32",
            facts=[
                f"FP32: {fp32.metrics.accuracy.value:.3f}",
                *(
                    f"{best.name}: accuracy {best.metrics.accuracy.value:.3f}, "
                    f"{best.bytes:,} bytes, time x{best.time:.2f}"
                    for best in frontier(candidates)
                ),
            ],
            next="try --sweep, more calibration images, or a larger --budget",
        )
    cost = _cost_measure(fit)
    least = min(map(cost, fit))
    alike = [candidate for candidate in fit if cost(candidate) <= least * ALIKE]
    chosen = min(alike, key=lambda candidate: candidate.distance)
    if len(candidates) == 1:
        lost = 100 * (fp32.metrics.accuracy.value - chosen.metrics.accuracy.value)
        loss = f"loses {lost:.1f} of {budget:g} points allowed" if lost > 0 else "loses no accuracy"
        return chosen, f"the only recipe tried; it {loss}"
    reason = (
        f"{len(fit)} of {len(candidates)} recipes lose at most {budget:g} points of accuracy; "
        f"{len(alike)} of them cost alike (within {ALIKE - 1:.0%} of the cheapest), "
        f"and the probabilities of this one are nearest to FP32's"
    )
    return chosen, reason


def frontier(candidates: Sequence[JudgedNetwork]) -> list[JudgedNetwork]:
    """The candidates that no other one beats in accuracy, bytes and cost at once."""
    cost = _cost_measure(candidates)
    points = [(-c.metrics.accuracy.value, c.bytes, cost(c)) for c in candidates]

    def is_beaten(point: tuple[float, ...]) -> bool:
        # Equal points do not beat each other: both stay.
        return any(
            p != point and all(a <= b for a, b in zip(p, point, strict=True)) for p in points
        )

    return [c for c, point in zip(candidates, points, strict=True) if not is_beaten(point)]


def _cost_measure(networks: Sequence[JudgedNetwork]) -> Callable[[JudgedNetwork], float]:
    """Instructions if all were counted, else time: the two cannot be compared."""
    if all(network.instructions for network in networks):
        return lambda network: float(network.instructions or 0)
    return lambda network: network.time


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
        replace(method, per_channel=per_channel, activations="u8" if unsigned else "s8")
        for per_channel, unsigned, method in product((True, False), (True, False), methods)
    ]
    return [Recipe(mode="dynamic"), *static]


def sparing(recipe: Recipe, graph: onnx.GraphProto, noisy: Sequence[str]) -> list[Recipe]:
    """The recipe with nodes in FP32: norms, the ends, or those around the noisiest tensors."""
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


def _sweep(bench: Bench, base: Prepared, fp32: JudgedNetwork) -> Iterator[Candidate]:
    by_grid = list(_try(bench, base, fp32, grid()))
    yield from by_grid
    # Nearest in probabilities, not best in accuracy: on few images accuracies are alike.
    static = [candidate for candidate in by_grid if candidate.recipe.mode == "static"]
    best = min(static, key=lambda candidate: candidate.distance)
    graph = onnx.load(base.path).graph
    images = spread(bench.calibration, NOISE_IMAGES)
    noise = measure_noise(base.path, best.path, Inputs(samples=images.samples, card=bench.card))
    count = max(1, round(len(noise) * NOISY_SHARE))
    noisy = [tensor.tensor for tensor in noisiest(noise, count)]
    yield from _try(bench, base, fp32, sparing(best.recipe, graph, noisy))
    yield from _try_rescaled(bench, base, fp32, best.recipe)


def _try_rescaled(
    bench: Bench, base: Prepared, fp32: JudgedNetwork, recipe: Recipe
) -> Iterator[Candidate]:
    """Cross-layer equalisation and SmoothQuant, where the network has layers for them."""
    equalised, smoothed = bench.folder / "equalised.onnx", bench.folder / "smoothed.onnx"
    rescaled = {
        "cross-layer equalised": (equalised, cross_layer(base.path, equalised)),
        "smoothed": (smoothed, smooth(base.path, base.calibration.channels, smoothed)),
    }
    for note, (path, count) in rescaled.items():
        if count == 0:
            bench.progress(f"{note}: the network has no layers for it")
            continue
        # Rescaled tensors have other ranges.
        rescaled_base = Prepared(path=path, calibration=_calibrate(bench, path))
        yield from _try(bench, rescaled_base, fp32, [replace(recipe, note=f"{note} ({count})")])


# Judging


def _calibrate(bench: Bench, path: Path) -> Calibration:
    graph = onnx.load(path).graph
    require_memory(str(bench.fp32), 2 * activation_bytes(graph) + 3 * weight_bytes(graph))
    bench.progress(f"calibrating on {len(bench.calibration.samples)} images")
    return calibrate(path, Inputs(samples=bench.calibration.samples, card=bench.card))


def _judge(
    bench: Bench, name: str, path: Path, card: Card, fp32: JudgedNetwork | None = None
) -> JudgedNetwork:
    """Judge a network that no recipe made; without `fp32` it is FP32 itself."""
    answers = judge(path, bench.held_out, card, bench.positive)
    reference = fp32.answers if fp32 else answers
    network = JudgedNetwork(
        name=name,
        path=path,
        answers=answers,
        operators=operators(path, bench.folder),
        distance=answers.distance(reference),
        agreement=answers.agreement(reference),
    )
    bench.progress(f"{name}: accuracy {network.metrics.accuracy}, {network.bytes:,} bytes")
    return network


def _try(
    bench: Bench, base: Prepared, fp32: JudgedNetwork, recipes: Sequence[Recipe]
) -> Iterator[Candidate]:
    for recipe in recipes:
        number = len(list(bench.folder.glob("candidate-*.onnx")))
        path = bench.folder / f"candidate-{number:02}.onnx"
        quantize_prepared(base.path, base.calibration, path, recipe)
        answers = judge(path, bench.held_out, bench.card, bench.positive)
        candidate = Candidate(
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
            f"{candidate.name}: accuracy {candidate.metrics.accuracy}, "
            f"defect recall {candidate.metrics.defect_recall.value:.3f}, "
            f"distance from FP32 {candidate.distance:.4f}"
        )
        yield candidate


def operators(model: Path, scratch: Path) -> tuple[str, ...]:
    """Kinds of nodes that ONNX Runtime runs, after its optimisations."""
    out = scratch / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3  # it warns that such a file suits this machine only
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    out.unlink()
    return tuple(sorted(kinds))


def _with_cost(bench: Bench, every: Sequence[JudgedNetwork]) -> list[JudgedNetwork]:
    """The same networks with their costs; times are divided by that of the first, FP32."""
    bench.progress(f"timing {len(every)} networks in turns")
    image = next(iter(Inputs(samples=bench.held_out.samples[:1], card=bench.card)))
    times = time_in_turns([network.path for network in every], image)
    count = bench.count_instructions or (lambda _: None)
    counts = [count(network.path) for network in every]
    return [
        replace(network, time=seconds / times[0], instructions=instructions)
        for network, seconds, instructions in zip(every, times, counts, strict=True)
    ]


def time_in_turns(
    models: Sequence[Path], image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> list[float]:
    """Median seconds of one inference on one thread, of each network.

    The networks take turns, so that whatever else runs on the machine disturbs all of them alike.
    """
    sessions = [open_session(model, threads=1) for model in models]
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for session, spent in zip(sessions, seconds, strict=True):
            start = perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            spent.append(perf_counter() - start)
    return [median(spent[1:]) for spent in seconds]  # the first one warms the caches
