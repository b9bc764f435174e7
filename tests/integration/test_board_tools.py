"""gdb and strace on the full-system board, each by one command: QEMU's user mode lets nobody trace.

A minute on two cores: `pytest -m nightly tests/integration/test_board_tools.py`.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.board.catalogue import load_board
from edgewright.build import pipeline
from edgewright.deploy.remote import connect
from edgewright.lab import machine as lab
from edgewright.lab.machine import Lab
from edgewright.lab.proof.small_releases import small_releases
from edgewright.observe.debug.session import DebugReport
from edgewright.observe.trace.session import Ending, TraceReport
from tests import signing
from tests.checkout import checkout
from tests.unit.cli.test_cli import start

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
    (release,) = small_releases(pipeline.latest_release(build), folder, 1, random.Random(1))
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
