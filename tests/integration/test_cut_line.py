"""What a smoke test runs on a board ends with it, by SSH and a line that is cut.

The board is this machine in a network namespace, with Debian's dropbear.
"""

import contextlib
import math
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy import install as deploy
from edgewright.deploy import one_board, smoke
from edgewright.deploy.edgectl import RefusedError
from edgewright.deploy.install import Deployer
from edgewright.deploy.remote import Board, ConnectionLostError, connect
from edgewright.fleet.bench.stand_in import program
from edgewright.lab.proof import powercut
from edgewright.observe import footprint, frame_cost
from edgewright.observe.leaks.report import require_steady
from edgewright.observe.leaks.soak import LEAST_SAMPLES, Soak
from edgewright.release.manifest import Release
from tests import signing
from tests.boards import Watched, documents, make_release
from tests.integration.conftest import NativeBoard, wait_until

pytestmark = pytest.mark.docker

HANGING_BENCH = b"""#!/bin/sh
[ "$1" != bench ] || { trap '' TERM; while :; do sleep 1; done; }
"""
# Its folder is releases/ID, and the release is current only once the self-test has passed.
HANGING_ONCE_INSTALLED = b"""#!/bin/sh
[ ! -e ../../current ] || { trap '' TERM; while :; do sleep 1; done; }
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy, "judge_target", lambda facts, target: [])


@pytest.fixture
def make(host_edgectl: Path, tmp_path: Path) -> Callable[..., Release]:
    root = f"/opt/{secrets.token_hex(4)}/edgewright"

    def make(name: str, edge_infer: bytes | None = None) -> Release:
        return make_release(
            tmp_path / name,
            root=root,
            model=name.encode(),
            edgectl=host_edgectl,
            edge_infer=edge_infer,
        )

    return make


@pytest.fixture
def hangs(make: Callable[..., Release]) -> Release:
    """Its benchmark does not end, and is deaf to SIGTERM."""
    return make("hangs", program(documents()).replace(b"#!/bin/sh\n", HANGING_BENCH))


def processes(release: Release, command: str) -> list[int]:
    """Processes of the board that are this release's `edge-infer COMMAND`."""
    root = release.manifest.deploy_root.encode()
    problems = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = path.read_bytes()
            if f"bin/edge-infer\0{command}\0".encode() in argv and root in argv:
                problems.append(int(path.parent.name))
    return problems


def benchmarks(release: Release) -> list[int]:
    return processes(release, "bench")


@contextlib.contextmanager
def at_the_benchmark(release: Release, act: Callable[[], object]) -> Iterator[smoke.Gate]:
    """A gate in whose benchmark something happens to the board."""

    def wait() -> None:
        wait_until(lambda: benchmarks(release))
        act()

    def begin(stage: str) -> None:
        if stage.startswith("benchmark"):
            watcher.start()

    watcher = threading.Thread(target=wait)
    yield smoke.Gate(release.manifest, progress=Watched(on_start=begin))
    watcher.join()


def signal_sessions(board: NativeBoard, number: signal.Signals) -> None:
    children = Path(f"/proc/{board.server}/task/{board.server}/children").read_text()
    for session in children.split():
        with contextlib.suppress(ProcessLookupError):  # it ends by itself just now
            os.kill(int(session), number)


def test_a_benchmark_ends_with_the_line(
    native_board: NativeBoard, hangs: Release, make: Callable[..., Release]
) -> None:
    with (
        at_the_benchmark(hangs, lambda: signal_sessions(native_board, signal.SIGKILL)) as gate,
        connect(native_board.target) as board,
        pytest.raises(ConnectionLostError),
    ):
        signing.install(board, hangs, gate=gate)

    wait_until(lambda: not benchmarks(hangs), seconds=5)
    with connect(native_board.target) as board:
        signing.install(board, make("good"))


def test_a_benchmark_whose_line_is_silent_ends_with_the_next_deploy_of_its_user_alone(
    native_board: NativeBoard, hangs: Release, make: Callable[..., Release], tmp_path: Path
) -> None:
    """The board hears of no end: its end of the connection sleeps."""

    def fall_silent() -> None:
        signal_sessions(native_board, signal.SIGSTOP)
        board._session.line.close()

    with (
        at_the_benchmark(hangs, fall_silent) as gate,
        connect(native_board.target) as board,
        pytest.raises(ConnectionLostError),
    ):
        signing.install(board, hangs, gate=gate)
    eve, good = Deployer(holder="eve@elsewhere", locks=tmp_path / "eve"), make("good")
    with connect(native_board.target) as board:
        with pytest.raises(RefusedError, match=r"bench .900 s at most. of .* is at work, for "):
            signing.install(board, good, deployer=eve)
        assert benchmarks(hangs) != []

        signing.install(board, good)

    assert benchmarks(hangs) == []
    signal_sessions(native_board, signal.SIGKILL)


