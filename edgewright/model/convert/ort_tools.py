"""ONNX Runtime's own tools for its file format, in a child process.

They take settings from the environment, print, log on the root logger and import torch. A child has
all of that to itself, so that conversions may run side by side in the threads of one process.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.model.contract import host_runtime
from edgewright.model.convert.ops import Operator

PROGRAM = "edgewright.model.convert.ort_child"
LEVEL = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"
IDENTIFIER = b"ORTM"  # of a FlatBuffer: its bytes 4 to 7

Level = Literal["extended", "all"]  # of optimisation; "all" changes the layout of convolutions too
# What our kernels of a width multiply at a time: see `packed_weights`. "dot": for cores with SDOT.
TileName = Literal["neon-32", "neon-64", "dot-64"]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The two files that the rest of a build needs of a model."""

    ort: Path
    ops_config: Path


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a model in ORT format; one without a name has its number."""

    operator: Operator
    name: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a model in ORT format needs of a runtime."""

    ops_config: str
    nodes: tuple[Node, ...]
    types: Mapping[str, str] = field(default_factory=dict)  # of elements → a node's name


def convert_network(network: Path, folder: Path, level: Level, subject: str) -> Converted:
    """Write an ONNX network into `folder` in ORT format, in canonical bytes.

    Raises UserError about `subject`, with ONNX Runtime's reason, if it refuses the network.
    """
    answer = _run("convert", network, folder, env={LEVEL: level})
    if "refused" in answer:
        raise UserError(subject, "not convertible to ORT format", facts=[answer["refused"]])
    return Converted(ort=Path(answer["ort"]), ops_config=Path(answer["ops_config"]))


def read_needs(model: Path) -> Needs:
    """Operators, types and nodes of a model. Raises UserError if it is not in ORT format."""
    with model.open("rb") as file:
        if file.read(8)[4:] != IDENTIFIER:
            raise UserError(
                str(model), "not an ORT-format model", next="invoke build --model=….onnx"
            )
    answer = _run("needs", model)
    return Needs(
        ops_config=answer["ops_config"],
        nodes=tuple(
            Node(operator=Operator(domain, version, kind), name=name)
            for domain, version, kind, name in answer["nodes"]
        ),
        types=answer["types"],
    )


def read_kernels() -> list[Operator]:
    """Every operator, version by version, that ONNX Runtime on this machine has CPU kernels for."""
    return [Operator(*fields) for fields in _run("kernels")["operators"]]


def pack_weights(model: Path, tile: TileName, out: Path) -> None:
    """Write a model in ORT format with its weights packed for a tile."""
    _run("pack", model, tile, out)


def _run(
    command: str, *arguments: Path | str, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Raises ChildFailed, with the end of its output, if ONNX Runtime crashes."""
    with tempfile.TemporaryDirectory(prefix="edgewright-ort-") as scratch:
        answer = Path(scratch) / "answer.json"
        argv = [*host_runtime.child_argv(PROGRAM), command, *map(str, arguments), str(answer)]
        process.check(argv, env={**host_runtime.child_environment(), **(env or {})})
        content: dict[str, Any] = json.loads(answer.read_text())
    return content
