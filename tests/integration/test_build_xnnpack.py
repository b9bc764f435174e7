"""A board with XNNPACK before ONNX Runtime's own kernels: the same network, the same answers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.board.catalogue import load_board
from edgewright.build import pipeline
from edgewright.build.container import DockerBuilder
from edgewright.build.pipeline import BuildReport
from edgewright.deploy import smoke
from edgewright.deploy.remote import connect
from edgewright.lab.emulate import EmulatedBoard
from edgewright.model.pack.golden import EXPECTED
from edgewright.observe.count import instructions
from edgewright.release.manifest import load_release
from tests import signing
from tests.integration.conftest import REPO, Silent, instance_of, request, run_board

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

BOARD = "a53-som-xnnpack"
CONVOLUTIONS = 35  # of the demo network


@pytest.fixture(scope="module")
def with_xnnpack(builder: DockerBuilder) -> BuildReport:
    return pipeline.build(request(REPO, board=BOARD), Silent())


@pytest.fixture(scope="module")
def board_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedBoard]:
    folder = tmp_path_factory.mktemp("xnnpack")
    yield from run_board(instance_of(BOARD, folder))


def answer_of(release: Path, *arguments: str) -> dict[str, object]:
    """What the release's program says, run by the user-mode emulator."""
    argv = [str(release / "bin" / "edge-infer"), *arguments]
    document: dict[str, object] = json.loads(subprocess.run(argv, capture_output=True).stdout)
    return document


def probabilities(release: Path, images: list[Path]) -> list[list[float]]:
    model = str(release / "model" / "model.ort")
    results = answer_of(release, "run", "--model", model, *map(str, images))["results"]
    assert isinstance(results, list)
    return [result["probabilities"] for result in results]


def test_the_program_says_which_providers_it_asks(
    built: BuildReport, with_xnnpack: BuildReport
) -> None:
    runtimes = [answer_of(report.folder, "info")["runtime"] for report in (built, with_xnnpack)]

    assert [runtime["providers"] for runtime in runtimes] == [["cpu"], ["xnnpack", "cpu"]]  # type: ignore[index]


def test_it_answers_as_our_kernels_do(built: BuildReport, with_xnnpack: BuildReport) -> None:
    golden = (built.folder / "model" / "golden").iterdir()
    images = sorted(path for path in golden if path.name != EXPECTED)

    answers = probabilities(with_xnnpack.folder, images)

    assert len(answers) == len(images) >= 8
    assert answers == probabilities(built.folder, images)


def test_xnnpack_takes_every_convolution(with_xnnpack: BuildReport) -> None:
    profile = load_board(BOARD, REPO.boards)
    program = instructions.program_of_release(with_xnnpack.folder, profile, REPO.build(BOARD))

    report = instructions.measure(program, BOARD, REPO.resources)
    nodes = {cost.name: cost.calls for cost in report.operators}

    assert nodes["Conv"] == CONVOLUTIONS
    assert "QLinearConv" not in nodes


@pytest.mark.board
def test_its_release_passes_the_smoke_test_on_a_board(
    with_xnnpack: BuildReport,
    board_of_its_own: EmulatedBoard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path))
    release = load_release(with_xnnpack.folder)
    gate = smoke.Gate(release.manifest)

    with connect(board_of_its_own.target) as session:
        outcome = signing.install(session, release, signing.sign(release), gate=gate)

    assert gate.report is not None
    assert gate.report.passed
    assert not outcome.unchanged
