"""Whether what a board sees and answers has moved, and the images that it keeps for labelling."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.layout import expanded
from edgewright.cli.common import OUT, Json, Reach, say, task, workspace, write_document
from edgewright.cli.documents import written_files
from edgewright.model.judge.data import LABELS_NAME
from edgewright.model.pack.reference import read_reference
from edgewright.observe.drift import board_file
from edgewright.observe.drift import collect as collecting
from edgewright.observe.drift.compare import LEAST_IMAGES
from edgewright.observe.drift.examine import examine
from edgewright.observe.drift.report import DriftReport, StatisticDrift, require_steady

SHOWN_EXAMPLES = 8
# What a statistic that moved up or down means.
MEANING = {
    "brightness": ("brighter", "darker"),
    "contrast": ("more contrast", "less contrast"),
    "sharpness": ("sharper, noisier, or a rougher material", "blurred, or a smoother material"),
    "direction": ("turned: edges are more upright", "turned: edges lie more level"),
    "saturation": ("more colour", "less colour"),
    "score": ("higher scores", "lower scores"),
    "boxes": ("more boxes", "fewer boxes"),
    "covered": ("more of it is covered", "less of it is covered"),
}


@task
def drift(
    c: Context,
    reach: Reach,
    reference: Annotated[str, "reference.json in place of the release's"] = "",
    json: Json = False,
) -> None:
    """Tell what moved. Example: invoke drift --board=a53-som --host=root@192.0.2.7"""
    stated = read_reference(expanded(reference)) if reference else None
    with reach.connect() as board:
        report = examine(board, reach.board, reach.profile.deploy.root, stated)
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report), soft_wrap=True)
    require_steady(
        report,
        [_words(statistic) for statistic in report.statistics if statistic.verdict == "moved"],
    )


@task
def collect(
    c: Context,
    reach: Reach,
    out: Annotated[str, "folder; build/<board>/collected if not given"] = "",
    clear: Annotated[bool, "remove from the board what was fetched"] = False,
    json: Json = False,
) -> None:
    """Fetch images to label. Example: invoke collect --board=a53-som --host=root@192.0.2.7"""
    root = reach.profile.deploy.root
    folder = expanded(out) if out else workspace().build(reach.board).root / "collected"
    with reach.connect() as board:
        windows = board_file.fetch_windows(board, root)
        card = (
            board_file.fetch_card(board, root, windows[-1].release)
            if windows
            else board_file.ReleasedCard()
        )
        collected = collecting.collect(board, root, card, folder, say)
        if clear:
            collecting.remove(board, root, collected.names)
    for line in collected.refused:
        say(f"refused: {line}")
    if json:
        write_document(written_files(collected.written))
    elif not collected.written:
        OUT.print(
            "no images: set service.unsure_images in the board's profile, build and deploy",
            soft_wrap=True,
        )
    else:
        OUT.print(_how_to_label(folder, len(collected.written)), soft_wrap=True)


def _how_to_label(folder: Path, count: int) -> str:
    lines = [f"{count} image{'' if count == 1 else 's'} in {folder / collecting.IMAGES}"]
    if (folder / LABELS_NAME).is_file():
        lines += [
            f"next: write 1 below the class of each image in {folder / LABELS_NAME}, then "
            f"edgewright model.evaluate --images={folder}"
        ]
    return "\n".join(lines)


def _screen(report: DriftReport) -> RenderableType:
    head = f"{report.board} at {report.target}: "
    if report.newest is None:
        return Text(head + "no images yet of which histograms are kept")
    newest = f"the newest {report.newest.images:,} images"
    lines = [f"{head}release {report.release}, {newest}, {_beside(report)}"]
    if report.compared_with == "the first images":
        lines += ["the release has no reference: invoke model.reference, then --reference=FILE"]
    if report.verdict == "too few images":
        lines += [f"no verdict: it takes {LEAST_IMAGES} images of either"]
    table = [_table(report)] if report.statistics else []
    moved = [_words(statistic) for statistic in report.statistics if statistic.verdict == "moved"]
    examples = [f"kept since then: {name}" for name in report.examples[:SHOWN_EXAMPLES]]
    if more := len(report.examples) - len(examples):
        examples.append(f"and {more} more: invoke collect")
    return Group(*map(Text, lines), *table, *map(Text, moved + examples))


def _table(report: DriftReport) -> Table:
    table = Table("statistic", "reference", "newest", "moved by", "", box=None, pad_edge=False)
    for statistic in report.statistics:
        name = f"share of {statistic.class_}" if statistic.class_ is not None else statistic.name
        verdict = Text(statistic.verdict, "red" if statistic.verdict == "moved" else "")
        means = (f"{mean:.4g}" for mean in (statistic.reference, statistic.newest))
        table.add_row(Text(name), *means, _effect(statistic), verdict)
    return table


def _beside(report: DriftReport) -> str:
    if report.reference is None:
        return "none before them to compare with"
    return f"beside {report.compared_with} ({report.reference.images:,} images)"


def _effect(statistic: StatisticDrift) -> str:
    if statistic.effect is None:
        return ""
    unit = "SD" if statistic.unit == "standard deviations" else "of all"
    return f"{statistic.effect:+.2f} {unit} ({statistic.low:+.2f} to {statistic.high:+.2f})"


def _words(statistic: StatisticDrift) -> str:
    """What moved, which way, by how much, since when."""
    is_up = statistic.newest > statistic.reference
    if statistic.class_ is not None:
        change = f"{'more' if is_up else 'less'} {statistic.class_}"
    else:
        change = MEANING[statistic.name][0 if is_up else 1]
    assert statistic.since is not None
    since = datetime.fromtimestamp(statistic.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
    first = ", the first hour that the board keeps" if statistic.since_the_first else ""
    moved = f"{statistic.name}: {change}; {_effect(statistic)}"
    return f"{moved}, since {since} by the board's clock{first}"
