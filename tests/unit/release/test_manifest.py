import gzip
import hashlib
import json
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release.manifest import (
    Manifest,
    Release,
    ReleasedBudgets,
    ReleasedRuntime,
    ReleaseInputs,
    Source,
    build_release,
    load_release,
    parse_manifest,
)
from tests import v0_1_0

CARD: dict[str, Any] = {
    "schema": 1,
    "name": "mobilevit-s-elpv",
    "labels": ["ok", "defective"],
    "file": {"name": "model.onnx", "sha256": "a" * 64, "bytes": 5},
    "metrics": {"accuracy": 0.91, "note": "Zellen für Prüfung"},
}


@pytest.fixture
def inputs(tmp_path: Path) -> ReleaseInputs:
    return make_inputs(tmp_path / "inputs")


def make_inputs(folder: Path) -> ReleaseInputs:
    golden = folder / "golden"
    golden.mkdir(parents=True)
    (folder / "edge-infer").write_bytes(b"program")
    (folder / "model.ort").write_bytes(b"network")
    (folder / "card.json").write_text(json.dumps(CARD))
    (golden / "cell0001.png").write_bytes(b"image")
    (golden / "left-over.tmp").write_bytes(b"not named in expected.json")
    (golden / "expected.json").write_text('{"cases": [{"image": "cell0001.png"}]}')
    return ReleaseInputs(
        board="a53-som",
        compatible="edgewright,a53-som",
        deploy_root="/opt/edgewright",
        binaries=(folder / "edge-infer",),
        ort_model=folder / "model.ort",
        onnx_sha256="c" * 64,
        card=folder / "card.json",
        golden=golden,
        runtime=ReleasedRuntime(
            version="1.21.0", ops_config_sha256="b" * 64, linkage="static", threads=4
        ),
        budgets=ReleasedBudgets(
            binary_bytes=1_700_000, model_bytes=6_200_000, peak_rss_mb=64, latency_ms=1500
        ),
        source=Source(revision="0123abcd", dirty=False),
    )


@pytest.fixture
def release(inputs: ReleaseInputs, tmp_path: Path) -> Release:
    return build_release(inputs, tmp_path / "release")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_release_says_how_it_is_run(release: Release) -> None:
    assert json.loads((release.folder / "run.json").read_text()) == {
        "schema": 1,
        "model": "model/model.ort",
        "model_crc32": zlib.crc32((release.folder / "model/model.ort").read_bytes()),
        "card": "model/card.json",
        "golden": "model/golden",
        "threads": 4,
        "execution_providers": ["cpu"],
        "limits": {
            "image_bytes": 67108864,
            "image_pixels": 67108864,
            "image_side": 16384,
            "image_memory": 67108864,
        },
    }
    assert release.manifest.run_options("/opt/x") == ("--release", "/opt/x")


def test_a_release_of_0_1_0_is_run_as_its_manifest_says(tmp_path: Path) -> None:
    manifest = v0_1_0.release(tmp_path).manifest

    threads = str(manifest.runtime.threads)
    expected = ("--model", "/opt/x/model/model.ort", "--threads", threads)
    assert manifest.run_options("/opt/x") == expected


def test_a_release_holds_what_a_board_needs_and_nothing_else(release: Release) -> None:
    assert sorted(tree(release.folder)) == [
        "bin/edge-infer",
        "manifest.json",
        "model/card.json",
        "model/golden/cell0001.png",
        "model/golden/expected.json",
        "model/labels.txt",
        "model/model.ort",
        "run.json",
    ]
    assert (release.folder / "model/labels.txt").read_text() == "ok\ndefective\n"


def test_the_card_names_the_model_beside_it_and_keeps_the_rest(release: Release) -> None:
    card = json.loads((release.folder / "model/card.json").read_bytes())

    digest = hashlib.sha256(b"network").hexdigest()
    assert card == CARD | {"file": {"name": "model.ort", "sha256": digest, "bytes": 7}}
    assert release.manifest.model.onnx_sha256 == "c" * 64
    assert release.manifest.model.ort_sha256 == digest
    assert release.manifest.model.labels == ("ok", "defective")
    assert release.manifest.model.card == card


def test_the_manifest_lists_hash_size_and_mode_of_every_file(release: Release) -> None:
    for file in release.manifest.files:
        path = release.path(file)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert path.stat().st_size == file.bytes
        assert stat.S_IMODE(path.stat().st_mode) == int(file.mode, 8)
    assert release.manifest.file("bin/edge-infer").mode == "0755"
    assert release.manifest.file("model/model.ort").mode == "0644"
    assert release.manifest.total_bytes == sum(f.bytes for f in release.manifest.files)


