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

from edgewright.base.runtime_version import runtime_version
from edgewright.build import container, packages
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
    typed, two = f"{API}: *\n{EXP}: {CONV}\n{CONV}:\n", f"{API}: *\n{EXP}: *\n"

    both = prune.read_links("".join(sorted((typed + two).splitlines(keepends=True))))

    assert both.always == {API, EXP}
    assert prune.unused_sources(tree, both, {"Softmax"}) == sorted([PAD, GRU])


def test_of_kernels_that_links_do_not_know_the_headers_tell(prune: ModuleType, tree: Path) -> None:
    unknown = prune.read_links(f"{API}: *\n")

    assert prune.unused_sources(tree, unknown, {"Conv"}) == sorted([SOFTMAX, GRU])


def test_kernels_in_float_bring_what_they_use_of_mlas(prune: ModuleType, tmp_path: Path) -> None:
    """Most networks of others have some; without these sources everything was compiled."""
    for name, operator in (("conv", "Conv"), ("pool", "MaxPool")):
        path = tmp_path / ORT / f"core/providers/cpu/nn/{name}.cc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"ONNX_CPU_OPERATOR_KERNEL({operator}, 11, {operator}<float>);")
    links = prune.read_links((RECIPES / packages.RUNTIME / "links.txt").read_text())
    mlas = {f"{ORT}/core/mlas/lib/{name}.cpp" for name in ("convolve", "pooling", "sgemm")}

    assert mlas & set(prune.unused_sources(tmp_path, links, {"QLinearConv"}))
    assert not mlas & set(prune.unused_sources(tmp_path, links, {"Conv", "MaxPool"}))


QUANTIZATION = f"{ORT}/contrib_ops/cpu/quantization"
FRAMEWORK = "src/onnxruntime/onnxruntime/core/framework"
OUR_OPERATOR = re.compile(r'#include "contrib_ops/cpu/quantization/(edgewright/\w+)\.h"')


def users_of_our_operators(kernels: Path) -> set[tuple[str, str]]:
    """Pairs of a source and the source of ours whose header it, or its own header, includes."""
    texts = {}
    for hook in (kernels / "hooks").glob("*.patch"):
        for part in hook.read_text().split("\n+++ ")[1:]:
            path, _, change = part.partition("\n")
            texts[f"src/onnxruntime/{path}"] = change
    for file in (kernels / "operators").glob("*.*"):
        source = f"{QUANTIZATION}/edgewright/{file.stem}.cc"
        texts[source] = texts.get(source, "") + file.read_text()
    pairs = {
        (source, f"{QUANTIZATION}/{ours}.cc")
        for source, text in texts.items()
        for ours in OUR_OPERATOR.findall(text)
    }
    return {(source, ours) for source, ours in pairs if source.endswith(".cc") and source != ours}


@pytest.mark.parametrize("name", ["links.txt", "links.xnnpack.txt"])
def test_lists_know_which_sources_need_operators_of_ours(prune: ModuleType, name: str) -> None:
    """Where one is left out, a symbol is missing, and then all of ONNX Runtime is compiled."""
    recipe = RECIPES / packages.RUNTIME
    links = prune.read_links((recipe / name).read_text())
    users = users_of_our_operators(recipe / "kernels")

    missing = {
        (source, ours)
        for source, ours in users
        if source not in links.always and ours not in links.always | links.needs.get(source, set())
    }
    # The recipe puts this one beside the planner, and it is always compiled.
    moved = f"{QUANTIZATION}/edgewright/fused_nodes.cc"
    assert f"{FRAMEWORK}/fused_nodes.cc" in links.always
    assert len(users) > 3
    assert {pair for pair in missing if moved not in pair} == set()


