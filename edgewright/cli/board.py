"""Boards over SSH."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.progress import Progress
from edgewright.board.profile import BoardProfile
from edgewright.cli import many, screens
from edgewright.cli.common import (
    ERR,
    OUT,
    Host,
    Json,
    ask_line,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.documents import OfferedHostKey
from edgewright.cli.keys import signing_policy
from edgewright.cli.ledgers import HandFences, LedgerPlace
from edgewright.cli.many import BoardEnds, Boards, Member
from edgewright.deploy import documents, install, one_board, remote, service
from edgewright.deploy import smoke as smoke_test
from edgewright.deploy import target as targets
from edgewright.deploy.documents import DeployReport, PlanReport, RollbackReport, StatusReport
from edgewright.deploy.install import NextFence
from edgewright.deploy.one_board import DeploySettings, RollbackSettings
from edgewright.deploy.remote import Board, HostKey
from edgewright.deploy.report import SmokeReport
from edgewright.deploy.target import Target
from edgewright.release import latest
from edgewright.release.manifest import Release

TakeOver = Annotated[
    bool, "end another's deploy that is at work on the board, and take it from its rollout"
]
OutsideWindow = Annotated[
    bool, "change a board of the fleet though its maintenance window is closed"
]


@task
def trust(
    c: Context,
    host: Host,
    yes: Annotated[bool, "pin without asking, unless another key is pinned"] = False,
    fingerprint: Annotated[
        str, "pin only the key with this SHA256:… fingerprint, in place of another one too"
    ] = "",
    json: Json = False,
) -> None:
    """Show a board's host key and pin it. Example: invoke trust --host=root@10.0.0.7"""
    key = remote.scan_host_key(targets.parse_host(host))
    say(f"{host} offers {key.kind} {key.fingerprint}")
    if key.is_pinned:
        say("it is pinned already")
        if json:
            write_document(_offered(host, key))
        return
    if key.pinned and not fingerprint:
        if sys.stdin.isatty():  # else `pin` raises the same words
            say(f"{'!' * 72}\n{remote.other_key(key)}\n{'!' * 72}")
        fingerprint = ask_line("to replace the old key, type the fingerprint of the new one: ")
    elif not (yes or fingerprint):
        # A script has nobody who could compare the fingerprint: it must name it, or say yes.
        answer = ask_line("pin it? [y/N] ").lower()
        if answer not in ("y", "yes"):
            next = f"invoke trust --host={host} --yes"
            raise UserError(host, "host key was not pinned", next=next)
    remote.pin(key, expected=fingerprint or None)
    say(f"pinned in {remote.pins()}")
    if json:
        write_document(_offered(host, key))


def _offered(host: str, key: HostKey) -> OfferedHostKey:
    return OfferedHostKey(
        host=host,
        kind=key.kind,
        fingerprint=key.fingerprint,
        pinned_before=key.is_pinned,
        file=str(remote.pins()),
    )


@dataclass(frozen=True, kw_only=True)
class DeployOptions:
    dry_run: Annotated[bool, "print the plan, change nothing"] = False
    key: Annotated[
        str, "sign with this key; default: the signature that is there, else the default key"
    ] = ""
    stage: Annotated[
        bool, "only bring the release there; the deploy that follows sends nothing, and switches"
    ] = False
    take_over: TakeOver = False
    outside_window: OutsideWindow = False
    ledger: LedgerPlace = ""

    def fences(self) -> HandFences:
        return HandFences(self.ledger, take_over=self.take_over)


@task
def deploy(c: Context, boards: Boards, options: DeployOptions, json: Json = False) -> None:
    """Install the last build on a board. Example: invoke deploy --board=a53-som --emulated"""
    if not boards.is_one:
        deploy_to_many(boards, options, json=json)
        return
    reach = boards.only_reach()
    release = latest.release_of(workspace().build(reach.board))
    settings = deploy_settings(reach.profile, release, reach.target(), options)
    settings = replace(settings, password=reach.password())
    if options.dry_run:
        with reach.naming_the_way():
            plan = one_board.plan(settings)
        if json:
            write_document(plan)
            return
        for line in screens.plan_lines(plan):
            say(line)
        return
    next_fence = options.fences().of_target(settings.target)
    with reach.naming_the_way():
        report = deploy_board(replace(settings, next_fence=next_fence))
    if json:
        write_document(report)


def deploy_to_many(boards: Boards, options: DeployOptions, *, json: bool) -> None:
    """Deploy to each of several boards the last build for its kind."""
    members, signing = boards.members(), signing_policy(options.key)
    releases = _last_builds({member.profile.name for member in members})
    for release in releases.values():  # a passphrase is asked for before the first login
        signing.signature_of(release, emulated=False)
    password, ssh, fences = boards.password(), remote.user_ssh(), options.fences()
    shared: dict[str, DeploySettings] = {}  # by the kind of board
    for kind, member in {member.profile.name: member for member in members}.items():
        settings = deploy_settings(member.profile, releases[kind], member.target, options)
        shared[kind] = replace(
            settings, signing=signing, password=password, ssh=ssh, smoke_file=None
        )

    def settings_of(member: Member) -> DeploySettings:
        return replace(shared[member.profile.name], target=member.target)

    next_fences = {member.name: _next_fence(fences, boards, member) for member in members}

    def plan_line(plan: PlanReport) -> str:
        return "nothing to do" if plan.unchanged else f"{plan.bytes_to_send:,} bytes to send"

    if options.dry_run:
        plan = many.Task(
            command="deploy",
            work=lambda member, _: one_board.plan(settings_of(member)),
            line=plan_line,
            document=BoardEnds[PlanReport],
        )
        many.run(plan, members, parallel=boards.parallel, json=json)
        return

    def deploy_one(member: Member, progress: Progress) -> DeployReport:
        if not (options.outside_window or options.stage):  # it may close while others are at work
            many.require_window(member)
        settings = replace(settings_of(member), next_fence=next_fences[member.name])
        return one_board.deploy(settings, progress)

    work = many.Task(
        command="deploy",
        work=deploy_one,
        line=_deployed,
        document=BoardEnds[DeployReport],
    )
    many.run(work, members, parallel=boards.parallel, json=json)