def test_the_id_is_the_hash_of_the_canonical_manifest_without_it(release: Release) -> None:
    raw = (release.folder / "manifest.json").read_bytes()
    table = json.loads(raw)
    table_id = table.pop("id")

    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    assert table_id == release.id == release.folder.name
    assert table_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_same_inputs_give_the_same_bytes_elsewhere(
    inputs: ReleaseInputs, release: Release, tmp_path: Path
) -> None:
    for path in inputs.golden.parent.rglob("*"):
        os.utime(path, (1, 1))
    old_mask = os.umask(0o077)
    try:
        again = build_release(inputs, tmp_path / "elsewhere")
    finally:
        os.umask(old_mask)

    assert again.id == release.id
    assert tree(again.folder) == tree(release.folder)
    assert again.archive.read_bytes() == release.archive.read_bytes()


Change = Callable[[ReleaseInputs], ReleaseInputs]


def rewrite(inputs: ReleaseInputs, path: Path, data: bytes = b"other") -> ReleaseInputs:
    path.write_bytes(data)
    return inputs


CHANGES: dict[str, Change] = {
    "program": lambda i: rewrite(i, i.binaries[0]),
    "model": lambda i: rewrite(i, i.ort_model),
    "golden image": lambda i: rewrite(i, i.golden / "cell0001.png"),
    "card": lambda i: rewrite(i, i.card, json.dumps(CARD | {"data": {}}).encode()),
    "board": lambda i: replace(i, board="rpi2"),
    "compatible": lambda i: replace(i, compatible="raspberrypi,2-model-b"),
    "deploy root": lambda i: replace(i, deploy_root="/data/edgewright"),
    "threads": lambda i: replace(i, runtime=i.runtime.model_copy(update={"threads": 2})),
    "budgets": lambda i: replace(i, budgets=i.budgets.model_copy(update={"latency_ms": 9.0})),
    "revision": lambda i: replace(i, source=Source(revision="4567", dirty=False)),
    "dirty": lambda i: replace(i, source=Source(revision="0123abcd", dirty=True)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_other_input_gives_another_id(
    change: Change, inputs: ReleaseInputs, release: Release, tmp_path: Path
) -> None:
    assert build_release(change(inputs), tmp_path / "release").id != release.id


def test_a_shared_runtime_stands_beside_the_program(inputs: ReleaseInputs, tmp_path: Path) -> None:
    library = tmp_path / "libonnxruntime.so.1"
    library.write_bytes(b"library")

    release = build_release(
        replace(inputs, binaries=(*inputs.binaries, library)), tmp_path / "release"
    )

    assert (release.folder / "bin/libonnxruntime.so.1").read_bytes() == b"library"
    assert release.manifest.file("bin/libonnxruntime.so.1").mode == "0755"


def test_the_archive_unpacks_to_the_same_release(release: Release, tmp_path: Path) -> None:
    with tarfile.open(release.archive) as tar:
        members = tar.getmembers()
        tar.extraction_filter = lambda member, _: member
        tar.extractall(tmp_path / "unpacked")

    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert load_release(tmp_path / "unpacked" / release.id).manifest == release.manifest
    with gzip.open(release.archive) as stream:
        stream.read(1)
        assert stream.mtime == 0


def test_building_again_leaves_a_sound_release_alone(
    inputs: ReleaseInputs, release: Release
) -> None:
    before = (release.folder.stat().st_ino, release.archive.stat().st_ino)

    again = build_release(inputs, release.folder.parent)

    assert again == release
    assert (release.folder.stat().st_ino, release.archive.stat().st_ino) == before


def test_building_again_mends_a_damaged_release(inputs: ReleaseInputs, release: Release) -> None:
    (release.folder / "model/model.ort").write_bytes(b"damaged")
    release.archive.write_bytes(b"damaged")

    build_release(inputs, release.folder.parent)

    assert load_release(release.folder).manifest == release.manifest
    assert tarfile.is_tarfile(release.archive)


def test_an_interrupted_build_leaves_nothing_behind(
    inputs: ReleaseInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_release(inputs, tmp_path / "release")

    assert list((tmp_path / "release").iterdir()) == []


def error_of(folder: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_release(folder)
    return str(caught.value).splitlines()


def test_every_damaged_file_is_told_at_once(release: Release) -> None:
    (release.folder / "model/model.ort").write_bytes(b"damaged")
    (release.folder / "model/labels.txt").unlink()
    (release.folder / "model/golden/cell0001.png").unlink()
    (release.folder / "model/golden/cell0001.png").symlink_to("/etc/hostname")
    (release.folder / "bin/helper").write_bytes(b"")

    expected = release.manifest.file("model/model.ort").sha256
    actual = hashlib.sha256(b"damaged").hexdigest()
    assert error_of(release.folder) == [
        f"{release.folder}: not the release its manifest describes",
        "  model/golden/cell0001.png: is a link or behind one, expected a file of this folder",
        "  model/labels.txt: no such file",
        f"  model/model.ort: expected sha256 {expected}, found {actual}",
        "  bin/helper: not in the manifest",
        "next: invoke build",
    ]


def test_a_folder_that_is_a_link_to_outside_is_refused(release: Release, tmp_path: Path) -> None:
    shutil.move(release.folder / "bin", tmp_path / "bin")
    (release.folder / "bin").symlink_to(tmp_path / "bin")

    problem = "is a link or behind one, expected a file of this folder"
    assert error_of(release.folder)[1] == f"  bin/edge-infer: {problem}"


def edit(release: Release, change: Callable[[dict[str, Any]], None], *, new_id: bool) -> None:
    """Change the manifest; with `new_id`, as someone would who knows how ids are made."""
    path = release.folder / "manifest.json"
    table = json.loads(path.read_bytes())
    change(table)
    if new_id:
        table.pop("id")
        table["id"] = hashlib.sha256(canonical(table)).hexdigest()[:16]
    path.write_bytes(canonical(table))


def canonical(table: dict[str, Any]) -> bytes:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def test_a_manifest_that_was_changed_is_refused(release: Release) -> None:
    edit(release, lambda table: table.update(board="rpi2"), new_id=False)

    subject, expected, actual, command = error_of(release.folder)

    assert subject == f"{release.folder}/manifest.json: changed after the release was made"
    assert expected.startswith("  expected: id ")
    assert actual == f"  found: id {release.id}"
    assert command == "next: invoke build"


def test_an_unknown_schema_is_refused(release: Release) -> None:
    edit(release, lambda table: table.update(schema=2), new_id=True)

    assert error_of(release.folder) == [
        f"{release.folder}/manifest.json: unknown manifest schema",
        "  expected: 1",
        "  found: 2",
        "next: use the edgewright that made this release, or invoke build",
    ]


@pytest.mark.parametrize(
    "path",
    ["../evil", "/etc/passwd", "bin/../../evil", "./x", "bin//x", "bin/", "", "manifest.json"]
    + ["a b", "a\nb", "$(reboot)", "bin/.."],
)
def test_paths_that_leave_the_release_are_refused(release: Release, path: str) -> None:
    def put(table: dict[str, Any]) -> None:
        table["files"][0]["path"] = path
        table["files"].sort(key=lambda file: file["path"])

    edit(release, put, new_id=True)

    subject, fact, *_ = error_of(release.folder)
    assert subject == f"{release.folder}/manifest.json: not a manifest"
    assert fact.startswith("  files.")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda t: t.update(comment="hi"), "  comment: unknown key"),
        (lambda t: t["files"].reverse(), "  files: paths are to be sorted and unique"),
        (lambda t: t["files"].append(t["files"][-1]), "  files: paths are to be sorted and unique"),
        (lambda t: t.update(deploy_root="/opt/../etc"), "  deploy_root: "),
        (lambda t: t["files"][0].update(mode="4755"), "  files.0.mode: "),
        (lambda t: t["files"][0].update(bytes=-1), "  files.0.bytes: "),
    ],
)
def test_a_manifest_of_the_wrong_shape_is_refused(
    release: Release, change: Callable[[dict[str, Any]], None], fact: str
) -> None:
    edit(release, change, new_id=True)

    subject, first, *_ = error_of(release.folder)

    assert subject.endswith("manifest.json: not a manifest")
    assert first.startswith(fact)


def test_a_manifest_that_is_not_canonical_is_refused(release: Release) -> None:
    path = release.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))

    assert error_of(release.folder)[0] == f"{path}: not in canonical form"


