"""Proof that a runtime has every operator and type that an ORT-format model needs.

A runtime that lacks one refuses the model on the board. The proof refuses it before anything is
packaged, and names the node.
"""

from pathlib import Path
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.schema import Document
from edgewright.model.convert.ops import OpConfig, gaps, parse_config
from edgewright.model.convert.ort_tools import Needs, read_needs


class Coverage(Document):
    """Operators that a model needs, and those that the runtime was built with."""

    version: Literal[1] = 1
    nodes: int
    required: list[str]
    built: list[str]


# Domains of operators that a board's runtime can register, whatever an op config asks for: those of
# ai.onnx.ml are built out, com.microsoft.nchwc is for the processor of the machine that converts.
REGISTRABLE = {"ai.onnx", "com.microsoft"}
# Types that their build leaves out, as `Needs` has them. Optional ones are no part of ORT format.
LEFT_OUT_TYPES = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "SPARSE")


REBUILD = "invoke build with this model, which builds the runtime for its operators"


def _require_buildable(model: str, needs: Needs) -> None:
    strange = [node for node in needs.nodes if node.operator.domain not in REGISTRABLE]
    if strange:
        raise UserError(
            model,
            "needs operators that no board's runtime has",
            facts=[f"{node.operator}, node '{node.name}'" for node in strange[:5]],
            next="convert the network as it was exported, before any optimiser saved it",
        )
    types = [
        f"{name}, node '{needs.types[name]}'" for name in LEFT_OUT_TYPES if name in needs.types
    ]
    if types:
        raise UserError(
            model,
            "has values of types that no board's runtime has",
            facts=types,
            next="export the network with other types",
        )


def prove(
    model: Path, built: OpConfig, *, subject: str | None = None, next: str = REBUILD
) -> Coverage:
    """Compare the operators and types of a `.ort` model with those that a runtime was built for.

    Raises UserError naming operator, type and node for everything that is missing; about `subject`
    where the user knows the model by another name, with the command that helps.
    """
    subject = subject or str(model)
    needs = read_needs(model)
    _require_buildable(subject, needs)
    required = parse_config(needs.ops_config, subject)
    missing = gaps(required, built)
    if missing:
        first_nodes = {node.operator: node.name for node in reversed(needs.nodes)}
        raise UserError(
            subject,
            "needs operators that the runtime was not built with",
            facts=[f"{gap}, node '{first_nodes.get(gap.operator, '?')}'" for gap in missing],
            next=next,
        )
    return Coverage(
        nodes=len(needs.nodes),
        required=sorted(map(str, required.operators)),
        built=sorted(map(str, built.operators)),
    )