# What ninja, GCC 14 and GNU ld print, but for the folders.
MISSING_SYMBOL = """\
[4/4] Linking CXX shared library libonnxruntime.so
FAILED: libonnxruntime.so
: && arm-linux-gnueabihf-g++ -fPIC -shared -o libonnxruntime.so api.cc.o libkernels.a && :
arm-linux-gnueabihf/bin/ld: libkernels.a(conv.cc.o): in function `onnxruntime::Conv(int)':
conv.cc:(.text+0xa): undefined reference to `onnxruntime::PadImpl(int)'
collect2: error: ld returned 1 exit status
ninja: build stopped: subcommand failed.
"""
MISSING_HEADER = """\
[1/3] Building CXX object CMakeFiles/kernels.dir/conv.cc.o
FAILED: CMakeFiles/kernels.dir/conv.cc.o
ccache arm-linux-gnueabihf-g++ -fPIC -o CMakeFiles/kernels.dir/conv.cc.o -c src/conv.cc
src/conv.cc:1:10: fatal error: missing/header.h: No such file or directory
    1 | #include <missing/header.h>
      |          ^~~~~~~~~~~~~~~~~~
compilation terminated.
ninja: build stopped: subcommand failed.
"""
WRONG_CODE = """\
FAILED: CMakeFiles/kernels.dir/conv.cc.o
src/conv.cc: In function 'int Conv(int)':
src/conv.cc:1:42: error: 'undeclared' was not declared in this scope
    1 | int Conv(int x) { return undeclared; }
      |                          ^~~~~~~~~~
ninja: build stopped: subcommand failed.
"""
OUT_OF_MEMORY = """\
FAILED: CMakeFiles/kernels.dir/conv.cc.o
arm-linux-gnueabihf-g++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
ninja: build stopped: subcommand failed.
"""
WITHOUT_ERROR = "ninja: build stopped: interrupted by user.\n"


class Recipe:
    """The runtime's, with a ninja that prints what was recorded."""

    def __init__(self, folder: Path, outputs: list[str]) -> None:
        self.module = loaded("conanfile")
        setattr(self.module, "build_jobs", lambda recipe: 1)  # noqa: B010
        self._workshop = self._objects = folder
        self._unused_list = folder / "unused.txt"
        self.outputs, self.compiled, self.warnings = outputs, list[str](), list[str]()
        self.output = SimpleNamespace(warning=self.warnings.append, info=str)

    def compile_needed(self) -> None:
        self.module.OnnxRuntimeMinimal._compile_needed(self)

    def _unused_sources(self) -> list[str]:
        return ["pad.cc"]

    def _cmake_arguments(self) -> list[str]:
        return []

    def _compile(self, unused: list[str]) -> None:
        self.module.OnnxRuntimeMinimal._compile(self, unused)

    def _run_ninja(self) -> None:
        self.module.OnnxRuntimeMinimal._run_ninja(self)

    def run(self, command: str, **options: Any) -> int:
        if "--build" not in command:
            return 0
        self.compiled.append(self._unused_list.read_text())
        text = self.outputs.pop(0)
        options["stdout"].write(text.encode())
        return int(bool(text))


@pytest.fixture
def recipe_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RECIPES / packages.RUNTIME)


@pytest.mark.usefixtures("recipe_modules")
def test_a_symbol_that_is_missing_has_everything_compiled(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, [MISSING_SYMBOL, ""])

    recipe.compile_needed()

    assert recipe.compiled == [f"{tmp_path}/pad.cc\n", ""]
    assert recipe.warnings == [
        "no object defines onnxruntime::PadImpl(int): "
        "links.txt leaves too much out, compiling everything"
    ]


