"""Releases on this machine: which there are, signing and verifying them."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright import __version__
from edgewright.base.errors import CheckError, UserError, near_miss
from edgewright.base.files import update_file
from edgewright.base.layout import user_cache, user_config
from edgewright.board.catalogue import board_names
from edgewright.cli import build_screens, screens
from edgewright.cli.build import ModelPath
from edgewright.cli.common import (
    BOARD,
    DEFAULT_BOARD,
    ERR,
    OUT,
    Json,
    heavy,
    model_path,
    one_release,
    open_store,
    print_uncut,
    say,
    task,
    task_named,
    workspace,
    write_document,
)
from edgewright.cli.documents import SignedRelease
from edgewright.cli.keys import KeyName, ask
from edgewright.release import evidence, keys, latest, order, osv, published
from edgewright.release.documents import (
    VerifiedEvidence,
    VerifiedRelease,
    release_list,
    sbom_report,
    store_list,
    verified_release,
    vulnerability_report,
)
from edgewright.release.evidence import Evidence
from edgewright.release.sdk import enclosed_evidence, load_sdk

CYCLONEDX, SPDX = "cyclonedx", "spdx"


@task_named("list")
def list_(
    c: Context,
    store: Annotated[str, "list what is published in this store instead"] = "",
    board: Annotated[str, f"of this {BOARD} only"] = "",
    json: Json = False,
) -> None:
    """List the last build of each board. Example: edgewright release.list"""

    if store:
        _list_store(store, board, json=json)
        return
    boards = [name for name in board_names(*workspace().board_folders) if board in ("", name)]
    builds = [workspace().build(board) for board in boards]
    # Most boards of the catalogue were never built here: that is no error.
    releases = [latest.release_of(build) for build in builds if build.latest.is_file()]
    if json:
        write_document(release_list(releases))
        return
    table = Table("board", "release", "bytes", "signed", box=None, pad_edge=False)
    for release in releases:
        size = f"{release.manifest.total_bytes:,}"
        state = "no" if order.read_signature(release) is None else "yes"
        table.add_row(release.manifest.board, release.id, size, state)
    OUT.print(table)


def _list_store(store: str, board: str, *, json: bool) -> None:
    place = open_store(store)
    trusted = [key.public for key in keys.user_keys().listed()]
    pointers = [item.read(trusted) for item in published.all_channels(place, user_config())]
    document = store_list(store, published.listed(place, board), [p for p in pointers if p])
    if json:
        write_document(document)
        return
    table = Table("board", "release", "bytes", "channels", box=None, pad_edge=False)
    for row in document.releases:
        table.add_row(row.board, row.release, f"{row.bytes:,}", ", ".join(row.channels))
    OUT.print(table)


@dataclass(frozen=True, kw_only=True)
class SignOptions:
    board: Annotated[str, f"sign the last build for this {BOARD}; {DEFAULT_BOARD}"] = ""
    path: Annotated[str, "or the release in this folder"] = ""
    key: KeyName = keys.DEFAULT
    after: Annotated[int, "a sequence number to go beyond, where a board has seen a higher one"] = 0


@task
def sign(c: Context, options: SignOptions, json: Json = False) -> None:
    """Sign a release, or anew as a newer order. Example: invoke release.sign --board=rpi2"""
    release = one_release(options.board, options.path)
    signer = keys.user_keys().open_signer(options.key, ask)
    signed = order.sign_release(release, signer, at_least=options.after + 1)
    say(f"{release.signature}: sequence {signed.sequence}")
    if json:
        document = SignedRelease(
            release=release.id,
            key=signer.public.id,
            sequence=signed.sequence,
            signature=str(release.signature),
        )
        write_document(document)


ReleasePath = Annotated[str, "release folder, or its .tar.gz"]


@task
def verify(
    c: Context,
    path: ReleasePath,
    complete: Annotated[
        bool, "refuse a release without bill of materials, licences or signed provenance"
    ] = False,
    json: Json = False,
) -> None:
    """Verify signature and files. Example: invoke release.verify 8c1f0123456789ab.tar.gz"""
    trusted = [key.public for key in keys.user_keys().listed()]
    verified = order.verify(Path(path), trusted)
    behind = evidence_beside(Path(path), verified.manifest.id)
    archive = behind.folder.parent / f"{verified.manifest.id}.tar.gz"
    proof = None
    if behind.exists or complete:
        proof = evidence.verify(behind, verified.manifest, archive, trusted)
    if proof and complete:
        evidence.require_complete(behind, proof)
    document = verified_release(verified, proof)
    if json:
        write_document(document)
    else:
        print_uncut(verify_screen(document))


def evidence_beside(path: Path, release: str) -> Evidence:
    """The evidence that lies beside a release's folder or archive."""
    return Evidence.of(path.resolve().parent, release)


