"""One page about a release: what is in it, and what its board did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import TargetError
from edgewright.base.files import read_file, write_file
from edgewright.base.layout import BoardBuild, expanded, user_cache
from edgewright.base.schema import LIMIT, Model, parse_json
from edgewright.board.symbol_store import SYMBOLS
from edgewright.cli.board_bench import Measured, measure
from edgewright.cli.common import (
    BOARD,
    DEFAULT_BOARD,
    AskPassword,
    Emulated,
    Host,
    Json,
    OfLab,
    Reach,
    Sudo,
    latest_release,
    one_release,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.deploy import install
from edgewright.observe.bench.report import BoardBench
from edgewright.observe.report.collect import ReportInputs, collect
from edgewright.observe.report.document import Evaluation
from edgewright.observe.report.page import render
from edgewright.release.manifest import MANIFEST, Manifest, Release, load_release, read_manifest


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Which release, and what is said of it."""

    board: Annotated[str, f"the last build of this {BOARD}; {DEFAULT_BOARD}"] = ""
    release: Annotated[str, "or the release in this folder"] = ""
    host: Host = ""
    emulated: Emulated = False
    lab: OfLab = False
    ask_password: AskPassword = False
    sudo: Sudo = False
    bench: Annotated[str, "file of bench.board --json; a board that is named is measured else"] = ""
    evaluation: Annotated[str, "file of model.evaluate --json; default: the model's card"] = ""
    against: Annotated[
        str, "id or folder of the former release; default: the board's, or the build before"
    ] = ""
    out: Annotated[str, "the page; default: report.html in build/BOARD/reports"] = ""

    @property
    def is_live(self) -> bool:
        return bool(self.host or self.emulated or self.lab)

    def reach(self, board: str) -> Reach:
        return Reach(
            board=board,
            host=self.host,
            emulated=self.emulated,
            lab=self.lab,
            ask_password=self.ask_password,
            sudo=self.sudo,
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The release that is reported, wherever it lies."""

    manifest: Manifest
    release: Release | None  # on this machine
    target: str | None
    former: Manifest | None
    bench: BoardBench | None


@task
def report(c: Context, reported: Reported, json: Json = False) -> None:
    """Write a page about a release. Example: invoke report --board=a53-som --emulated"""
    bench = _document(BoardBench, reported.bench, "--bench")
    evaluation = _document(Evaluation, reported.evaluation, "--evaluation")
    subject = _on_board(reported, bench) if reported.is_live else _built(reported, bench)
    build, resources = workspace().build(subject.manifest.board), workspace().resources
    document = collect(
        ReportInputs(
            manifest=subject.manifest,
            release=subject.release,
            target=subject.target,
            former=subject.former,
            former_reason=None if subject.former else "no former release is here",
            reports=build.reports,
            stores=(build.symbols, user_cache() / SYMBOLS),
            links=resources.recipes / "onnxruntime-minimal" / "links.txt",
            bench=subject.bench,
            evaluation=evaluation,
        )
    )
    page = expanded(reported.out) if reported.out else build.reports / "report.html"
    write_file(page, render(document))
    if json:
        write_document(document)
    say(f"{page}: {page.stat().st_size:,} bytes")


def _document(kind: type[Model], path: str, option: str) -> Model | None:
    """A saved document. Raises UserError for a file that is none of its kind."""
    if not path:
        return None
    raw = read_file(expanded(path), limit=LIMIT, next=f"the same command without {option}")
    return parse_json(kind, raw, path, f"not what {option} takes")


def _built(reported: Reported, bench: BoardBench | None) -> Subject:
    release = one_release(reported.board, reported.release)
    folder = release.folder.parent
    former = _former(folder, release.id, reported.against)
    return Subject(
        manifest=release.manifest, release=release, target=None, former=former, bench=bench
    )


def _on_board(reported: Reported, bench: BoardBench | None) -> Subject:
    """The release that is current on a board, which measures it unless it did before."""
    release = one_release("", reported.release) if reported.release else None
    board = reported.board or (release or latest_release("")).manifest.board
    reach = reported.reach(board)
    root, build = reach.profile.deploy.root, workspace().build(board)
    with reach.connect() as connected:
        status = install.status(connected, root)
        manifest, target = status.manifest, str(connected.target)
        if manifest is None or status.edgectl is None:
            raise TargetError(target, "no release is installed", next="invoke deploy")
        if release and release.id != manifest.id:
            facts = [f"expected: {release.id}", f"current: {manifest.id}"]
            raise TargetError(target, "runs another release", facts=facts, next="invoke deploy")
        previous = status.edgectl.previous
        former = (
            install.read_board_manifest(connected, root, previous)
            if previous and not reported.against
            else _former(build.release, manifest.id, reported.against)
        )
    return Subject(
        manifest=manifest,
        release=release or _local(build, manifest.id),
        target=target,
        former=former,
        bench=bench or measure(reach, Measured()),
    )


def _local(build: BoardBuild, release: str) -> Release | None:
    folder = build.release / release
    return load_release(folder) if folder.is_dir() else None


def _former(folder: Path, release: str, against: str) -> Manifest | None:
    """Of the release that is asked for, else the one beside it that was built last."""
    if against:
        path = folder / against
        return read_manifest((path if path.is_dir() else expanded(against)) / MANIFEST)
    others = [path for path in folder.glob(f"*/{MANIFEST}") if path.parent.name != release]
    newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
    return read_manifest(newest) if newest else None
