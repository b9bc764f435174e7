"""Exported releases: what is in them, and that the same release makes the same bytes."""

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.workspace import add_image_build
from edgewright.cli.export import exported
from edgewright.export import installer, rauc
from edgewright.export.release import Format
from edgewright.export.trees import File, Folder, Link, Tree, tar_bytes, write_tree
from edgewright.release import order
from edgewright.release.manifest import Release
from edgewright.release.programs import SERVICE_FILE
from tests.checkout import ROOT
from tests.exports import export, signed_release, speaking

ELF = ROOT / "tests" / "data" / "elf"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


def release_for(folder: Path, program: str) -> Release:
    """A release whose `edgectl` is one of the corpus's ELF files."""
    return signed_release(folder, speaking(folder, ELF / program))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return release_for(tmp_path / "one", "good-v8")


def members(path: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def content(path: str, name: str) -> bytes:
    with tarfile.open(path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.mark.parametrize("format", [Format.TAR, Format.OCI])
def test_the_same_release_makes_the_same_bytes_whenever_it_is_exported(
    release: Release, tmp_path: Path, format: Format
) -> None:
    first = export(release, format, tmp_path / "first")
    for path in release.folder.rglob("*"):
        path.touch()

    assert export(release, format, tmp_path / "second").sha256 == first.sha256


def test_a_tar_is_a_deploy_root_with_the_release_current(release: Release, tmp_path: Path) -> None:
    report = export(release, Format.TAR, tmp_path)

    entries = members(report.file)
    root = "opt/edgewright"
    assert entries[f"{root}/current"].linkname == f"releases/{release.id}"
    assert entries[f"{root}/bin/edgectl"].mode == 0o755
    # A board that has a signed release and no floor takes its floor for lost.
    assert f"{root}/releases/{release.id}/manifest.json.minisig" not in entries
    sequence = order.verify_release(release, [exported(release).verified.key]).order.sequence
    assert {entry.mtime for entry in entries.values()} == {sequence}
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(0, 0)}


@pytest.mark.parametrize(
    ("program", "platform"),
    [
        ("good-v7", {"architecture": "arm", "os": "linux", "variant": "v7"}),
        ("good-v8", {"architecture": "arm", "os": "linux", "variant": "v8"}),
        ("good-arm64", {"architecture": "arm64", "os": "linux", "variant": "v8"}),
    ],
)
def test_an_image_says_which_cores_may_run_it(
    tmp_path: Path, program: str, platform: dict[str, str]
) -> None:
    report = export(release_for(tmp_path / "one", program), Format.OCI, tmp_path)

    (described,) = json.loads(content(report.file, "index.json"))["manifests"]
    assert described["platform"] == platform
    manifest = json.loads(content(report.file, blob(described)))
    config = json.loads(content(report.file, blob(manifest["config"])))
    assert {key: config[key] for key in platform} == platform
    assert config["config"]["Entrypoint"] == ["/release/bin/edge-infer"]
    layer = content(report.file, blob(manifest["layers"][0]))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert "release/model/model.ort" in tar.getnames()


def blob(descriptor: dict[str, str]) -> str:
    return "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")


@pytest.mark.parametrize("format", [Format.OCI, Format.DEB])
def test_a_release_that_needs_the_boards_libraries(tmp_path: Path, format: Format) -> None:
    release = release_for(tmp_path / "one", "client")

    with pytest.raises(UserError) as caught:
        export(release, format, tmp_path)

    assert 'set runtime.linkage = "static"' in str(caught.value)


def test_a_package_depends_on_the_libc_that_its_programs_need(tmp_path: Path) -> None:
    report = export(release_for(tmp_path / "one", "glibc"), Format.DEB, tmp_path)

    fields = process.check(["dpkg-deb", "--field", report.file, "Depends", "Architecture"]).stdout
    assert fields == "Depends: libc6 (>= 2.34)\nArchitecture: armhf\n"


def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "which", lambda program: None)

    with pytest.raises(UserError) as caught:
        export(release, Format.MENDER, tmp_path)

    assert str(caught.value).splitlines() == [
        "mender-artifact: program not found",
        "next: apt-get install mender-artifact",
    ]