def test_a_benchmark_ends_when_another_takes_over(
    native_board: NativeBoard, hangs: Release, make: Callable[..., Release], tmp_path: Path
) -> None:
    eve, good = Deployer(holder="eve@elsewhere", locks=tmp_path / "eve"), make("good")

    def take_over() -> None:
        with connect(native_board.target) as board:
            signing.install(board, good, deployer=eve, take_over=True)

    with (
        at_the_benchmark(hangs, take_over) as gate,
        connect(native_board.target) as board,
        pytest.raises(RefusedError) as ended,
    ):
        signing.install(board, hangs, gate=gate)

    assert ended.value.code == "infer_ended"
    assert "edge-infer bench was ended: another deployer took over" in str(ended.value)
    assert benchmarks(hangs) == []


# Its benchmark goes on once it has told the time of an inference, and is deaf to SIGTERM.
ENDLESS_BENCH = rb"""#!/bin/sh
case "$*" in
    bench*--runs\ 16) ;;
    bench*) trap '' TERM; while :; do sleep 1; done ;;
esac
"""


def test_a_soak_whose_line_is_cut_ends_with_what_it_has(
    native_board: NativeBoard, make: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A shell stands for the program. It takes pages while it begins, on a busy machine for seconds.
    monkeypatch.setattr("edgewright.observe.leaks.soak.LEAST_KIB", math.inf)
    release = make("soaked", program(documents()).replace(b"#!/bin/sh\n", ENDLESS_BENCH))
    root = release.manifest.deploy_root

    def cut() -> None:
        wait_until(lambda: sum(map(len, soak._series)) > LEAST_SAMPLES)
        signal_sessions(native_board, signal.SIGKILL)

    with connect(native_board.target) as board, connect(native_board.target) as second:
        signing.install(board, release)
        with one_board.current_release(board, root, deploy.this_user()) as subject:
            soak = Soak(subject=subject, second=second, seconds=600, interval_s=0.02)
            watcher = threading.Thread(target=cut)
            watcher.start()
            report = soak.run()
            watcher.join()

    with pytest.raises(TargetError, match="the soak ended after"):
        require_steady(report)
    assert report.cut is not None
    memory = {resource.name: resource for resource in report.resources}["resident memory"]
    assert report.samples > LEAST_SAMPLES
    assert (memory.verdict, memory.first is None) == ("steady", False)
    wait_until(lambda: not benchmarks(release), seconds=5)


def bench(board: Board, release: Release) -> None:
    """As `lab.bench`."""
    root = release.manifest.deploy_root
    with one_board.current_release(board, root, deploy.this_user()) as subject:
        footprint.run(subject, [1])


def bench_frames(board: Board, release: Release) -> None:
    """As `lab.bench --frames`."""
    root = release.manifest.deploy_root
    with one_board.current_release(board, root, deploy.this_user()) as subject:
        footprint.frames(subject)


def examine(board: Board, release: Release) -> None:
    """As `lab.powercut`."""
    powercut.examine(board, {release.id: release})


@pytest.mark.parametrize(
    ("measure", "command"), [(bench, "bench"), (bench_frames, "bench"), (examine, "selftest")]
)
def test_what_a_proof_runs_on_a_board_ends_with_the_line(
    measure: Callable[[Board, Release], None],
    command: str,
    native_board: NativeBoard,
    make: Callable[..., Release],
) -> None:
    release = make("proven", program(documents()).replace(b"#!/bin/sh\n", HANGING_ONCE_INSTALLED))

    def cut() -> None:
        wait_until(lambda: processes(release, command))
        signal_sessions(native_board, signal.SIGKILL)

    with connect(native_board.target) as board:
        signing.install(board, release)
        watcher = threading.Thread(target=cut)
        watcher.start()
        with pytest.raises(ConnectionLostError) as lost:
            measure(board, release)
        watcher.join()
    assert "not active" not in str(lost.value)  # as a command after the cut would say

    wait_until(lambda: not processes(release, command), seconds=5)


def test_the_peak_of_each_picture_is_the_boards_own_and_no_picture_stays(
    native_board: NativeBoard, make: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(frame_cost.KINDS[0], name="small", width=32, height=16)
    monkeypatch.setattr(frame_cost, "KINDS", (small, replace(small, name="another")))
    release = make("watched", program(documents()))

    with connect(native_board.target) as board:
        signing.install(board, release)
        put, paths = board.put, list[Path]()

        def watched_put(source: BinaryIO, path: str) -> None:
            paths.append(Path(path))
            put(source, path)

        monkeypatch.setattr(board, "put", watched_put)
        root = release.manifest.deploy_root
        with one_board.current_release(board, root, deploy.this_user()) as subject:
            loads = footprint.frames(subject)

    assert [load.frame for load in loads] == ["small", "another"]
    assert {load.peak_rss_kb for load in loads} == {documents()["bench"]["peak_rss_kb"]}
    assert len(paths) == 2
    assert not any(path.exists() for path in paths)  # the board is this machine
