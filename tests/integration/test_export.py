"""Exported releases in the hands of the tools that take them, and a package's whole life."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.base import debs, process
from edgewright.base.files import unique_name
from edgewright.base.process import check
from edgewright.build.container import DockerBuilder
from edgewright.build.pipeline import BuildReport
from edgewright.cli.export import exported
from edgewright.export.release import Format
from edgewright.export.updaters import SCRIPT, ArtifactKey
from edgewright.fleet.bench.stand_in import program
from edgewright.release import order
from edgewright.release.manifest import Release, load_release
from tests.boards import COMPATIBLE, documents
from tests.checkout import ROOT
from tests.exports import (
    artifact_key,
    export,
    extract,
    oci_bundle,
    public_half,
    signed_release,
    speaking,
)
from tests.signing import signer

GOOD = ROOT / "tests" / "data" / "elf" / "good-v8"
ROOT_ON_BOARD = "/opt/edgewright"

Run = Callable[..., str]  # what a line of shell writes


@pytest.fixture(autouse=True)
def _own_keys(own_keys: None) -> None:
    """Every export signs a board's first keys."""


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return signed_release(tmp_path, speaking(tmp_path, GOOD))


@pytest.fixture
def key(tmp_path: Path) -> ArtifactKey:
    return artifact_key(tmp_path)


def extract_image(image: str, folder: Path) -> None:
    """Of SWUpdate."""
    with Path(image).open("rb") as stream:
        subprocess.run(["cpio", "--extract", "--quiet"], stdin=stream, cwd=folder, check=True)


# Of Mender, without a signature: its own is made with fresh random numbers.
@pytest.mark.parametrize("format", [f for f in Format if f not in (Format.TAR, Format.OCI)])
def test_the_same_release_makes_the_same_bytes(
    release: Release, key: ArtifactKey, tmp_path: Path, format: Format
) -> None:
    signs = None if format is Format.MENDER else key
    first = export(release, format, tmp_path / "first", key=signs)
    for path in release.folder.rglob("*"):
        path.touch()
    time.sleep(1.1)  # a clock that counts seconds counts another one

    assert export(release, format, tmp_path / "second", key=signs).sha256 == first.sha256


def test_a_package_is_clean_by_lintian(release: Release, tmp_path: Path) -> None:
    report = export(release, Format.DEB, tmp_path)

    check(["lintian", "--allow-root", "--fail-on=error,warning", report.file])


def test_rauc_takes_the_bundle_by_its_certificate_and_by_no_other(
    release: Release, key: ArtifactKey, tmp_path: Path
) -> None:
    report = export(release, Format.RAUC, tmp_path, key=key)

    info = check(["rauc", "info", f"--keyring={key.certificate}", report.file]).stdout
    assert f"Compatible: \t'{release.manifest.compatible}'" in info
    assert f"+{release.id}'" in info
    assert process.capture(["rauc", "info", report.file]).returncode != 0


def test_mender_validates_the_artifact(release: Release, key: ArtifactKey, tmp_path: Path) -> None:
    report = export(release, Format.MENDER, tmp_path, key=key)

    check(["mender-artifact", "validate", f"--key={public_half(key)}", report.file])
    described = check(["mender-artifact", "read", report.file]).stdout
    assert SCRIPT in described
    assert "board" in described


def test_swupdates_image_has_the_installer_under_its_hash(
    release: Release, key: ArtifactKey, tmp_path: Path
) -> None:
    report = export(release, Format.SWU, tmp_path, key=ArtifactKey(private=key.private))
    extract_image(report.file, tmp_path)

    description = (tmp_path / "sw-description").read_text()
    digest = check(["sha256sum", str(tmp_path / SCRIPT)]).stdout.split()[0]
    assert digest in description
    assert "postinstall" in description
    signature = str(tmp_path / "sw-description.sig")
    verify = ["openssl", "dgst", "-sha256", "-verify", str(public_half(key))]
    verify += ["-signature", signature]
    check([*verify, str(tmp_path / "sw-description")])


