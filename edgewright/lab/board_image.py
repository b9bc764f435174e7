"""Make the image of an emulated board without a registry, from this machine's Debian archive.

`docker/board/` defines its content; its tag is a hash of that.
"""

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from edgewright.base import apt, debs, process
from edgewright.base.files import replacing
from edgewright.base.layout import user_cache
from edgewright.base.progress import Progress
from edgewright.board.profile import Arch

# Documentation, package lists and dropbear's own start: no board of that size carries them.
DROPPED = ("usr/share/", "etc/apt", "etc/dpkg", "etc/fstab", "var/", "dev/", "usr/lib/dropbear")
# With further packages `usr/share` and `var` stay: there their programs have data, policies, state.
DROPPED_BESIDE_PACKAGES = (
    *("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/"),
    *("usr/share/lintian/", "var/cache/", "var/lib/apt/", "etc/apt", "etc/fstab", "dev/"),
    "usr/lib/dropbear",
)
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
FOLDERS = {"root": 0o700, "proc": 0o555, "sys": 0o555} | dict.fromkeys(("dev", "run", "opt"), 0o755)


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Everything that defines an image."""

    arch: Arch
    suite: str
    packages: tuple[str, ...]
    applets: tuple[str, ...]
    files: tuple[tuple[str, bytes, int], ...]  # path on the board, content, mode
    further: tuple[str, ...] = ()  # packages beside those that every board has

    @property
    def tag(self) -> str:
        return f"edgewright-board:{self.arch}-{self._digest()[:12]}"

    @property
    def all_packages(self) -> tuple[str, ...]:
        return (*self.packages, *self.further)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What of the packages' files is left out: beginnings of paths."""
        return DROPPED_BESIDE_PACKAGES if self.further else DROPPED

    def _digest(self) -> str:
        parts = [
            [
                *(self.arch, self.suite, self.all_packages, self.applets),
                *(self.dropped, MERGED, FOLDERS),
            ],
            [[path, hashlib.sha256(data).hexdigest(), mode] for path, data, mode in self.files],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_spec(arch: Arch, docker: Path) -> ImageSpec:
    """Read the folder `board/` of the resources' `docker/`."""
    source = docker / "board"
    rootfs = source / "rootfs"
    paths = sorted(path for path in rootfs.rglob("*") if path.is_file())
    named = [(path.relative_to(rootfs).as_posix(), path.read_bytes()) for path in paths]
    return ImageSpec(
        arch=arch,
        suite=(source / "suite").read_text().strip(),
        packages=tuple((source / "packages").read_text().split()),
        applets=tuple((source / "applets").read_text().split()),
        # Modes by name: a checkout may have any.
        files=tuple(
            (name, data, 0o600 if name == "etc/shadow" else 0o755 if "bin/" in name else 0o644)
            for name, data in named
        ),
    )


def ensure(spec: ImageSpec, log: Path, progress: Progress) -> str:
    """The tag of the image, which is made first if Docker lacks it. Raises UserError."""
    if process.capture(["docker", "image", "inspect", spec.tag]).returncode == 0:
        return spec.tag
    archive = rootfs(spec, log, progress)
    argv = ["docker", "import", "--change", 'CMD ["/usr/sbin/board-init"]']
    process.run_logged([*argv, str(archive), spec.tag], log)
    return spec.tag


def rootfs(spec: ImageSpec, log: Path, progress: Progress) -> Path:
    """The board's root file system as a tar file in the user's cache. Raises UserError."""
    archive = user_cache() / "rootfs" / f"{spec.tag.partition(':')[2]}.tar"
    if archive.is_file():
        return archive
    progress.start("make the root file system of the board")
    if spec.further:
        debs.require(spec.further, spec.arch, spec.suite, log)
    with tempfile.TemporaryDirectory(prefix="edgewright-rootfs-") as scratch:
        base = Path(scratch, "base.tar")
        # Only unpacked, never run: so it needs neither root nor emulation of the board's programs.
        mode = "root" if os.getuid() == 0 else "chrootless"
        argv = ["mmdebstrap", f"--mode={mode}", "--variant=extract", f"--architectures={spec.arch}"]
        argv += [f"--include={','.join(spec.all_packages)}", spec.suite, str(base)]
        process.run_logged([*argv, apt.source_line(spec.suite)], log, on_line=progress.line)
        with replacing(archive) as aside:
            compose(base, aside, spec)
    return archive


def compose(base: Path, rootfs: Path, spec: ImageSpec) -> None:
    """Write the board's root file system: the packages of `base`, with our files laid over them."""
    with tarfile.open(base) as source, tarfile.open(rootfs, "w") as out:
        copied = set(_copy_base(source, out, spec))
        for name, mode in FOLDERS.items():
            _add(out, name, mode, kind=tarfile.DIRTYPE)
        for name, data, mode in spec.files:
            _add(out, name, mode, data=data)
        links = {f"usr/bin/{applet}": "busybox" for applet in spec.applets} | MERGED
        for name, link_target in links.items():
            if name not in copied:
                _add(out, name, 0o777, kind=tarfile.SYMTYPE, link_target=link_target)


def _copy_base(source: tarfile.TarFile, out: tarfile.TarFile, spec: ImageSpec) -> Iterator[str]:
    skipped = {name for name, _, _ in spec.files} | set(FOLDERS)
    for member in source:
        name = member.name.removeprefix("./")
        if name in skipped or f"{name}/".startswith(spec.dropped) or "/gconv" in name:
            continue
        member.name, member.mtime = name, 0  # no times: the same packages make the same image
        if member.islnk():
            member.linkname = member.linkname.removeprefix("./")
        out.addfile(member, source.extractfile(member) if member.isreg() else None)
        yield name


def _add(
    out: tarfile.TarFile,
    name: str,
    mode: int,
    *,
    kind: bytes = tarfile.REGTYPE,
    data: bytes = b"",
    link_target: str = "",
) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.type, member.linkname, member.size = mode, kind, link_target, len(data)
    out.addfile(member, BytesIO(data))
