"""Proof that a runtime has every operator and type that an ORT-format model needs.

A runtime that lacks one refuses the model on the board. The proof refuses it before anything is
packaged, and names the node.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxruntime.tools.ort_format_model import create_config_from_models
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
    InferenceSession,
)
from pydantic import BaseModel, ConfigDict

from edgewright.base.errors import UserError
from edgewright.model.convert.ops import Gap, OpConfig, Operator, gaps, parse_config


class Coverage(BaseModel):
    """Operators that a model needs, and those that the runtime was built with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int
    required: list[str]
    built: list[str]


def prove(model: Path, built: OpConfig) -> Coverage:
    """Compare a `.ort` model with what a runtime was built for.

    Raises UserError naming operator, type and node for everything that is missing.
    """
    nodes = list(_nodes(_session(model).Model().Graph()))
    required = required_config(model)
    missing = gaps(required, built)
    if missing:
        raise UserError(
            str(model),
            "needs operators that the runtime was not built with",
            facts=[f"{gap}, node '{_first_node(nodes, gap)}'" for gap in missing],
            next="invoke build with this model, which builds the runtime for its operators",
        )
    return Coverage(
        nodes=len(nodes),
        required=sorted(map(str, required.operators)),
        built=sorted(map(str, built.operators)),
    )


def required_config(model: Path) -> OpConfig:
    """Operators and types that an ORT-format model needs, by ONNX Runtime's own rules."""
    with tempfile.TemporaryDirectory(prefix="edgewright-ops-") as scratch:
        config = Path(scratch) / "ops.config"
        logging.disable(logging.INFO)  # it logs each file on the root logger
        try:
            create_config_from_models([model], config, enable_type_reduction=True)
        finally:
            logging.disable(logging.NOTSET)
        return parse_config(config.read_text(), str(model))


def _session(model: Path) -> Any:
    data = model.read_bytes()
    if not InferenceSession.InferenceSessionBufferHasIdentifier(data, 0):
        raise UserError(str(model), "not an ORT-format model", next="invoke build --model=….onnx")
    return InferenceSession.GetRootAs(data, 0)


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of subgraphs (If, Loop, Scan) included."""
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        yield node
        for attribute in (node.Attributes(i) for i in range(node.AttributesLength())):
            if attribute.G() is not None:
                yield from _nodes(attribute.G())


def _first_node(nodes: list[Any], gap: Gap) -> str:
    for node in nodes:
        domain = (node.Domain() or b"").decode() or "ai.onnx"  # ONNX's own domain may be empty
        if Operator(domain, node.SinceVersion(), node.OpType().decode()) == gap.operator:
            return (node.Name() or b"").decode() or f"#{node.Index()}"
    return "?"
