"""Classifiers: make and judge the networks of the recipes, and choose one by accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnxruntime

from edgewright.base.memory import require_memory
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card
from edgewright.model.convert.inspect import activation_bytes, weight_bytes
from edgewright.model.importer.classifier import Classifier
from edgewright.model.judge.answers import Answers, judge
from edgewright.model.judge.data import Dataset
from edgewright.model.judge.evaluate import Metrics
from edgewright.model.judge.images import Inputs, spread
from edgewright.model.quantize.calibrate import Calibration, calibrate
from edgewright.model.quantize.recipe import Recipe, prepare
from edgewright.model.quantize.search import (
    NOISE_IMAGES,
    InstructionCounter,
    Prepared,
    RatedNetwork,
    Trials,
    TriedNetwork,
    choose,
    search,
    try_recipes,
    with_costs,
)


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
class JudgedNetwork(RatedNetwork):
    """A network and its answers to the held-out images; `distance` is that of probabilities."""

    answers: Answers
    operators: tuple[str, ...]
    agreement: float  # share of the answers that are FP32's

    @property
    def metrics(self) -> Metrics:
        return self.answers.metrics

    @property
    def quality(self) -> float:
        return self.metrics.accuracy.value


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate(JudgedNetwork, TriedNetwork):
    """A network that one recipe made."""


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
    trials = _trials(bench, fp32)
    new = search(trials, base) if recipes is None else try_recipes(trials, base, recipes)
    # Costs come last, of all networks in one run: only then do times compare.
    every = [fp32, *rivals, *new]
    bench.progress(f"timing {len(every)} networks in turns")
    image = next(iter(Inputs(samples=bench.held_out.samples[:1], card=bench.card)))
    fp32, *judged = with_costs(every, image, bench.count_instructions)
    candidates = [network for network in judged if isinstance(network, Candidate)]
    chosen, reason = choose(fp32, candidates, budget)
    return SweepResult(
        fp32=fp32,
        candidates=tuple(candidates),
        rivals=tuple(judged[: len(rivals)]),
        chosen=chosen,
        reason=reason,
    )


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


def _trials(bench: Bench, fp32: JudgedNetwork) -> Trials[Candidate]:
    def judge_candidate(path: Path, recipe: Recipe, base: Prepared) -> Candidate:
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
        return candidate

    noisy = spread(bench.calibration, NOISE_IMAGES)
    return Trials(
        folder=bench.folder,
        calibrate=lambda path: _calibrate(bench, path),
        judge=judge_candidate,
        noise_inputs=lambda: Inputs(samples=noisy.samples, card=bench.card),
        progress=bench.progress,
    )


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
