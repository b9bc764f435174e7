"""Download Debian packages of any architecture by name, through a private apt."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgewright.base import apt, process
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy 5.6.1


def unpack(package: str, arch: str, suite: str, into: Path, log: Path) -> str:
    """Unpack a package into the folder `into`, and return its name.

    A metapackage such as `linux-image-arm64` stands for the package that it depends on. Raises
    UserError if the archive lacks it.
    """
    return unpack_all([package], arch, suite, into, log)[0]


def unpack_all(
    packages: Sequence[str], arch: str, suite: str, into: Path, log: Path
) -> tuple[str, ...]:
    """`unpack` of several: the archive's lists are fetched once."""
    make_folder(into)
    with _archive(arch, suite, log) as (folder, env):
        # By their real names: dpkg would unpack nothing of a metapackage.
        names = tuple(_real_name(package, arch, suite, env) for package in packages)
        process.run_logged(["apt-get", "download", *names], log, env=env, cwd=folder)
        for archive in sorted(folder.glob("*.deb")):
            process.run_logged(["dpkg", "-x", str(archive), str(into)], log)
    return names


def require(packages: Sequence[str], arch: str, suite: str, log: Path) -> None:
    """Raises UserError for what is no package of the archive."""
    with _archive(arch, suite, log) as (_, env):
        for package in packages:
            _dependencies(package, arch, suite, env)


@contextmanager
def _archive(arch: str, suite: str, log: Path) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A scratch folder, and the environment in which apt knows what the archive has today."""
    with tempfile.TemporaryDirectory(prefix="edgewright-apt-") as scratch:
        folder = Path(scratch)
        env = apt.private(folder, arch, [apt.source_line(suite)])
        process.run_logged(["apt-get", "update"], log, env=env)
        yield folder, env


def _dependencies(package: str, arch: str, suite: str, env: Mapping[str, str]) -> list[str]:
    # What has another form is an option of apt's, or a pattern.
    argv = ["apt-cache", "depends", "--important", package]
    listing = process.capture(argv, env=env).stdout if NAME.fullmatch(package) else ""
    # Of a name that others provide the listing has it in angle brackets.
    if not listing or listing.startswith("<"):
        raise UserError(
            f"package '{package}'",
            f"not in Debian's {suite} for {arch}",
            next="look for its name: apt-cache search WORD",
        )
    return [line.split()[-1] for line in listing.splitlines() if "Depends:" in line]


def _real_name(package: str, arch: str, suite: str, env: Mapping[str, str]) -> str:
    """The package itself, or the one of its family that it depends on.

    Debian's `linux-image-arm64` is empty and depends on the newest kernel by its full name.
    """
    family = re.escape(package.rpartition("-")[0])
    # With a version in its name: `openssh-server` depends on `openssh-sftp-server`, a compiler on
    # its `-base`, and neither is a metapackage.
    real = re.compile(rf"{family}-[0-9]")
    dependencies = _dependencies(package, arch, suite, env)
    return next((name for name in dependencies if real.match(name)), package)