def test_a_manifest_that_is_missing_is_told(tmp_path: Path) -> None:
    assert error_of(tmp_path) == [
        f"{tmp_path}/manifest.json: no such file",
        "next: invoke build",
    ]


@given(raw=st.binary(max_size=80) | st.sampled_from([b"[]", b"{", b'{"schema":1}', b"[" * 9999]))
def test_any_other_bytes_are_not_a_manifest(raw: bytes) -> None:
    with pytest.raises(UserError, match=r"^manifest: "):
        parse_manifest(raw, "manifest")


def test_a_manifest_survives_its_own_bytes(release: Release) -> None:
    raw = release.manifest.canonical()

    assert parse_manifest(raw, "manifest") == release.manifest
    assert raw == (release.folder / "manifest.json").read_bytes()
    assert isinstance(release.manifest, Manifest)


def build_error(inputs: ReleaseInputs, tmp_path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        build_release(inputs, tmp_path / "release")
    return str(caught.value).splitlines()


def test_a_missing_input_is_told_by_path(inputs: ReleaseInputs, tmp_path: Path) -> None:
    inputs.ort_model.unlink()

    assert build_error(inputs, tmp_path) == [
        f"{inputs.ort_model}: no such file",
        "next: invoke build",
    ]


def test_a_golden_image_that_is_missing_is_told(inputs: ReleaseInputs, tmp_path: Path) -> None:
    (inputs.golden / "cell0001.png").unlink()

    assert build_error(inputs, tmp_path)[0].startswith(
        f"{inputs.golden}/cell0001.png: no such file"
    )


def hide_behind_link(inputs: ReleaseInputs, secret: Path) -> str:
    (inputs.golden / "linked.png").symlink_to(secret)
    return "linked.png"


def hide_behind_folder(inputs: ReleaseInputs, secret: Path) -> str:
    inputs.golden.rename(inputs.golden.with_name("elsewhere"))
    inputs.golden.symlink_to("elsewhere")
    return "cell0001.png"


@pytest.mark.parametrize(
    "image",
    [
        lambda inputs, secret: f"../../{secret.name}",
        lambda inputs, secret: str(secret),
        lambda inputs, secret: "..",
        lambda inputs, secret: "cell0001.png/../../../default.key",
        lambda inputs, secret: "\x00",
        hide_behind_link,
        hide_behind_folder,
    ],
)
def test_a_golden_set_brings_no_file_from_outside_into_a_release(
    inputs: ReleaseInputs, tmp_path: Path, image: Callable[[ReleaseInputs, Path], str]
) -> None:
    secret = tmp_path / "default.key"
    secret.write_text("the secret key")
    cases = {"cases": [{"image": image(inputs, secret)}]}
    (inputs.golden / "expected.json").write_text(json.dumps(cases))

    assert build_error(inputs, tmp_path)
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize("name", ["card.json", "golden/expected.json", "golden/cell0001.png"])
@pytest.mark.parametrize("device", ["/dev/zero", "link"])
def test_no_file_of_a_model_folder_is_a_link_or_without_end(
    inputs: ReleaseInputs, tmp_path: Path, name: str, device: str
) -> None:
    path = inputs.card.parent / name
    path.rename(tmp_path / "link")
    path.symlink_to("/dev/zero" if device == "/dev/zero" else tmp_path / "link")

    assert build_error(inputs, tmp_path)[0] == (
        f"{path}: is a link or behind one, expected a file of this folder"
    )


@pytest.mark.parametrize("name", ["card.json", "golden/expected.json", "golden/cell0001.png"])
def test_no_file_of_a_model_folder_is_read_beyond_its_limit(
    inputs: ReleaseInputs, tmp_path: Path, name: str
) -> None:
    path = inputs.card.parent / name
    os.truncate(path, 1 << 40)  # sparse

    assert build_error(inputs, tmp_path)[0] == f"{path}: is too large"


def test_a_file_of_a_release_is_not_hashed_beyond_the_manifests_size(release: Release) -> None:
    os.truncate(release.folder / "model/model.ort", 1 << 40)

    assert error_of(release.folder)[1] == (
        "  model/model.ort: expected 7 bytes, found 1,099,511,627,776"
    )


@pytest.mark.parametrize("name", ["cell 1.png", "zelle-ä.png", "..png;reboot"])
def test_a_golden_image_of_an_unfit_name_is_refused(
    inputs: ReleaseInputs, tmp_path: Path, name: str
) -> None:
    (inputs.golden / "cell0001.png").rename(inputs.golden / name)
    (inputs.golden / "expected.json").write_text(json.dumps({"cases": [{"image": name}]}))

    assert build_error(inputs, tmp_path) == [
        f"model/golden/{name}: file name unfit for a board",
        "  expected: letters, digits and . _ + - only",
        "next: rename the file",
    ]


@pytest.mark.parametrize(
    ("card", "fact"),
    [
        ({"labels": ["ok"], "file": CARD["file"]}, "  name: missing"),
        (CARD | {"labels": ["ok", "two\nlines"]}, "  labels.1: "),
    ],
)
def test_a_card_that_cannot_be_used_is_told(
    inputs: ReleaseInputs, tmp_path: Path, card: dict[str, Any], fact: str
) -> None:
    inputs.card.write_text(json.dumps(card))

    subject, first = build_error(inputs, tmp_path)

    assert subject == f"{inputs.card}: not a model card"
    assert first.startswith(fact)
