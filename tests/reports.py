"""A report as `report` collects it: a measured release, the former one, and hostile names."""

import math

from edgewright.deploy.report import Check, Verdict
from edgewright.observe.bench.conditions import Power, PowerReading, Reading
from edgewright.observe.bench.measure import compare, latencies, spread, stages
from edgewright.observe.bench.report import BoardBench, Label, Process
from edgewright.observe.report.composition import Composition, FilePart
from edgewright.observe.report.document import (
    Former,
    Ingredient,
    Metric,
    ReleasedFile,
    ReleaseReport,
)

HOSTILE = "</script><img src=x onerror=document.title=1>&amp;\u2028'\""


def reading(at_s: float, *, sensors: bool = True) -> Reading:
    """A board that grows warmer; without sensors it tells nothing of that."""
    heat = 40 + 22 * (1 - math.exp(-at_s / 60))
    return Reading(
        at_s=at_s,
        mhz=1400 if sensors else None,
        temperature_c=heat if sensors else None,
        cooling_state=0 if sensors else None,
        load=1.0,
        power=(PowerReading(sensor=f"ina226 {HOSTILE}", watts=2 + heat / 100),) if sensors else (),
        throttled=(),
    )


def process(release: str, number: int, *, slower: float = 1.0, sensors: bool = True) -> Process:
    """Forty inferences of a few lengths, the same each time."""
    begin = number * 20.0
    times = tuple(
        slower * (90 + 4 * math.sin(number * 7 + i * i) + (i % 17 == 0) * 9) for i in range(40)
    )
    return Process(
        release=release,
        threads=4,
        label=Label.MEASURED,
        throttled=(),
        load_ms=31.5,
        first_inference_ms=120.0,
        inference_ms=times,
        decode_ms=1.5,
        preprocess_ms=0.5,
        postprocess_ms=0.25,
        median_ms=sorted(times)[20],
        start=reading(begin, sensors=sensors),
        end=reading(begin + 9, sensors=sensors),
        meanwhile=tuple(reading(begin + i, sensors=sensors) for i in range(1, 9)),
    )


def bench(*, sensors: bool = True) -> BoardBench:
    own = [process("a" * 16, number, sensors=sensors) for number in range(8)]
    others = [process("b" * 16, number, slower=0.97, sensors=sensors) for number in range(8)]
    power = Power(sensor="ina226", samples=64, mean_w=2.5, peak_w=2.6, mj_per_inference=230.0)
    return BoardBench(
        board="board",
        target="root@192.0.2.7",
        emulated=False,
        release="a" * 16,
        model="small",
        threads=4,
        warmup=4,
        kernel=HOSTILE,
        boot_id=None,
        governor=None,
        latency=latencies(own),
        load_ms=spread([31.5]),
        first_inference_ms=spread([120.0]),
        stages=stages(own),
        peak_rss_kb=30000,
        peak_rss_is_shared=False,
        throughput=(),
        power=(power,) if sensors else (),
        budgets=(Check(name="peak memory", verdict=Verdict.PASSED, expected="64", found="29.3"),),
        comparison=compare(own, others, "b" * 16, 0.05),
        soak=None,
        processes=tuple(own),
    )


def report(measured: BoardBench | None) -> ReleaseReport:
    operators = FilePart(name="operators", bytes=900, parts=(FilePart(name=HOSTILE, bytes=900),))
    runtime = FilePart(name="ONNX Runtime", bytes=900, parts=(operators,))
    program = Composition(
        path="bin/edge-infer", bytes=1500, parts=(runtime, FilePart(name="C library", bytes=600))
    )
    convolutions = FilePart(name="Conv", bytes=700, parts=(FilePart(name=HOSTILE, bytes=700),))
    network = Composition(
        path="model/model.ort", bytes=1000, parts=(convolutions, FilePart(name="graph", bytes=300))
    )
    return ReleaseReport(
        board="board",
        target="root@192.0.2.7",
        release="a" * 16,
        model=HOSTILE,
        runtime="onnxruntime 1.21.0",
        revision="0" * 40,
        dirty=False,
        threads=4,
        linkage="static",
        latency_budget_ms=100,
        peak_rss_budget_mb=64,
        bytes=2500,
        files=(ReleasedFile(path="bin/edge-infer", bytes=1500, budget=2000, former_bytes=1400),),
        operators=("ai.onnx:Reshape (opset 14)",),
        programs=(program,),
        programs_reason=None,
        network=network,
        network_reason=None,
        metrics=(Metric(name=HOSTILE, value=0.8, low=0.7, high=0.9, former=0.7),),
        metrics_source="the model's card",
        checks=measured.budgets if measured else (),
        bench=measured,
        smoke=None,
        former=Former(release="b" * 16, model="small", runtime="onnxruntime 1.21.0", bytes=2400),
        former_reason=None,
        ingredients=(
            Ingredient(name=HOSTILE, version="1", kind="library", licence="", purl="", sha256=None),
        ),
        ingredients_reason=None,
    )
