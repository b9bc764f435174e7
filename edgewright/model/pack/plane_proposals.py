"""What cards of anomalies and segmentations say where nothing is stated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from pydantic import AliasChoices, Field

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.base.schema import Excerpt, parse_json

METADATA = "metadata.json"  # which anomalib writes beside an export, up to its version 1
_METADATA_BYTES = 1 << 20

Shapes = Mapping[str, tuple[int, ...]]  # of outputs, by name


class AnomalibMetadata(Excerpt):
    """Thresholds, and the range of scores that its normalization uses."""

    image_threshold: float
    pixel_threshold: float | None = None
    # Of version 1, and of those before.
    low: float | None = Field(default=None, validation_alias=AliasChoices("pred_scores.min", "min"))
    high: float | None = Field(
        default=None, validation_alias=AliasChoices("pred_scores.max", "max")
    )


def anomaly_roles(outputs: Shapes) -> dict[str, str]:
    """A single value is a score, anything else a map."""
    return {name: "score" if set(shape) == {1} else "map" for name, shape in outputs.items()}


def anomaly_settings(model: Path) -> tuple[dict[str, Any], list[str]]:
    """What anomalib's file beside a network says, and that in words; nothing if there is none."""
    path = model.parent / METADATA
    if not path.is_file():
        return {}, []
    raw = read_file(path, limit=_METADATA_BYTES)
    metadata = parse_json(AnomalibMetadata, raw, str(path), "is not anomalib's metadata")
    settings: dict[str, Any] = {
        "threshold": metadata.image_threshold,
        "map_threshold": metadata.pixel_threshold,
    }
    if metadata.low is not None and metadata.high is not None:
        settings["normalization"] = {"min": metadata.low, "max": metadata.high}
    return settings, [f"thresholds and normalization of {METADATA}"]


def segment_roles(model: Path, outputs: Shapes) -> dict[str, str]:
    """Values for each label have a place for the labels, the labels themselves have none.

    Raises UserError for a network of YOLO's, which finds things and their masks.
    """
    if [len(shape) for shape in outputs.values()] == [3, 4]:
        raise UserError(
            str(model),
            "has prototypes of masks, one for each thing that it finds",
            next="take it as a detector, whose answers have masks: --task=detect",
        )
    return {name: "logits" if len(shape) == 4 else "classes" for name, shape in outputs.items()}


def ends_in(model: Path, output: str, operator: str) -> bool:
    """Whether this operator computes an output."""
    graph = onnx.load(str(model), load_external_data=False).graph
    return any(output in node.output and node.op_type == operator for node in graph.node)
