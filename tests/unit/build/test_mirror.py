"""Mirrors: what is wrong in one is told file by file, and never built from."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.base.layout import Resources
from edgewright.build import container, mirror, supply
from edgewright.build.mirror import MirroredFile, MirrorIndex
from edgewright.model.contract import host_runtime
from tests.checkout import workspace_at

SOURCE, NETWORK = b"sources of zlib", b"a network"
SHA256 = hashlib.sha256(SOURCE).hexdigest()
FILES: Mapping[tuple[mirror.Kind, str], bytes] = {
    ("source", "zlib_1.3.orig.tar.gz"): SOURCE,
    ("package", "cmake_3_amd64.deb"): b"a package",
    ("wheel", "conan-2-py3-none-any.whl"): b"a wheel",
    ("base image", "edgewright/base:0123456789ab"): b"an image",
    ("model", "mine/model.onnx"): NETWORK,
    ("model", "mine/golden/expected.json"): b"{}",
}


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    resources = workspace_at(tmp_path / "tool").resources
    recipe = resources.recipes / "zlib"
    recipe.mkdir(parents=True)
    (recipe / "conandata.yml").write_text(
        f"sources: [{{package: zlib, file: zlib_1.3.orig.tar.gz, sha256: {SHA256}}}]\n"
    )
    (resources.docker / "builder").mkdir(parents=True)
    (resources.docker / "builder" / "packages.txt").write_text("cmake\n")
    return resources


@pytest.fixture
def folder(tmp_path: Path, resources: Resources) -> Path:
    """A mirror with a file of each kind but a wheel for this Python."""
    folder = tmp_path / "mirror"
    (folder / "blobs").mkdir(parents=True)
    entries = []
    for (kind, name), content in FILES.items():
        sha256 = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / sha256).write_bytes(content)
        entries.append(MirroredFile(kind=kind, name=name, sha256=sha256, bytes=len(content)))
    index = MirrorIndex(
        edgewright="1", builder=container.image_tag(resources), files=tuple(entries)
    )
    (folder / "index.json").write_text(index.to_json())
    return folder


def blob(folder: Path, kind: mirror.Kind, name: str) -> Path:
    return folder / "blobs" / hashlib.sha256(FILES[kind, name]).hexdigest()


def test_a_whole_mirror_has_no_fault(folder: Path, resources: Resources) -> None:
    verified = mirror.verify(folder, resources)

    mirror.require_whole(verified)
    assert verified.faults == ()
    assert [(share.kind, share.files) for share in verified.contents] == [
        ("source", 1),
        ("base image", 1),
        ("package", 1),
        ("wheel", 1),
        ("model", 2),
    ]


def test_every_file_that_is_lost_damaged_or_strange_is_named(
    folder: Path, resources: Resources
) -> None:
    blob(folder, "package", "cmake_3_amd64.deb").unlink()
    blob(folder, "source", "zlib_1.3.orig.tar.gz").write_bytes(SOURCE[:-1])
    blob(folder, "model", "mine/model.onnx").write_bytes(NETWORK[::-1])
    (folder / "blobs" / "stray").write_bytes(b"")

    with pytest.raises(CheckError) as refused:
        mirror.require_whole(mirror.verify(folder, resources))

    lines = str(refused.value).splitlines()
    assert lines[0] == f"{folder}: 4 files are not what they should be"
    assert lines[1] == f"  source zlib_1.3.orig.tar.gz: has {len(SOURCE) - 1} bytes, expected 15"
    assert lines[2] == "  package cmake_3_amd64.deb: is not there"
    assert lines[3].startswith("  model mine/model.onnx: has sha256 ")
    assert lines[4] == "  blobs/stray: the index has no such file"


def test_a_mirror_of_another_edgewright_lacks_what_this_one_needs(
    folder: Path, resources: Resources
) -> None:
    other = hashlib.sha256(b"newer").hexdigest()
    table = resources.recipes / "zlib" / "conandata.yml"
    table.write_text(table.read_text().replace(SHA256, other).replace("1.3", "1.4"))
    (resources.docker / "builder" / "packages.txt").write_text("cmake\nninja-build\n")

    faults = mirror.verify(folder, resources).faults

    assert [(fault.file, fault.problem.partition(" edgewright/")[0]) for fault in faults] == [
        ("source zlib_1.4.orig.tar.gz", "the index lacks it"),
        (container.image_tag(resources), "the mirror is for"),
    ]


@pytest.mark.parametrize("index", [None, "", '{"version": 1', '{"version": 1, "files": []}'])
def test_half_a_mirror_is_none(index: str | None, folder: Path) -> None:
    (folder / "index.json").unlink()
    if index is not None:
        (folder / "index.json").write_text(index)

    with pytest.raises(UserError) as refused:
        mirror.open_mirror(folder)

    assert "is no mirror, or half of one" in str(refused.value) or "no index" in str(refused.value)
    assert f"edgewright mirror.create {folder}" in str(refused.value)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["files"][0]["name"] = name
    (folder / "index.json").write_text(json.dumps(index))

    with pytest.raises(UserError, match="is no index of a mirror"):
        mirror.open_mirror(folder)


def test_sources_come_from_the_mirror(folder: Path, resources: Resources, tmp_path: Path) -> None:
    store = tmp_path / "sources"

    supply.fetch([resources.recipes / "zlib"], store, mirror.open_mirror(folder), tmp_path / "log")

    assert (store / SHA256 / "zlib_1.3.orig.tar.gz").read_bytes() == SOURCE


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (None, "no such file"),
        (SOURCE + b"!", "has 16 bytes, expected 15"),
        (SOURCE[::-1], "has sha256 "),
    ],
)
def test_a_damaged_source_is_not_built_from(
    damage: bytes | None, problem: str, folder: Path, resources: Resources, tmp_path: Path
) -> None:
    path = blob(folder, "source", "zlib_1.3.orig.tar.gz")
    path.unlink() if damage is None else path.write_bytes(damage)
    recipe, store = resources.recipes / "zlib", tmp_path / "sources"

    with pytest.raises(UserError) as refused:
        supply.fetch([recipe], store, mirror.open_mirror(folder), tmp_path / "log")

    lines = str(refused.value).splitlines()
    assert lines[0].startswith(f"{path}: {problem}")
    assert lines[1] == "  source: zlib_1.3.orig.tar.gz"
    assert lines[-1] == f"next: edgewright mirror.verify {folder}"
    assert [*store.iterdir()] == []


def test_no_link_of_a_mirror_is_followed(
    folder: Path, resources: Resources, tmp_path: Path
) -> None:
    path = blob(folder, "source", "zlib_1.3.orig.tar.gz")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    recipe, store = resources.recipes / "zlib", tmp_path / "sources"

    with pytest.raises(UserError, match="is a link or behind one"):
        supply.fetch([recipe], store, mirror.open_mirror(folder), tmp_path / "log")

    assert [fault.problem for fault in mirror.verify(folder, resources).faults] == ["is not there"]


def test_a_builder_that_the_mirror_is_not_for_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="edgewright/builder:else: is not in the mirror"):
        mirror.open_mirror(folder).builder("edgewright/builder:else", tmp_path, tmp_path, None)

    assert not (tmp_path / "packages").exists()


def test_a_model_comes_with_all_that_belongs_to_it(folder: Path, tmp_path: Path) -> None:
    of_mirror = mirror.open_mirror(folder)

    network = of_mirror.model("mine", tmp_path / "cache")

    assert network.read_bytes() == NETWORK
    assert (network.parent / "golden" / "expected.json").read_bytes() == b"{}"
    with pytest.raises(UserError, match="model 'theirs': is not in the mirror"):
        of_mirror.model("theirs", tmp_path / "cache")


def test_the_boards_runtime_for_another_python_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip is asked for nothing but what the mirror has."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(host_runtime, "version", lambda name: "1.0.0")

    with pytest.raises(UserError, match="cannot be installed for this Python"):
        mirror.open_mirror(folder).host_runtime()

    assert [*(tmp_path / "cache" / "runtimes").glob("onnxruntime-*/")] == []
