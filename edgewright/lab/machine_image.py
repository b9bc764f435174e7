"""Make what a full-system board starts from: a kernel, an initrd, a disk.

`docker/lab/` defines their content. The kernel is Debian's, downloaded once by name; the disk
holds the same root file system as the board in a container (`board_image`).
"""

import hashlib
import lzma
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import debs, process
from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder, replacing
from edgewright.base.layout import user_cache
from edgewright.base.progress import Progress
from edgewright.lab.board_keys import authorized_keys, host_key

KERNEL_ARCH = "arm64"  # it runs 32-bit userlands as well
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


@dataclass(frozen=True, kw_only=True)
class LabSpec:
    """Everything that defines kernel and initrd."""

    suite: str
    package: str
    early: tuple[str, ...]  # modules that are loaded before the machine's state is saved
    late: tuple[str, ...]
    init: bytes

    @property
    def kernel_digest(self) -> str:
        text = repr((self.suite, self.package, self.early, self.late))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A folder with `vmlinuz`, `early/` and `late/`: modules in the order to load them."""

    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinuz"


def read_spec(docker: Path) -> LabSpec:
    """Read the folder `lab/` of the resources' `docker/`."""
    source = docker / "lab"
    return LabSpec(
        suite=(docker / "board" / "suite").read_text().strip(),
        package=(source / "kernel").read_text().strip(),
        early=tuple((source / "modules-early").read_text().split()),
        late=tuple((source / "modules-late").read_text().split()),
        init=(source / "init").read_bytes(),
    )


def kernel(spec: LabSpec, log: Path, progress: Progress) -> Kernel:
    """The kernel in the user's cache, downloaded if it is absent. Raises UserError."""
    folder = user_cache() / "lab" / f"kernel-{spec.kernel_digest}"
    if folder.is_dir():
        return Kernel(folder=folder)
    progress.start(f"download {spec.package}")
    with cached_folder(folder) as out, tempfile.TemporaryDirectory(prefix="edgewright-deb-") as deb:
        debs.unpack(spec.package, KERNEL_ARCH, spec.suite, Path(deb), log)
        _take_kernel(Path(deb), out, spec)
    return Kernel(folder=folder)


def _take_kernel(deb: Path, out: Path, spec: LabSpec) -> None:
    modules = {module_name(path): path for path in deb.rglob("*.ko.xz")}
    shutil.copy(next(deb.glob("boot/vmlinuz-*")), out / "vmlinuz")
    early = load_order(spec.early, modules)
    late = [name for name in load_order(spec.late, modules) if name not in early]
    for stage, names in (("early", early), ("late", late)):
        (out / stage).mkdir()
        for number, name in enumerate(names):  # `init` loads them in the order of their names
            (out / stage / f"{number:02}-{name}.ko").write_bytes(_module(modules[name]))


def module_name(path: Path) -> str:
    """`virtio_blk` of `…/virtio-blk.ko.xz`: the kernel does not tell `-` from `_`."""
    return path.name.removesuffix(".ko.xz").replace("-", "_")


def load_order(names: Sequence[str], modules: Mapping[str, Path]) -> list[str]:
    """Modules with all that they depend on, in the order to load them.

    Raises UserError if one is not in the kernel's package.
    """
    order: list[str] = []
    for name in (word.replace("-", "_") for word in names):
        if name not in modules:
            raise UserError(f"kernel module '{name}'", "not in the kernel's package")
        match = DEPENDS.search(_module(modules[name]))
        dependencies = [word for word in match[1].decode().split(",") if word] if match else []
        order += [*load_order(dependencies, modules), name]
    return list(dict.fromkeys(order))


def _module(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes())


# The initrd


def initrd(kernel: Kernel, spec: LabSpec, rootfs: Path) -> bytes:
    """busybox, the modules and `init`, as a cpio archive."""
    with tarfile.open(rootfs) as tar:
        busybox = tar.extractfile("usr/bin/busybox")
        assert busybox is not None
        files = {"bin/busybox": busybox.read(), "init": spec.init}
    for stage in ("early", "late"):
        for path in sorted((kernel.folder / stage).iterdir()):
            files[f"modules/{stage}/{path.name}"] = path.read_bytes()
    return cpio(["bin", "dev", "disk", "modules", "modules/early", "modules/late"], files)


def cpio(folders: Sequence[str], files: Mapping[str, bytes]) -> bytes:
    """A cpio archive in the format `newc`, which kernels unpack; owned by root, all may execute.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
    """
    entries = [_entry(name, 0o040755) for name in folders]
    entries.append(_entry("dev/console", 0o020600, device=(5, 1)))
    entries += [_entry(name, 0o100755, data) for name, data in files.items()]
    return b"".join([*entries, _entry("TRAILER!!!", 0)])


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    # Distinct inodes: equal ones would be hard links of one file.
    inode = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


# The disk


def make_disk(disk: Path, rootfs: Path, keys: Path, megabytes: int, log: Path) -> None:
    """An ext4 image with `rootfs` and the keys of the folder `keys`; made aside, then renamed."""
    with tempfile.TemporaryDirectory(prefix="edgewright-disk-") as scratch:
        root = Path(scratch, "root")
        with tarfile.open(rootfs) as tar:
            tar.extraction_filter = _trust  # as an argument it needs Python 3.11.4
            tar.extractall(root)
        key_files = {
            "root/.ssh/authorized_keys": authorized_keys(keys),
            "etc/dropbear/host_key": host_key(keys),
        }
        for name, data in key_files.items():
            (root / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / name).write_bytes(data)
            (root / name).chmod(0o600)
        mke2fs = process.which("mke2fs") or "mke2fs"
        with replacing(disk) as aside:
            command = [mke2fs, "-q", "-t", "ext4", "-m", "0", "-d", str(root), str(aside)]
            # Files on the board are root's, whoever makes the disk.
            owner = [] if os.getuid() == 0 else ["unshare", "--map-root-user"]
            process.run_logged([*owner, *command, f"{megabytes}M"], log)


def _trust(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """Accept every member: the archive is our own, and its links point to places on the board."""
    return member.replace(uid=os.getuid(), gid=os.getgid(), deep=False)
