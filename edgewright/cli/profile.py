"""Where `edge-infer` spends its time on a board."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import write_file
from edgewright.base.layout import expanded
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, Reach, task, workspace, write_document
from edgewright.cli.crash import Symbols, symbol_folders
from edgewright.cli.debug import watched_arguments
from edgewright.deploy import install
from edgewright.deploy.remote import Board
from edgewright.deploy.smoke import read_golden
from edgewright.observe.profile.page import render
from edgewright.observe.profile.report import ProfileReport, folded, function_shares
from edgewright.observe.profile.samples import parse_samples
from edgewright.observe.profile.session import (
    NOTICED_S,
    Sampling,
    attached_command,
    golden_run,
    sample,
    sampled_calls,
    sampled_command,
)
from edgewright.observe.stacks.program import find_program
from edgewright.observe.trace.session import running
from edgewright.release.manifest import Manifest

MOST_SECONDS = 600
SHOWN_FUNCTIONS, NAME = 15, 52
NO_RUN = "invoke smoke; a release of an older edgewright cannot be sampled: invoke deploy"
NO_SERVICE = (
    "give it images meanwhile: invoke service.status says whether it works; "
    "a release of an older edgewright cannot be sampled: invoke deploy"
)


@task
def profile(
    c: Context,
    reach: Reach,
    run: Annotated[str, "what edge-infer is to do; default: golden images, over and over"] = "",
    attach: Annotated[bool, "sample the service that runs there"] = False,
    seconds: Annotated[int, "for how long at most"] = 20,
    out: Annotated[str, "the page; default: profile.html in build/BOARD/reports"] = "",
    symbols: Symbols = "",
    json: Json = False,
) -> None:
    """Draw where edge-infer's time goes. Example: invoke profile --board=a53-som --emulated"""
    arguments = watched_arguments(run, attach, seconds, MOST_SECONDS)
    stores = symbol_folders(symbols)
    page = expanded(out) if out else workspace().build(reach.board).reports / "profile.html"
    with reach.connect() as board:
        manifest, arguments, sampling = _sampled(reach, board, arguments, seconds, attach=attach)
        target = board.target
    report = _report(reach, manifest, arguments, sampling, str(target), stores, page)
    write_file(page, render(report))
    write_file(Path(report.folded), folded(report.stacks))
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report), soft_wrap=True)


def _sampled(
    reach: Reach, board: Board, arguments: list[str], seconds: int, *, attach: bool
) -> tuple[Manifest, list[str], Sampling]:
    """The release, what it was to do, and its samples. Raises TargetError."""
    root = reach.profile.deploy.root
    with screens.deploy_progress(ERR) as progress:
        board.prepare()
        manifest = install.status(board, root).manifest
        if manifest is None:
            raise TargetError(str(board.target), "no release is installed", next="invoke deploy")
        subject = str(board.target)
        if attach:
            running(board)
            progress.start(f"{seconds} s, from when the service hears of it")
            pipe, seconds = board.pipe(attached_command(root)), seconds + NOTICED_S
            return manifest, [], sample(pipe, seconds=seconds, subject=subject, next=NO_SERVICE)
        folder = f"{root}/releases/{manifest.id}"
        arguments = arguments or golden_run(read_golden(board, folder))
        progress.start(f"{seconds} s at most")
        pipe = board.pipe(sampled_command(folder, arguments))
        return manifest, arguments, sample(pipe, seconds=seconds, subject=subject, next=NO_RUN)


def _report(
    reach: Reach,
    manifest: Manifest,
    arguments: list[str],
    sampling: Sampling,
    target: str,
    stores: tuple[Path, ...],
    page: Path,
) -> ProfileReport:
    """Raises TargetError for samples that are none, UserError where the symbols are not here."""
    samples = parse_samples(sampling.text, f"{target}: samples")
    program = find_program(stores, samples.build_id, samples.machine)
    if program is None or not program.unwinder.code.segments:
        raise UserError(
            f"release {manifest.id}",
            "its program and symbols are not here",
            facts=[f"build id: {samples.build_id}", *(f"looked in: {store}" for store in stores)],
            next="the same with --symbols=FOLDER, from the machine that built this release",
        )
    calls = sampled_calls(samples, program)
    in_main = calls.ends["main"]
    return ProfileReport(
        board=reach.board,
        target=target,
        emulated=reach.target().emulated,
        release=manifest.id,
        model=manifest.model.name,
        build_id=samples.build_id,
        run=tuple(arguments or [samples.command]),
        is_service=not arguments,
        ended=sampling.ended,
        exit_code=sampling.exit_code,
        interval_us=samples.interval_us,
        samples=len(samples.threads),
        dropped=samples.dropped,
        in_main=in_main,
        in_threads=calls.ends.total() - in_main,
        unrooted=calls.unrooted,
        searched=calls.searched,
        threads=len({thread.id for thread in samples.threads}),
        functions=function_shares(calls.stacks),
        stacks=calls.stacks,
        page=str(page),
        folded=str(page.with_suffix(".folded.txt")),
    )


def _screen(report: ProfileReport) -> RenderableType:
    """The functions that take most by themselves."""
    emulated = ", emulated: shares say little about a board" if report.emulated else ""
    head = (
        f"{report.board} at {report.target}: release {report.release}, edge-infer {report.run[0]}"
        f"{', the service' if report.is_service else ''}; "
        f"ended {report.ended}{emulated}"
    )
    roots = (
        f"{report.samples:,} samples of {report.threads} threads: {_share(report, report.in_main)} "
        f"lead to main, {_share(report, report.in_threads)} to another thread's first function, "
        f"{_share(report, report.unrooted)} to neither"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("function", no_wrap=True)
    for column in ("own", "with what it calls"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in report.functions[:SHOWN_FUNCTIONS]:
        # Its end tells most; what is cut by the table would push the shares out of it.
        function = each.function if len(each.function) <= NAME else f"…{each.function[1 - NAME :]}"
        table.add_row(Text(function), _share(report, each.own), _share(report, each.total))
    return Group(Text(head), Text(roots), table, Text(f"{report.page}\n{report.folded}"))


def _share(report: ProfileReport, samples: int) -> str:
    return f"{samples / report.samples:.1%}"
