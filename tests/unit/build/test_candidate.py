"""Whether a candidate's sources take the patches of the runtime's recipe."""

import tarfile
from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.base.layout import installed_resources
from edgewright.build import candidate, packages
from edgewright.build.candidate import fit_candidate, require_fit

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
    return tmp_path / "recipe"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The version that the patches were made for."""
    folder = tmp_path / "onnxruntime-1.21.0"
    (folder / "core").mkdir(parents=True)
    (folder / "VERSION_NUMBER").write_text("1.21.0\n")
    (folder / "core" / "graph.cc").write_text(GRAPH)
    (folder / "core" / "pool.cc").write_text("narrow\n")
    return folder


def test_the_version_that_patches_were_made_for_takes_all_of_them(
    recipe: Path, sources: Path
) -> None:
    fit = fit_candidate(recipe, sources)

    require_fit(fit)
    assert fit.onnxruntime == "1.21.0"
    assert [(hunk.file, hunk.line, hunk.verdict, hunk.reason) for hunk in fit.hunks] == [
        ("core/graph.cc", 9, "fits", ""),
        ("core/graph.cc", 24, "fits", ""),
        ("core/graph.cc", 9, "fits", ""),
        ("core/pool.cc", 1, "fits", ""),
    ]


def test_the_candidates_own_files_stay_as_they_are(recipe: Path, sources: Path) -> None:
    fit_candidate(recipe, sources)

    assert (sources / "core" / "graph.cc").read_text() == GRAPH
    assert sorted(path.name for path in sources.rglob("*")) == [
        "VERSION_NUMBER",
        "core",
        "graph.cc",
        "pool.cc",
    ]


def test_a_hunk_may_have_moved_in_its_file(recipe: Path, sources: Path) -> None:
    (sources / "core" / "graph.cc").write_text(f"// Copyright\n// License\n{GRAPH}")

    fit = fit_candidate(recipe, sources)

    require_fit(fit)
    assert fit.hunks[0].reason == "moved by 2 lines"


def test_each_hunk_that_does_not_fit_is_named_with_its_reason(recipe: Path, sources: Path) -> None:
    changed = GRAPH.replace("line 11\n", "line eleven\n").replace("line 25\n", "line 25;\n")
    (sources / "core" / "graph.cc").write_text(changed)
    (sources / "core" / "pool.cc").unlink()

    fit = fit_candidate(recipe, sources)

    assert [hunk.verdict for hunk in fit.hunks] == ["fuzzy", "fails", "fuzzy", "fails"]
    with pytest.raises(CheckError) as refused:
        require_fit(fit)
    assert str(refused.value) == (
        "ONNX Runtime 1.21.0: 4 of 4 hunks do not fit\n"
        "  patches/always/01-graph.patch: core/graph.cc:9 "
        "lines beside those that it changes differ\n"
        "  patches/always/01-graph.patch: core/graph.cc:24 "
        "the lines that it changes are not there\n"
        "  patches/xnnpack/01-pool.patch: core/graph.cc:9 "
        "lines beside those that it changes differ\n"
        "  patches/xnnpack/01-pool.patch: core/pool.cc:1 no such file\n"
        "next: renew these patches as recipes/onnxruntime-minimal/kernels/README.md tells, "
        "then invoke runtime.candidate again"
    )


def test_a_version_that_has_the_change_already_does_not_fit(recipe: Path, sources: Path) -> None:
    """Nothing is taken back, as patch would do where it is asked to guess."""
    (sources / "core" / "pool.cc").write_text("wide\n")

    assert fit_candidate(recipe, sources).hunks[-1].verdict == "fails"


def test_an_archive_is_read_as_its_folder_is(recipe: Path, sources: Path, tmp_path: Path) -> None:
    archive = tmp_path / "onnxruntime.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(sources, arcname=sources.name)

    assert fit_candidate(recipe, archive).hunks == fit_candidate(recipe, sources).hunks


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_what_holds_no_sources_is_refused(
    recipe: Path, tmp_path: Path, content: bytes | None
) -> None:
    source = tmp_path / "candidate"
    source.write_bytes(content) if content else source.mkdir()

    with pytest.raises(UserError) as refused:
        fit_candidate(recipe, source)

    assert str(refused.value).startswith(
        f"{source}: not ONNX Runtime's sources, neither a folder nor a tar archive of them\n"
    )


def test_every_patch_of_the_recipe_is_checked_but_those_to_eigen() -> None:
    patches = {path.relative_to(RECIPE).parent.as_posix() for path in RECIPE.rglob("*.patch")}

    assert patches == {*candidate.PATCH_FOLDERS, "patches/eigen"}
