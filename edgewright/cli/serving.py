"""Rollouts over the network: the server, and who may log in."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.base.layout import user_config
from edgewright.cli.common import OUT, Json, heavy, say, task, workspace, write_document
from edgewright.cli.ledgers import LedgerPlace, open_ledger
from edgewright.cli.rollout import NAME
from edgewright.fleet.documents import ListedPerson, PeopleList, Served

DAY_SECONDS = 86400
MOST_DAYS = 3650


@task
def serve(
    c: Context,
    listen: Annotated[str, "address and port; another than this machine's own needs TLS"] = (
        "127.0.0.1:8443"
    ),
    name: Annotated[
        tuple[str, ...],
        "host or address by which sites and people reach this: for a certificate of the fleet's "
        "own authority; may be repeated",
    ] = (),
    tls_certificate: Annotated[str, "PEM file: the server's certificate, and its chain"] = "",
    tls_key: Annotated[str, "PEM file: its key"] = "",
    client_ca: Annotated[
        str, "PEM file: who signs certificates that people log in with, their names in them"
    ] = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Serve a page of all rollouts, until Ctrl-C. Example: invoke fleet.serve"""
    opened, server = open_ledger(ledger), heavy("server", "fleet.serve", "rollout")
    certificate, key = _file(tls_certificate), _file(tls_key)
    authorities, sites = [Path(client_ca)] if client_ca else [], None
    if name:
        if certificate or key:
            option = "--tls-certificate" if certificate else "--tls-key"
            raise UserError(f"--name, {option}", "expected one of them", next="leave one out")
        authority = _authority()
        certificate, key = authority.server_files(name)
        authorities.append(authority.file)
        sites = _site_api(opened, authority)
    where = server.listener(listen, certificate=certificate, key=key, client_cas=authorities)

    def tell(url: str) -> None:
        if json:
            write_document(Served(url=url))
        else:
            say(f"{url}, until Ctrl-C")

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(opened, where, on_listen=tell, sites=sites))


def _authority() -> Any:
    module = heavy("authority", "fleet.serve", "rollout")
    return module.open_authority(user_config() / "authority")


def _site_api(ledger: Any, authority: Any) -> Any:
    module, sites = heavy("site_api", "fleet.serve", "rollout"), _sites(ledger)
    current = workspace()
    return module.SiteApi(
        ledger=ledger,
        sites=sites,
        authority=authority,
        release_folder=lambda kind, release: current.build(kind).release / release,
    )


def _sites(ledger: Any) -> Any:
    return heavy("sites", "fleet.rollout", "rollout").Sites(ledger.database, time.time)


def _file(option: str) -> Path | None:
    return Path(option) if option else None


@task
def people(
    c: Context,
    add: Annotated[str, "name of somebody who gets a new token; it is shown once"] = "",
    role: Annotated[
        str, "viewer, or operator: who may pause, resume, abort and approve"
    ] = "viewer",
    days: Annotated[int, "that the token counts"] = 90,
    remove: Annotated[str, "name of somebody who is to be out at once"] = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """List or change who may log in to fleet.serve. Example: invoke fleet.people --add=anna"""
    opened, module = open_ledger(ledger), heavy("people", "fleet.rollout", "rollout")
    people, token = module.People(opened.database, time.time), None
    if remove and not people.remove(remove):
        raise UserError(
            f"--remove={remove}",
            "is nobody of this ledger",
            next="the same command without --remove lists who is",
        )
    if add:
        if role not in set(module.Role):
            raise UserError(f"--role={role}", "expected viewer or operator", next="one of them")
        if not NAME.fullmatch(add):
            raise UserError(
                f"--add={add}", "expected a-z, 0-9, '.', '_' and '-'", next="another name"
            )
        if not 1 <= days <= MOST_DAYS:
            raise UserError(f"--days={days}", f"expected 1 to {MOST_DAYS}", next="leave it out")
        token = people.add(add, module.Role(role), days * DAY_SECONDS)
    listed = tuple(map(_listed, people.all()))
    if json:
        write_document(PeopleList(people=listed, token=token))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "role", "until"):
        table.add_column(heading, overflow="fold")
    for person in listed:
        table.add_row(person.name, person.role, f"{person.until:%Y-%m-%d %H:%M}")
    OUT.print(table)
    if token is not None:
        OUT.print(f"token of {add}: {token}", soft_wrap=True)


def _listed(person: Any) -> ListedPerson:
    until = datetime.fromtimestamp(person.until, UTC)
    return ListedPerson(name=person.name, role=person.role.value, until=until)