def _next_fence(fences: HandFences, boards: Boards, member: Member) -> NextFence | None:
    if boards.is_of_fleet:
        return fences.of_board(member.name)
    return fences.of_target(member.target)


def _last_builds(kinds: Iterable[str]) -> dict[str, Release]:
    """The last build for each kind of board. Raises UserError that names all that are missing."""
    releases, missing = {}, []
    for kind in sorted(kinds):
        try:
            releases[kind] = latest.release_of(workspace().build(kind))
        except UserError as none:
            missing.append(none)
    if len(missing) > 1:
        raise UserError(
            "boards",
            f"no build for {len(missing)} of their kinds",
            facts=[f"{none.subject}: {none.problem}" for none in missing],
            next="invoke build --board=KIND, for each",
        )
    if missing:
        raise missing[0]
    return releases


def _deployed(report: DeployReport) -> str:
    if report.staged:
        sent = f"{report.bytes_sent:,} bytes sent" if report.bytes_sent else "nothing was sent"
        return f"holds release {report.release}, and was not switched to it; {sent}"
    if report.unchanged:
        return f"runs release {report.release} already; nothing was sent"
    return f"release {report.release} is current; {report.bytes_sent:,} bytes sent"


def deploy_settings(
    profile: BoardProfile, release: Release, target: Target, options: DeployOptions
) -> DeploySettings:
    """A release to be deployed by this user from this machine."""
    return DeploySettings(
        target=target,
        release=release,
        former_names=profile.former_names,
        signing=signing_policy(options.key),
        deployer=install.this_user(),
        known_hosts=remote.user_known_hosts(),
        reserve_bytes=profile.deploy.reserve_mb << 20,
        take_over=options.take_over,
        only_stage=options.stage,
        smoke_file=_smoke_file(profile.name),
    )


def _smoke_file(board: str) -> Path:
    return workspace().build(board).reports / "smoke.json"


def deploy_board(settings: DeploySettings) -> DeployReport:
    """Deploy, and say how it went."""
    with screens.deploy_progress(ERR) as progress:
        report = one_board.deploy(settings, progress)
    say(f"{report.target}: {_deployed(report)}")
    return report


@task
def smoke(c: Context, boards: Boards, json: Json = False) -> None:
    """Prove that a board's release works. Example: invoke smoke --board=a53-som --emulated"""

    def prove(board: Board, member: Member, progress: Progress) -> SmokeReport:
        smoke_file = _smoke_file(member.profile.name) if boards.is_one else None
        return one_board.smoke_current(
            board,
            member.profile.deploy.root,
            install.this_user(),
            progress=progress,
            smoke_file=smoke_file,
        )

    many.run_connected(
        "smoke",
        boards,
        prove,
        show=lambda report: OUT.print(screens.smoke_screen(report)),
        line=lambda report: f"release {report.release} passed",
        document=BoardEnds[SmokeReport],
        judge=smoke_test.require_passed,
        json=json,
    )


@task
def status(c: Context, boards: Boards, json: Json = False) -> None:
    """Tell what a board runs. Example: invoke status --board=a53-som --emulated"""
    many.run_connected(
        "status",
        boards,
        lambda board, member, _: _status_of(board, member.profile),
        show=_show_status,
        line=_status_line,
        document=BoardEnds[StatusReport],
        json=json,
    )


def _show_status(report: StatusReport) -> None:
    OUT.print(screens.status_screen(report))
    for line in screens.service_lines(report.service):
        OUT.print(line, markup=False)


def _status_of(board: Board, profile: BoardProfile) -> StatusReport:
    installed = install.status(board, profile.deploy.root)
    running = service.status(board, profile)
    return documents.status_report(installed, running, str(board.target))


def _status_line(report: StatusReport) -> str:
    if report.current is None:
        return "no release is installed"
    on_trial = f"; {report.trial} is on trial" if report.trial else ""
    return f"release {report.current}, ordered {report.ordered or 'without a time'}{on_trial}"


@task
def rollback(
    c: Context,
    boards: Boards,
    key: Annotated[str, "sign the order with this key; default: the default key"] = "",
    take_over: TakeOver = False,
    outside_window: OutsideWindow = False,
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Go back to the former release. Example: invoke rollback --board=a53-som --emulated"""
    signing, deployer = signing_policy(key), install.this_user()
    fences = HandFences(ledger, take_over=take_over)

    def go_back(board: Board, member: Member, progress: Progress) -> RollbackReport:
        if not outside_window:
            many.require_window(member)
        settings = RollbackSettings(
            root=member.profile.deploy.root,
            kinds=member.profile.names,
            releases=workspace().build(member.profile.name).release,
            signing=signing,
            deployer=deployer,
            take_over=take_over,
            next_fence=_next_fence(fences, boards, member),
            smoke_file=_smoke_file(member.profile.name) if boards.is_one else None,
        )
        former, current = one_board.rollback(board, settings, progress)
        return RollbackReport(target=str(board.target), release=current, former=former)

    many.run_connected(
        "rollback",
        boards,
        go_back,
        line=_went_back,
        document=BoardEnds[RollbackReport],
        json=json,
    )


def _went_back(report: RollbackReport) -> str:
    return f"release {report.release} is current again, in place of {report.former}"
