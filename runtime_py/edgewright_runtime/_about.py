"""What this wheel was built for: `build.json`, which `invoke wheel` puts beside this file."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple, Sequence

FOLDER = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(FOLDER, "libonnxruntime.so.1")


class About(NamedTuple):
    """The library and its board."""

    board: str
    core: str  # the processor's core, as GCC names it
    instructions: Sequence[str]  # of 32-bit ARM: what the processor must have
    libc_family: str  # glibc or musl
    libc_floor: str  # no older one of it serves
    sdk: str  # id of the SDK that the library is of
    models: Sequence[str]
    operators: Sequence[str]  # `domain:Operator (opset n)`

    def rebuild(self) -> str:
        """The command that makes a wheel for another model too."""
        models = " ".join("--model=" + name for name in (*self.models, "MODEL.onnx"))
        return "invoke wheel --board=" + self.board + " " + models


def read(path: str = os.path.join(FOLDER, "build.json")) -> About:
    with open(path, encoding="utf-8") as stream:
        facts: dict[str, Any] = json.load(stream)
    return About(**facts)
