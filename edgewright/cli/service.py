"""The release as a service of a board."""

from invoke.context import Context

from edgewright.cli import screens
from edgewright.cli.common import OUT, Json, Reach, say, task, write_document
from edgewright.deploy import service
from edgewright.deploy.documents import ServiceChange, ServiceReport


@task
def install(c: Context, reach: Reach, json: Json = False) -> None:
    """Run the release as a service. Example: invoke service.install --board=a53-som --emulated"""
    profile = reach.profile
    with reach.connect() as board:
        changed = service.install(board, profile)
        state = "starts the service" if changed else "has this very service already"
        say(f"{board.target}: {profile.service.manager} {state}")
    if json:
        write_document(ServiceChange(target=str(board.target), installed=True, changed=changed))


@task
def remove(c: Context, reach: Reach, json: Json = False) -> None:
    """End the service; the release stays. Example: invoke service.remove --board=a53-som --lab"""
    with reach.connect() as board:
        service.remove(board, reach.profile)
        say(f"{board.target}: the service is removed, the release stays")
    if json:
        write_document(ServiceChange(target=str(board.target), installed=False, changed=None))


@task
def status(c: Context, reach: Reach, json: Json = False) -> None:
    """Tell whether the service runs. Example: edgewright service.status --board=a53-som --lab"""
    with reach.connect() as board:
        state = service.status(board, reach.profile)
    if json:
        write_document(ServiceReport(target=str(board.target), service=state))
        return
    for line in screens.service_lines(state):
        OUT.print(line, markup=False)
