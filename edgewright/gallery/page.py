"""The gallery as the table of docs/models.md."""

import re

from edgewright.base.errors import UserError
from edgewright.gallery.documents import Gallery, GalleryRow, Refusal

START, END = "<!-- model.gallery writes from here -->", "<!-- to here -->"
COLUMNS = (
    "network | from | task | import changed | INT8 against FP32 | nodes fast, stock "
    "| on the board | M instructions | Debian's | program, model (kB)"
)


def with_table(page: str, gallery: Gallery) -> str:
    """The page with its table anew. Raises UserError for a page without the marks."""
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise UserError("docs/models.md", "has no place for the table", facts=[START, END])
    return pattern.sub(lambda _: f"{START}\n{table(gallery)}\n{END}", page)


def table(gallery: Gallery) -> str:
    """Counts of networks by how far they come, and a line for each."""
    rows = gallery.rows
    complete = [row for row in rows if is_whole(row)]
    refused = [row for row in rows if _ends(row)]
    waiting = len(rows) - len(complete) - len(refused)
    lines = [
        f"{len(rows)} networks: {len(complete)} go the whole way on an emulated {gallery.board}, "
        f"{len(refused)} are refused, {waiting} pass the host's stages and wait for "
        "`invoke model.gallery`.",
        "",
        f"| {COLUMNS} |",
        "|" + "---|" * (COLUMNS.count("|") + 1),
        *(f"| {' | '.join(_cells(row))} |" for row in rows),
    ]
    return "\n".join(lines)


def is_whole(row: GalleryRow) -> bool:
    """Whether the network went from import to a counted inference on the board."""
    return row.board is not None and row.board.instructions > 0


def _ends(row: GalleryRow) -> Refusal | None:
    """Where the network's way ends before that, if it does."""
    if row.host.refusal or is_whole(row):
        return row.host.refusal
    return row.board.refusal if row.board else None


def cells_of(row: GalleryRow) -> tuple[str, str, str]:
    """Loss, outcome on the board and M instructions, for a screen."""
    return _loss(row), _on_board(row), _instructions(row)


def _cells(row: GalleryRow) -> list[str]:
    host, board = row.host, row.board
    return [
        row.name,
        host.source,
        row.task,
        _plain(host.imported) or "—",
        _loss(row),
        f"{host.fast_nodes}, {host.stock_nodes}",
        _on_board(row),
        _instructions(row),
        _debian(row),
        f"{board.program_bytes / 1e3:,.0f}{' (shared)' if board.shares_runtime else ''}, "
        f"{board.model_bytes / 1e3:,.0f}"
        if board and board.program_bytes
        else f"—, {host.ort_bytes / 1e3:,.0f}",
    ]


def _instructions(row: GalleryRow) -> str:
    return f"{row.board.instructions / 1e6:,.1f}" if row.board and row.board.instructions else ""


def _loss(row: GalleryRow) -> str:
    host = row.host
    if host.int8_refusal:
        return f"FP32: {reason(host.int8_refusal)}"
    if host.loss is None:
        return "came as INT8" if host.int8_bytes else "—"
    loss = host.loss
    same = "" if loss.agreement is None else f"{loss.agreement:.1%} same answer, "
    return f"{same}{loss.sqnr_db:.1f} dB, at most {loss.difference:.1%}"


def _on_board(row: GalleryRow) -> str:
    if end := _ends(row):
        return reason(end)
    if row.board is None:
        return "not run yet"
    return f"{row.board.golden_cases} cases within {row.board.tolerance:g}"


def _debian(row: GalleryRow) -> str:
    board = row.board
    if board is None:
        return ""
    if board.debian_instructions:
        return f"{board.debian_instructions / 1e6:,.1f}"
    return reason(board.refusal) if is_whole(row) and board.refusal else ""


def reason(refusal: Refusal) -> str:
    """In a cell of the table."""
    facts = f" ({'; '.join(refusal.facts)})" if refusal.facts else ""
    return _plain(f"{refusal.stage}: {refusal.reason}{facts}")


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ").replace("<", "&lt;")
