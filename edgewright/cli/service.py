"""The release as a service of a board."""

from invoke.context import Context
from invoke.tasks import task

from edgewright import service
from edgewright.cli.common import REACH, connected, profile_of, say, told


@task(help=REACH)
@told
def install(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    lab: bool = False,
    ask_password: bool = False,
) -> None:
    """Run the release as a service. Example: invoke service.install --board=a53-som --emulated"""
    profile = profile_of(board)
    with connected(board, host, emulated, lab, ask_password) as there:
        changed = service.install(there, profile)
        say(f"{there.target}: {profile.service.manager} {'starts it' if changed else 'has it'}")


@task(help=REACH)
@told
def remove(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    lab: bool = False,
    ask_password: bool = False,
) -> None:
    """End the service; the release stays. Example: invoke service.remove --board=a53-som --lab"""
    with connected(board, host, emulated, lab, ask_password) as there:
        service.remove(there, profile_of(board))
        say(f"{there.target}: no service any more")
