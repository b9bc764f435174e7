"""Sites that only dial out: who is one, and the worker beside its boards."""

import concurrent.futures
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.files import write_new_file
from edgewright.base.layout import user_cache, user_config
from edgewright.cli.common import AskPassword, Json, heavy, say, task, write_document
from edgewright.cli.documents import written_files
from edgewright.cli.keys import signing_policy
from edgewright.cli.ledgers import LedgerPlace, open_ledger
from edgewright.cli.many import FleetFile, Parallel, inventory_of, require_pool
from edgewright.cli.rollout import OutsideWindow, fleet_boards, login_of
from edgewright.fleet.documents import DismissedSite, EnrolledSite, Invitation, SiteRun
from edgewright.fleet.rollout import waves

FOLDER = "site"  # of the user's configuration and cache
HOUR_SECONDS = 3600
MOST_HOURS = 24 * 30


@task
def invite(
    c: Context,
    site: Annotated[str, "of the fleet's file, with dials_out = true"],
    server: Annotated[str, "https://HOST:PORT of fleet.serve, as the site reaches it"],
    out: Annotated[str, "file to write; whoever has it becomes the site, once"] = "",
    hours: Annotated[int, "that the invitation counts"] = 24,
    fleet: FleetFile = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Let a site enrol. Example: invoke site.invite --site=lyon --server=https://fleet:8443"""
    sites = {each.name: each for each in inventory_of(fleet).fleet.sites}
    if site not in sites or not sites[site].dials_out:
        raise UserError(
            f"--site={site}",
            "the fleet's file has no such site with dials_out = true",
            next="edgewright fleet.list",
        )
    if not 1 <= hours <= MOST_HOURS:
        raise UserError(f"--hours={hours}", f"expected 1 to {MOST_HOURS}", next="leave it out")
    if not server.startswith("https://") or "/" in server.removeprefix("https://"):
        raise UserError(f"--server={server}", "expected https://HOST:PORT", next="without a path")
    module = heavy("authority", "fleet.serve", "rollout")
    authority = module.open_authority(user_config() / "authority")
    path = Path(out or f"{site}.invitation.json")
    if path.exists():
        raise UserError(str(path), "is there already", next="the same command with another --out")
    invitation = Invitation(
        site=site,
        server=server,
        token=_sites(open_ledger(ledger)).invite(site, hours * HOUR_SECONDS),
        authority=module.pem_of(authority.certificate).decode(),
    )
    write_new_file(path, invitation.to_json(), mode=0o600)
    say(f"{path}: carry it to {site}, and there: edgewright site.enrol --invitation={path.name}")
    if json:
        write_document(written_files([path]))


def _sites(ledger: Any) -> Any:
    return heavy("sites", "fleet.rollout", "rollout").Sites(ledger.database, time.time)


@task
def dismiss(
    c: Context,
    site: Annotated[str, "whose certificates and invitations are to count no more"],
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Take back what a site enrolled with. Example: invoke site.dismiss --site=lyon"""
    count = _sites(open_ledger(ledger)).dismiss(site)
    if not count:
        raise UserError(f"--site={site}", "has neither certificate nor invitation")
    if json:
        write_document(DismissedSite(site=site, count=count))
    else:
        say(f"site {site}: {count} certificates and invitations count no more")


@task
def enrol(
    c: Context,
    invitation: Annotated[str, "file of site.invite"],
    json: Json = False,
) -> None:
    """Become a site of a fleet. Example: invoke site.enrol --invitation=lyon.invitation.json"""
    module = heavy("enrol", "fleet.site", "rollout")
    enrolled = module.enrol(Path(invitation), user_config() / FOLDER)
    if json:
        write_document(EnrolledSite(site=enrolled.site, server=enrolled.line.url))
    else:
        say(f"this is site {enrolled.site} of {enrolled.line.url}; now: edgewright site.run")


@task
def run(
    c: Context,
    fleet: FleetFile = "",
    parallel: Parallel = 8,
    board_deadline: Annotated[str, "after which a board that hangs is given up"] = "1h",
    outside_window: OutsideWindow = False,
    ask_password: AskPassword = False,
    json: Json = False,
) -> None:
    """Work on this site's boards, until Ctrl-C. Example: invoke site.run"""
    require_pool(parallel)
    site = heavy("enrol", "fleet.site", "rollout").enrolled(user_config() / FOLDER)
    inventory = inventory_of(fleet)
    own = [board for board in inventory.fleet.boards if board.site == site.site]
    if not own:
        raise UserError(
            str(inventory.path), f"has no board of site '{site.site}'", next="edgewright fleet.list"
        )
    boards = heavy("boards", "fleet.site", "rollout").OwnBoards(
        boards=fleet_boards(inventory, own),
        signing=signing_policy(),
        login=login_of(ask=ask_password),
        outside_window=outside_window,
    )
    worker = heavy("worker", "fleet.site", "rollout").SiteWorker(
        site,
        boards,
        user_cache() / FOLDER,
        parallel=parallel,
        board_s=waves.seconds(board_deadline, "--board-deadline"),
        tell=say,
    )
    say(f"site {site.site}: {len(own)} boards, {site.line.url}, until Ctrl-C")
    attempts = _until_interrupt(worker)
    if json:
        write_document(SiteRun(site=site.site, attempts=attempts))


def _until_interrupt(worker: Any) -> dict[str, int]:
    """The first Ctrl-C begins no other board; a second one leaves at once."""
    end: concurrent.futures.Future[dict[str, int]] = concurrent.futures.Future()

    def work() -> None:
        try:
            end.set_result(dict(worker.run()))
        except BaseException as fault:
            end.set_exception(fault)

    threading.Thread(target=work, daemon=True).start()
    is_leaving = False
    while True:
        try:
            return end.result(timeout=1)
        except concurrent.futures.TimeoutError:
            continue
        except KeyboardInterrupt:
            if is_leaving:
                raise
            is_leaving = True
            worker.leave()
            say("no other board is begun")
