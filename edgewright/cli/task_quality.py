"""What `model.evaluate` and `model.quantize` do of the tasks beyond classification."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.cli.common import OUT, say, write_document
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_cards import TaskCard, read_any_card
from edgewright.model.judge.boxes import DetectQuality, evaluate_boxes
from edgewright.model.judge.data import ELPV
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.planes import (
    AnomalyQuality,
    SegmentQuality,
    evaluate_anomalies,
    evaluate_segments,
)
from edgewright.model.judge.task_judge import JudgedCard

if TYPE_CHECKING:  # these take seconds to import
    from edgewright.model.pack.task_quantize import TaskQuantized
    from edgewright.model.quantize.search import InstructionCounter


def task_card(path: Path) -> TaskCard | None:
    """The card in a file, if there is one and its task is not classification."""
    card = read_any_card(path) if path.is_file() else None
    return card if isinstance(card, TaskCard) else None


def evaluate_task(model: Path, card: TaskCard, images: str, prices: Prices, *, json: bool) -> None:
    """Print how well a network does on labelled images."""
    quality: AnomalyQuality | SegmentQuality | DetectQuality
    if isinstance(card, AnomalyCard):
        quality = evaluate_anomalies(model, card, images, prices)
        table = _anomaly_table(quality)
    elif isinstance(card, SegmentCard):
        quality = evaluate_segments(model, card, images)
        table = _segment_table(quality)
    elif isinstance(card, DetectCard):
        quality = evaluate_boxes(model, card, images)
        table = _detect_table(quality)
    else:
        raise UserError(str(model), f"has the task {card.task}, which nothing is known to judge by")
    if json:
        write_document(quality)
    else:
        OUT.print(table)


@dataclass(frozen=True, kw_only=True)
class TaskQuantizationOptions:
    """What `model.quantize` is told that these tasks know of."""

    model: Path
    card_path: Path
    calibration: str
    held_out: str
    out: Path
    budget: float
    least_sqnr: float
    calibration_images: int
    sweep: bool


def quantize_task(
    card: TaskCard,
    options: TaskQuantizationOptions,
    counter: "InstructionCounter | None",
    *,
    json: bool,
) -> None:
    """Quantize by the metric of the card's task; without labelled images, or for a task that has
    no such metric, by what INT8 leaves of the outputs."""
    # Inside: it loads ONNX Runtime's quantizer, which takes seconds.
    from edgewright.model.pack import task_quantize

    if options.calibration != ELPV and not (isinstance(card, JudgedCard) and options.held_out):
        _quantize_unlabelled(card, options, json=json)
        return
    is_anomaly = isinstance(card, AnomalyCard)
    held_out = options.held_out or (ELPV if is_anomaly and options.calibration == ELPV else "")
    is_known = held_out and (options.calibration != ELPV or is_anomaly)
    if not (isinstance(card, JudgedCard) and is_known):
        raise UserError(
            str(options.model),
            f"has the task {card.task}: the images to quantize it on are not known",
            next="give --calibration=FOLDER, and --held-out=FOLDER as model.evaluate takes it",
        )
    report = task_quantize.quantize_task(
        task_quantize.TaskQuantization(
            model=options.model,
            card=card,
            card_path=options.card_path,
            calibration=options.calibration,
            held_out=held_out,
            out=options.out,
            budget=options.budget,
            calibration_images=options.calibration_images,
            sweep=options.sweep,
        ),
        say,
        counter,
    )
    if json:
        write_document(report)
        return
    OUT.print(_quantized_table(report))
    OUT.print(f"{report.chosen.name}\n{report.reason}", soft_wrap=True)
    say(f"{options.out}: {report.chosen.bytes:,} bytes")


def _quantize_unlabelled(card: TaskCard, options: TaskQuantizationOptions, *, json: bool) -> None:
    from edgewright.model.pack import unlabelled

    report = unlabelled.quantize_unlabelled(
        unlabelled.UnlabelledQuantization(
            model=options.model,
            card=card,
            card_path=options.card_path,
            files=Path(options.calibration),
            out=options.out,
            calibration_files=options.calibration_images,
            least_sqnr_db=options.least_sqnr,
        ),
        say,
    )
    if json:
        write_document(report)
        return
    OUT.print(
        f"INT8, {report.recipe}: {report.sqnr_db:.1f} dB of the outputs, "
        f"which differ by {report.difference:.1%} at most"
    )
    say(f"{options.out}: {report.bytes:,} bytes")


def _quantized_table(report: "TaskQuantized") -> Table:
    table = Table(f"on {report.held_out_images} images", report.metric, box=None, pad_edge=False)
    for name in ("outputs from FP32", "bytes", "time", "instructions"):
        table.add_column(name, justify="right")
    for row in (report.fp32, *report.candidates):
        count = f"{row.instructions / 1e6:,.0f} M" if row.instructions else ""
        figures = (f"{row.figure:.4f}", f"{row.distance:.4f}", f"{row.bytes:,}", f"x{row.time:.2f}")
        table.add_row(row.name, *figures, count, style="bold" if row.chosen else None)
    return table


def _anomaly_table(quality: AnomalyQuality) -> Table:
    count = quality.normal + quality.anomalous
    table = Table("metric", f"on {count} images", box=None, pad_edge=False)
    table.add_row("AUROC", str(quality.auroc))
    if quality.pro is not None:
        table.add_row(f"PRO, {quality.masks} masks", f"{quality.pro:.3f}")
    for name, threshold in (("card's", quality.of_card), ("cheapest", quality.cheapest)):
        table.add_row(f"{name} threshold", str(threshold))
    return table


def _segment_table(quality: SegmentQuality) -> Table:
    table = Table("label", f"IoU on {quality.count} images", box=None, pad_edge=False)
    table.add_column("share of pixels", justify="right")
    for label in quality.per_label:
        iou = "does not occur" if label.iou is None else f"{label.iou:.3f}"
        table.add_row(label.label, iou, f"{label.share:.2%}")
    table.add_row("mean", f"{quality.mean_iou:.3f}", "")
    return table


def _detect_table(quality: DetectQuality) -> Table:
    table = Table(f"label, on {quality.count} images", "mAP@50", box=None, pad_edge=False)
    table.add_column("mAP@50:95")
    if quality.masks is not None:
        table.add_column("masks: mAP@50")
        table.add_column("mAP@50:95")
    table.add_column("boxes", justify="right")
    for label in quality.per_label:
        figures = [label.ap50, label.ap50_95]
        if quality.masks is not None:
            areas = label.masks
            figures += [None, None] if areas is None else [areas.ap50, areas.ap50_95]
        words = ["does not occur" if figure is None else f"{figure:.3f}" for figure in figures]
        table.add_row(label.label, *words, str(label.things))
    things = sum(label.things for label in quality.per_label)
    means = [quality.map50, quality.map50_95]
    if quality.masks is not None:
        means += [quality.masks.ap50, quality.masks.ap50_95]
    table.add_row("mean", *(f"{mean:.3f}" for mean in means), str(things))
    return table