@pytest.mark.usefixtures("recipe_modules")
@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (
            MISSING_HEADER,
            "FAILED: CMakeFiles/kernels.dir/conv.cc.o\n"
            "src/conv.cc:1:10: fatal error: missing/header.h: No such file or directory",
        ),
        (
            WRONG_CODE,
            "FAILED: CMakeFiles/kernels.dir/conv.cc.o\n"
            "src/conv.cc:1:42: error: 'undeclared' was not declared in this scope",
        ),
        (
            OUT_OF_MEMORY,
            "FAILED: CMakeFiles/kernels.dir/conv.cc.o\n"
            "arm-linux-gnueabihf-g++: fatal error: Killed signal terminated program cc1plus",
        ),
        (WITHOUT_ERROR, "ninja: build stopped: interrupted by user."),
    ],
)
def test_any_other_failure_is_told_in_its_own_words_and_not_repeated(
    tmp_path: Path, output: str, shown: str
) -> None:
    recipe = Recipe(tmp_path, [output])

    with pytest.raises(ConanException) as failure:
        recipe.compile_needed()

    assert str(failure.value) == f"ninja ended with exit code 1\n{shown}"
    assert len(recipe.compiled) == 1
    assert recipe.warnings == []


@pytest.mark.usefixtures("recipe_modules")
def test_what_needs_no_more_than_is_linked_is_compiled_once(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, [""])

    recipe.compile_needed()

    assert recipe.compiled == [f"{tmp_path}/pad.cc\n"]


@pytest.mark.parametrize(
    ("line", "symbol"),
    [
        ("a.cc:(.text+0xa): undefined reference to `vtable for Pad'", "vtable for Pad"),
        ("ld.lld: error: undefined symbol: PadImpl(int)", "PadImpl(int)"),
        ("a.o: undefined reference to 'PadImpl'", "PadImpl"),
    ],
)
def test_each_linkers_words_for_a_missing_symbol_are_known(line: str, symbol: str) -> None:
    assert loaded("compiler_output").missing_symbols(f"[1/2]\n{line}\n{line}\n") == [symbol]


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
    ("core", "word"),
    [
        ("cortex-a53", "cpuinfo_uarch_cortex_a53"),
        ("cortex-a72.cortex-a53", "cpuinfo_uarch_cortex_a72"),
        ("cortex-a9", "cpuinfo_uarch_unknown"),
        ("cortex-a7", "cpuinfo_uarch_cortex_a7"),
    ],
)
def test_xnnpack_is_told_the_core_in_cpuinfos_words(core: str, word: str) -> None:
    recipe = SimpleNamespace(options=SimpleNamespace(core=core))

    uarch = loaded("conanfile", "xnnpack").Xnnpack._uarch(recipe, RECIPES / "xnnpack" / "cpuinfo")

    assert uarch == word


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
    if name == packages.RUNTIME:
        return runtime_version().version
    text = (RECIPES / name / "conanfile.py").read_text()
    version = re.search(r'^    version = "(.+)"$', text, re.MULTILINE)
    assert version
    return version[1]


@pytest.mark.parametrize("program", [packages.PROGRAM, packages.EDGECTL, packages.LIBEDGE])
def test_a_program_is_made_of_the_folders_that_its_key_names(program: str) -> None:
    """A folder in only one of the two lists would be missing, or change nothing."""
    recipe = ast.parse((RECIPES / program / "conanfile.py").read_text())
    texts = [node.value for node in ast.walk(recipe) if isinstance(node, ast.Constant)]
    exported = {text[:-2] for text in texts if isinstance(text, str) and text.endswith("/*")}
    exported -= {"tree"}  # the recipe's own
    resources, nothing = checkout().resources, Path("/nonexistent")
    local = container.LocalBuilder(workspace=nothing, cache=nothing)
    inputs = packages.PackageInputs(
        resources=resources, builder=local, conan_profile=nothing, jobs=1, logs=nothing
    )
    steps = [*packages.steps(inputs), *packages.sdk_steps(inputs, "2.31")]
    step = next(step for step in steps if step.name == program)
    keyed = {
        path.relative_to(resources.runtime_cpp).parts[0]
        for path in step.sources
        if path.is_relative_to(resources.runtime_cpp) and path.name != "CMakeLists.txt"
    }

    assert {text for text in exported if "/" not in text} == keyed


def test_libedge_s_header_has_the_version_of_its_recipe() -> None:
    header = checkout().resources.runtime_cpp / "include" / "edge" / "edge.h"

    assert f'#define EDGE_LIBRARY_VERSION "{version_of(packages.LIBEDGE)}"' in header.read_text()


