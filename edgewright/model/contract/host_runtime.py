"""The Python that runs the boards' version of ONNX Runtime on this machine.

Networks are converted and run by that version, whichever one the user's environment has: of
another, optimisations and answers may differ from the boards'. Children are started with it, so
that it also keeps its settings, its output and its crashes to itself.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder
from edgewright.base.layout import user_cache
from edgewright.base.runtime_version import runtime_version

PACKAGE = "onnxruntime"


def child_argv(module: str) -> list[str]:
    """The command that runs a module of edgewright in a child."""
    # -P: a file of the user's folder, such as onnx.py, is not taken for a library.
    return [sys.executable, "-P", "-m", module]


def child_environment() -> dict[str, str]:
    """What a child's environment has beside ours: where the boards' version is found first.

    Empty if it is installed here. Otherwise it is installed, once, into the user's cache; all that
    it imports comes from here. Raises UserError if pip does not deliver it.
    """
    if _installed() == runtime_version().wheel:
        return {}
    paths = [str(_provided(())), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def provide(wheels: Path) -> None:
    """Install the boards' version from a folder of wheels, where children would ask pip for it.

    Raises UserError if the folder has none for this Python.
    """
    if _installed() != runtime_version().wheel:
        _provided(("--no-index", f"--find-links={wheels}"))


def _provided(options: Sequence[str]) -> Path:
    """The folder in the user's cache that has the boards' version; `options` are pip's."""
    wheel = runtime_version().wheel
    root = user_cache() / "runtimes"
    make_folder(root)
    # A wheel with compiled code suits one Python.
    folder = root / f"{PACKAGE}-{wheel}-{sys.implementation.cache_tag}"
    with locked(root / f"{folder.name}.lock"):
        if not folder.is_dir():
            _install([*options, f"{PACKAGE}=={wheel}"], folder)
    return folder


def _installed() -> str | None:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def _install(requirements: Sequence[str], folder: Path) -> None:
    """Install aside, then rename: an interrupted installation never counts as there."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".install-") as scratch:
        target = Path(scratch) / "packages"
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        try:
            process.check([*argv, f"--target={target}", *requirements])
        except process.ChildFailed as failed:
            requirement = requirements[-1]
            raise UserError(
                requirement,
                "the boards' version of ONNX Runtime cannot be installed for this Python",
                facts=failed.facts[-3:],
                next=f"pip install {requirement}",
            ) from failed
        target.replace(folder)
