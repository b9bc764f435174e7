"""The model pipeline."""

import importlib
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task
from rich.table import Table

from edgewright.cli.common import JSON, LAYOUT, OUT, say, told
from edgewright.errors import UserError

CHECKPOINT = LAYOUT.root / "build" / "model" / "run.pt"
FP32 = LAYOUT.root / "build" / "model" / "fp32.onnx"


@task(
    help={
        "minutes": "length of the whole run; the clock paces learning rate and resolution",
        "checkpoint": "written after each epoch; the same command goes on from it",
        "threads": "of the processor",
    }
)
@told
def train(
    c: Context, minutes: float = 80.0, checkpoint: str = str(CHECKPOINT), threads: int = 2
) -> None:
    """Train MobileViT-S on ELPV. Example: invoke model.train --minutes=80"""
    train = _heavy("train")
    config = train.TrainConfig(checkpoint=Path(checkpoint), minutes=minutes, threads=threads)
    Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
    train.train(config, _elpv(), lambda epoch: say(str(epoch)))


@task(help={"checkpoint": "of invoke model.train", "out": "the ONNX file to write"})
@told
def export(c: Context, checkpoint: str = str(CHECKPOINT), out: str = str(FP32)) -> None:
    """Export a checkpoint to ONNX and compare with PyTorch. Example: invoke model.export"""
    difference = _heavy("folder").export_checkpoint(Path(checkpoint), Path(out), _elpv())
    say(f"{out}: logits differ from PyTorch by {difference:.1e} at most")


@task(help={"checkpoint": "of invoke model.train", "folder": "the model folder to write"})
@told
def quantize(
    c: Context,
    checkpoint: str = str(CHECKPOINT),
    folder: str = str(LAYOUT.default_model.parent),
) -> None:
    """Export, quantize, judge, write card and golden set. Example: invoke model.quantize"""
    made = _heavy("folder").make_model_folder(Path(checkpoint), Path(folder), _elpv(), say, FP32)
    say(f"{folder}: {made.file.bytes:,} bytes")


@task(help={"model": "ONNX model with card.json beside it", "json": JSON})
@told
def evaluate(c: Context, model: str = str(LAYOUT.default_model), json: bool = False) -> None:
    """Judge a model on ELPV's test part. Example: invoke model.evaluate"""
    card = _heavy("card").read_card(Path(model).parent / "card.json")
    found = _heavy("folder").judge(Path(model), _elpv().test, card).metrics
    if json:
        OUT.print_json(data={"version": 1, **found.as_json()})
    else:
        OUT.print(_metrics_table(found))


def _metrics_table(found: Any) -> Table:
    table = Table("metric", f"on {found.count} images", box=None, pad_edge=False)
    for name in ("accuracy", "auc", "defect_recall"):
        table.add_row(name.replace("_", " "), str(getattr(found, name)))
    for truth, row in enumerate(found.confusion):
        table.add_row(f"label {truth} answered 0, 1", ", ".join(map(str, row)))
    return table


@task(help={"model": "INT8 ONNX model with card.json beside it"})
@told
def golden(c: Context, model: str = str(LAYOUT.default_model)) -> None:
    """Write the golden set of a model anew. Example: invoke model.golden"""
    path, folder, golden = Path(model), _heavy("folder"), _heavy("golden")
    card = _heavy("card").read_card(path.parent / "card.json")
    chosen = golden.choose(folder.judge(path, _elpv().test, card).scored)
    say(str(golden.write_golden(path, card, chosen)))


def _heavy(module: str) -> Any:
    """A module of the model pipeline, some of which need the extra [model]."""
    try:
        return importlib.import_module(f"edgewright.model.{module}")
    except ModuleNotFoundError as missing:
        raise UserError(
            f"edgewright.model.{module}",
            f"needs {missing.name}",
            next="pip install -e '.[model]'",
        ) from missing


def _elpv() -> Any:
    data = _heavy("data")
    return data.split(data.load_elpv())
