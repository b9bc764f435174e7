"""On which cores a build is counted, and where its cycles are modelled."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.layout import Resources
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch
from edgewright.observe import build_cost
from edgewright.observe.count.baseline import Accepted, AcceptedBuild
from edgewright.observe.count.instructions import InstructionReport, Program
from edgewright.observe.estimate.board_time import Modelled
from tests.checkout import checkout

CHECKOUT = checkout()
PROFILE = load_board("a53-som", CHECKOUT.boards)
WIDE = load_board("a53-som-arm64", CHECKOUT.boards)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Whose instructions and cycles are the same on all cores."""

    def counted(program: Program, board: str, _: Resources) -> InstructionReport:
        return InstructionReport(
            board=board,
            cpu=program.cpu,
            program=program.binary,
            model=program.model,
            load=1,
            first_inference=2,
            inference=2,
            functions=(),
            operators=(),
            nodes=(),
        )

    monkeypatch.setattr(build_cost, "measure", counted)
    monkeypatch.setattr(
        "edgewright.observe.estimate.board_time.modelled",
        lambda *_: Modelled(instructions=1, compute=3, memory=4),
    )
    file = Path("file")
    return Program(
        arch=Arch.ARMHF, cpu="max", binary=file, symbols=file, options=(), model=file, inputs=()
    )


def test_only_the_board_s_own_core_has_modelled_cycles(program: Program) -> None:
    """The model is of a Cortex-A53's pipeline, whatever another core would run."""
    own, other = (
        build_cost.core_cost(on, PROFILE, CHECKOUT.resources)
        for on in (program, replace(program, cpu="cortex-a15"))
    )

    assert (own.report.cpu, own.cycles, own.pipeline_cycles) == ("max", 7_000_000, 3_000_000)
    assert (other.report.cpu, other.cycles, other.pipeline_cycles) == ("cortex-a15", None, None)


def test_cores_that_are_named_come_beside_the_board_s_and_those_accepted_before() -> None:
    accepted = AcceptedBuild(cpus={"cortex-a57": Accepted(inference=1, load=1, functions={})})

    added = build_cost.parse_cpus("cortex-a76, cortex-a53,cortex-a76", WIDE)

    assert build_cost.judged_cpus(WIDE, accepted, added) == (
        "cortex-a53",
        "cortex-a57",
        "cortex-a76",
    )
    assert build_cost.parse_cpus("", WIDE) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max,", "'': not a model of a 64-bit core"),
        (" ", "'': not a model of a 64-bit core"),
        ("cortex-a73", "'cortex-a73': not a model of a 64-bit core; did you mean 'cortex-a7"),
        ("cortex-a7", "'cortex-a7': not a model of a 64-bit core"),
    ],
)
def test_a_core_that_does_not_run_the_board_s_programs_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        build_cost.parse_cpus(text, WIDE)

    shown = str(refused.value)
    assert shown.startswith(f"--cpus={text}: {problem}")
    assert "\n  expected: cortex-a35, cortex-a53, cortex-a57, cortex-a72, cortex-a76, max" in shown
    assert shown.endswith("\nnext: invoke bench.accept --board=a53-som-arm64 --cpus=cortex-a53")
