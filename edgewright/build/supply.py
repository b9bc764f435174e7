"""Where a build takes what its cache lacks: the network, or a mirror (`build/mirror`).

Builds themselves have no network. Sources, and what the builder image is made of, are fetched
before, on this host: its apt and its pip know archive, index and proxy of this user.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import yaml

from edgewright.base import apt, digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import copy_file, make_folder
from edgewright.base.progress import LineSink
from edgewright.base.schema import Excerpt

SUITE = "trixie"
ARCH = "amd64"  # of apt's lists, and of sources that are packages unless their names say another


class PinnedSource(Excerpt):
    """A source archive of Debian's, or a package, as a recipe names it."""

    package: str
    file: str
    sha256: str

    @property
    def foreign(self) -> str | None:
        """The architecture that apt is to be asked for; None for its own, and for sources."""
        match = re.search(r"_([a-z0-9]+)\.deb$", self.file)
        return match[1] if match and match[1] not in (ARCH, "all") else None


class Pins(Excerpt):
    """The sources of a recipe: its `conandata.yml`."""

    version: str | None = None  # of what is built, where the recipe's class does not say it
    suite: str = SUITE
    sources: tuple[PinnedSource, ...] = ()


class Supply(Protocol):
    """What hands out sources and the parts of the builder image."""

    def sources(self, pins: Pins, into: Path, log: Path) -> None:
        """Put the files into a folder, under their names; the caller compares their hashes.

        Raises UserError or ChildFailed where one is not to be had.
        """

    def builder(self, image: str, context: Path, log: Path, on_line: LineSink | None) -> str:
        """Put what the builder image is made of beside its Dockerfile: `packages/`, `wheels/`.

        Returns the name of the base image, which Docker has then. Raises UserError or ChildFailed.
        """

    def host_runtime(self) -> None:
        """Bring the boards' version of ONNX Runtime to this Python, unless it gets it by itself."""


class Network:
    """The machine's own Debian archive and pip settings."""

    def sources(self, pins: Pins, into: Path, log: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="edgewright-apt-") as scratch:
            line = apt.source_line(pins.suite)
            env = apt.private(Path(scratch), ARCH, [line, line.replace("deb ", "deb-src ", 1)])
            foreign = sorted({source.foreign for source in pins.sources if source.foreign})
            apt_get = ["apt-get", *(f"--option=APT::Architectures::={arch}" for arch in foreign)]
            process.run_logged([*apt_get, "update"], log, env=env)
            for source in pins.sources:
                is_package = source.file.endswith(".deb")
                argv = ["download"] if is_package else ["source", "--download-only", "--tar-only"]
                suffix = f":{source.foreign}" if source.foreign else ""
                command = [*apt_get, *argv, f"{source.package}{suffix}"]
                # The archive may lack another file of a source: the one that is wanted counts.
                with suppress(process.ChildFailed):
                    process.run_logged(command, log, env=env, cwd=into)
        for path in into.iterdir():  # apt escapes what it names a file by, as the ~ of a version
            path.rename(path.with_name(unquote(path.name)))

    def builder(self, image: str, context: Path, log: Path, on_line: LineSink | None) -> str:
        base = _base_image(log, on_line)
        _download_packages(base, context, log, on_line)
        argv = [sys.executable, "-m", "pip", "wheel", "--no-deps"]
        argv += ["--wheel-dir", str(context / "wheels")]
        argv += ["--requirement", str(context / "wheels.txt")]
        process.run_logged(argv, log, on_line=on_line)
        return base

    def host_runtime(self) -> None:
        """Pip brings it when it is asked for."""


def _base_image(log: Path, on_line: LineSink | None) -> str:
    """A Debian base: made with mmdebstrap, or the registry's where that is missing."""
    if not shutil.which("mmdebstrap"):
        image = f"debian:{SUITE}-slim"
        if not image_exists(image):
            process.run_logged(["docker", "pull", image], log, on_line=on_line)
        return image
    image = f"edgewright/base:{SUITE}"
    if not image_exists(image):
        with tempfile.TemporaryDirectory(prefix="edgewright-base-") as scratch:
            tar = Path(scratch) / "base.tar"
            command = ["mmdebstrap", "--variant=minbase", SUITE, str(tar), apt.source_line(SUITE)]
            process.run_logged(command, log, on_line=on_line)
            process.run_logged(["docker", "import", str(tar), image], log, on_line=on_line)
    return image


def image_exists(image: str) -> bool:
    return process.capture(["docker", "image", "inspect", image]).returncode == 0


def _download_packages(base: str, context: Path, log: Path, on_line: LineSink | None) -> None:
    """The packages of `packages.txt` with all that they need and the base image lacks."""
    about_base = ["docker", "run", "--rm", "--network", "none", base]
    arch = process.check([*about_base, "dpkg", "--print-architecture"]).stdout.strip()
    installed = process.check([*about_base, "cat", "/var/lib/dpkg/status"]).stdout
    with tempfile.TemporaryDirectory(prefix="edgewright-apt-") as scratch:
        folder = Path(scratch)
        env = apt.private(folder, arch, [apt.source_line(SUITE)])
        status = folder / "status"
        status.write_text(installed)
        process.run_logged(["apt-get", "update"], log, env=env, on_line=on_line)
        argv = ["apt-get", "install", "--download-only", "--yes", "--no-install-recommends"]
        argv += ["--option", f"Dir::State::status={status}"]
        names = (context / "packages.txt").read_text().split()
        process.run_logged([*argv, *names], log, env=env, on_line=on_line)
        make_folder(context / "packages")
        for package in (folder / "cache" / "archives").glob("*.deb"):
            shutil.move(package, context / "packages")


def pins_of(recipe: Path) -> Pins:
    """The sources of a recipe; none where it has no `conandata.yml`."""
    table = recipe / "conandata.yml"
    return Pins.model_validate(yaml.safe_load(table.read_text()) if table.is_file() else {})


def source_file(store: Path, source: PinnedSource) -> Path:
    """Where the cache has a source."""
    return store / source.sha256 / source.file


def fetch(recipes: Iterable[Path], store: Path, supply: Supply, log: Path) -> None:
    """Bring the sources of recipes into the cache, unless they are there. Raises UserError.

    A file has its name there only with the hash that the recipe has for it.
    """
    missing: dict[str, dict[str, PinnedSource]] = {}  # suite → hash → source
    for pins in map(pins_of, recipes):
        for source in pins.sources:
            if not source_file(store, source).is_file():
                missing.setdefault(pins.suite, {})[source.sha256] = source
    for suite, sources in missing.items():
        make_folder(store)
        with tempfile.TemporaryDirectory(dir=store, prefix=".fetch-") as scratch:
            pins = Pins(suite=suite, sources=tuple(sources.values()))
            supply.sources(pins, Path(scratch), log)
            for source in pins.sources:
                _require_pinned(Path(scratch) / source.file, source, log)
                copy_file(Path(scratch) / source.file, source_file(store, source))


def _require_pinned(path: Path, source: PinnedSource, log: Path) -> None:
    if not path.is_file():
        delivered = ", ".join(sorted(other.name for other in path.parent.iterdir()))
        facts = [f"expected: {source.file}", f"found: {delivered or 'nothing'}", f"log: {log}"]
    else:
        sha256 = digest.file_sha256(path)
        if sha256 == source.sha256:
            return
        facts = [f"expected: sha256 {source.sha256}", f"found: sha256 {sha256}"]
    raise UserError(
        source.file,
        f"is not what was delivered as source of {source.package}",
        facts=facts,
        next="invoke outdated says what the archive offers today",
    )
