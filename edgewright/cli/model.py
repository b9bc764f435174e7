"""The model pipeline."""

from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task
from rich.table import Table

from edgewright.cli.common import JSON, LAYOUT, OUT, heavy, say, told
from edgewright.cli.training import export, pack, train

__all__ = ["evaluate", "export", "golden", "pack", "train"]


@task(help={"model": "ONNX model with card.json beside it", "json": JSON})
@told
def evaluate(c: Context, model: str = str(LAYOUT.default_model), json: bool = False) -> None:
    """Judge a model on ELPV's test part. Example: invoke model.evaluate"""
    found = _answers(model).metrics
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
    path, golden = Path(model), heavy("golden")
    card = heavy("card").read_card(path.parent / "card.json")
    say(str(golden.write_golden(path, card, golden.choose(_answers(model)))))


def _answers(model: str) -> Any:
    """What a model with its card beside it says about ELPV's test part."""
    card = heavy("card").read_card(Path(model).parent / "card.json")
    positive = heavy("evaluate").positive_label(card.labels)
    part = heavy("images").load_part("elpv", "test")
    return heavy("judge").judge(Path(model), part, card, positive)
