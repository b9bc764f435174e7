"""What an inference costs, counted under an emulator and estimated for the board."""

import re
from collections.abc import Sequence
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task
from rich.table import Table

from edgewright import pipeline
from edgewright.bench import instructions as counted
from edgewright.bench.instructions import Cost, InstructionReport, Program
from edgewright.cli.build import build_release
from edgewright.cli.common import BOARD, JSON, LAYOUT, OUT, profile_of, told, write


@task(
    help={
        "board": BOARD,
        "model": "ONNX model with card.json and golden/ beside it; default: the demo model",
        "program": "an edge-infer with its symbols, instead of the one that invoke build makes",
        "top": "how many functions and operators to list",
        "json": JSON,
    }
)
@told
def instructions(
    c: Context, board: str, model: str = "", program: str = "", top: int = 20, json: bool = False
) -> None:
    """Count guest instructions per inference. Example: invoke bench.instructions --board=a53-som"""
    report = counted.measure(_program(board, model, program), board, LAYOUT)
    if json:
        write(report.model_dump_json(indent=2) + "\n")
        return
    for line in _summary(report):
        OUT.print(line, markup=False)
    OUT.print(_hot("operator", report.operators[:top]))
    OUT.print(_hot("function", report.functions[:top]))


def _program(board: str, model: str, program: str) -> Program:
    if not program or model:
        build_release(board, model)
    out = LAYOUT.build(board)
    release = pipeline.latest_release(out).folder
    binary = Path(program).resolve() if program else release / "bin" / "edge-infer"
    return Program(
        arch=profile_of(board).abi.arch,
        binary=binary,
        symbols=counted.symbol_file(binary, out),
        model=release / "model" / "model.ort",
        image=min((release / "model" / "golden").glob("*.png")),
    )


def _summary(report: InstructionReport) -> Sequence[str]:
    return (
        f"{report.board}: guest instructions, 1 thread, batch 1",
        f"inference    {report.inference / 1e6:10,.1f} M",
        f"session load {report.load / 1e6:10,.1f} M",
    )


def _hot(what: str, costs: Sequence[Cost]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(what, no_wrap=True, max_width=52)
    for column in ("nodes", "M instructions", "share") if what == "operator" else ("M", "share"):
        table.add_column(column, justify="right")
    for cost in costs:
        nodes = [str(cost.calls)] if what == "operator" else []
        table.add_row(
            _short(cost.name), *nodes, f"{cost.instructions / 1e6:,.1f}", f"{cost.share:.1%}"
        )
    return table


def _short(name: str) -> str:
    """A function's name without the namespaces that nearly all of them share."""
    return re.sub(r"\b(onnxruntime|contrib|concurrency)::", "", name)
