"""Builds the image of edgewright for CI servers from the commit that is checked out.

    .venv/bin/python docker/edgewright/build.py [TAG]

Wheels and the builder image below come by this machine's settings, its pip's and its apt's, which
a container does not have.
"""

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from edgewright.base import process
from edgewright.base.layout import installed_resources
from edgewright.base.workspace import find_workspace
from edgewright.build.container import docker_builder

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.13"  # of the builder image's Debian


def main(tag: str) -> None:
    log = ROOT / "build" / "edgewright-image.log"
    builder = docker_builder(find_workspace(ROOT, installed_resources()), log)
    with tempfile.TemporaryDirectory(prefix="edgewright-image-") as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(ROOT / "docker" / "edgewright", context)
        fetch_wheels(sources(Path(scratch)), context / "wheels", log)
        process.run_logged(
            ["docker", "build", "--force-rm", "--network", "host"]
            + ["--build-arg", f"BUILDER={builder.image}", "--tag", tag, str(context)],
            log,
            on_line=print,
        )


def sources(scratch: Path) -> Path:
    """The files of the commit: a build leaves others beside them."""
    archive, folder = scratch / "sources.tar", scratch / "sources"
    process.check(["git", "archive", f"--output={archive}", "HEAD"], cwd=ROOT)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def fetch_wheels(checkout: Path, wheels: Path, log: Path) -> None:
    """edgewright with what rollouts need. Conan and its patcher are published as sources alone."""
    pip = [sys.executable, "-m", "pip"]
    pure = ["--requirement", str(checkout / "docker" / "builder" / "wheels.txt"), str(checkout)]
    process.run_logged([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), *pure], log)
    own = next(wheels.glob("edgewright-*.whl"))
    process.run_logged(
        [*pip, "download", "--python-version", PYTHON, "--only-binary", ":all:"]
        + ["--find-links", str(wheels), "--dest", str(wheels), f"{own}[rollout]"],
        log,
    )


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["edgewright"]))
