"""The model pipeline."""

from pathlib import Path
from typing import Annotated, Any

from invoke.context import Context

from edgewright.cli.common import heavy, model_path, say, task
from edgewright.cli.quality import convert, diff, evaluate, inspect, quantize
from edgewright.cli.training import export, pack, prune, train

__all__ = [
    "convert",
    "diff",
    "evaluate",
    "export",
    "golden",
    "inspect",
    "pack",
    "prune",
    "quantize",
    "train",
]


@task
def golden(
    c: Context,
    model: Annotated[str, "INT8 ONNX model with card.json beside it"] = "",
) -> None:
    """Write the golden set of a model anew. Example: invoke model.golden"""
    path, golden = model_path(model), heavy("pack.golden")
    card = heavy("contract.card").read_card(path.parent / "card.json")
    say(str(golden.write_golden(path, card, golden.choose(_answers(path)))))


def _answers(model: Path) -> Any:
    """What a model with its card beside it says about ELPV's test part."""
    card = heavy("contract.card").read_card(model.parent / "card.json")
    positive = heavy("judge.evaluate").positive_label(card.labels)
    part = heavy("judge.images").load_part("elpv", "test")
    return heavy("judge.answers").judge(model, part, card, positive)
