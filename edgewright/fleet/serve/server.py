"""The server of `fleet.serve`: one page, and the documents that it is made of."""

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part, parse_json
from edgewright.base.text import visible
from edgewright.fleet.documents import Login, RolloutChange, RolloutList
from edgewright.fleet.rollout import operate, report
from edgewright.fleet.rollout.ledger import Ledger
from edgewright.fleet.rollout.people import People, Person, Role
from edgewright.fleet.serve.access import COOKIE, SESSION_SECONDS, Access, is_own
from edgewright.fleet.serve.live import TICK_SECONDS, Live
from edgewright.fleet.serve.site_api import (
    ENROL,
    SITE,
    SiteApi,
    body_of,
    document,
    refusal,
    site_of,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PERSON = web.RequestKey("person", Person)  # whom a request is from
PAGE = files("edgewright.fleet.serve") / "page"
OPEN = frozenset({"/login", "/page.css", "/icon.svg"})  # paths that need no login
TYPES = {
    "index.html": "text/html",
    "login.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # browsers then name the origin of a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REFUSED = '<p role="alert">This token does not count, or no longer.</p>'
BODY_BYTES = 1 << 20  # a site names its boards
REASON = 500  # characters
IDLE_SECONDS = 90.0  # of a connection without a whole request, whoever it is from
MOST_LINES = 8  # that are live, of one person
STALLED_SECONDS = 30.0  # after which a line is cut whose reader takes nothing
HEARTBEAT_SECONDS = 10.0  # after which a line is written to, and its person asked for anew


class ChangeRequest(Part):
    """The body of `POST /v1/rollouts/NAME/CHANGE`."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where the server listens."""

    host: str
    port: int  # 0: any that is free
    tls: ssl.SSLContext | None = None


def listener(
    listen: str,
    *,
    certificate: Path | None,
    key: Path | None,
    client_cas: Sequence[Path] = (),
) -> Listener:
    """Raises UserError for an address or files that mean nothing, and for a network without TLS."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        is_local = ipaddress.ip_address(host).is_loopback
        number = int(port)
        if not 0 <= number < 1 << 16:
            raise ValueError(port)
    except ValueError:
        raise UserError(
            f"--listen={listen}",
            "expected an address of this machine, and a port",
            next="edgewright fleet.serve --listen=127.0.0.1:8443",
        ) from None
    with_tls = "the same command with --name=HOST, or --tls-certificate=FILE --tls-key=FILE"
    if certificate is None and (key or client_cas):
        option = "--tls-key" if key else "--client-ca"
        raise UserError(option, "counts over TLS alone", next=with_tls)
    if certificate is None and not is_local:
        raise UserError(
            f"--listen={listen}",
            "tokens would cross the network in clear",
            next=with_tls,
        )
    tls = None if certificate is None else tls_context(certificate, key, client_cas)
    return Listener(host=host, port=number, tls=tls)


def tls_context(certificate: Path, key: Path | None, client_cas: Sequence[Path]) -> ssl.SSLContext:
    """TLS 1.3, with client certificates that one of `client_cas` signed. Raises UserError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key)
        for authority in client_cas:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as fault:
        raise UserError(
            str(certificate),
            "TLS does not take these files",
            facts=[f"key: {key}", *(f"client CA: {each}" for each in client_cas), str(fault)],
            next="PEM files of a certificate, its key, and the CA of clients",
        ) from fault
    return context


async def serve(
    ledger: Ledger,
    where: Listener,
    *,
    on_listen: Callable[[str], None],
    sites: SiteApi | None = None,
    tick_s: float = TICK_SECONDS,
) -> None:
    """Serve until the task is cancelled; `on_listen` gets the URL. Raises UserError."""
    app = application(ledger, sites, tick_s=tick_s)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=IDLE_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, where.host, where.port, ssl_context=where.tls)
        try:
            await site.start()
        except OSError as fault:
            raise UserError(
                f"--listen={where.host}:{where.port}",
                "cannot be listened on",
                facts=[fault.strerror or str(fault)],
                next="the same command with another --listen",
            ) from fault
        port = runner.addresses[0][1]
        host = f"[{where.host}]" if ":" in where.host else where.host
        on_listen(f"{'https' if where.tls else 'http'}://{host}:{port}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def application(
    ledger: Ledger, sites: SiteApi | None = None, *, tick_s: float = TICK_SECONDS
) -> web.Application:
    reading = ledger.reader()
    pages = _Pages(ledger, reading, Live(reading, tick_s=tick_s), sites)
    app = web.Application(middlewares=[pages.guard], client_max_size=BODY_BYTES)
    app.add_routes(
        [
            *(web.get(f"/{name}", _file(name)) for name in TYPES if not name.endswith(".html")),
            web.get("/", _file("index.html")),
            web.get("/login", _file("login.html")),
            web.post("/login", pages.log_in),
            web.post("/logout", pages.log_out),
            web.get("/v1/login", pages.login),
            web.get("/v1/live", pages.live),
            web.get("/v1/rollouts", pages.rollouts),
            web.get("/v1/rollouts/{name}", pages.status),
            web.post("/v1/rollouts/{name}/{change:pause|resume|abort|approve}", pages.change),
            *(sites.routes() if sites else ()),
        ]
    )
    return app


def _file(name: str) -> Handler:
    content = (PAGE / name).read_bytes()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=TYPES[name], charset="utf-8")

    return answer


