"""Our INT8 kernels: against plain code by property, and whole models against the stock runtime."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
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
    "inverted_residual.cpp",
    "layer_norm.cpp",
    "multiply.cpp",
    "transpose.cpp",
    "weights.cpp",
    "windows.cpp",
)
FLAGS = "-std=c++17 -Wall -Wextra -Werror -ffp-contract=off -DDOCTEST_CONFIG_NO_POSIX_SIGNALS"
COMPILE_TESTS = f"""
mkdir -p "$1/include" && cp -r /usr/include/doctest "$1/include"
$4 {FLAGS} $5 -O1 -I"$1/include" -I"$2" -c "$3" -o "$1/tests.o"
"""
COMPILE_KERNELS = f"""
for source in $2; do echo "#include \\"$3/$source\\""; done > "$1/kernels.cpp"
$5 {FLAGS} $6 -O3 -static "$1/kernels.cpp" "$4/tests.o" -o "$1/test_kernels"
"""


@dataclass(frozen=True, kw_only=True)
class Width:
    """How programs of one width are compiled, those of the tests for any core."""

    compiler: str
    flags: str
    any_core: str


ARM32 = Width(
    compiler="arm-linux-gnueabihf-g++",
    flags="-mfloat-abi=hard -mthumb",
    any_core="-mcpu=cortex-a9 -mfpu=neon",
)
ARM64 = Width(compiler="aarch64-linux-gnu-g++", flags="-march=armv8-a", any_core="")


@dataclass(frozen=True, kw_only=True)
class Core:
    """What kernels are compiled for, and QEMU's models of the cores that run them."""

    width: Width
    flags: str
    models: tuple[str, ...]


# ARMv8 rounds by an instruction; ARMv7 does not; the A9 has no fused multiply-add either. Of the
# 64-bit cores the A76 has SDOT.
CORES = {
    "cortex-a53": Core(width=ARM32, flags="-mcpu=cortex-a53 -mfpu=neon-fp-armv8", models=("max",)),
    "cortex-a7": Core(width=ARM32, flags="-mcpu=cortex-a7 -mfpu=neon-vfpv4", models=("cortex-a7",)),
    "cortex-a9": Core(width=ARM32, flags="-mcpu=cortex-a9 -mfpu=neon", models=("cortex-a9",)),
    "arm64": Core(
        width=ARM64, flags="-mtune=cortex-a53", models=("cortex-a35", "cortex-a53", "cortex-a76")
    ),
}


def _folder(name: str) -> Path:
    folder = REPO.root / "build" / "tests" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def compiled_tests(builder: DockerBuilder) -> dict[Width, Path]:
    """The folders of the test program's objects, which run on all cores of a width."""
    program = REPO.root / "tests" / "kernels" / "test_kernels.cpp"
    folders = {width: _folder(f"kernels-{width.compiler}") for width in (ARM32, ARM64)}
    for width, folder in folders.items():
        places = [str(builder.path(path)) for path in (folder, KERNELS, program)]
        compiler = [width.compiler, f"{width.flags} {width.any_core}"]
        command = ["sh", "-ec", COMPILE_TESTS, "_", *places, *compiler]
        builder.run(command, folder / "build.log")
    return folders


@pytest.mark.parametrize("name", CORES)
def test_kernels_give_what_plain_code_gives(
    builder: DockerBuilder, compiled_tests: dict[Width, Path], name: str
) -> None:
    core, folder = CORES[name], _folder(f"kernels-{name}")
    places = (folder, KERNELS, compiled_tests[core.width])
    out, source, tests = (str(builder.path(path)) for path in places)
    compiler = [core.width.compiler, f"{core.width.flags} {core.flags}"]
    command = ["sh", "-ec", COMPILE_KERNELS, "_", out, " ".join(SOURCES), source, tests, *compiler]
    builder.run(command, folder / "build.log")

    for model in core.models:
        ran = subprocess.run(
            [folder / "test_kernels"],
            env={**os.environ, "QEMU_CPU": model},
            capture_output=True,
            text=True,
        )

        assert ran.returncode == 0, ran.stdout


def _build(workspace: Workspace, board: str) -> Path:
    return pipeline.build(request(workspace, board=board), Silent()).folder


def _stock_layout(root: Path) -> Workspace:
    for name in ("board_profiles", "docker", "models", "recipes", "runtime_cpp", "toolchains"):
        shutil.copytree(REPO.root / name, root / name)
    for base in (root / "board_profiles").glob("_arm*-linux.toml"):
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
@pytest.mark.parametrize("board", ["a53-som", "a53-som-arm64"])
def test_a_whole_model_gives_the_same_bits_as_the_stock_runtime(
    builder: DockerBuilder, tmp_path: Path, board: str
) -> None:
    images = sorted(REPO.default_model.parent.glob("golden/cell*"))

    ours = _probabilities(_build(REPO, board), images)
    stock = _probabilities(_build(_stock_layout(tmp_path), board), images)

    assert len(ours) == len(images)
    assert ours == stock
