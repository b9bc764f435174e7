"""gdb, strace, the sampler and the operators' times on the full-system board, each by one command.

QEMU's user mode lets nobody trace. Two minutes on two cores:
`pytest -m nightly tests/integration/test_board_tools.py`.
"""

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.board.catalogue import load_board
from edgewright.deploy.remote import connect
from edgewright.lab import machine as lab
from edgewright.lab.machine import Lab
from edgewright.lab.proof.small_releases import small_releases
from edgewright.observe.bench.operators import OperatorBench
from edgewright.observe.bench.report import BoardBench, Label
from edgewright.observe.board_stream import Ending
from edgewright.observe.debug.session import DebugReport
from edgewright.observe.profile.report import ProfileReport
from edgewright.observe.trace.session import TraceReport
from edgewright.release import latest
from tests import signing
from tests.checkout import checkout
from tests.unit.cli.test_cli import run, start

pytestmark = pytest.mark.nightly

if shutil.which(lab.QEMU) is None:
    pytest.skip("needs invoke setup --lab --yes", allow_module_level=True)

ON_BOARD = ("--board=a53-som", "--lab", "--json")
IMAGE = "model/golden/lower.png"
STEPS = """\
break edge::load_input
continue
backtrace 3
next
next
info locals
kill
"""


@pytest.fixture(scope="module")
def som(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The board that `--lab` means, with a release of the last build."""
    build = checkout().build("a53-som")
    if not build.latest.is_file():
        pytest.skip("needs invoke build --board=a53-som")
    profile = load_board("a53-som", checkout().boards)
    board = Lab(profile=profile, folder=build.lab, docker=checkout().resources.docker)
    folder = tmp_path_factory.mktemp("releases")
    (release,) = small_releases(latest.release_of(build), folder, 1, random.Random(1))
    try:
        with connect(lab.up(board).target) as ssh:
            ssh.run(["rm", "-rf", profile.deploy.root])  # its keys are another test's
            signing.install(ssh, release)
        yield board
    finally:
        lab.down(board)


@pytest.mark.usefixtures("som", "own_keys")
def test_strace_tells_the_calls_of_an_inference(capsys: pytest.CaptureFixture[str]) -> None:
    start("trace", *ON_BOARD)

    report = TraceReport.model_validate_json(capsys.readouterr().out)
    assert (report.ended, report.exit_code, report.run[0]) == (Ending.BY_ITSELF, 0, "run")
    calls = {call.name: call for call in report.calls}
    assert calls["execve"].calls == 1
    assert calls["mmap2"].calls > 3
    assert IMAGE in Path(report.file).read_text()


# Images without end: inferences alone would make no calls.
ENDLESS = """
cd "$1"
images=$(seq 20000 | sed 's|.*|model/golden/lower.png|')
bin/edge-infer run --release . $images >/dev/null 2>&1 &
sleep 2
"""


@pytest.mark.usefixtures("own_keys")
def test_strace_lets_go_of_what_ran_before_when_its_time_is_over(
    som: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(lab.up(som).target) as ssh:
        ssh.script(ENDLESS, f"{som.profile.deploy.root}/current")

        start("trace", *ON_BOARD, "--attach", "--seconds=5")

        report = TraceReport.model_validate_json(capsys.readouterr().out)
        assert (report.ended, report.exit_code, len(report.processes)) == (Ending.IN_TIME, None, 1)
        assert "openat" in {call.name for call in report.calls}
        running = "pidof strace; grep TracerPid /proc/$1/status"
        after = ssh.run(["sh", "-c", running, "_", str(report.processes[0])]).stdout
        assert after.split() == ["TracerPid:", "0"]
        ssh.run(["kill", str(report.processes[0])])


@pytest.mark.usefixtures("som", "own_keys")
def test_gdb_stops_in_the_preprocessing_and_shows_its_variables(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps = tmp_path / "steps.gdb"
    steps.write_text(STEPS)

    start("debug", *ON_BOARD, f"--run=run {IMAGE}", f"--script={steps}")

    output = "\n".join(DebugReport.model_validate_json(capsys.readouterr().out).output)
    assert "Breakpoint 1, edge::load_input" in output
    assert "preprocess.cpp:" in output
    assert "start = " in output


@pytest.mark.usefixtures("som", "own_keys")
def test_a_profile_leads_to_main(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    start("profile", *ON_BOARD, "--seconds=30", f"--out={tmp_path / 'profile.html'}")

    report = ProfileReport.model_validate_json(capsys.readouterr().out)
    assert report.samples > 30
    assert report.in_main + report.in_threads > 0.95 * report.samples
    totals = {share.function: share.total for share in report.functions}
    assert totals["edge::execute"] > 0.9 * report.in_main
    assert "main;edge::execute;" in Path(report.folded).read_text()
    assert Path(report.page).read_text().startswith("<!doctype html>")


@pytest.mark.usefixtures("som", "own_keys")
def test_operators_times_stand_beside_what_they_execute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start("bench.board", *ON_BOARD, "--by=operator")

    report = OperatorBench.model_validate_json(capsys.readouterr().out)
    assert (report.label, report.inferences) == (Label.EMULATED, 3)
    assert {each.operator for each in report.operators} == {"ReduceMean", "Reshape"}
    assert report.counted_reason == "the release was not built on this machine"
    assert sum(each.nodes for each in report.operators) == len(report.nodes)
    assert report.nodes_ms <= report.inference_ms


@pytest.mark.usefixtures("own_keys")
def test_a_board_that_goes_in_the_middle_of_a_bench_is_told_and_measured_again(
    som: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut() -> None:
        with connect(lab.running(som).target) as ssh:
            while ssh.run(["pidof", "edge-infer"]).returncode:
                time.sleep(0.2)
        lab.cut(som)

    watcher = threading.Thread(target=cut)
    watcher.start()
    assert run("bench.board", *ON_BOARD, "--processes=500") == 3
    watcher.join()

    error = json.loads(capsys.readouterr().out)["error"]
    assert "connection lost" in error["message"]
    lab.up(som)
    start("bench.board", *ON_BOARD, "--processes=6", "--runs=12", "--threads=1,4")
    report = BoardBench.model_validate_json(capsys.readouterr().out)
    (latency,) = report.latency
    assert (latency.label, latency.ms.runs) == (Label.EMULATED, 72)
    assert latency.ms.p95.value is not None
    assert latency.ms.p99.reason == "72 runs; it needs 368"
    assert {stage.name for stage in report.stages if stage.median_ms is not None} == {
        *("decode", "preprocess", "inference", "postprocess")
    }
    assert report.boot_id
