"""The namespace `board`: what a live board is, as a profile."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table
from rich.text import Text

from edgewright.base import files
from edgewright.base.errors import UserError
from edgewright.board import catalogue
from edgewright.board.profile import NAME
from edgewright.board.proposal import ProbeReport, Proposal, propose
from edgewright.board.survey import Survey
from edgewright.cli.common import (
    OUT,
    Host,
    Json,
    Reach,
    say,
    task,
    workspace,
    write,
    write_document,
)
from edgewright.deploy import remote
from edgewright.deploy import survey as surveys

STANDARD_OUTPUT = "-"


@dataclass(frozen=True, kw_only=True)
class LiveBoard:
    """The way to a board that has no profile yet, or to a stand-in for one that has."""

    host: Host = ""
    emulated: Annotated[bool, "the emulated board of invoke emulate.up"] = False
    lab: Annotated[bool, "the full-system board of invoke lab.up"] = False
    board: Annotated[str, "whose stand-in, with --emulated or --lab"] = "a53-som"
    ask_password: Annotated[
        bool, "ask for the board's password; else keys, the agent or EDGEWRIGHT_PASSWORD"
    ] = False
    sudo: Annotated[
        bool, "run the board's commands by its sudo, where that asks for no password"
    ] = False

    def connect(self) -> AbstractContextManager[remote.Board]:
        if [bool(self.host), self.emulated, self.lab].count(True) != 1:
            raise UserError(
                "board.probe",
                "expected one of --host=user@addr[:port], --emulated and --lab",
                next="invoke board.probe --host=root@192.0.2.7",
            )
        reach = Reach(
            board=self.board,
            host=self.host,
            emulated=self.emulated,
            lab=self.lab,
            ask_password=self.ask_password,
            sudo=self.sudo,
        )
        return reach.connect()


@task
def probe(
    c: Context,
    live: LiveBoard,
    name: Annotated[str, "the new profile's; default: from the board's device tree"] = "",
    out: Annotated[str, "file to write; - is standard output"] = "",
    root: Annotated[str, "folder on the board where releases would go"] = "/opt/edgewright",
    json: Json = False,
) -> None:
    """Write a profile of a live board. Example: edgewright board.probe --host=root@192.0.2.7"""
    if name and not NAME.fullmatch(name):
        raise UserError("--name", f"expected a match of {NAME.pattern}, found '{name}'")
    with live.connect() as board:
        target = str(board.target)
        survey = surveys.survey(board, root)
    # Without the user's own boards: they may be unfinished, as this one will be.
    folder = workspace().resources.boards
    boards = [catalogue.load_board(board, folder) for board in catalogue.board_names(folder)]
    proposal = propose(survey, target, boards, name)
    file = Path(out) if out else workspace().boards / f"{proposal.name}.toml"
    is_file = out != STANDARD_OUTPUT
    if is_file:
        _write_new(file, proposal)
    if json:
        document = ProbeReport(
            target=target, survey=survey, proposal=proposal, file=str(file) if is_file else None
        )
        write_document(document)
    elif is_file:
        OUT.print(_survey_table(target, survey))
        _say_proposal(proposal, file)
    else:
        write(proposal.toml)


def _write_new(file: Path, proposal: Proposal) -> None:
    """Raises UserError for a file that is there already: what it says may be a person's work."""
    try:
        files.write_new_file(file, proposal.toml, mode=0o644)
    except FileExistsError as present:
        raise UserError(
            str(file),
            "exists already; it is not overwritten",
            next="invoke board.probe with another --name or --out",
        ) from present
    except OSError as error:
        raise UserError(str(file), f"not writable: {error.strerror}") from error


def _survey_table(target: str, survey: Survey) -> Table:
    mount = survey.deploy_mount
    libc, unknown = survey.libc, "unknown"
    rows = {
        "model": survey.model or unknown,
        "compatible": ", ".join(survey.compatible) or unknown,
        "core": survey.core or unknown,
        "cores": str(survey.cores or unknown),
        "clock": f"{survey.clock_mhz} MHz" if survey.clock_mhz else unknown,
        "userland": survey.arch or unknown,
        "kernel": f"{survey.kernel or unknown}, {survey.machine}",
        "libc": f"{libc.family} {libc.version or ''}" if libc else unknown,
        "process 1": survey.init or unknown,
        "memory": f"{survey.memory_mb} MiB" if survey.memory_mb else unknown,
        survey.deploy_root: f"{survey.free_mb} MiB free"
        + (f", {mount.kind} at {mount.point}, {','.join(mount.options)}" if mount else ""),
    }
    table = Table(target, "", box=None, pad_edge=False)
    for fact, value in rows.items():
        table.add_row(fact, Text(value))
    return table


def _say_proposal(proposal: Proposal, file: Path) -> None:
    for resemblance in proposal.resembles:
        say(f"resembles {resemblance}")
    for remark in proposal.remarks:
        say(f"note: {remark}")
    for unknown in proposal.unknown:
        say(f"not learnt: {unknown}")
    fill = "fill in what was not learnt, then " if proposal.unknown else ""
    say(f"written to {file}\nnext: {fill}invoke boards --check")
