"""What `deploy` and `status` write as JSON: one model for each document."""

from datetime import UTC, datetime
from typing import Literal

from edgewright.base.schema import Document, Part, Shown
from edgewright.deploy.install import Installed, Plan, Status
from edgewright.deploy.report import SmokeReport
from edgewright.deploy.service import ServiceState


class DeployReport(Shown, Document):
    """What a deploy did: `invoke deploy --json`."""

    version: Literal[1] = 1
    kind: Literal["deploy"] = "deploy"
    target: str
    release: str
    former: str | None
    unchanged: bool  # the release was current and committed already
    staged: bool  # it lies on the board, which was not switched to it
    bytes_sent: int
    removed: tuple[str, ...]  # releases that the board does not hold any more
    smoke: SmokeReport | None  # null where the release was current already, or is only staged


class FileToSend(Part):
    """A file that a board lacks, or has otherwise."""

    path: str
    sha256: str
    bytes: int
    new_bytes: int  # of its content, what the board does not hold
    bytes_to_send: int  # in the stream: compressed, and with what frames it


class PlanReport(Document):
    """What a deploy would do: `invoke deploy --dry-run --json`."""

    version: Literal[1] = 1
    kind: Literal["plan"] = "plan"
    target: str
    release: str
    former: str | None
    unchanged: bool  # nothing is to be done
    installs_edgectl: bool
    files: tuple[FileToSend, ...]
    bytes_to_send: int


class StatusReport(Shown, Document):
    """What a board runs: `invoke status --json`. Without `edgectl`, little can be said of it."""

    version: Literal[1] = 1
    target: str
    machine: str
    free_bytes: int
    model: str | None
    edgectl: str | None  # its version
    current: str | None = None
    previous: str | None = None
    sequence: int | None = None
    ordered: str | None = None  # when the current release was signed
    trial: str | None = None
    keys: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    objects: int = 0
    service_pid: int | None = None
    deployer: str | None = None
    service: ServiceState


class RollbackReport(Document):
    """`invoke rollback --json`: the release that is current again, and the one that it replaced."""

    version: Literal[1] = 1
    target: str
    release: str
    former: str


class ServiceReport(Document):
    """`service.status --json`."""

    version: Literal[1] = 1
    target: str
    service: ServiceState


class ServiceChange(Document):
    """`service.install --json` and `service.remove --json`."""

    version: Literal[1] = 1
    target: str
    installed: bool
    changed: bool | None  # false: it was so before; null: nobody looked


def deploy_report(installed: Installed, smoke: SmokeReport | None, target: str) -> DeployReport:
    return DeployReport(
        target=target,
        release=installed.release,
        former=installed.former,
        unchanged=installed.unchanged,
        staged=installed.staged,
        bytes_sent=installed.bytes_sent,
        removed=installed.removed,
        smoke=smoke,
    )


def plan_report(plan: Plan, target: str) -> PlanReport:
    files = tuple(
        FileToSend(
            path=plan.paths[outgoing.sha256],
            sha256=outgoing.sha256,
            bytes=len(outgoing.content),
            new_bytes=outgoing.new_bytes,
            bytes_to_send=outgoing.bytes_to_send,
        )
        for outgoing in plan.objects
    )
    return PlanReport(
        target=target,
        release=plan.release,
        former=plan.former,
        unchanged=plan.is_noop,
        installs_edgectl=plan.installs_edgectl,
        files=files,
        bytes_to_send=sum(file.bytes_to_send for file in files),
    )


def status_report(status: Status, service: ServiceState, target: str) -> StatusReport:
    report = StatusReport(
        target=target,
        machine=status.facts.machine,
        free_bytes=status.facts.free_bytes,
        model=status.manifest.model.name if status.manifest else None,
        edgectl=status.edgectl.helper.version if status.edgectl else None,
        service=service,
    )
    state = status.edgectl
    if state is None:
        return report
    return report.model_copy(
        update={
            "current": state.current,
            "previous": state.previous,
            "sequence": state.floor.sequence if state.floor else None,
            "ordered": _signing_time(state.floor.sequence) if state.floor else None,
            "trial": state.txn.new if state.txn else None,
            "keys": state.keys,
            "releases": state.releases,
            "quarantine": state.quarantine,
            "objects": state.objects,
            "service_pid": state.service.pid if state.service else None,
            "deployer": state.lease.holder if state.lease else None,
        }
    )


def _signing_time(sequence: int) -> str | None:
    """A sequence number is the Unix time of the signature, unless it was counted up."""
    try:
        return datetime.fromtimestamp(sequence, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return None
