"""Where a board is: `user@addr[:port]` and what is needed to reach it."""

import re
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.deploy.known_hosts import KnownKey

HOST = re.compile(
    r"^(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?$"
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One board that SSH reaches. None leaves the choice to `~/.ssh/config`."""

    address: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None  # private key to use instead of the user's own
    known_hosts: Path | None = None  # host keys pinned for this target alone
    host_key: KnownKey | None = None  # the one key of this target, whatever files say
    jump: "Target | None" = None  # the host to go through; None: what `~/.ssh/config` says
    sudo: bool = False  # commands run by sudo, which must ask for no password
    emulated: bool = False  # its times are an emulator's
    shares_memory: bool = False  # and its programs' memory is the emulator's too

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        user = f"{self.user}@" if self.user else ""
        return user + address + (f":{self.port}" if self.port else "")


def parse_host(text: str) -> Target:
    """`user@addr[:port]`; IPv6 in brackets; a bare name may be an alias of `~/.ssh/config`.

    Raises UserError.
    """
    match = HOST.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 1 <= port <= 65535):
        raise UserError(
            f"--host={text}",
            "not a host",
            facts=["expected: user@addr[:port], or user@[v6-addr][:port]"],
            next="the same command with e.g. --host=root@192.0.2.7",
        )
    return Target(address=match["v6"] or match["name"], user=match["user"], port=port)