class _Pages:
    def __init__(self, ledger: Ledger, reading: Ledger, live: Live, sites: SiteApi | None) -> None:
        self._ledger, self._reading, self._live, self._sites = ledger, reading, live, sites
        self._lines = Counter[str]()  # that are live, of each person
        self._access = Access(People(reading.database, time.time), time.time)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Nothing is answered without a login, or changed for another site's page."""
        try:
            response = await self._guarded(request, handler)
        except web.HTTPException as answer:
            answer.headers.update(HEADERS)
            raise
        except UserError as fault:
            response = refusal(f"{fault.subject}: {fault.problem}", 409, fault.next)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._sites and request.path == ENROL:
            return await handler(request)
        if self._sites and self._sites.answers(request.path):
            site = await asyncio.to_thread(site_of, self._sites.sites, request)
            if site is None:
                return refusal("no site has this certificate", 401)
            request[SITE] = site
            return await handler(request)
        if request.method == "POST" and not is_own(request):
            return refusal("the request comes from another page", 403)
        if request.path in OPEN:
            return await handler(request)
        person = await asyncio.to_thread(self._access.person, request)
        if person is None and request.path == "/":
            raise web.HTTPSeeOther("/login")
        if person is None:
            return refusal("log in first", 401)
        request[PERSON] = person
        return await handler(request)

    # Logins

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        form = parse_qs((await body_of(request)).decode(errors="replace"))
        token = form.get("token", [""])[0]
        secret = await asyncio.to_thread(self._access.log_in, token)
        if secret is None:
            page = (PAGE / "login.html").read_text().replace("<!-- refusal -->", REFUSED)
            return web.Response(text=page, content_type="text/html", status=403)
        response = web.HTTPSeeOther("/")
        response.set_cookie(
            COOKIE, secret, max_age=SESSION_SECONDS, httponly=True, samesite="Strict",
            secure=request.secure,
        )  # fmt: skip
        raise response

    async def log_out(self, request: web.Request) -> web.StreamResponse:
        self._access.log_out(request)
        response = web.HTTPSeeOther("/login")
        response.del_cookie(COOKIE)
        raise response

    async def login(self, request: web.Request) -> web.StreamResponse:
        person = request[PERSON]
        return document(Login(name=person.name, role=person.role.value))

    # What is to be seen

    async def rollouts(self, _: web.Request) -> web.StreamResponse:
        return document(await asyncio.to_thread(report.listed, self._reading))

    async def status(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        return document(await asyncio.to_thread(report.status, self._reading, name))

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `rollouts` (a RolloutList) and `status` (a RolloutStatus)."""
        name, person = request.query.get("rollout", ""), request[PERSON].name
        if name:  # unknown: an answer in words
            await asyncio.to_thread(self._reading.rollout, name)
        if self._lines[person] >= MOST_LINES:
            return refusal(f"{person} looks from {MOST_LINES} pages already", 429)
        self._lines[person] += 1
        try:
            return await self._follow(request, name)
        finally:
            self._lines[person] -= 1

    async def _follow(self, request: web.Request, name: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # nobody reads any more
            await self._tell(request, response, name)
        return response

    async def _tell(self, request: web.Request, line: web.StreamResponse, name: str) -> None:
        asked_at = time.monotonic()
        async for news in self._live.watch(name):
            if news is not None:
                await _write(request, line, await asyncio.to_thread(_event, news))
            elif time.monotonic() - asked_at >= HEARTBEAT_SECONDS:
                if await asyncio.to_thread(self._access.person, request) is None:
                    return
                await _write(request, line, b":\n\n")
                asked_at = time.monotonic()

    # What operators do

    async def change(self, request: web.Request) -> web.StreamResponse:
        person = request[PERSON]
        if person.role is not Role.OPERATOR:
            return refusal(f"{person.name} is no operator", 403)
        body = parse_json(ChangeRequest, await body_of(request), "request", "is not understood")
        if len(body.reason) > REASON:
            raise UserError("reason", f"expected at most {REASON} characters")
        name, change = request.match_info["name"], request.match_info["change"]
        # It comes to terminals, and PostgreSQL takes no zero.
        reason = visible(body.reason.strip())
        await asyncio.to_thread(self._change, name, change, person.name, reason)
        return document(RolloutChange(name=name, change=change, boards=0))

    def _change(self, name: str, change: str, who: str, reason: str) -> None:
        if change == "approve":
            operate.approve(self._ledger, name, who, reason)
            return
        why = f"{who}: {reason}" if reason else who
        if change == "resume" and not operate.is_conducted(self._ledger, name):
            raise UserError(
                f"rollout '{name}'",
                "no process conducts it",
                next=f"edgewright rollout.resume --name={name}, where it was started",
            )
        {"pause": operate.pause, "resume": operate.unpause, "abort": operate.abort}[change](
            self._ledger, name, why
        )


async def _write(request: web.Request, line: web.StreamResponse, content: bytes) -> None:
    """Raises ConnectionError for a line whose reader takes nothing: what waits would pile up."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await line.write(content)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionError("nobody reads") from None


def _event(news: Document) -> bytes:
    name = "rollouts" if isinstance(news, RolloutList) else "status"
    return f"event: {name}\ndata: {news.model_dump_json()}\n\n".encode()
