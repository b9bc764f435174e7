"""Who a request is from: a token, a session that a token began, or a client certificate."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from edgewright.fleet.rollout.people import People, Person, digest

COOKIE = "edgewright"
SESSION_SECONDS = 12 * 3600
BEARER = "Bearer "


@dataclass(frozen=True, kw_only=True)
class _Session:
    token_sha256: str
    until: float


class Access:
    """Sessions live in this process: its end logs everybody out."""

    def __init__(self, people: People, clock: Callable[[], float]) -> None:
        self._people, self._clock = people, clock
        self._sessions: dict[str, _Session] = {}

    def log_in(self, token: str) -> str | None:
        """The secret of a new session; None for a token that does not count."""
        token_sha256 = digest(token)
        if self._people.by_token(token_sha256) is None:
            return None
        moment = self._clock()
        for session in [key for key, session in self._sessions.items() if session.until < moment]:
            del self._sessions[session]
        secret = secrets.token_urlsafe()
        until = moment + SESSION_SECONDS
        self._sessions[secret] = _Session(token_sha256=token_sha256, until=until)
        return secret

    def log_out(self, request: web.Request) -> None:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def person(self, request: web.Request) -> Person | None:
        """Asked anew for each request: who was removed is out at once."""
        header = request.headers.get("Authorization", "")
        if header.startswith(BEARER):
            return self._people.by_token(digest(header.removeprefix(BEARER)))
        session = self._sessions.get(request.cookies.get(COOKIE, ""))
        if session is not None and session.until > self._clock():
            return self._people.by_token(session.token_sha256)
        name = common_name(request)
        return None if name is None else self._people.by_name(name)


def common_name(request: web.Request) -> str | None:
    """Of the client's certificate, which TLS has verified."""
    certificate = request.get_extra_info("peercert") or {}
    names = dict(pair for part in certificate.get("subject", ()) for pair in part)
    return names.get("commonName")


def is_own(request: web.Request) -> bool:
    """Whether a request that changes something comes from our own page.

    A browser sends cookies and certificates by itself, whichever page asks it to; it does not
    let that page choose these headers.
    """
    if request.headers.get("Authorization", "").startswith(BEARER):
        return True
    return request.headers.get("Origin", "").partition("://")[2] == request.host