SYMBOLS = """\
   Num:    Value  Size Type    Bind   Vis      Ndx Name
     2: 00000000     0 FUNC    GLOBAL DEFAULT  UND free@GLIBC_2.4 (2)
     5: 0004d5d1   156 FUNC    GLOBAL DEFAULT   14 exp@@GLIBC_2.29
     6: 0004d4a9    36 FUNC    GLOBAL DEFAULT   14 exp@GLIBC_2.4
     7: 00012345    20 IFUNC   WEAK   DEFAULT   14 memcpy@@GLIBC_2.4
     8: 00054321     4 OBJECT  GLOBAL DEFAULT   25 stdin@@GLIBC_2.4
     9: 00000010     4 TLS     GLOBAL DEFAULT   18 errno@@GLIBC_PRIVATE
    10: 00045678    80 FUNC    GLOBAL DEFAULT   14 __libc_message@@GLIBC_PRIVATE
    11: 00045679    80 FUNC    GLOBAL DEFAULT   14 arc4random@@GLIBC_2.36
    13: 00045681    80 FUNC    GLOBAL DEFAULT   14 clock_gettime@@GLIBC_2.17
    14: 00045681    80 FUNC    GLOBAL DEFAULT   14 clock_gettime@GLIBC_2.4
    15: 00045683    80 FUNC    GLOBAL DEFAULT   14 timer_create@@GLIBC_2.34
    16: 00045683    80 FUNC    GLOBAL DEFAULT   14 timer_create@GLIBC_2.4
    17: 00045685    80 FUNC    GLOBAL DEFAULT   14 timerfd_create@@GLIBC_2.8
    12: 00000000     0 OBJECT  GLOBAL DEFAULT  ABS GLIBC_2.4
"""


@pytest.mark.parametrize(
    ("floor", "exp"), [("2.28", (2, 4)), ("2.29", (2, 29)), ("2.100", (2, 29))]
)
def test_a_stub_has_each_symbol_in_the_newest_version_of_its_time(
    floor: str, exp: tuple[int, ...]
) -> None:
    symbols = loaded("stubs", packages.SDK_LIBRARIES).symbols_at(SYMBOLS, floor)

    assert symbols["exp"] == (exp, None)
    assert symbols["memcpy"] == ((2, 4), None)
    assert symbols["stdin"] == ((2, 4), 4)
    assert ("arc4random" in symbols) == (floor == "2.100")
    assert not {"free", "errno", "__libc_message", "GLIBC_2.4"} & set(symbols)


@pytest.mark.parametrize(
    ("floor", "moved"),
    [
        ("2.13", {}),
        ("2.17", {"clock_gettime": ((2, 17), None)}),
        ("2.34", {"clock_gettime": ((2, 17), None), "timer_create": ((2, 34), None)}),
    ],
)
def test_a_stub_of_libc_has_nothing_that_was_in_another_library(
    floor: str, moved: dict[str, object]
) -> None:
    """Today's libc.so.6 has it under its old version: it would link, and not start there."""
    symbols = loaded("stubs", packages.SDK_LIBRARIES).symbols_at(SYMBOLS, floor)

    names = {name: symbols[name] for name in symbols if name.startswith(("clock", "timer_"))}
    assert names == moved
    assert "timerfd_create" in symbols


def test_a_stub_defines_its_symbols_under_their_versions() -> None:
    stubs = loaded("stubs", packages.SDK_LIBRARIES)
    symbols = stubs.symbols_at(SYMBOLS, "2.31")

    assert stubs.version_script(symbols) == (
        "GLIBC_2.4 { global: memcpy; stdin; };\nGLIBC_2.8 { global: timerfd_create; };\n"
        "GLIBC_2.17 { global: clock_gettime; };\nGLIBC_2.29 { global: exp; };\n"
    )
    assert ".globl stdin\n.type stdin, %object\nstdin: .space 4" in stubs.assembly(symbols)
