"""Boards over SSH."""

import sys
from dataclasses import asdict
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import TargetError, UserError
from edgewright.build import pipeline
from edgewright.cli import keys as key_tasks
from edgewright.cli import screens as terminal
from edgewright.cli.common import (
    ERR,
    OUT,
    Host,
    Json,
    Reach,
    profile_of,
    say,
    task,
    workspace,
    write,
)
from edgewright.deploy import install as deployer
from edgewright.deploy import remote, service
from edgewright.deploy import report as reports
from edgewright.deploy import smoke as smoke_test
from edgewright.deploy import target as targets
from edgewright.deploy.report import SmokeReport
from edgewright.release import keys
from edgewright.release import order as signed
from edgewright.release.manifest import Manifest, Release


@task
def trust(
    c: Context,
    host: Host,
    yes: Annotated[bool, "pin without asking"] = False,
    fingerprint: Annotated[str, "pin only the key with this SHA256:… fingerprint"] = "",
    replace: Annotated[bool, "replace a key that was pinned before"] = False,
) -> None:
    """Show a board's host key and pin it. Example: invoke trust --host=root@10.0.0.7"""
    key = remote.scan_host_key(targets.parse_host(host))
    say(f"{host} offers {key.kind} {key.fingerprint}")
    if key.is_pinned:
        say("it is pinned already")
        return
    if not (yes or fingerprint or _confirmed("pin it? [y/N] ")):
        raise UserError(host, "host key not pinned", next=f"invoke trust --host={host} --yes")
    remote.pin(key, expected=fingerprint or None, replace=replace)
    say(f"pinned in {remote.pins()}")


def _confirmed(question: str) -> bool:
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


@task
def deploy(
    c: Context,
    reach: Reach,
    dry_run: Annotated[bool, "print the plan, change nothing"] = False,
    key: Annotated[
        str, "sign with this key; default: the signature that is there, else the default key"
    ] = "",
    take_over: Annotated[bool, "end another's deploy that is at work on the board"] = False,
    json: Json = False,
) -> None:
    """Install the last build on a board. Example: invoke deploy --board=a53-som --emulated"""
    release = pipeline.latest_release(workspace().build(reach.board))
    with reach.connect() as there:
        if dry_run:
            _dry_run(there, release, reach.board, key)
            return
        outcome, report = deploy_release(there, release, reach.board, key=key, take_over=take_over)
        subject = str(there.target)
    if json:
        OUT.print_json(data=terminal.deploy_document(outcome, report, subject))


def deploy_release(
    there: remote.Board, release: Release, board: str, *, key: str = "", take_over: bool = False
) -> tuple[deployer.Outcome, SmokeReport | None]:
    """Deploy with the smoke test as the gate; its report is None if nothing was to do."""
    seen: list[SmokeReport] = []

    def keep(report: SmokeReport) -> None:
        seen.append(report)
        _keep(report)

    signature = key_tasks.signature_of(release, key, emulated=there.target.emulated)
    if there.target.emulated:
        key_tasks.trust_emulated(there, release, signature)
    with terminal.upload(ERR) as uploaded:
        outcome = deployer.deploy(
            there,
            release,
            signature,
            reserve_bytes=_reserve(board),
            gate=smoke_test.gate(release.manifest, on_report=keep, on_step=say),
            on_step=say,
            on_bytes=uploaded,
            take_over=take_over,
        )
    if outcome.unchanged:
        say(f"{there.target}: runs release {release.id} already; nothing was sent")
    else:
        say(f"{there.target}: release {release.id} is current; {outcome.bytes_sent:,} bytes sent")
    return outcome, seen[-1] if seen else None


def _reserve(board: str) -> int:
    return profile_of(board).deploy.reserve_mb << 20


def _dry_run(there: remote.Board, release: Release, board: str, key: str) -> None:
    signature = key_tasks.signature_of(release, key, emulated=there.target.emulated)
    _say_plan(deployer.dry_run(there, release, signature, reserve_bytes=_reserve(board)))


def _say_plan(plan: deployer.Plan) -> None:
    for line in terminal.told_plan(plan):
        say(line)


@task
def smoke(c: Context, reach: Reach, json: Json = False) -> None:
    """Prove that a board's release works. Example: invoke smoke --board=a53-som --emulated"""
    with reach.connect() as there:
        report = smoke_board(there, reach.profile.deploy.root)
    if json:
        write(report.to_json())
    else:
        OUT.print(reports.render(report))
    smoke_test.require_passed(report)


def smoke_board(there: remote.Board, root: str) -> SmokeReport:
    manifest = deployer.status(there, root).manifest
    if manifest is None:
        raise TargetError(str(there.target), "no release is installed", next="invoke deploy")
    report = smoke_test.run(there, f"{root}/releases/{manifest.id}", manifest, on_step=say)
    _keep(report)
    return report


def _keep(report: SmokeReport) -> None:
    folder = workspace().build(report.board).reports
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "smoke.json").write_text(report.to_json())


@task
def status(c: Context, reach: Reach, json: Json = False) -> None:
    """Tell what a board runs. Example: invoke status --board=a53-som --emulated"""
    with reach.connect() as there:
        now = deployer.status(there, reach.profile.deploy.root)
        running = service.status(there, reach.profile)
        subject = str(there.target)
    if json:
        document = terminal.status_document(now, subject)
        OUT.print_json(data={**document, "service": asdict(running)})
        return
    OUT.print(terminal.status_screen(now, subject))
    for line in service.told(running):
        OUT.print(line, markup=False)


@task
def rollback(
    c: Context,
    reach: Reach,
    key: Annotated[str, "sign the order with this key; default: the default key"] = "",
) -> None:
    """Go back to the former release. Example: invoke rollback --board=a53-som --emulated"""
    root = reach.profile.deploy.root

    def sign(manifest: Manifest, floor: int) -> bytes:
        signer = key_tasks.signer_for(key, emulated=reach.emulated or reach.lab)
        return signed.sign(manifest, signer, at_least=keys.believable(floor) + 1)

    def gate(manifest: Manifest) -> deployer.Gate:
        return smoke_test.gate(manifest, on_report=_keep, on_step=say)

    with reach.connect() as there:
        before, now = deployer.rollback(there, root, sign, gate=gate, on_step=say)
        say(f"{there.target}: release {now} is current, {before} was")