def test_a_release_of_protocol_1_is_installed_by_edgewright_alone(tmp_path: Path) -> None:
    release = signed_release(tmp_path, speaking(tmp_path, ELF / "good-v8", protocol=1))

    with pytest.raises(UserError) as caught:
        export(release, Format.DEB, tmp_path)

    assert "its edgectl speaks protocol 1" in str(caught.value)
    export(release, Format.OCI, tmp_path)


def test_a_package_says_whom_to_ask(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        export(release, Format.DEB, tmp_path, maintainer="line 3")

    assert "expected NAME <ADDRESS>" in str(caught.value)


def test_a_bundle_of_rauc_needs_a_certificate(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        export(release, Format.RAUC, tmp_path)

    assert "--certificate=cert.pem" in str(caught.value)


@pytest.mark.parametrize(
    ("format", "slot", "words"),
    [
        (Format.DEB, "app", r"--slot=app: deb has no slots\nnext: "),
        (Format.RAUC, "app.0", r"--slot=app\.0: is no class of slots\n  expected: X of a group "),
    ],
)
def test_slots_are_named_by_their_class_and_are_rauc_s(
    release: Release, tmp_path: Path, format: Format, slot: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        export(release, format, tmp_path, slot=slot)


@pytest.mark.parametrize("exit_code", [0, 7])
def test_a_slot_is_tested_by_every_program_of_the_release(tmp_path: Path, exit_code: int) -> None:
    """In the folder of the release, as `edgectl` does it; no other process keeps the slot busy."""
    place = tmp_path / "slot" / "releases" / "one"
    (place / "bin").mkdir(parents=True)
    (tmp_path / "slot" / "current").symlink_to("releases/one")
    program = place / "bin" / "edge-infer"
    program.write_text(f'#!/bin/sh\necho "$PWD $*" > log; exit {exit_code}\n')
    program.chmod(0o755)
    (tmp_path / "path").mkdir()
    timeout = tmp_path / "path" / "timeout"  # busybox's stays behind where it was started
    timeout.write_text(f'#!/bin/sh\npwd > {tmp_path}/timeout-folder; shift; exec "$@"\n')
    timeout.chmod(0o755)
    release = signed_release(tmp_path / "built", speaking(tmp_path, ELF / "good-v8"))
    hook = rauc._hook(exported(release))

    def call(event: str) -> process.Result:
        env = {
            "RAUC_SLOT_MOUNT_POINT": str(tmp_path / "slot"),
            "PATH": f"{timeout.parent}{os.pathsep}{os.environ['PATH']}",
        }
        return process.capture(["sh", "-c", hook, "hook", event], env=env)

    assert (call("slot-pre-install").returncode, (place / "log").exists()) == (0, False)
    ended = call("slot-post-install")
    assert (place / "log").read_text().endswith("current selftest --release .\n")
    assert (tmp_path / "timeout-folder").read_text() == "/\n"
    assert ended.returncode == (3 if exit_code else 0)
    failed = f"release {release.id}: self-test of ./bin/edge-infer ended with exit code 7\n"
    assert ended.stderr == (failed if exit_code else "")


def test_a_release_that_is_not_signed_is_not_exported(release: Release) -> None:
    release.signature.unlink()

    with pytest.raises(UserError) as caught:
        exported(release)

    assert "is not signed" in str(caught.value)
    assert "invoke release.sign" in str(caught.value)


def test_a_release_that_changed_since_it_was_read(release: Release, tmp_path: Path) -> None:
    ready = exported(release)
    (release.folder / "model" / "model.ort").write_bytes(b"another model")

    with pytest.raises(UserError) as caught:
        export(ready, Format.TAR, tmp_path)

    assert "changed while the release was exported" in str(caught.value)
    assert not list(tmp_path.glob("*.tar"))


def test_a_tree_on_disk_is_what_the_same_tree_in_a_tar_is(tmp_path: Path) -> None:
    tree: Tree = {"a/b/program": File(b"x", 0o755), "a/link": Link("b/program"), "c": Folder()}

    write_tree(tree, tmp_path, 1000)

    with tarfile.open(fileobj=io.BytesIO(tar_bytes(tree, 1000))) as tar:
        for member in tar:
            status = (tmp_path / member.name).lstat()
            assert status.st_mtime == member.mtime == 1000
            assert member.issym() or status.st_mode & 0o777 == member.mode


@pytest.mark.parametrize(
    ("launcher", "is_refused"),
    [("exec bin/edge-infer\n", True), ("exec bin/service\n", False), (None, False)],
)
def test_a_service_of_a_users_is_not_installed_where_an_older_edgewright_starts_services(
    launcher: str | None, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other updaters run asks that first; here it has no `edgectl`, and comes no further."""
    path, service = tmp_path / "run", tmp_path / "service"
    service.write_text("#!/bin/sh\n")
    if launcher is not None:
        path.write_text(launcher)
    monkeypatch.setattr(installer, "PROGRAM", str(path))

    def install(**changes: Any) -> str:
        folder, root = tmp_path / "built", str(tmp_path / "board")
        release = signed_release(folder, speaking(folder, ELF / "good-v8"), root=root, **changes)
        script = installer.installer(exported(release), "rauc")["install"]
        assert isinstance(script, File)
        argv = ["sh", "-c", script.content.decode(), str(tmp_path / "install")]
        return process.capture(argv).stderr

    refusal = f"{path}: starts no bin/service, which the release has"
    assert (refusal in install(program_files={SERVICE_FILE: service})) == is_refused
    assert refusal not in install()


def test_yoctos_recipe_installs_a_release_by_its_hash(release: Release, tmp_path: Path) -> None:
    report = export(release, Format.TAR, tmp_path)
    (recipe,) = [path for path in add_image_build(tmp_path, "yocto") if path.suffix == ".bb"]
    start = recipe.read_text().index("do_install() {")
    # What BitBake fills in for a task, a shell reads from its environment.
    line = recipe.read_text()[start:].partition("\n}\n")[0] + "\n}\ndo_install"
    image = tmp_path / "image"
    image.mkdir()
    where = {"UNPACKDIR": str(tmp_path), "EDGEWRIGHT_TAR": Path(report.file).name, "D": str(image)}

    def install(sha256: str) -> int:
        argv = ["sh", "-c", f"set -e\n{line}"]
        return process.capture(argv, env={**where, "EDGEWRIGHT_SHA256": sha256}).returncode

    assert install("0" * 64) != 0
    assert not list(image.iterdir())
    assert install(report.sha256) == 0
    assert (image / "opt/edgewright/current/manifest.json").is_file()


def test_buildroots_script_installs_a_release_by_its_hash(release: Release, tmp_path: Path) -> None:
    report = export(release, Format.TAR, tmp_path)
    add_image_build(tmp_path, "buildroot")
    image = tmp_path / "image"
    image.mkdir()
    # As Buildroot calls it: the script, the target's folder, then the arguments.
    call = [str(tmp_path / "buildroot" / "install-release"), str(image), report.file]

    assert process.capture([*call, "0" * 64]).returncode != 0
    assert not list(image.iterdir())
    assert process.capture([*call, report.sha256]).returncode == 0
    assert (image / "opt/edgewright/current/manifest.json").is_file()


def test_a_package_that_was_cut_leaves_no_half_of_one(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, or Ctrl-C: what lies there under a package's name is whole."""
    dpkg_deb = tmp_path / "dpkg-deb"
    dpkg_deb.write_text('#!/bin/sh\nfor out; do :; done\necho half > "$out"\nexit 2\n')
    dpkg_deb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(UserError, match="exit code 2"):
        export(release, Format.DEB, tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_a_models_name_ends_no_line_and_no_string(release: Release) -> None:
    """It is any text: it must not write fields of a control file, or hooks into a bundle."""
    name = 'a"b\\c\n[hooks]\x1b'
    model = release.manifest.model.model_copy(update={"name": name})
    manifest = release.manifest.model_copy(update={"model": model})

    named = replace(exported(release), release=replace(release, manifest=manifest))

    assert named.summary.startswith("a'b/c/n[hooks]/x1b for board, release ")
