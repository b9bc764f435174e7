"""The release as a service of a board."""

from invoke.context import Context

from edgewright.cli import screens
from edgewright.cli.common import OUT, Reach, say, task
from edgewright.deploy import service


@task
def install(c: Context, reach: Reach) -> None:
    """Run the release as a service. Example: invoke service.install --board=a53-som --emulated"""
    profile = reach.profile
    with reach.connect() as board:
        changed = service.install(board, profile)
        state = "starts the service" if changed else "has this very service already"
        say(f"{board.target}: {profile.service.manager} {state}")


@task
def remove(c: Context, reach: Reach) -> None:
    """End the service; the release stays. Example: invoke service.remove --board=a53-som --lab"""
    with reach.connect() as board:
        service.remove(board, reach.profile)
        say(f"{board.target}: the service is removed, the release stays")


@task
def status(c: Context, reach: Reach) -> None:
    """Tell whether the service runs. Example: edgewright service.status --board=a53-som --lab"""
    with reach.connect() as board:
        for line in screens.service_lines(service.status(board, reach.profile)):
            OUT.print(line, markup=False)
