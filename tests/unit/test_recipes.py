"""What the recipes do before anything is compiled."""

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from edgewright import packages
from edgewright.layout import RepoLayout

RECIPES = RepoLayout().recipes
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/conanfile.py"))


@pytest.fixture(scope="module")
def prune() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "prune", RECIPES / "onnxruntime-minimal" / "prune.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A tree as ONNX Runtime's: kernels for Softmax and Conv, and a helper of Conv's."""
    cpu = tmp_path / "core/providers/cpu"
    cpu.mkdir(parents=True)
    (tmp_path / "contrib_ops/cpu").mkdir(parents=True)
    (cpu / "softmax.cc").write_text("ONNX_CPU_OPERATOR_KERNEL(Softmax, 13)")
    (cpu / "conv.cc").write_text('#include "core/providers/cpu/pad.h"\nOPERATOR_KERNEL(Conv)')
    (cpu / "pad.h").write_text("class Pad;")
    (cpu / "pad.cc").write_text("ONNX_OPERATOR_KERNEL(Pad)")
    (cpu / "gru.cc").write_text("ONNX_OPERATOR_KERNEL(GRU)")
    (cpu / "utils.cc").write_text("void Help() {}")
    return tmp_path


def test_kernels_of_other_operators_are_left_out(prune: ModuleType, kernels: Path) -> None:
    unused = prune.unused_kernels(kernels, {"Softmax"})

    assert unused == [f"core/providers/cpu/{name}.cc" for name in ("conv", "gru", "pad")]


def test_a_kernel_whose_header_is_included_stays(prune: ModuleType, kernels: Path) -> None:
    assert prune.unused_kernels(kernels, {"Conv"}) == [
        "core/providers/cpu/gru.cc",
        "core/providers/cpu/softmax.cc",
    ]


def test_operators_of_a_config_are_read_past_their_types(prune: ModuleType) -> None:
    config = (
        'ai.onnx;13;Add{"inputs": {"0": ["float"]}},Reshape\n'
        'com.microsoft;1;QGemm,QLinearMul{"custom": [{"a": ["b"]}]}\n'
    )

    assert prune.operator_names(config) == {"Add", "Reshape", "QGemm", "QLinearMul"}


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in RECIPES.glob("*/conandata.yml"))
)
def test_every_source_is_pinned_by_its_hash(name: str) -> None:
    data = RECIPES / name / "conandata.yml"
    files = re.findall(r"^    file: (.+)$", data.read_text(), re.MULTILINE)
    hashes = re.findall(r"^    sha256: ([0-9a-f]{64})$", data.read_text(), re.MULTILINE)

    assert len(files) == len(hashes) >= 1


def test_the_lock_names_the_version_of_every_recipe() -> None:
    lock = json.loads((RECIPES / "conan.lock").read_text())

    assert set(lock["requires"]) | set(lock["python_requires"]) == {
        f"{name}/{version_of(name)}" for name in NAMES
    }


def version_of(name: str) -> str:
    text = (RECIPES / name / "conanfile.py").read_text()
    found = re.search(r'^    version = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def test_the_helper_is_made_of_the_files_that_its_key_names() -> None:
    """A file in only one of the two lists would be missing, or change nothing."""
    recipe = ast.parse((RECIPES / packages.HELPER / "conanfile.py").read_text())
    shared = [node.value for node in recipe.body if isinstance(node, ast.Assign)]

    assert [ast.literal_eval(value) for value in shared] == [packages.SHARED]
