"""A release beside the one in charge of a board, before it is ever switched to."""

from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import UserError
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    Reach,
    naming_the_way,
    task,
    workspace,
    write_document,
)
from edgewright.cli.keys import signing_policy
from edgewright.cli.ledgers import HandFences, LedgerPlace
from edgewright.deploy import install, one_board, remote
from edgewright.observe.shadow.report import ShadowReport, require_agreement
from edgewright.observe.shadow.run import require_candidate, shadow_connected
from edgewright.release import latest
from edgewright.release.manifest import Release, load_release

MOST_MINUTES = 24 * 60


@task
def shadow(
    c: Context,
    reach: Reach,
    release: Annotated[str, "id of a release that was built here; default: the last build"] = "",
    minutes: Annotated[int, "for how long it runs beside the service"] = 10,
    limit: Annotated[int, "percent of the frames that it may answer otherwise"] = 5,
    key: Annotated[
        str, "sign with this key; default: the signature that is there, else the default key"
    ] = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Run a release beside the one in charge. Example: invoke shadow --board=a53-som --host=…"""
    if not (1 <= minutes <= MOST_MINUTES and 0 <= limit <= 100):
        raise UserError(
            "--minutes, --limit",
            f"expected 1 to {MOST_MINUTES:,} minutes, 0 to 100 percent",
            next="leave them out",
        )
    profile, target = reach.profile, reach.target()
    settings = one_board.DeploySettings(
        target=target,
        release=_release(reach, release),
        former_names=profile.former_names,
        signing=signing_policy(key),
        deployer=install.this_user(),
        known_hosts=remote.user_known_hosts(),
        reserve_bytes=profile.deploy.reserve_mb << 20,
        next_fence=HandFences(ledger, take_over=False).of_target(target),
    )
    require_candidate(settings.release)
    # Before the login: a board would not wait for a passphrase that somebody looks for.
    settings.signing.signature_of(settings.release, emulated=target.emulated)
    with (
        reach.naming_the_way(),
        remote.connect(target, password=reach.password()) as board,
        screens.deploy_progress(ERR) as progress,
    ):
        report = shadow_connected(board, settings, profile, minutes * 60.0, progress)
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report), soft_wrap=True)
    with naming_the_way(reach.way):
        require_agreement(report, limit / 100)


def _release(reach: Reach, name: str) -> Release:
    built = workspace().build(reach.board)
    if not name:
        return latest.release_of(built)
    folder = built.release / name
    if not folder.is_dir():
        raise UserError(
            f"--release={name}", f"was not built here for '{reach.board}'", next="invoke build"
        )
    return load_release(folder)


def _screen(report: ShadowReport) -> RenderableType:
    lines = [
        f"{report.board} at {report.target}: release {report.release} beside "
        f"{report.current or 'none'}, which is in charge",
        f"{report.frames:,} of {report.offered:,} frames compared: {report.agreed:,} answered "
        f"alike, {report.disagreed:,} otherwise, {report.failed:,} not",
    ]
    lines += [line for line in (report.fault, report.reason) if line]
    table = Table("frame", "", "in charge", "candidate", box=None, pad_edge=False)
    differing = [pair for pair in report.pairs if pair.fate != "agreed"]
    for pair in differing:
        table.add_row(str(pair.frame), *map(Text, (pair.fate, pair.current, pair.candidate)))
    return Group(*map(Text, lines), *[table] * bool(differing))
