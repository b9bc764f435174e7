"""A planted null dereference on an emulated board: its file, and the line that it names."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgewright.board.catalogue import load_board
from edgewright.board.elf import read_elf
from edgewright.board.profile import Arch
from edgewright.board.symbol_store import debug_path, store_symbols
from edgewright.build.container import DockerBuilder
from edgewright.deploy.remote import Board
from edgewright.observe.count.counts import EMULATORS
from edgewright.observe.crash.crash_file import parse_crash_file
from edgewright.observe.crash.explain import Explainer, group
from edgewright.observe.crash.fetch import fetch_crashes
from edgewright.observe.crash.report import Crash
from tests.checkout import ROOT, checkout

pytestmark = [pytest.mark.docker, pytest.mark.board]

RELEASE = "0123456789abcdef"
SOURCE = ROOT / "runtime_cpp" / "tests" / "crash" / "main.cpp"
# The product's handler and a program with a fault, compiled as a release is. `opaque.cpp` has no
# unwinding information, as ONNX Runtime has none.
COMPILE = """
set -e
cd "$2"
product="$1/src/crash_file.cpp $1/src/stack_dump.cpp $1/src/about.cpp $1/common/text.cpp"
product="$product $1/src/deploy_root.cpp $1/src/file.cpp"
flags="-std=c++17 -Os -fno-exceptions -fno-rtti -I$1/include -I$1"
flags="$flags -DEDGE_VERSION=\\"0\\" -DEDGE_LINKAGE=\\"static\\""
"$3-g++" $flags -fno-asynchronous-unwind-tables -c "$1/tests/crash/opaque.cpp"
"$3-g++" $flags -g "-ffile-prefix-map=$1/=runtime_cpp/" $product "$1/tests/crash/main.cpp" \\
    opaque.o -static -Wl,--build-id=sha1 $4 -o edge-infer
"$3-objcopy" --only-keep-debug edge-infer symbols
"$3-strip" edge-infer
"""


@pytest.fixture(scope="module")
def store(builder: DockerBuilder, scratch: Path) -> Path:
    """The program that crashes, kept as a build keeps a release's."""
    return compiled(builder, scratch, "a53-som")


def compiled(builder: DockerBuilder, scratch: Path, board: str, link_option: str = "") -> Path:
    """Compile `scratch/edge-infer`; the store that keeps it."""
    triplet = load_board(board, checkout().boards).abi.triplet
    sources = builder.path(checkout().resources.runtime_cpp)
    folder = builder.path(scratch)
    script = ["sh", "-c", COMPILE, "_", str(sources), str(folder), triplet, link_option]
    builder.run(script, scratch / "build.log")
    build_id = read_elf(scratch / "edge-infer").build_id
    assert build_id
    target = debug_path(scratch, build_id)
    target.parent.mkdir(parents=True)
    shutil.move(scratch / "symbols", target)
    store_symbols(scratch / "store", [scratch / "edge-infer"], scratch)
    return scratch / "store"


def crash(board: Board, root: str, program: Path) -> None:
    folder = f"{root}/releases/{RELEASE}"
    board.check(["mkdir", "-p", f"{folder}/bin"])
    with program.open("rb") as content:
        board.put(content, f"{folder}/bin/edge-infer")
    board.check(["chmod", "+x", f"{folder}/bin/edge-infer"])
    assert board.run([f"{folder}/bin/edge-infer", folder]).returncode == 1


def explained(board: Board, root: str, store: Path) -> list[Crash]:
    explainer = Explainer(folders=[store])
    files = fetch_crashes(board, root)
    assert [file.problem for file in files if file.problem] == []
    return [explainer.explain(file.crash, file.name, store) for file in files if file.crash]


def test_a_null_dereference_names_its_file_and_line(
    board: Board, root: str, store: Path, scratch: Path
) -> None:
    crash(board, root, scratch / "edge-infer")

    (explanation,) = explained(board, root, store)

    lines = SOURCE.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "the planted null dereference" in text)
    frames = explanation.threads[0].frames
    assert [frame.function for frame in frames] == [
        "(anonymous namespace)::read_number",
        "(anonymous namespace)::load",
        "through_opaque",
        "main",
    ]
    assert (frames[0].file, frames[0].line) == ("runtime_cpp/tests/crash/main.cpp", line)
    assert [frame.origin for frame in frames] == ["registers", "unwound", "unwound", "searched"]
    assert (explanation.signal, explanation.address, explanation.release) == (
        "SIGSEGV",
        "0x0",
        RELEASE,
    )
    (cause,) = group([explanation])
    assert cause.summary.endswith(f"runtime_cpp/tests/crash/main.cpp:{line}")
    mode = board.check(["ls", "-l", f"{root}/crashes"]).stdout.splitlines()[-1]
    assert mode.startswith("-rw------- ")
    assert int(mode.split()[4]) < 64 << 10


def test_symbols_without_their_program_name_what_has_rules(
    board: Board, root: str, store: Path, scratch: Path
) -> None:
    crash(board, root, scratch / "edge-infer")

    (explanation,) = explained(board, root, scratch)

    functions = [frame.function for frame in explanation.threads[0].frames]
    assert functions == [
        "(anonymous namespace)::read_number",
        "(anonymous namespace)::load",
        "through_opaque",
    ]


def test_callers_on_arm64_follow_through_functions_without_rows_of_unwinding(
    builder: DockerBuilder, scratch: Path
) -> None:
    """Those of the C library, which `abort` goes through, and `through_opaque`."""
    folder = scratch / "arm64"
    folder.mkdir()
    script = builder.path(checkout().resources.runtime_cpp / "cmake" / "no_unwinding.ld")
    store = compiled(builder, folder, "a53-som-arm64", f"-Wl,-T,{script}")
    release = folder / "root" / "releases" / RELEASE
    release.mkdir(parents=True)

    env = {"CRASH_BY_ABORT": "1"}
    argv = [EMULATORS[Arch.ARM64], str(folder / "edge-infer"), str(release)]
    ran = subprocess.run(argv, env=env, check=False)

    assert ran.returncode == 1
    (file,) = (folder / "root" / "crashes").glob("*.crash")
    crash = parse_crash_file(file.read_text(), file.name)
    frames = Explainer(folders=[store]).explain(crash, file.name, store).threads[0].frames
    assert [frame.function for frame in frames[-5:]] == [
        "abort",
        "(anonymous namespace)::read_number",
        "(anonymous namespace)::load",
        "through_opaque",
        "main",
    ]
    assert {frame.origin for frame in frames[1:]} == {"unwound"}
