"""Our INT8 kernels: against plain code by property, and whole models against the stock runtime."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgewright.base.workspace import Workspace
from edgewright.build import packages, pipeline
from edgewright.build.container import DockerBuilder
from tests.checkout import workspace_at
from tests.integration.conftest import REPO, Silent, request

pytestmark = pytest.mark.docker

KERNELS = REPO.resources.recipes / packages.RUNTIME / "kernels" / "src"
SOURCES = (
    "depthwise.cpp",
    "elementwise.cpp",
    "layer_norm.cpp",
    "multiply.cpp",
    "transpose.cpp",
    "weights.cpp",
    "windows.cpp",
)
# ARMv8 rounds by an instruction; ARMv7 does not; the A9 has no fused multiply-add either.
CORES = {
    "cortex-a53": ("neon-fp-armv8", "max"),
    "cortex-a7": ("neon-vfpv4", "cortex-a7"),
    "cortex-a9": ("neon", "cortex-a9"),
}
FLAGS = "-std=c++17 -Wall -Wextra -Werror -mfloat-abi=hard -mthumb"
FLAGS += " -ffp-contract=off -DDOCTEST_CONFIG_NO_POSIX_SIGNALS"
COMPILE_TESTS = f"""
mkdir -p "$1/include" && cp -r /usr/include/doctest "$1/include"
arm-linux-gnueabihf-g++ {FLAGS} -mcpu=cortex-a9 -mfpu=neon -O1 -I"$1/include" -I"$2" -c "$3" \\
  -o "$1/tests.o"
"""
COMPILE_KERNELS = f"""
for source in $5; do echo "#include \\"$4/$source\\""; done > "$1/kernels.cpp"
arm-linux-gnueabihf-g++ {FLAGS} -mcpu=$2 -mfpu=$3 -O3 -static "$1/kernels.cpp" "$6/tests.o" \\
  -o "$1/test_kernels"
"""


def _folder(name: str) -> Path:
    folder = REPO.root / "build" / "tests" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def compiled_tests(builder: DockerBuilder) -> Path:
    """The folder of the test program's object, which runs on all cores."""
    folder = _folder("kernels")
    program = REPO.root / "tests" / "kernels" / "test_kernels.cpp"
    places = [str(builder.path(path)) for path in (folder, KERNELS, program)]
    builder.run(["sh", "-ec", COMPILE_TESTS, "_", *places], folder / "build.log")
    return folder


@pytest.mark.parametrize("core", CORES)
def test_kernels_give_what_plain_code_gives(
    builder: DockerBuilder, compiled_tests: Path, core: str
) -> None:
    fpu, cpu = CORES[core]
    folder = _folder(f"kernels-{core}")
    out, source, tests = (str(builder.path(path)) for path in (folder, KERNELS, compiled_tests))
    arguments = [out, core, fpu, source, " ".join(SOURCES), tests]
    builder.run(["sh", "-ec", COMPILE_KERNELS, "_", *arguments], folder / "build.log")

    ran = subprocess.run(
        [folder / "test_kernels"],
        env={**os.environ, "QEMU_CPU": cpu},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout


def _build(workspace: Workspace) -> Path:
    return pipeline.build(request(workspace), Silent()).folder


def _stock_layout(root: Path) -> Workspace:
    for name in ("board_profiles", "docker", "models", "recipes", "runtime_cpp", "toolchains"):
        shutil.copytree(REPO.root / name, root / name)
    base = root / "board_profiles" / "_armhf-linux.toml"
    base.write_text(base.read_text().replace('kernels = "neon"', 'kernels = "stock"'))
    return workspace_at(root)


def _probabilities(release: Path, images: list[Path]) -> list[list[float]]:
    arguments = ["run", "--model", release / "model" / "model.ort", *images]
    command = [str(word) for word in (release / "bin" / "edge-infer", *arguments)]
    document = json.loads(subprocess.run(command, capture_output=True).stdout)
    return [result["probabilities"] for result in document["results"]]


@pytest.mark.skipif(
    not os.environ.get("EDGEWRIGHT_STOCK_RUNTIME"),
    reason="builds a second runtime: set EDGEWRIGHT_STOCK_RUNTIME=1",
)
def test_a_whole_model_gives_the_same_bits_as_the_stock_runtime(
    builder: DockerBuilder, tmp_path: Path
) -> None:
    images = sorted(REPO.default_model.parent.glob("golden/cell*"))

    ours = _probabilities(_build(REPO), images)
    stock = _probabilities(_build(_stock_layout(tmp_path)), images)

    assert len(ours) == len(images)
    assert ours == stock
