"""Operators' times by a program that is a script, which a shell of this machine runs."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Result
from edgewright.deploy.smoke import Subject
from edgewright.observe.bench.conditions import Gauge
from edgewright.observe.bench.measure import DirectRelease
from edgewright.observe.bench.operator_events import parse_events
from edgewright.observe.bench.operators import OperatorBench, bench_operators
from edgewright.observe.bench.report import Label
from edgewright.observe.count.instructions import Cost, InstructionReport
from tests.boards import BENCH, CASES, LocalBoard, make_release
from tests.schemas import require_valid

PROGRAM = """#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" = --operator-times ] && cp events "$2_2026.json"
    shift
done
ls -d "${1%/*}" >folder
cat answer
exit CODE
"""
NODES = (("in_quantize", "QuantizeLinear"), ("conv1", "QLinearConv"), ("conv2", "QLinearConv"))


def event(name: str, us: int, category: str = "Node", **arguments: str) -> str:
    words = {"cat": category, "pid": 1, "tid": 1, "dur": us, "ts": 5, "ph": "X", "name": name}
    return json.dumps({**words, "args": arguments})


def inference(*times: int) -> list[str]:
    lines = [
        event(f"{name}_kernel_time", us, op_name=operator, node_index=str(index))
        for index, ((name, operator), us) in enumerate(zip(NODES, times, strict=False))
    ]
    return [*lines, event("model_run", sum(times) + 10, "Session")]


def document(*inferences: list[str]) -> str:
    start = event("session_initialization", 900, "Session")
    return "[\n" + ",\n".join([start, *(line for each in inferences for line in each)]) + "\n]\n"


class Board(LocalBoard):
    """Its sensors tell nothing, and its golden set is the tests'."""

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        if argv[0] == "cat":
            text = json.dumps({"schema": 1, "tolerance": 0.01, "cases": CASES})
            return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")
        return super().answer(argv, data)


def measured(
    root: Path,
    events: str,
    *,
    code: int = 0,
    emulated: bool = False,
    counted: InstructionReport | str = "not here",
) -> OperatorBench:
    release = make_release(root / "made", root=str(root))
    folder = root / "releases" / release.id
    (folder / "bin").mkdir(parents=True)
    (folder / "events").write_text(events)
    (folder / "answer").write_text(json.dumps(BENCH) + "\n")
    program = folder / "bin" / "edge-infer"
    program.write_text(PROGRAM.replace("CODE", str(code)))
    program.chmod(0o755)
    board = Board(emulated=emulated)
    edgectl = Edgectl(board=board, root=str(root))
    direct = DirectRelease(edgectl=edgectl, release=release.id, right="--holder=test")
    subject = Subject(release=direct, manifest=release.manifest)
    gauge = Gauge(board=board, tree=str(root / "no-sensors"))
    try:
        return bench_operators(subject, gauge, 3, counted)
    finally:
        assert not Path((folder / "folder").read_text().strip()).exists()  # removed on the board


def counts(*instructions: int) -> InstructionReport:
    nodes = tuple(Cost(name="Kernel", instructions=n, share=0.1) for n in instructions)
    return InstructionReport(
        board="board",
        program=Path("p"),
        model=Path("m"),
        load=1,
        first_inference=1,
        inference=1,
        functions=(),
        operators=(),
        nodes=nodes,
    )


def test_times_are_medians_over_inferences_without_the_first(tmp_path: Path) -> None:
    steady = (inference(us, 3000, 2000) for us in (900, 700, 800))
    events = document(inference(9000, 9000, 9000), *steady)

    report = measured(tmp_path, events, counted=counts(100, 700, 200))

    require_valid("bench.board--by", report.to_json())
    assert (report.label, report.inferences, report.inference_ms) == (Label.MEASURED, 3, 5.81)
    rows = [(each.operator, each.nodes, each.ms, each.instructions) for each in report.operators]
    assert rows == [("QLinearConv", 2, 5.0, 900), ("QuantizeLinear", 1, 0.8, 100)]
    assert report.operators[0].instruction_share == 0.9
    assert [(node.name, node.ms, node.instructions) for node in report.nodes] == [
        ("in_quantize", 0.8, 100),
        ("conv1", 3.0, 700),
        ("conv2", 2.0, 200),
    ]
    assert sum(node.share for node in report.nodes) == pytest.approx(1, abs=1e-4)


def test_where_instructions_are_not_counted_the_reason_stands(tmp_path: Path) -> None:
    events = document(inference(1, 1, 1), inference(1, 1, 1))

    report = measured(tmp_path / "a", events, emulated=True, counted="not built here")
    other = measured(tmp_path / "b", events, counted=counts(1, 2))

    assert (report.label, report.counted_reason) == (Label.EMULATED, "not built here")
    assert report.operators[0].instructions is report.operators[0].instruction_share is None
    assert other.counted_reason == "the emulator counts 2 kernels, the board 3 nodes"


def test_a_profile_that_was_cut_counts_what_is_whole(tmp_path: Path) -> None:
    events = document(*(inference(n, 1, 1) for n in (1, 2, 3)))

    report = measured(tmp_path, events[: events.rindex("model_run")])

    assert report.inferences == 1


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ("", "the same nodes in each inference"),
        (document(inference(1, 1, 1), inference(1, 1, 1), inference(1, 1)), "the same nodes"),
        (document(inference(1, 1, 1), inference(-1, 1, 1)), "tells a time of -1 µs"),
        (document(inference(1, 1, 1)).replace('"dur": 1,', '"dur": "1",'), "is no profile"),
        (document([event("x" * 70_000, 1)]), "is no profile"),
    ],
)
def test_what_is_no_profile_is_refused(events: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=problem):
        measured(tmp_path, events)


def test_a_program_that_does_not_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="tells no operator's time") as refused:
        measured(tmp_path, document(inference(1, 1, 1)), code=2)
    assert "exit code: 2" in refused.value.facts


def test_names_do_not_control_a_terminal() -> None:
    lines: Iterable[str] = [
        event("\x1b[2J_kernel_time", 1, op_name="\x1b[2J", node_index="0"),
        event("model_run", 1, "Session"),
    ]

    (parsed,) = parse_events(lines, "profile")

    assert "\x1b" not in parsed.nodes[0].name + parsed.nodes[0].operator
