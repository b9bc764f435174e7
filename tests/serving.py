"""A server of rollouts in a thread of the tests, and a rollout to be looked at."""

import asyncio
import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edgewright.fleet.rollout import gates, waves
from edgewright.fleet.rollout.gates import VERDICTS, Measured, Numbers, Reading
from edgewright.fleet.rollout.ledger import Entry, Ledger, Report
from edgewright.fleet.rollout.people import People, Role
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Outcome, Retry
from edgewright.fleet.serve import server
from edgewright.fleet.serve.server import Listener
from edgewright.fleet.serve.site_api import SiteApi

WAIT_SECONDS = 20
MEASURED = 500  # boards of a rollout at most
ANYWHERE = Listener(host="127.0.0.1", port=0)


@contextlib.contextmanager
def serving(
    ledger: Ledger,
    where: Listener = ANYWHERE,
    *,
    sites: SiteApi | None = None,
    tick_s: float = 0.05,
) -> Iterator[str]:
    """The URL of a server of this ledger."""
    urls, listens, end = list[str](), threading.Event(), list[Callable[[], object]]()

    def on_listen(url: str) -> None:
        urls.append(url)
        listens.set()

    async def run() -> None:
        task = asyncio.ensure_future(
            server.serve(ledger, where, on_listen=on_listen, sites=sites, tick_s=tick_s)
        )
        loop = asyncio.get_running_loop()
        end.append(lambda: loop.call_soon_threadsafe(task.cancel))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert listens.wait(WAIT_SECONDS), "the server does not listen"
        yield urls[0]
    finally:
        end[0]()
        thread.join(WAIT_SECONDS)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    """Asks a server; keeps no cookie by itself."""

    url: str
    tls: ssl.SSLContext | None = None

    def connect(self) -> http.client.HTTPConnection:
        if self.tls:
            place = urlsplit(self.url)
            return http.client.HTTPSConnection(
                str(place.hostname), place.port, timeout=WAIT_SECONDS, context=self.tls
            )
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=WAIT_SECONDS)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection = self.connect()
        try:
            connection.request(method, path, body or None, named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)


def token_of(ledger: Ledger, role: Role, name: str = "anna") -> str:
    return People(ledger.database, time.time).add(name, role, 3600)


def plan_bread(ledger: Ledger, boards: int, *, sites: int = 3, names: str = "oven-{}") -> None:
    """A rollout `bread` in two waves: a share of the first has failed, the rest measured it."""
    placed = {names.format(n): f"hall-{n % sites}" for n in range(boards)}
    ends = waves.ends("50%,100%", boards)
    plan = Plan(
        waves="50%,100%", ends=ends, salt="s", gates="failures<=20%,p95<=10%",
        releases={"a53-som": "new"}, soak_s=0, approve_after=1,
    )  # fmt: skip
    entries = [
        Entry(board=board, site=placed[board], wave=wave, release="new", former="old")
        for board, wave in waves.assign(placed, ends, plan.salt).items()
    ]
    ledger.plan("bread", plan.model_dump_json(), entries)
    ledger.open_wave("bread", 1)
    claims = ledger.claim("bread", worker="w", limit=min(boards, MEASURED), lease_s=3600)
    reports = []
    for number, claim in enumerate(claims):
        measured = Measured(
            before=Numbers(p95_ms=40.0, right=1.0),
            after=Numbers(p95_ms=40.0 + (number % 17) * 0.3, right=1.0),
        )
        reports.append(
            Report(claim=claim, outcome=Outcome.HOPELESS, reason="no space")
            if number % 10 == 9
            else Report(claim=claim, outcome=Outcome.DONE, result=measured.model_dump_json())
        )
    ledger.finish(reports, Retry())


def judge_bread(ledger: Ledger) -> None:
    """What the gates say of the first wave, which then waits for approval."""
    readings = [
        Reading(
            board=member.board,
            failure=member.reason or None,
            measured=Measured.model_validate_json(member.result or "{}"),
        )
        for member in ledger.members("bread", 1)
    ]
    verdicts = gates.judge(gates.parse("failures<=20%,p95<=10%"), readings)
    ledger.judge("bread", 1, VERDICTS.dump_json(verdicts).decode())
    ledger.enter("bread", "wave 1 waits for approval")
