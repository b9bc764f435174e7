"""What a board keeps of its images, judged: the report of `drift`."""

from edgewright.deploy.remote import Board
from edgewright.model.pack.reference import Reference
from edgewright.observe.drift import compare
from edgewright.observe.drift.board_file import (
    fetch_card,
    fetch_reference,
    fetch_windows,
    list_unsure,
)
from edgewright.observe.drift.report import DriftReport, Origin, Span, StatisticDrift


def examine(board: Board, name: str, root: str, stated: Reference | None) -> DriftReport:
    """Compare with `stated`, else with the reference of the board's newest release, else with the
    first images of that release.

    Raises TargetError for a board that does not answer, or whose files are not `edge-infer`'s.
    """
    windows, unsure = fetch_windows(board, root), list_unsure(board, root)
    release = windows[-1].release if windows else None
    reference = stated or (fetch_reference(board, root, release) if release else None)
    chosen = compare.choose(windows, has_reference=reference is not None)
    statistics = compare.compare(reference, chosen)
    labels = fetch_card(board, root, release).labels if release else ()
    since = min(
        (statistic.since for statistic in statistics if statistic.since is not None), default=None
    )
    origin: Origin = "the release's reference" if reference else "the first images"
    return DriftReport(
        board=name,
        target=str(board.target),
        emulated=board.target.emulated,
        release=release,
        verdict=compare.overall(statistics),
        compared_with="a file" if stated else origin,
        reference=(
            Span(images=reference.images, start=None, end=None)
            if reference
            else compare.span_of(chosen.reference)
        ),
        newest=compare.span_of(chosen.newest),
        statistics=tuple(_named(statistic, labels) for statistic in statistics),
        unsure_images=len(unsure),
        examples=tuple(
            image.name for image in unsure if since is not None and image.unix_s >= since
        ),
    )


def _named(statistic: StatisticDrift, labels: tuple[str, ...]) -> StatisticDrift:
    """With the class' name in place of its number."""
    if statistic.class_ is None or int(statistic.class_) >= len(labels):
        return statistic
    return statistic.model_copy(update={"class_": labels[int(statistic.class_)]})
