"""The release as a service of a board."""

from invoke.context import Context
from invoke.tasks import task

from edgewright.cli.common import REACH, Reach, over_ssh, say, told
from edgewright.deploy import service


@task(help=REACH)
@told
@over_ssh
def install(c: Context, reach: Reach) -> None:
    """Run the release as a service. Example: invoke service.install --board=a53-som --emulated"""
    profile = reach.profile
    with reach.connect() as there:
        changed = service.install(there, profile)
        say(f"{there.target}: {profile.service.manager} {'starts it' if changed else 'has it'}")


@task(help=REACH)
@told
@over_ssh
def remove(c: Context, reach: Reach) -> None:
    """End the service; the release stays. Example: invoke service.remove --board=a53-som --lab"""
    with reach.connect() as there:
        service.remove(there, reach.profile)
        say(f"{there.target}: no service any more")
