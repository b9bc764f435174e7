"""What the recipes do before anything is compiled."""

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conan.errors import ConanException

from edgewright.build import packages
from tests.checkout import checkout

RECIPES = checkout().resources.recipes
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/conanfile.py"))


@pytest.fixture(scope="module")
def prune() -> ModuleType:
    return loaded("prune")


def loaded(name: str, recipe: str = packages.RUNTIME) -> ModuleType:
    """A module of a recipe."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / recipe / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORT = "src/onnxruntime/onnxruntime"
API = f"{ORT}/core/session/onnxruntime_c_api.cc"
CPU = f"{ORT}/core/providers/cpu"
REGISTRAR = f"{CPU}/cpu_execution_provider.cc"
SOFTMAX, CONV, PAD, GRU = (f"{CPU}/{name}.cc" for name in ("softmax", "conv", "pad", "gru"))
EXP = "src/deps/math/exp.cc"
LISTING = f"""\
{API}: OrtGetApiBase T 0 4
{API}: Register U
{REGISTRAR}: Register T 0 4
{REGISTRAR}: Softmax U
{REGISTRAR}: Conv U
{SOFTMAX}: Softmax T 0 4
{SOFTMAX}: Exp U
{CONV}: Conv T 0 4
{CONV}: Padded U
{CONV}: malloc U
{PAD}: Padded W 0 4
{PAD}: Pad T 0 4
{PAD}: Register U
{GRU}: Gru T 0 4
{GRU}: local t 0 4
{EXP}: Exp D 0 4
{EXP}: local U
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Kernels as ONNX Runtime's for four operators; that of Conv needs a function of Pad's."""
    (tmp_path / CPU).mkdir(parents=True)
    (tmp_path / ORT / "contrib_ops/cpu").mkdir(parents=True)
    for name, text in (
        (REGISTRAR, "OPERATOR_KERNEL_CLASS_NAME(Softmax) OPERATOR_KERNEL_CLASS_NAME(Conv)"),
        (SOFTMAX, "ONNX_CPU_OPERATOR_KERNEL(\n    Softmax, 13, Typed<float>()); // unlike Conv"),
        (CONV, '#include "core/providers/cpu/pad.h"\nREGISTER_KERNEL_TYPED(Conv)'),
        (PAD.replace(".cc", ".h"), "class Pad;"),
        (PAD, "ONNX_OPERATOR_KERNEL(Pad)"),
        (GRU, "ONNX_OPERATOR_KERNEL(GRU)"),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def links(prune: ModuleType, tree: Path) -> Any:
    objects = {line.split(":")[0] for line in LISTING.splitlines()}
    return prune.links_of(tree, prune.read_symbols(objects, LISTING.splitlines()))


def test_what_every_program_holds_is_never_left_out(links: Any) -> None:
    assert links.always == {API, REGISTRAR}


def test_a_kernel_brings_what_it_uses_and_nothing_else(
    prune: ModuleType, tree: Path, links: Any
) -> None:
    assert prune.unused_sources(tree, links, {"Softmax"}) == sorted([CONV, PAD, GRU])
    assert prune.unused_sources(tree, links, {"Conv"}) == sorted([SOFTMAX, GRU, EXP])


def test_a_local_symbol_serves_nobody_else(links: Any) -> None:
    assert links.needs[EXP] == set()


def test_links_are_read_as_they_are_written(prune: ModuleType, links: Any) -> None:
    assert prune.read_links(links.text()) == links


def test_links_of_two_processors_stand_side_by_side(prune: ModuleType, tree: Path) -> None:
    """A source that every program of one holds needs, on the other, one that it does not there."""
    one, two = f"{API}: *\n{EXP}: {CONV}\n{CONV}:\n", f"{API}: *\n{EXP}: *\n"

    both = prune.read_links("".join(sorted((one + two).splitlines(keepends=True))))

    assert both.always == {API, EXP}
    assert prune.unused_sources(tree, both, {"Softmax"}) == sorted([PAD, GRU])


def test_of_kernels_that_links_do_not_know_the_headers_tell(prune: ModuleType, tree: Path) -> None:
    unknown = prune.read_links(f"{API}: *\n")

    assert prune.unused_sources(tree, unknown, {"Conv"}) == sorted([SOFTMAX, GRU])


@pytest.mark.parametrize(("links", "tries"), [(True, [["b.cc"]]), (False, [["b.cc"], []])])
def test_where_a_source_was_left_out_wrongly_everything_is_compiled(
    links: bool, tries: list[list[str]]
) -> None:
    made: list[list[str]] = []

    def compile_(unused: list[str]) -> None:
        made.append(unused)
        if unused and not links:
            raise ConanException("undefined reference")

    recipe = SimpleNamespace(
        _compile=compile_, _unused_sources=lambda: ["b.cc"], output=SimpleNamespace(warning=str)
    )

    loaded("conanfile").OnnxRuntimeMinimal._compile_needed(recipe)

    assert made == tries


def test_operators_of_a_config_are_read_past_their_types(prune: ModuleType) -> None:
    config = (
        'ai.onnx;13;Add{"inputs": {"0": ["float"]}},Reshape\n'
        'com.microsoft;1;QGemm,QLinearMul{"custom": [{"a": ["b"]}]}\n'
    )

    assert prune.operator_names(config) == {"Add", "Reshape", "QGemm", "QLinearMul"}


def test_operators_that_a_change_of_layout_may_add_are_read_from_onnx_runtimes_list(
    prune: ModuleType,
) -> None:
    header = """
inline constexpr std::array kLayoutTransformationPotentiallyAddedOps = {
    OpIdentifierWithStringViews{kOnnxDomain, "Transpose", 1},
    OpIdentifierWithStringViews{kOnnxDomain, "Transpose", 13},
    OpIdentifierWithStringViews{kMSDomain, "NhwcMaxPool", 1},
"""
    assert prune.layout_operators(header) == {"Transpose", "NhwcMaxPool"}


@pytest.mark.parametrize(
    ("core", "told"),
    [
        ("cortex-a53", "cpuinfo_uarch_cortex_a53"),
        ("cortex-a72.cortex-a53", "cpuinfo_uarch_cortex_a72"),
        ("cortex-a9", "cpuinfo_uarch_unknown"),
        ("cortex-a7", "cpuinfo_uarch_cortex_a7"),
    ],
)
def test_xnnpack_is_told_the_core_in_cpuinfos_words(core: str, told: str) -> None:
    recipe = SimpleNamespace(options=SimpleNamespace(core=core))

    found = loaded("conanfile", "xnnpack").Xnnpack._uarch(recipe, RECIPES / "xnnpack" / "cpuinfo")

    assert found == told


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
