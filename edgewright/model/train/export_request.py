"""Which network `definitions` is to export, and how; apart from it, since that imports torch."""

from pathlib import Path
from typing import Literal

from edgewright.base.schema import Part

Library = Literal["timm", "transformers", "edgewright", "efficientnet_lite_pytorch"]
Exporter = Literal["torchscript", "dynamo"]


class ExportRequest(Part):
    """What to export, and how."""

    library: Library
    definition: str
    exporter: Exporter = "torchscript"
    opset: int
    shapes: tuple[tuple[int, ...], ...]  # of the inputs
    highest: int = 0  # inputs are whole numbers below it; 0: float32
    labels: int = 0  # of a classifier; 0: it is none
    weights: Path | None = None  # a file of torch's; None: random ones
