"""Whether another version's sources fit the runtime's recipe."""

import importlib.metadata
import tarfile
from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.base.layout import installed_resources
from edgewright.base.runtime_version import RuntimeVersion, runtime_version
from edgewright.build import packages
from edgewright.build.outdated import compare, require_fit

TABLE = RuntimeVersion.model_validate(
    {
        "version": "1.21.0",
        "wheel": "1.21.0",
        "ir_version": 10,
        "opset": 22,
        "files": {
            "options": "cmake/CMakeLists.txt",
            "reduction": "tools/reduce.py",
            "layout_operators": "core/layout.h",
        },
        "options": {"onnxruntime_MINIMAL_BUILD": True},
        "xnnpack_options": ["onnxruntime_USE_XNNPACK"],
        "links": {"stock": "links.txt", "xnnpack": "links.txt"},
        "patches": {
            "always": [{"folder": "patches/always", "to": "onnxruntime"}],
            "xnnpack": [{"folder": "patches/xnnpack", "to": "onnxruntime"}],
        },
    }
)
LINKS = """\
build/generated.cc:
src/deps/math/exp.cc:
src/onnxruntime/core/graph.cc: *
src/onnxruntime/core/mlas/edgewright/own.cpp:
src/onnxruntime/core/pool.cc: src/onnxruntime/core/graph.cc
"""
OPTIONS = """\
option(onnxruntime_MINIMAL_BUILD "without exceptions" OFF)
option(onnxruntime_USE_XNNPACK "build with XNNPACK" OFF)
"""
RECIPE = installed_resources().recipes / packages.RUNTIME
GRAPH = "".join(f"line {number}\n" for number in range(1, 31))
ALWAYS = """\
Why it is needed.

--- core/graph.cc
+++ core/graph.cc
@@ -9,3 +9,3 @@ Graph::Graph() {
 line 9
-line 10
+line ten
 line 11
@@ -24,3 +24,3 @@ Graph::~Graph() {
 line 24
-line 25
+line 25 of 30
 line 26
"""
XNNPACK = """\
--- core/graph.cc
+++ core/graph.cc
@@ -9,3 +9,3 @@
 line 9
-line ten
+line 10.0
 line 11
--- core/pool.cc
+++ core/pool.cc
@@ -1 +1 @@
-narrow
+wide
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two patches, the second of which changes what the first has made."""
    for name, text in (("always/01-graph", ALWAYS), ("xnnpack/01-pool", XNNPACK)):
        path = tmp_path / "recipe" / "patches" / f"{name}.patch"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "recipe" / "links.txt").write_text(LINKS)
    return tmp_path / "recipe"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The version that the patches were made for."""
    folder = tmp_path / "onnxruntime-1.21.0"
    (folder / "core").mkdir(parents=True)
    (folder / "VERSION_NUMBER").write_text("1.21.0\n")
    (folder / "core" / "graph.cc").write_text(GRAPH)
    (folder / "core" / "pool.cc").write_text("narrow\n")
    (folder / "core" / "layout.h").touch()
    (folder / "cmake").mkdir()
    (folder / "cmake" / "CMakeLists.txt").write_text(OPTIONS)
    (folder / "tools").mkdir()
    (folder / "tools" / "reduce.py").touch()
    return folder


def test_the_version_that_patches_were_made_for_takes_all_of_them(
    recipe: Path, sources: Path
) -> None:
    fit = compare(recipe, TABLE, sources)

    require_fit(fit)
    assert fit.onnxruntime == "1.21.0"
    assert [(hunk.file, hunk.line, hunk.verdict, hunk.reason) for hunk in fit.hunks] == [
        ("core/graph.cc", 9, "fits", ""),
        ("core/graph.cc", 24, "fits", ""),
        ("core/graph.cc", 9, "fits", ""),
        ("core/pool.cc", 1, "fits", ""),
    ]


def test_the_other_versions_own_files_stay_as_they_are(recipe: Path, sources: Path) -> None:
    names = set(sources.rglob("*"))

    compare(recipe, TABLE, sources)

    assert (sources / "core" / "graph.cc").read_text() == GRAPH
    assert set(sources.rglob("*")) == names


def test_a_hunk_may_have_moved_in_its_file(recipe: Path, sources: Path) -> None:
    (sources / "core" / "graph.cc").write_text(f"// Copyright\n// License\n{GRAPH}")

    fit = compare(recipe, TABLE, sources)

    require_fit(fit)
    assert fit.hunks[0].reason == "moved by 2 lines"


def test_each_hunk_that_does_not_fit_is_named_with_its_reason(recipe: Path, sources: Path) -> None:
    changed = GRAPH.replace("line 11\n", "line eleven\n").replace("line 25\n", "line 25;\n")
    (sources / "core" / "graph.cc").write_text(changed)
    (sources / "core" / "pool.cc").unlink()

    fit = compare(recipe, TABLE, sources)

    assert [hunk.verdict for hunk in fit.hunks] == ["fuzzy", "fails", "fuzzy", "fails"]
    with pytest.raises(CheckError) as refused:
        require_fit(fit)
    assert str(refused.value) == (
        "ONNX Runtime 1.21.0: 5 parts of the recipe for 1.21.0 do not fit\n"
        "  patches/always/01-graph.patch: core/graph.cc:9 "
        "lines beside those that it changes differ\n"
        "  patches/always/01-graph.patch: core/graph.cc:24 "
        "the lines that it changes are not there\n"
        "  patches/xnnpack/01-pool.patch: core/graph.cc:9 "
        "lines beside those that it changes differ\n"
        "  patches/xnnpack/01-pool.patch: core/pool.cc:1 no such file\n"
        "  links.txt: core/pool.cc is not there\n"
        "next: renew these as recipes/onnxruntime-minimal/kernels/README.md tells, "
        "then invoke outdated again"
    )


def test_an_option_that_is_gone_and_a_file_that_has_moved_are_named(
    recipe: Path, sources: Path
) -> None:
    lists = sources / "cmake" / "CMakeLists.txt"
    lists.write_text(lists.read_text().replace("onnxruntime_USE_XNNPACK", "onnxruntime_XNNPACK"))
    (sources / "tools" / "reduce.py").rename(sources / "tools" / "reduce_kernels.py")

    with pytest.raises(CheckError) as refused:
        require_fit(compare(recipe, TABLE, sources))

    assert list(refused.value.facts) == [
        "option onnxruntime_USE_XNNPACK: not declared",
        "tools/reduce.py: read by the recipe, and not there",
    ]


def test_a_version_that_has_the_change_already_does_not_fit(recipe: Path, sources: Path) -> None:
    """Nothing is taken back, as patch would do where it is asked to guess."""
    (sources / "core" / "pool.cc").write_text("wide\n")

    assert compare(recipe, TABLE, sources).hunks[-1].verdict == "fails"


def test_an_archive_is_read_as_its_folder_is(recipe: Path, sources: Path, tmp_path: Path) -> None:
    archive = tmp_path / "onnxruntime.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(sources, arcname=sources.name)

    of_archive, of_folder = (compare(recipe, TABLE, path) for path in (archive, sources))

    require_fit(of_archive)
    assert of_archive.hunks == of_folder.hunks


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_what_holds_no_sources_is_refused(
    recipe: Path, tmp_path: Path, content: bytes | None
) -> None:
    source = tmp_path / "other"
    source.write_bytes(content) if content else source.mkdir()

    with pytest.raises(UserError) as refused:
        compare(recipe, TABLE, source)

    assert str(refused.value).startswith(
        f"{source}: not ONNX Runtime's sources, neither a folder nor a tar archive of them\n"
    )


def test_every_patch_of_the_recipe_stands_in_the_table() -> None:
    patches = {path.relative_to(RECIPE).parent.as_posix() for path in RECIPE.rglob("*.patch")}

    table = runtime_version()
    assert patches == {p.folder for of in table.patches.values() for p in of}


def test_the_tests_run_with_the_wheel_of_the_table() -> None:
    assert importlib.metadata.version("onnxruntime") == runtime_version().wheel
