"""The real program with ONNX Runtime, under sanitizers and Valgrind: nothing is lost or misread.

`test_serve.py` and `test_watch.py` run each of their tests under sanitizers each night.
"""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgewright.base.files import unique_name
from edgewright.build.container import WORKSPACE_MOUNT, DockerBuilder
from tests.checkout import checkout
from tests.integration.checkers import (
    SANITIZERS,
    CheckedProgram,
    Checker,
    checked,
    compiler_flags,
    each_night,
)
from tests.integration.conftest import BuildChecked
from tests.integration.test_edge_infer_host import write_golden
from tests.integration.toy_model import toy_model

pytestmark = pytest.mark.docker
ROOT = checkout().root
CORPUS = ROOT / "tests" / "corpus" / "images"
LEAK = Path(__file__).parent / "planted" / "leak.c"
OVERFLOW = LEAK.with_name("overflow.cpp")
# Unit tests that do what a checker reports: they crash, write stacks as they lie in memory, ask
# glibc for what of its heap is in use, and let a decoder run out of memory.
CRASHES, STACKS = "*/test_crash_*", "*/test_sampler.cpp"
HEAP, OUT_OF_MEMORY = "*in the heap*,the heap *", "an image that ends its decoder *"

Run = Callable[..., int]


def exit_code(
    program: CheckedProgram, folder: Path, *arguments: object, preload: Path | None = None
) -> int:
    """Of the program in a container that has the checkout, as the builder has it, and `folder`."""
    argv = ["docker", "run", "--rm", "--init", "--name", unique_name("edgewright-checked")]
    for path, mount in ((ROOT, ROOT), (ROOT, WORKSPACE_MOUNT), (folder, folder)):
        argv += ["--volume", f"{path}:{mount}"]
    argv += ["--env", f"LD_PRELOAD={preload or ''}", program.image, str(program.path)]
    ended = subprocess.run(
        [*argv, *map(str, arguments)], capture_output=True, check=False, timeout=600
    )
    return ended.returncode


@pytest.fixture
def run(program: CheckedProgram, tmp_path: Path) -> Run:
    """Runs `edge-infer`; its exit code."""
    return partial(exit_code, program, tmp_path)


@pytest.mark.parametrize("program", each_night(*SANITIZERS, Checker.VALGRIND), indirect=True)
def test_whatever_run_bench_and_selftest_read_is_clean(run: Run, tmp_path: Path) -> None:
    model = toy_model(tmp_path / "model", 3, 40, 60)
    write_golden(model, 0.0)
    assert run("selftest", "--model", model) == 0
    images = sorted(CORPUS.glob("*.*"))
    assert run("run", "--model", model, *images) == 3  # some are no images
    good = CORPUS / "good-rgb.png"
    assert run("bench", "--model", model, "--image", good, "--threads", "3", "--runs", "50") == 0


@pytest.mark.parametrize("checker", each_night(*SANITIZERS, Checker.VALGRIND))
def test_the_unit_tests_are_clean(
    checker: Checker, build_checked: BuildChecked, tmp_path: Path
) -> None:
    program = build_checked(checker, tmp_path, "edge_tests")
    files = CRASHES if checker in SANITIZERS else f"{CRASHES},{STACKS}"
    left_out = (f"--source-file-exclude={files}", f"--test-case-exclude={HEAP},{OUT_OF_MEMORY}")

    assert exit_code(program, tmp_path, *left_out) == 0
    assert program.findings() == ""


@pytest.mark.parametrize("program", [Checker.VALGRIND, *each_night(Checker.ADDRESS)], indirect=True)
def test_a_planted_leak_is_reported(
    run: Run, program: CheckedProgram, builder: DockerBuilder, scratch: Path, tmp_path: Path
) -> None:
    model = toy_model(tmp_path / "model", 3, 40, 60)
    library = scratch / "leak.so"
    flags = ["-g", "-shared", "-fPIC", "-I/usr/include/onnxruntime"]
    source, out = (str(builder.path(path)) for path in (LEAK, library))
    builder.run(["gcc", *flags, "-o", out, source], scratch / "leak.log")

    run(
        "bench",
        "--model",
        model,
        "--image",
        CORPUS / "good-rgb.png",
        "--runs",
        "5",
        preload=library,
    )

    findings = program.findings()
    program.forget()
    assert "leak.c" in findings
    assert "5 blocks" in findings or "5 object(s)" in findings


def test_undefined_behaviour_is_reported(
    builder: DockerBuilder, scratch: Path, tmp_path: Path
) -> None:
    binary = scratch / "overflow"
    flags = compiler_flags(Checker.ADDRESS).split()
    source, out = (str(builder.path(path)) for path in (OVERFLOW, binary))
    builder.run(["g++", *flags, "-o", out, source], scratch / "overflow.log")
    program = checked(Checker.ADDRESS, binary, builder.image, tmp_path)

    assert exit_code(program, tmp_path) != 0
    assert "signed integer overflow" in program.findings()
