"""The release as a service of a board."""

from dataclasses import asdict

from invoke.context import Context
from invoke.tasks import task

from edgewright import service
from edgewright.cli.common import JSON, OUT, REACH, connected, profile_of, say, told


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


@task(help={**REACH, "json": JSON})
@told
def status(
    c: Context,
    board: str,
    host: str = "",
    emulated: bool = False,
    lab: bool = False,
    ask_password: bool = False,
    json: bool = False,
) -> None:
    """Since when, restarts, health. Example: invoke service.status --board=a53-som --emulated"""
    with connected(board, host, emulated, lab, ask_password) as there:
        state = service.status(there, profile_of(board))
    if json:
        OUT.print_json(data={"version": 1, "board": board, **asdict(state)})
        return
    for line in service.told(state):
        OUT.print(line, markup=False)