def test_umoci_unpacks_the_image(release: Release, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    layout = extract(export(release, Format.OCI, tmp_path).file, tmp_path / "layout")

    check(["umoci", "unpack", "--rootless", "--image", f"{layout}:{release.id}", str(bundle)])

    unpacked = bundle / "rootfs" / "release"
    assert load_release(unpacked).id == release.id
    assert [*(bundle / "rootfs").iterdir()] == [unpacked]


def test_ostree_finds_the_commit_whole(release: Release, tmp_path: Path) -> None:
    root = tmp_path / "root"
    repo = extract(export(release, Format.OSTREE, tmp_path).file, tmp_path / "repo")

    check(["ostree", "fsck", f"--repo={repo}"])
    check(["ostree", "checkout", "--user-mode", f"--repo={repo}", "edgewright/board", str(root)])
    assert load_release(root / "usr/lib/edgewright/current").id == release.id
    assert (root / "usr/lib/edgewright/owner").read_text() == "ostree\n"


# A package, installed by apt in a container of Debian


@pytest.fixture
def debian(builder: DockerBuilder, tmp_path: Path) -> Iterator[Run]:
    """Runs a shell's line in a Debian that sees the test's folder as /test."""
    name = unique_name("edgewright-export")
    mount = f"{tmp_path}:/test:ro"
    options = ["--detach", "--rm", "--init", "--name", name, "--volume", mount]
    check(["docker", "run", *options, builder.image, "sleep", "infinity"])

    def run(line: str, *, fails: bool = False) -> str:
        ended = process.capture(["docker", "exec", name, "sh", "-c", line])
        written = ended.stdout + ended.stderr
        assert (ended.returncode != 0) == fails, written
        return written

    yield run
    check(["docker", "kill", name])


def apt(verb: str, what: str) -> str:
    # It takes its cache for current by size and second of dpkg's status, which dpkg may change to
    # another version of the same length within the second: then apt goes by the one before.
    fresh = "-o Dir::Cache::pkgcache="
    return f"DEBIAN_FRONTEND=noninteractive apt-get {fresh} {verb} --yes --quiet {what}"


@pytest.mark.docker
def test_a_package_is_installed_upgraded_removed_and_purged_as_a_transaction(
    debian: Run, host_edgectl: Path, tmp_path: Path
) -> None:
    def package(name: str, exit_code: int = 0) -> tuple[Release, str]:
        release = signed_release(
            tmp_path / name,
            host_edgectl,
            model=name.encode(),
            edge_infer=program(documents(), exit_code),
        )
        report = export(release, Format.DEB, tmp_path / name)
        return release, f"/test/{Path(report.file).relative_to(tmp_path)}"

    current = f"readlink {ROOT_ON_BOARD}/current"
    (_, poor), (old, first) = package("poor", 1), package("one")
    (new, second), (_, broken) = package("two"), package("bad", 1)

    debian(apt("install", poor), fails=True)
    debian(f"[ ! -e {ROOT_ON_BOARD}/owner ] && [ ! -L {ROOT_ON_BOARD}/current ]")
    debian(apt("install", first))
    assert debian(current) == f"releases/{old.id}\n"
    debian(apt("install", second))
    assert debian(current) == f"releases/{new.id}\n"
    debian("dpkg --verify edgewright-board")

    # What does not pass its self-test is no update; neither is what is older.
    assert "its self-test ended with exit code 1" in debian(apt("install", broken), fails=True)
    assert debian(current) == f"releases/{new.id}\n"
    assert "was signed with sequence" in debian(f"dpkg --install {first}", fails=True)
    assert debian(current) == f"releases/{new.id}\n"
    debian(apt("install", second))

    # A deploy over SSH begins like this.
    other = signed_release(tmp_path / "ssh", host_edgectl, model=b"x")
    (tmp_path / "order").write_bytes(exported(other).order)
    begin = f"{ROOT_ON_BOARD}/bin/edgectl begin --holder=other --take-over < /test/order"
    assert "belong to dpkg edgewright-board" in debian(begin, fails=True)

    debian(apt("remove", "edgewright-board"))
    left = set(debian(f"ls {ROOT_ON_BOARD}").split())
    assert {"keys.json", "floor", "id"} <= left
    assert not left & {"current", "previous", "releases", "store", "owner"}
    debian(begin)
    debian(apt("purge", "edgewright-board"))
    debian(f"[ ! -e {ROOT_ON_BOARD} ]")


@pytest.mark.docker
def test_an_updaters_artifact_installs_the_release_when_it_is_run(
    debian: Run, host_edgectl: Path, tmp_path: Path
) -> None:
    release = signed_release(tmp_path / "one", host_edgectl)
    artifact = export(release, Format.SWU, tmp_path)
    extract_image(artifact.file, tmp_path)

    debian(f"sh /test/{SCRIPT} postinst")

    assert debian(f"readlink {ROOT_ON_BOARD}/current") == f"releases/{release.id}\n"
    assert debian(f"cat {ROOT_ON_BOARD}/owner") == "swupdate\n"
    assert '"sound":true' in debian(f"{ROOT_ON_BOARD}/bin/edgectl status --verify")


# The updaters themselves, on this machine: the deploy root is a folder of the test's


RAUC = """\
export DBUS_STARTER_BUS_TYPE=session
rauc --conf=system.conf --override-boot-slot="$0" service > service.log 2>&1 &
service=$!
sleep 2
code=0
rauc install "$1" || code=$?
kill "$service"
exit "$code"
"""
SYSTEM = """\
[system]
compatible={compatible}
bootloader=noop
mountprefix={folder}/mounts

[keyring]
path={certificate}

[slot.rootfs.0]
device={folder}/slot
type=raw
bootname=A
"""
MENDER_SUITE = "bookworm"  # later ones of Debian have no client of Mender


def rauc(folder: Path, key: ArtifactKey) -> list[str]:
    """The command, but for the file that it installs, as are the others'."""
    (folder / "slot").write_bytes(bytes(1 << 20))
    system = SYSTEM.format(compatible=COMPATIBLE, folder=folder, certificate=key.certificate)
    (folder / "system.conf").write_text(system)
    return rauc_install(booted="A")


def rauc_install(booted: str) -> list[str]:
    return ["dbus-run-session", "--", "sh", "-c", RAUC, booted]


def swupdate(folder: Path, key: ArtifactKey) -> list[str]:
    return ["swupdate", "-H", "board:1.0", "-k", str(key.certificate), "-i"]


# Its update modules, and what was installed first, stand at paths that no option changes.
MENDER = """\
for folder in etc usr/share; do
    mount -t overlay -o lowerdir="$0/$folder:/$folder" overlay "/$folder"
done
exec "$@"
"""


def mender(folder: Path, key: ArtifactKey) -> list[str]:
    place, data = folder / "client", folder / "data"
    debs.unpack("mender-client", "amd64", MENDER_SUITE, place, folder / "debs.log")
    config = folder / "mender.conf"
    config.write_text(json.dumps({"ArtifactVerifyKey": str(public_half(key))}))
    for file, line in (
        (data / "device_type", "device_type=board"),
        (place / "etc" / "mender" / "artifact_info", "artifact_name=image"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{line}\n")
    client = [str(place / "usr/bin/mender"), "--no-syslog", f"--config={config}", f"--data={data}"]
    as_root = [] if os.getuid() == 0 else ["--map-root-user"]
    return ["unshare", *as_root, "--mount", "sh", "-euc", MENDER, str(place), *client, "install"]


UPDATERS = {
    Format.RAUC: (rauc, "rauc"),
    Format.SWU: (swupdate, "swupdate"),
    Format.MENDER: (mender, "mender"),
}


@pytest.mark.docker
@pytest.mark.nightly
@pytest.mark.parametrize("format", UPDATERS)
def test_an_updater_installs_and_updates_and_is_refused_what_fails(
    format: Format, host_edgectl: Path, key: ArtifactKey, tmp_path: Path
) -> None:
    command, owner = UPDATERS[format]
    root, argv = tmp_path / "edgewright", command(tmp_path, key)

    def install(release: Release, *, fails: bool = False) -> None:
        file = export(release, format, release.folder.parents[1], key=key).file
        env = {"TMPDIR": str(tmp_path)}
        ended = process.capture([*argv, file], cwd=tmp_path, env=env, timeout=120)
        assert (ended.returncode != 0) == fails, ended.stdout + ended.stderr

    def release_of(name: str, exit_code: int = 0) -> Release:
        return signed_release(
            tmp_path / name,
            host_edgectl,
            root=str(root),
            model=name.encode(),
            edge_infer=program(documents(), exit_code),
        )

    def current() -> str:
        return (root / "current").readlink().name

    first, second, broken = release_of("one"), release_of("two"), release_of("bad", 1)
    install(first)
    assert current() == first.id
    assert (root / "owner").read_text() == f"{owner}\n"
    install(second)
    assert current() == second.id
    assert (root / "previous").readlink().name == first.id
    for refused in (broken, first):  # it fails its self-test; it is older
        install(refused, fails=True)
        assert current() == second.id

    begin = [str(root / "bin" / "edgectl"), "begin", f"--root={root}", "--holder=other"]
    order = exported(release_of("ssh")).order.decode()
    refusal = process.capture(begin, input=order)
    assert refusal.returncode != 0
    assert f"belong to {owner}" in refusal.stderr
    (root / "owner").unlink()  # the board is taken out of the updater's care
    assert process.capture(begin, input=order).returncode == 0


# Two groups of slots, as on a board with A and B; each system has the release's slot beside it.
SLOTS = """\
[system]
compatible={compatible}
bootloader=noop
mountprefix={folder}/mounts
statusfile={folder}/status

[keyring]
path={certificate}

[slot.rootfs.0]
device={folder}/system-a
type=raw
bootname=A

[slot.rootfs.1]
device={folder}/system-b
type=raw
bootname=B

[slot.app.0]
device={folder}/app-a
type=ext4
parent=rootfs.0

[slot.app.1]
device={folder}/app-b
type=ext4
parent=rootfs.1
"""


@contextmanager
def mounted(device: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    check(["mount", "-o", "ro,loop", str(device), str(place)])
    try:
        yield place
    finally:
        check(["umount", str(place)])


@pytest.mark.docker
@pytest.mark.nightly
@pytest.mark.skipif(os.getuid() != 0, reason="RAUC mounts the slots")
def test_rauc_writes_the_release_to_the_app_slot_that_is_not_booted(
    host_edgectl: Path, key: ArtifactKey, tmp_path: Path
) -> None:
    for slot in ("system-a", "system-b", "app-a", "app-b"):
        (tmp_path / slot).write_bytes(bytes(8 << 20))
    system = SLOTS.format(compatible=COMPATIBLE, folder=tmp_path, certificate=key.certificate)
    (tmp_path / "system.conf").write_text(system)

    def install(name: str, booted: str, exit_code: int = 0) -> tuple[Release, int]:
        release = signed_release(
            tmp_path / name,
            host_edgectl,
            model=name.encode(),
            edge_infer=program(documents(), exit_code),
        )
        file = export(release, Format.RAUC, tmp_path / name, key=key, slot="app").file
        ended = process.capture([*rauc_install(booted), file], cwd=tmp_path, timeout=120)
        return release, ended.returncode

    def current(slot: str) -> str:
        with mounted(tmp_path / slot, tmp_path / "root") as root:
            assert (root / "owner").read_text() == "rauc\n"
            release = load_release((root / "current").resolve())
            status = check([str(root / "bin" / "edgectl"), "status", f"--root={root}"]).stdout
            assert json.loads(status)["current"] == release.id
            return release.id

    first, code = install("one", "A")
    assert (code, current("app-b")) == (0, first.id)
    second, code = install("two", "B")
    assert (code, current("app-a"), current("app-b")) == (0, second.id, first.id)

    # What fails its self-test ends the installation; the system that runs keeps its slot.
    broken, code = install("bad", "A", exit_code=1)
    assert code != 0
    assert f"release {broken.id}: self-test of " in (tmp_path / "service.log").read_text()
    assert current("app-a") == second.id
    assert "status=ok" in (tmp_path / "status").read_text()


@pytest.mark.docker
@pytest.mark.nightly
def test_an_oci_runtime_runs_the_demos_image(built: BuildReport, tmp_path: Path) -> None:
    release = load_release(built.folder)
    order.sign_release(release, signer())
    bundle = oci_bundle(release, tmp_path)

    name = unique_name("edgewright-image")
    ended = check(["runc", "--root", str(tmp_path / "runc"), "run", name], cwd=bundle)

    assert json.loads(ended.stdout)["passed"] is True


@pytest.mark.docker
@pytest.mark.nightly
def test_the_demos_package_is_small_and_passes_its_self_test_on_armhf(
    debian: Run, built: BuildReport, tmp_path: Path
) -> None:
    release = load_release(built.folder)
    order.sign_release(release, signer())
    report = export(release, Format.DEB, tmp_path)
    assert report.bytes < 6_500_000

    debian("dpkg --add-architecture armhf")
    debian(apt("install", f"/test/{Path(report.file).name}"))

    infer = f"{ROOT_ON_BOARD}/current/bin/edge-infer"
    debian(f"cd / && {infer} selftest --release {ROOT_ON_BOARD}/current")
    debian(apt("purge", "edgewright-a53-som:armhf"))
    debian(f"[ ! -e {ROOT_ON_BOARD} ]")
