"""The crashes of a board's `edge-infer`."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.files import update_file
from edgewright.base.layout import expanded, user_cache
from edgewright.board.symbol_store import SYMBOLS
from edgewright.cli.common import OUT, Json, Reach, task, workspace, write_document
from edgewright.observe.crash.explain import Explainer, group
from edgewright.observe.crash.fetch import Fetched, fetch_crashes
from edgewright.observe.crash.report import BoardCrashes, Cause, Crash, UnreadFile
from edgewright.observe.stacks.program import Frame

SHOWN_FRAMES = 24
SHOWN_LOG = 8  # lines
Symbols = Annotated[
    str, "folder with .build-id/ of symbols, looked at before those that invoke build keeps"
]


@task
def crash(c: Context, reach: Reach, symbols: Symbols = "", json: Json = False) -> None:
    """Tell where edge-infer crashed. Example: invoke crash --board=a53-som --emulated"""
    folders = symbol_folders(symbols)
    with reach.connect() as board:
        files = fetch_crashes(board, reach.profile.deploy.root)
        target = board.target
    crashes = explain(files, folders, workspace().build(reach.board).crashes)
    report = BoardCrashes(
        board=reach.board,
        target=str(target),
        emulated=target.emulated,
        causes=group(crashes),
        crashes=crashes,
        unread=tuple(
            UnreadFile(name=file.name, problem=file.problem) for file in files if file.problem
        ),
    )
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report), soft_wrap=True)


def symbol_folders(symbols: str) -> tuple[Path, ...]:
    """Where symbols are looked for. Raises UserError for a folder of the user's that has none."""
    cached = user_cache() / SYMBOLS
    if not symbols:
        return (cached,)
    folder = expanded(symbols)
    if not (folder / ".build-id").is_dir():
        raise UserError(
            f"--symbols={symbols}",
            "has no folder .build-id",
            next="name the folder above it, e.g. build/a53-som/symbols",
        )
    return (folder, cached)


def explain(files: Sequence[Fetched], folders: tuple[Path, ...], copies: Path) -> tuple[Crash, ...]:
    """Those that are whole, explained; each is kept in `copies` by its content."""
    explainer, crashes = Explainer(folders=folders), []
    for file in files:
        if file.crash is None:
            continue
        content = file.text.encode()
        copy = copies / f"{hashlib.sha256(content).hexdigest()[:16]}.crash"
        update_file(copy, content, mode=0o600)
        crashes.append(explainer.explain(file.crash, file.name, copy))
    return tuple(crashes)


def _screen(report: BoardCrashes) -> str:
    by_name = {crash.name: crash for crash in report.crashes}
    count = len(report.crashes)
    head = f"{report.board} at {report.target}: {count or 'no'} crash{'' if count == 1 else 'es'}"
    causes = [_cause(cause, by_name[cause.crashes[-1]]) for cause in report.causes]
    unread = [f"{file.name}: {file.problem}" for file in report.unread]
    return "\n".join([head, *chain.from_iterable(causes), *unread])


def _cause(cause: Cause, newest: Crash) -> list[str]:
    """A cause with the stack and the last words of its newest crash."""
    when = datetime.fromtimestamp(newest.unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    count = len(cause.crashes)
    lines = [
        "",
        cause.summary + (f", at address {newest.address}" if newest.address else ""),
        f"  {f'{count} times, last' if count > 1 else 'once,'} {when} by the board's clock, "
        f"{newest.uptime_s:,} s after its start",
        f"  {newest.command} of release {newest.release}, {newest.name}",
    ]
    frames = newest.threads[0].frames[:SHOWN_FRAMES]
    lines += [f"  {number:2} {_frame(frame)}" for number, frame in enumerate(frames)]
    if newest.symbols is None:
        lines += [
            f"  no symbols of build {newest.build_id or 'unknown'} here",
            "  next: the same with --symbols=FOLDER, from the machine that built this release",
        ]
    lines += [f"  | {line}" for line in newest.log[-SHOWN_LOG:]]
    if others := len(newest.threads) - 1:
        lines.append(f"  {others} more thread{'' if others == 1 else 's'}: --json")
    return lines


def _frame(frame: Frame) -> str:
    name = frame.function or frame.address
    place = f"  {frame.file}:{frame.line}" if frame.file else ""
    return name + place + ("  (by search)" if frame.origin == "searched" else "")
