"""The real program with ONNX Runtime, under sanitizers and Valgrind: nothing is lost or misread.

`test_serve.py` and `test_watch.py` run each of their tests under sanitizers each night.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgewright.base.files import unique_name
from edgewright.build.container import DockerBuilder
from tests.checkout import checkout
from tests.integration.checkers import SANITIZERS, CheckedProgram, Checker, each_night
from tests.integration.test_edge_infer_host import write_golden
from tests.integration.toy_model import toy_model

pytestmark = pytest.mark.docker
ROOT = checkout().root
CORPUS = ROOT / "tests" / "corpus" / "images"
LEAK = Path(__file__).parent / "leak" / "leak.c"

Run = Callable[..., int]


@pytest.fixture
def run(program: CheckedProgram, tmp_path: Path) -> Run:
    """Runs the program in a container; its exit code."""

    def run_program(*arguments: object, preload: Path | None = None) -> int:
        argv = ["docker", "run", "--rm", "--init", "--name", unique_name("edgewright-checked")]
        for folder in (ROOT, tmp_path):
            argv += ["--volume", f"{folder}:{folder}"]
        argv += ["--env", f"LD_PRELOAD={preload or ''}", program.image, str(program.path)]
        ended = subprocess.run(
            [*argv, *map(str, arguments)], capture_output=True, check=False, timeout=600
        )
        return ended.returncode

    return run_program


@pytest.mark.parametrize("program", each_night(*SANITIZERS, Checker.VALGRIND), indirect=True)
def test_whatever_run_bench_and_selftest_read_is_clean(run: Run, tmp_path: Path) -> None:
    model = toy_model(tmp_path / "model", 3, 40, 60)
    write_golden(model, 0.0)
    assert run("selftest", "--model", model) == 0
    images = sorted(CORPUS.glob("*.*"))
    assert run("run", "--model", model, *images) == 3  # some are no images
    good = CORPUS / "good-rgb.png"
    assert run("bench", "--model", model, "--image", good, "--threads", "3", "--runs", "50") == 0


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
