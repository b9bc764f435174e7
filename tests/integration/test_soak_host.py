"""A soak of the real program on this machine: of a clean build, and of one with a planted leak."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgewright.base import process
from edgewright.base.errors import CheckError
from edgewright.base.files import unique_name
from edgewright.build.container import DockerBuilder
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Result
from edgewright.deploy.smoke import Subject
from edgewright.observe.bench.measure import DirectRelease
from edgewright.observe.leaks.report import SoakReport, require_steady
from edgewright.observe.leaks.soak import FIRST_RUNS, Soak
from tests.boards import StandIn, make_release
from tests.checkout import checkout
from tests.integration.conftest import heat
from tests.integration.toy_model import toy_model

pytestmark = pytest.mark.docker
ROOT = checkout().root
LEAK = Path(__file__).parent / "planted" / "leak.c"
SECONDS = 4.0
KIB = 1024
CHUNK = 16  # what malloc takes for itself of two blocks of 512 bytes


class HostBoard(StandIn):
    """A container in which `edge-infer` is the host build, with a model of ours."""

    def __init__(self, container: str, program: Path, model: Path, preload: Path | None) -> None:
        super().__init__()
        self._exec = ["docker", "exec"]
        if preload:
            self._exec += ["--env", f"LD_PRELOAD={preload}"]
        self._exec.append(container)
        self._program, self._model, self.options = program, model, list[str]()

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        command = list(argv)
        if argv[0] != "sh":
            own = ["--model", str(self._model), *self.options]
            name, release, _, *arguments = argv[1:]
            assert release == "--release"
            command = [str(self._program), name, *own, *arguments]
        ended = subprocess.run([*self._exec, *command], capture_output=True, text=True, check=False)
        return Result(
            argv=tuple(argv),
            returncode=ended.returncode,
            stdout=ended.stdout,
            stderr=ended.stderr,
        )


SoakOf = Callable[..., SoakReport]


@pytest.fixture
def soak_of(
    builder: DockerBuilder, host_build: Path, scratch: Path, tmp_path: Path
) -> Callable[..., SoakReport]:
    release = make_release(tmp_path, root="/opt/edgewright")
    model = toy_model(scratch / "model", channels=3, height=256, width=256)
    library = scratch / "leak.so"

    def soaked(*options: str, leaks: bool) -> SoakReport:
        name = unique_name("edgewright-soak")
        mount = f"{ROOT}:{ROOT}"
        process.check(
            ["docker", "run", "--detach", "--rm", "--init", "--name", name, "--volume", mount]
            + [builder.image, "sleep", "infinity"]
        )
        try:
            if leaks:
                flags = ["-shared", "-fPIC", "-I/usr/include/onnxruntime", "-o", str(library)]
                process.check(["docker", "exec", name, "gcc", *flags, str(LEAK)])
            program = host_build / "edge-infer"
            board = HostBoard(name, program, model, library if leaks else None)
            board.options += options
            direct = DirectRelease(
                edgectl=Edgectl(board=board, root="/opt/edgewright"),
                release=release.id,
                right="--holder=test",
            )
            subject = Subject(release=direct, manifest=release.manifest)
            return Soak(subject=subject, second=board, seconds=SECONDS, interval_s=0.5).run()
        finally:
            process.check(["docker", "kill", name])

    return soaked


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.nightly), 4])
def test_a_leak_of_1_kib_an_inference_is_found_by_the_heap(soak_of: SoakOf, threads: int) -> None:
    report = soak_of(f"--threads={threads}", leaks=True)

    heap = report.resources[0]
    assert (heap.name, heap.verdict) == ("heap", "leak")
    assert heap.per_1000_inferences == pytest.approx((KIB + CHUNK) / KIB * 1000, rel=0.05)
    with pytest.raises(CheckError, match="leaks: heap"):
        require_steady(report)


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.nightly), 4])
def test_a_clean_build_passes(soak_of: SoakOf, threads: int) -> None:
    report = soak_of(f"--threads={threads}", leaks=False)

    heap = report.resources[0]
    assert heap.verdict == "steady", heap.reason
    assert report.inferences > FIRST_RUNS
    require_steady(report)


def test_on_a_board_that_is_too_hot_it_ends_in_time(soak_of: SoakOf, scratch: Path) -> None:
    """Its governor makes ten times as long of what was to take 4 s."""
    hot = ("--thermal-limit=60", f"--sysfs={heat(scratch, 90)}")
    report = soak_of(*hot, leaks=False)

    assert report.cut is None
    assert report.seconds < 10 * SECONDS
    require_steady(report)
