"""The wheels of this checkout, built as pip builds them but without asking an index."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


def copy_of_sources(folder: Path) -> Path:
    """The files that git has or would take: a build leaves things beside them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(what: str, sources: Path, out: Path) -> Path:
    """The `wheel` or `sdist` of a folder with a pyproject.toml."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", BUILD.format(what), str(out)]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)
    return max(out.iterdir(), key=lambda path: path.stat().st_mtime_ns)