def verify_screen(document: VerifiedRelease) -> Table:
    """What was proven, and by whom it is vouched for."""
    table = Table.grid(padding=(0, 2))
    table.add_row("release", f"{document.release} for {document.compatible}")
    table.add_row("signature", f"by key {document.key}, sequence {document.sequence}")
    table.add_row(
        "files",
        f"{document.files} files, {document.bytes:,} bytes: each is what the signed manifest says",
    )
    if document.evidence is None:
        table.add_row("materials", "no bill of materials, as releases of 0.1.0 have none")
        table.add_row("provenance", "none: who built it, and from what, is not known")
        return table
    return add_evidence(table, document.evidence, "manifest, archive and bill")


def add_evidence(
    table: Table, behind: VerifiedEvidence, named: str, sign: str = "release.sign"
) -> Table:
    """Add what else is proven; `named` says which files the provenance names by their hash."""
    table.add_row("materials", f"{behind.components} components, each by version and licence")
    missing = f"; none is stated for {', '.join(behind.unlicensed)}" if behind.unlicensed else ""
    table.add_row("licences", f"{behind.licence_texts} texts, as the bill says{missing}")
    built = behind.provenance
    if built is None:
        table.add_row("provenance", f"not signed: {sign} signs it; nobody vouches for the bill")
        return table
    image = f", image sha256:{built.builder_sha256[:16]}…" if built.builder_sha256 else ""
    table.add_row("provenance", f"by key {built.key}: names {named} by hash")
    table.add_row("built by", f"{built.builder}{image}")
    commit = f", repository at {built.repository[:12]}" if built.repository else ""
    table.add_row("built from", f"{built.dependencies} inputs by hash or revision{commit}")
    return table


@dataclass(frozen=True, kw_only=True)
class OneRelease:
    """A release on this machine: of a board, or by its path."""

    board: Annotated[str, f"the last build for this {BOARD}; {DEFAULT_BOARD}"] = ""
    path: Annotated[str, "or the release or the SDK in this folder, or this .tar.gz"] = ""

    def find(self) -> tuple[str, Evidence]:
        """Its id, and what lies beside it, or in an SDK. Raises UserError."""
        path = Path(self.path)
        if self.path and not self.board and (path / evidence.SBOM).is_file():
            sdk = load_sdk(path)
            return sdk.id, enclosed_evidence(sdk)
        if path.is_file() and not self.board:
            archived = path.name.removesuffix(".tar.gz")
            return archived, evidence_beside(path, archived)
        built = one_release(self.board, self.path)
        return built.id, evidence.beside(built)


