"""The Python package of a board's wheel, with this machine's ONNX Runtime in place of a board's."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest

from tests.checkout import checkout

CODE = checkout().resources.runtime_py
LIBRARY = (
    Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime.so.{onnxruntime.__version__}"
)
FACTS = {
    "board": "a53-som",
    "core": "cortex-a53",
    "instructions": ["ARMv8", "NEON", "VFPv4", "integer division"],
    "libc_family": "glibc",
    "libc_floor": "2.17",
    "sdk": "0123456789abcdef",
    "models": ["cells"],
    "operators": ["ai.onnx:Add (opset 13)", "ai.onnx:MatMul (opset 13)"],
}

MakePackage = Callable[..., Path]


@pytest.fixture(scope="session")
def make_package(tmp_path_factory: pytest.TempPathFactory) -> MakePackage:
    """Put the package together, as a wheel does, in a new folder for `sys.path`."""

    def make(library: Path = LIBRARY, **facts: object) -> Path:
        folder = tmp_path_factory.mktemp("wheel")
        package = folder / "edgewright_runtime"
        package.mkdir()
        for part in CODE.iterdir():
            (package / part.name).symlink_to(part)
        (package / "libonnxruntime.so.1").symlink_to(library)
        (package / "build.json").write_text(json.dumps(FACTS | facts))
        return folder

    return make


@pytest.fixture(scope="session")
def ort(make_package: MakePackage) -> ModuleType:
    """`import edgewright_runtime as ort`."""
    sys.path.insert(0, str(make_package()))
    try:
        return import_module("edgewright_runtime")
    finally:
        del sys.path[0]


@pytest.fixture(scope="session")
def part(ort: ModuleType) -> Callable[[str], Any]:
    """A module of the package."""
    return lambda name: import_module(f"edgewright_runtime.{name}")
