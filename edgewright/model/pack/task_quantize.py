"""INT8 networks of anomalies and masks, judged by the metric of their task."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.base.schema import Document
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.importer.classifier import CARD
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.planes import evaluate_anomalies, evaluate_segments
from edgewright.model.pack.task_golden import find_cases, spread_cases, write_task_golden
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.recipe import DEFAULT, prepare, quantize_prepared

PlaneCard = AnomalyCard | SegmentCard


class TaskQuantized(Document):
    """`model.quantize --json` of an anomaly model or a segmentation."""

    version: Literal[1] = 1
    metric: Literal["AUROC", "mean IoU"]
    fp32: float
    int8: float
    budget: float  # points that may be lost
    recipe: str
    calibration_images: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class TaskQuantization:
    model: Path
    card: PlaneCard
    card_path: Path
    calibration: Path  # a folder of images
    held_out: str  # labelled images, as `model.evaluate` takes them
    out: Path
    budget: float  # points of the metric
    calibration_images: int


def quantize_task(request: TaskQuantization, say: LineSink) -> TaskQuantized:
    """Write `out`: model.onnx, card.json, golden/.

    Raises UserError if INT8 loses more than the budget of AUROC or mean IoU.
    """
    source = read_for_task(request.model, request.card, request.card_path).path
    cases = find_cases(request.calibration, request.card)
    chosen = spread_cases(cases, request.calibration_images)
    with new_folder(request.out) as folder, TemporaryDirectory() as scratch:
        prepared = prepare(source, Path(scratch) / "prepared.onnx")
        say(f"ranges of {len(chosen)} images")
        ranges = calibrate(prepared, (load_input(image, request.card) for (image,) in chosen))
        model = quantize_prepared(prepared, ranges, folder / "model.onnx")
        fp32 = _judge(source, request)
        int8 = _judge(model, request)
        report = TaskQuantized(
            metric="AUROC" if isinstance(request.card, AnomalyCard) else "mean IoU",
            fp32=fp32,
            int8=int8,
            budget=request.budget,
            recipe=str(DEFAULT),
            calibration_images=len(chosen),
            bytes=model.stat().st_size,
        )
        if 100 * (fp32 - int8) > request.budget:
            raise UserError(
                str(request.model),
                f"loses more than {request.budget:g} points of {report.metric} in INT8",
                facts=[f"FP32: {fp32:.4f}", f"INT8: {int8:.4f}"],
                next="raise --budget, or build the FP32 network",
            )
        facts = report.model_dump(mode="json", exclude={"version", "bytes"})
        card = request.card.model_copy(
            update={"file": ModelFile.of(model), "quantization": facts, "schema_": 2}
        )
        write_card(card, folder / CARD)
        write_task_golden(model, card, spread_cases(cases), folder / "golden")
    return report


def _judge(model: Path, request: TaskQuantization) -> float:
    if isinstance(request.card, AnomalyCard):
        return evaluate_anomalies(model, request.card, request.held_out, Prices()).auroc.value
    return evaluate_segments(model, request.card, request.held_out).mean_iou
