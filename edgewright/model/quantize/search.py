"""The recipes that an engineer would try, and the choice among the networks that they make.

In three steps, since a full cross would be hundreds: every mode, method, granularity and type;
then, on the one nearest to FP32, nodes that stay FP32; then weights rescaled before. How a network
is judged is the task's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Generic, TypeVar

import onnx

from edgewright.base.errors import UserError
from edgewright.base.progress import LineSink
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import open_session
from edgewright.model.quantize.calibrate import Calibration
from edgewright.model.quantize.equalise import cross_layer, smooth
from edgewright.model.quantize.recipe import QUANTIZABLE, Recipe, quantize_prepared
from edgewright.model.quantize.sqnr import measure_noise, nodes_around, noisiest

ALIKE = 1.1  # costs within this factor count as equal: clocks are noisy
NORMS = {"Softmax", "BatchNormalization", "InstanceNormalization"}
NOISY_SHARE = 0.05  # of the tensors, that are spared as the noisiest
ROUNDS = 15  # of the clock
NOISE_IMAGES = 4

InstructionCounter = Callable[[Path], int | None]  # guest instructions of an ONNX file's inference


@dataclass(frozen=True, kw_only=True, eq=False)
class RatedNetwork(ABC):
    """A network, how good it is and what it costs."""

    name: str
    path: Path
    distance: float  # of its answers from FP32's
    time: float = 1.0  # x86 time by that of FP32, in one run
    instructions: int | None = None  # of one inference on the emulated board

    @property
    @abstractmethod
    def quality(self) -> float:
        """The metric that the budget is of, 0 to 1."""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A network ready to quantize, and the values that its tensors take."""

    path: Path
    calibration: Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedNetwork(RatedNetwork):
    """A network that one recipe made."""

    recipe: Recipe
    base: Prepared


Network = TypeVar("Network", bound=RatedNetwork)
Tried = TypeVar("Tried", bound=TriedNetwork)


@dataclass(frozen=True, kw_only=True)
class Trials(Generic[Tried]):
    """What a task brings to the search."""

    folder: Path  # for the networks
    calibrate: Callable[[Path], Calibration]
    judge: Callable[[Path, Recipe, Prepared], Tried]
    noise_inputs: Callable[[], Iterable[Floats]]  # that noise is measured on
    progress: LineSink


def search(trials: Trials[Tried], base: Prepared) -> Iterator[Tried]:
    """All recipes, each network as soon as it is judged."""
    by_grid = list(try_recipes(trials, base, grid()))
    yield from by_grid
    # Nearest in answers, not best in the metric: on few images metrics are alike.
    static = [network for network in by_grid if network.recipe.mode == "static"]
    best = min(static, key=lambda network: network.distance)
    graph = onnx.load(base.path).graph
    noise = measure_noise(base.path, best.path, trials.noise_inputs())
    count = max(1, round(len(noise) * NOISY_SHARE))
    noisy = [tensor.tensor for tensor in noisiest(noise, count)]
    yield from try_recipes(trials, base, sparing(best.recipe, graph, noisy))
    yield from _try_rescaled(trials, base, best.recipe)


def try_recipes(
    trials: Trials[Tried], base: Prepared, recipes: Sequence[Recipe]
) -> Iterator[Tried]:
    for recipe in recipes:
        number = len(list(trials.folder.glob("candidate-*.onnx")))
        path = trials.folder / f"candidate-{number:02}.onnx"
        quantize_prepared(base.path, base.calibration, path, recipe)
        yield trials.judge(path, recipe, base)


def _try_rescaled(trials: Trials[Tried], base: Prepared, recipe: Recipe) -> Iterator[Tried]:
    """Cross-layer equalisation and SmoothQuant, where the network has layers for them."""
    equalised, smoothed = trials.folder / "equalised.onnx", trials.folder / "smoothed.onnx"
    rescaled = {
        "cross-layer equalised": (equalised, cross_layer(base.path, equalised)),
        "smoothed": (smoothed, smooth(base.path, base.calibration.channels, smoothed)),
    }
    for note, (path, count) in rescaled.items():
        if count == 0:
            trials.progress(f"{note}: the network has no layers for it")
            continue
        # Rescaled tensors have other ranges.
        rescaled_base = Prepared(path=path, calibration=trials.calibrate(path))
        yield from try_recipes(trials, rescaled_base, [replace(recipe, note=f"{note} ({count})")])


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


def choose(
    fp32: RatedNetwork, candidates: Sequence[Tried], budget: float, metric: str = "accuracy"
) -> tuple[Tried, str]:
    """The cheapest candidate within the budget, of those that cost alike the nearest to FP32.

    `budget` is in points (hundredths) of the metric. Also why, as a sentence for people. Raises
    UserError, with the frontier, if none is within.
    """
    floor = fp32.quality - budget / 100
    fit = [c for c in candidates if c.quality >= floor - 1e-9]
    if not fit:
        raise UserError(
            str(fp32.path),
            f"no recipe of {len(candidates)} keeps {metric} within {budget:g} points of FP32",
            facts=[
                f"FP32: {fp32.quality:.3f}",
                *(
                    f"{best.name}: {metric} {best.quality:.3f}, "
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
        lost = 100 * (fp32.quality - chosen.quality)
        loss = (
            f"loses {lost:.1f} of {budget:g} points allowed" if lost > 0 else f"loses no {metric}"
        )
        return chosen, f"the only recipe tried; it {loss}"
    reason = (
        f"{len(fit)} of {len(candidates)} recipes lose at most {budget:g} points of {metric}; "
        f"{len(alike)} of them cost alike (within {ALIKE - 1:.0%} of the cheapest), "
        f"and the answers of this one are nearest to FP32's"
    )
    return chosen, reason


def frontier(candidates: Sequence[Network]) -> list[Network]:
    """The candidates that no other one beats in quality, bytes and cost at once."""
    cost = _cost_measure(candidates)
    points = [(-c.quality, c.bytes, cost(c)) for c in candidates]

    def is_beaten(point: tuple[float, ...]) -> bool:
        # Equal points do not beat each other: both stay.
        return any(
            p != point and all(a <= b for a, b in zip(p, point, strict=True)) for p in points
        )

    return [c for c, point in zip(candidates, points, strict=True) if not is_beaten(point)]


def _cost_measure(networks: Sequence[RatedNetwork]) -> Callable[[RatedNetwork], float]:
    """Instructions if all were counted, else time: the two cannot be compared."""
    if all(network.instructions for network in networks):
        return lambda network: float(network.instructions or 0)
    return lambda network: network.time


def with_costs(
    networks: Sequence[Network], image: Floats, count_instructions: InstructionCounter | None
) -> list[Network]:
    """The same networks with their costs; times are divided by that of the first, FP32."""
    times = time_in_turns([network.path for network in networks], image)
    count = count_instructions or (lambda _: None)
    counts = [count(network.path) for network in networks]
    return [
        replace(network, time=seconds / times[0], instructions=instructions)
        for network, seconds, instructions in zip(networks, times, counts, strict=True)
    ]


def time_in_turns(models: Sequence[Path], image: Floats) -> list[float]:
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