@task
def sbom(
    c: Context,
    release: OneRelease,
    out: Annotated[str, "write the bill to this file; default: only say where it lies"] = "",
    format: Annotated[str, "cyclonedx, as it was signed, or spdx"] = CYCLONEDX,
    json: Json = False,
) -> None:
    """Show what a release is made of. Example: invoke release.sbom --board=a53-som"""
    _require_format(format, out)
    release_id, behind = release.find()
    raw, bill = evidence.read_bill(behind)
    texts = evidence.read_texts(behind, bill)
    evidence.require_licences(bill, str(behind.sbom), behind.kind)
    place = Path(out) if out else behind.sbom
    if format == SPDX:
        writer, moment = f"edgewright-{__version__}", datetime.now(UTC).replace(microsecond=0)
        spdx = heavy("spdx", "release", "spdx")
        raw = spdx.render(raw, bill, texts, str(behind.sbom), writer, moment)
    if out:
        update_file(place, raw)
    document = sbom_report(release_id, place, bill, len(texts))
    if json:
        write_document(document)
        return
    table = Table("component", "version", "licence", box=None, pad_edge=False)
    for row in document.licences:
        table.add_row(row.component, row.version, row.licence)
    OUT.print(table)
    say(f"{place}: {len(document.licences)} components, {len(texts)} licence texts")


def _require_format(name: str, out: str) -> None:
    formats = (CYCLONEDX, SPDX)
    if name not in formats:
        raise UserError(
            f"format '{name}'",
            f"unknown{near_miss(name, formats)}",
            facts=[f"formats: {', '.join(formats)}"],
            next="the same command with one of them",
        )
    if name == SPDX and not out:
        problem = "expected --out: a release has its bill in CycloneDX alone"
        raise UserError(f"format '{name}'", problem, next="the same command with --out=FILE")


@task
def vulnerabilities(
    c: Context,
    database: Annotated[str, "folder of advisories in OSV's format (JSON files)"],
    release: OneRelease,
    json: Json = False,
) -> None:
    """Look a release up in advisories. Example: invoke release.vulnerabilities --database=osv"""
    release_id, behind = release.find()
    _, bill = evidence.read_bill(behind)
    search = osv.search(bill, Path(database))
    document = vulnerability_report(release_id, Path(database), search, datetime.now(UTC))
    if json:
        write_document(document)
    elif document.findings:
        table = Table("component", "version", "advisory", "mended in", box=None, pad_edge=False)
        for row in document.findings:
            names = ", ".join([row.advisory, *row.aliases])
            table.add_row(row.component, row.version, names, row.fixed or "-")
        OUT.print(table)
    age = f"its newest advisory is of {document.newest}, {document.days_old} days old"
    say(
        f"{database}: {document.advisories:,} advisories, {age}"
        + (": STALE, what came out since is not in it" if document.stale else "")
    )
    if document.findings:
        raise CheckError(
            f"release {release_id}",
            f"{len(document.findings)} advisories speak of what is in it",
            next="judge each; a newer source in recipes/ mends it: invoke outdated",
        )


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    board: Annotated[str, f"the last build for this {BOARD}; {DEFAULT_BOARD}"] = ""
    path: Annotated[str, "or the release in this folder"] = ""
    model: ModelPath = ""
    jobs: Annotated[int, "parallel compilations; default: the number of cores"] = 0


@task
def reproduce(c: Context, options: ReproduceOptions, json: Json = False) -> None:
    """Build a release again and compare the bytes. Example: invoke release.reproduce"""
    from edgewright.build.reproduce import ReproduceRequest, alone_in
    from edgewright.build.reproduce import reproduce as build_again

    release = one_release(options.board, options.path)
    folder = workspace().build(release.manifest.board).root / "reproduced"
    with alone_in(folder):
        request = ReproduceRequest(
            release=release,
            model=model_path(options.model),
            workspace=workspace(),
            cache=user_cache(),
            folder=folder,
            jobs=options.jobs or os.cpu_count() or 1,
        )
        with screens.progress(ERR) as progress:
            report = build_again(request, progress)
        if report.same:
            shutil.rmtree(folder)
    if json:
        write_document(report)
    else:
        print_uncut(build_screens.reproduce_screen(report))
    if not report.same:
        raise CheckError(
            f"release {report.release}",
            f"{len(report.differing)} of {len(report.files)} files came out otherwise",
            facts=[file.name for file in report.differing],
            next=report.advice or f"read {report.difference}",
        )
