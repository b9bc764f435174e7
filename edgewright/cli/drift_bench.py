"""`bench.drift`: how often `drift` raises an alarm for nothing, and what it notices."""

from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import UserError
from edgewright.cli.common import OUT, Json, say, task, write_document
from edgewright.cli.reference import Images, model_and_images
from edgewright.model.judge.data import ELPV
from edgewright.model.pack.reference import REFERENCE, read_reference
from edgewright.observe.drift.trial import DriftTrial, PlayedChange, UnchangedDays, try_out

MOST_DAYS = 100_000


@task
def drift(
    c: Context,
    model: Annotated[str, "ONNX model with card.json and reference.json beside it"] = "",
    images: Images = ELPV,
    days: Annotated[int, "on which nothing changes"] = 1000,
    json: Json = False,
) -> None:
    """How often drift raises an alarm for nothing. Example: invoke bench.drift --days=1000"""
    if not 1 <= days <= MOST_DAYS:
        raise UserError(
            f"--days={days}",
            f"expected 1 to {MOST_DAYS:,}",
            next="the same command without --days",
        )
    chosen = model_and_images(model, images, "test")
    reference = read_reference(chosen.path.parent / REFERENCE)
    trial = try_out(chosen.network, chosen.card, reference, chosen.images, days=days, say=say)
    if json:
        write_document(trial)
    else:
        OUT.print(_screen(trial), soft_wrap=True)


def _screen(trial: DriftTrial) -> RenderableType:
    head = (
        f"{trial.model}: {trial.images:,} images, beside a reference of "
        f"{trial.reference_images:,} others"
    )
    table = Table("played", "named", "since", box=None, pad_edge=False)
    for change in trial.changes:
        table.add_row(change.words, Text(", ".join(change.moved) or "nothing"), _since(change))
    return Group(Text(head), *(Text(_alarms(each)) for each in trial.unchanged), table)


def _alarms(each: UnchangedDays) -> str:
    moved = f": {', '.join(each.moved)}" if each.moved else ""
    bound = "" if each.high is None else f", at most {each.high:.1%}"
    return (
        f"unchanged days, images {each.order}: {each.alarms:,} of {each.days:,} days of "
        f"{each.images} images raise an alarm ({each.rate:.1%}{bound}){moved}"
    )


def _since(change: PlayedChange) -> str:
    if change.late_hours is None:
        return "not noticed"
    return "its first hour" if change.late_hours == 0 else f"{change.late_hours:+} hours"
