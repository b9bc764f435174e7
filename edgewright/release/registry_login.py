"""How one logs in to a registry: by Docker's credentials, and by tokens that these are worth.

A registry answers 401 and says where tokens are had (the token scheme of the distribution
specification), or that it takes the password itself.
"""

import base64
import re
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from pydantic import Field

from edgewright.base import process
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import read_file
from edgewright.base.schema import Excerpt, parse_json
from edgewright.base.text import visible
from edgewright.release import web

DOCUMENT_BYTES = 1 << 20  # of Docker's configuration, and of a token
HELPER_SECONDS = 60.0
NO_CREDENTIALS = "credentials not found"  # as every helper says it
Helper = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # docker-credential-<this>


class _Credentials(Excerpt):
    auth: str = ""  # base64 of user:password


class _DockerConfig(Excerpt):
    auths: dict[str, _Credentials] = Field(default_factory=dict)
    helpers: dict[str, Helper] = Field(default_factory=dict, alias="credHelpers")
    helper: Helper | None = Field(default=None, alias="credsStore")


class _Stored(Excerpt):
    """What a credential helper writes."""

    user: str = Field(alias="Username")
    secret: str = Field(alias="Secret")


class _Token(Excerpt):
    token: str = ""
    access_token: str = ""


def docker_credentials(registry: str, config: Path) -> str | None:
    """The header that `docker login` left for a registry, as `host:port`; None: for anybody.

    Raises UserError for a configuration or a helper that cannot be read.
    """
    if not config.exists():
        return None
    raw = read_file(config, limit=DOCUMENT_BYTES)
    docker = parse_json(_DockerConfig, raw, str(config), "not a configuration of Docker")
    helper = docker.helpers.get(registry, docker.helper)
    if helper is not None:
        return _from_helper(f"docker-credential-{helper}", registry)
    for name in (registry, f"https://{registry}"):
        if name in docker.auths and docker.auths[name].auth:
            return f"Basic {docker.auths[name].auth}"
    return None


def _from_helper(program: str, registry: str) -> str | None:
    result = process.capture([program, "get"], input=registry, timeout=HELPER_SECONDS)
    if result.returncode != 0 and NO_CREDENTIALS in result.stdout + result.stderr:
        return None
    if result.returncode != 0:  # what it said may hold a secret
        facts = [f"ended with exit code {result.returncode}"]
        raise UserError(program, f"has no login for {registry}", facts=facts)
    stored = parse_json(_Stored, result.stdout, program, "writes no credentials")
    pair = base64.b64encode(f"{stored.user}:{stored.secret}".encode()).decode()
    return f"Basic {pair}"


@dataclass(kw_only=True)
class Login:
    """What this user shows to one registry."""

    credentials: str | None  # the header's value that the registry, or its token server, takes
    header: str | None = None  # what the registry takes

    def __post_init__(self) -> None:
        if self._has_token:
            self.header = self.credentials

    @property
    def _has_token(self) -> bool:
        return self.credentials is not None and self.credentials.startswith("Bearer ")

    def respond(self, refusal: Message) -> bool:
        """Whether an answer of 401 leads to another header, which the registry may take.

        Raises UserError for a token server that would get credentials in clear, TargetError for
        one that gives none.
        """
        scheme, _, parameters = refusal.get("WWW-Authenticate", "").partition(" ")
        if self._has_token:
            return False
        if scheme.lower() == "bearer":
            self.header = self._token(dict(re.findall(r'(\w+)="([^"]*)"', parameters)))
            return True
        if scheme.lower() == "basic" and self.header != self.credentials:
            self.header = self.credentials
            return True
        return False

    def _token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        if not web.is_private(realm):
            problem = "is named as the server of tokens, and would get them in clear"
            raise UserError(visible(realm), problem, next="ask who keeps the registry")
        query = {name: value for name, value in challenge.items() if name != "realm"}
        url = urlsplit(realm)._replace(query=urlencode(query)).geturl()
        headers = {"Authorization": self.credentials} if self.credentials else {}
        answer = web.repeated(
            lambda: web.request("GET", url, headers=headers, limit=DOCUMENT_BYTES), visible(realm)
        )
        if answer.status != 200:
            facts = [web.status_line("GET", answer.status)]
            raise UserError(visible(realm), "gives this user no token", facts=facts)
        token = parse_json(_Token, answer.content, visible(realm), "no token", blame=TargetError)
        return f"Bearer {token.token or token.access_token}"
