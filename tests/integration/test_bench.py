"""What the release that was just built costs, against what was accepted."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.progress import Progress
from edgewright.board.catalogue import load_board
from edgewright.build.pipeline import BuildReport
from edgewright.model.convert.packed_weights import unpack_weights
from edgewright.observe import build_growth, goal_report
from edgewright.observe.build_cost import CostVerdict, build_cost, judged_cpus
from edgewright.observe.count import baseline, instructions
from edgewright.observe.count.instructions import InstructionReport, Program
from edgewright.observe.peers import compare
from edgewright.release.manifest import load_release
from tests.checkout import checkout
from tests.integration.conftest import alone, wait_until
from tests.schemas import require_valid

CHECKOUT = checkout()

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def program(built: BuildReport) -> Program:
    folder = load_release(built.folder).folder
    return instructions.program_of_release(
        folder, load_board("a53-som", CHECKOUT.boards), CHECKOUT.build("a53-som")
    )


@pytest.fixture(scope="module")
def report(program: Program) -> InstructionReport:
    return instructions.measure(program, "a53-som", CHECKOUT.resources)


def test_nothing_costs_more_than_accepted(built: BuildReport) -> None:
    profile, release = load_board("a53-som", CHECKOUT.boards), load_release(built.folder)
    program = instructions.program_of_release(release.folder, profile, CHECKOUT.build("a53-som"))
    model, accepted = CHECKOUT.default_model.parent.name, baseline.read_baseline(CHECKOUT.baseline)
    cpus = judged_cpus(profile, accepted.of("a53-som", model))
    cost = build_cost(program, profile, release.manifest, model, cpus, CHECKOUT.resources)

    before = baseline.require_no_growth(cost, accepted)

    (judged,) = CostVerdict.of(cost, before).cores
    assert (judged.cpu, judged.judged_by) == ("max", "cycles")


def test_operators_and_functions_add_up_to_the_inference(report: InstructionReport) -> None:
    assert sum(cost.instructions for cost in report.functions) == report.inference
    assert sum(cost.calls for cost in report.operators) == len(report.nodes)
    assert sum(cost.instructions for cost in report.nodes) == pytest.approx(
        report.inference, rel=0.001
    )


def test_a_release_s_weights_are_used_where_they_lie(
    program: Program, report: InstructionReport, tmp_path: Path
) -> None:
    """With the same weights as ONNX Runtime stores them, the program packs them when it loads.

    Memory is looked at every 5 ms; the copy of 4.7 MB that it spares is held for a whole run, which
    takes seconds.
    """
    plain = tmp_path / "plain.ort"
    plain.write_bytes(unpack_weights(program.model.read_bytes()))
    assert program.model.stat().st_size == pytest.approx(plain.stat().st_size, abs=10_000)
    card = program.model.with_name("card.json")
    (tmp_path / card.name).write_bytes(card.read_bytes())
    unpacked = replace(program, model=plain, options=("--model", str(plain)))
    packing = instructions.measure(unpacked, "a53-som", CHECKOUT.resources)
    used, packed = (goal_report.held_at_inference(p) for p in (program, unpacked))

    assert report.load <= goal_report.LOAD_GOALS[program.arch]
    assert report.load < packing.load - 5_000_000
    assert report.inference == pytest.approx(packing.inference, rel=0.001)
    assert used.anonymous_kb < packed.anonymous_kb - 4000


def test_a_later_inference_costs_what_the_first_does(report: InstructionReport) -> None:
    assert report.inference == pytest.approx(report.first_inference, rel=0.01)


@pytest.mark.nightly
def test_the_governor_costs_next_to_nothing(
    built: BuildReport, report: InstructionReport, tmp_path: Path
) -> None:
    zone = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("45000\n")
    program = instructions.program_of_release(
        load_release(built.folder).folder,
        load_board("a53-som", CHECKOUT.boards),
        CHECKOUT.build("a53-som"),
    )
    governed = (*program.options, "--thermal-limit", "80", "--sysfs", str(tmp_path))

    paced = instructions.measure(replace(program, options=governed), "a53-som", CHECKOUT.resources)

    # An emulated inference takes seconds: there is a sample in each.
    assert any("HeatSensors::read" in cost.name for cost in paced.functions)
    assert paced.inference <= report.inference * 1.002


@pytest.mark.nightly
def test_debians_xnnpack_takes_the_convolutions_of_signed_bytes_and_agrees(
    built: BuildReport, report: InstructionReport, tmp_path: Path
) -> None:
    folder = load_release(built.folder).folder
    program = instructions.program_of_release(
        folder, load_board("a53-som", CHECKOUT.boards), CHECKOUT.build("a53-som")
    )
    contest = compare.Contest(
        workspace=CHECKOUT,
        program=compare.CountedProgram(program=program, report=report),
        onnx=CHECKOUT.default_model,
        log=tmp_path / "log",
    )

    ours, signed, plain = compare.compare(contest, ("xnnpack",)).rows

    assert (ours.nodes, signed.nodes) == (None, 35)
    assert (signed.precision, plain.precision) == ("S8S8", "FP32")
    assert signed.difference == 0.0
    assert plain.difference < 0.01


@pytest.mark.parametrize("task", ["bench.instructions", "bench.accept"])
def test_ctrl_c_during_a_count_leaves_everything_as_it_was(
    task: str, built: BuildReport, tmp_path: Path
) -> None:
    """A terminal sends the signal to all that the command has started in its group."""
    accepted = contents(CHECKOUT.own_baseline.parent)
    with alone():
        before = containers()
        child = subprocess.Popen(
            [sys.executable, "-m", "edgewright.cli", task, "--board=a53-som", "--json"],
            cwd=CHECKOUT.root,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: "qemu-arm" in session(child.pid), seconds=300)
        os.killpg(child.pid, signal.SIGINT)
        output, errors = child.communicate(timeout=30)
        after = containers()

    assert child.returncode == 130
    assert json.loads(output)["error"]["code"] == "interrupted"
    assert errors.endswith("interrupted: what was there before is unchanged\n")
    assert session(child.pid) == ""
    assert after <= before
    assert [*tmp_path.iterdir()] == []
    assert contents(CHECKOUT.own_baseline.parent) == accepted


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def containers() -> set[str]:
    """Ids of those that have this checkout mounted."""
    argv = ["docker", "ps", "--all", "--quiet", "--filter", f"volume={CHECKOUT.root}"]
    return {*subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()}


def session(leader: int) -> str:
    """The commands of all processes that a command has started in its own session."""
    argv = ["ps", "--no-headers", "-o", "args", "--sid", str(leader)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


@pytest.mark.nightly
def test_what_builds_cost_is_measured_the_same_again(built: BuildReport) -> None:
    curves = [
        build_growth.measure(
            CHECKOUT,
            load_board("a53-som", CHECKOUT.boards),
            CHECKOUT.default_model,
            boards=1,
            models=1,
            jobs=1,
            progress=Progress(),
        )
        for _ in range(2)
    ]

    for curve in curves:
        require_valid("bench.growth", curve.to_json())
    (first,), (again,) = (curve.models for curve in curves)
    # A model that is in the cache already adds nothing. Logs in build/ differ by some bytes.
    assert again.cache_bytes == first.cache_bytes > 0
    assert again.workspace_bytes == pytest.approx(first.workspace_bytes, rel=0.01)
