"""`fleet.toml` from what other programs keep: an SSH configuration, a table, an Ansible inventory.

What a source does not say, of the site and the kind of a board above all, comes from the caller
or is left out; whoever reads the file is told every defect (`fleet.inventory`).
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.deploy.ssh_config import configured_hosts
from edgewright.deploy.target import Target, parse_host

LIMIT = 16 << 20  # bytes of a table
UNFIT = re.compile(r"[^a-z0-9._-]+")
# Columns of a table; any other is a label.
COLUMNS = ("name", "address", "user", "port", "site", "kind", "jump", "host_key", "sudo")
YES = frozenset({"true", "yes", "1"})


@dataclass(frozen=True, kw_only=True)
class ImportedHost:
    """A host, as far as the source tells of it."""

    name: str
    address: str  # without user and port
    user: str | None = None
    port: int | None = None
    jump: str | None = None  # as `ProxyJump` has it: user@addr[:port] or names, outermost first
    site: str | None = None
    kind: str | None = None
    host_key: str | None = None
    sudo: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """`user@addr[:port]`."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        user = f"{self.user}@" if self.user else ""
        return user + address + (f":{self.port}" if self.port else "")


def from_ssh_config(path: Path) -> tuple[ImportedHost, ...]:
    """The named hosts of an SSH configuration. Raises UserError."""
    return tuple(
        ImportedHost(
            name=host.name, address=host.address, user=host.user, port=host.port, jump=host.jump
        )
        for host in configured_hosts(path)
    )


def from_csv(path: Path) -> tuple[ImportedHost, ...]:
    """The rows of a table whose first line names its columns.

    Raises UserError that names each line that cannot be used.
    """
    try:
        text = read_file(path, limit=LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(str(path), "not UTF-8", facts=[str(error)]) from error
    first = text.partition("\n")[0]
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True
    )
    hosts, wrong = list[ImportedHost](), list[str]()
    try:
        columns = {column: column.strip().lower() for column in rows.fieldnames or ()}
        lacking = [column for column in ("name", "address") if column not in columns.values()]
        if lacking:
            raise UserError(
                f"{path}:1",
                f"no column '{lacking[0]}'",
                facts=[f"columns: {', '.join(COLUMNS)}; any other is a label"],
            )
        for row in rows:
            if None in row or None in row.values():
                wrong.append(f"{path}:{rows.line_num}: expected {len(columns)} columns")
                continue
            cells = {columns[key]: value.strip() for key, value in row.items()}
            try:
                hosts.append(_of_row(cells))
            except ValueError as error:
                wrong.append(f"{path}:{rows.line_num}: {error}")
    except csv.Error as error:
        wrong.append(f"{path}:{rows.line_num}: {error}")
    if wrong:
        raise UserError(str(path), f"{len(wrong)} lines cannot be used", facts=wrong)
    return tuple(hosts)


def _of_row(cells: Mapping[str, str]) -> ImportedHost:
    """Raises ValueError."""
    if not cells["name"] or not cells["address"]:
        raise ValueError("name or address is empty")
    port = cells.get("port", "")
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"port '{port}' is no number")
    target = _target(cells["address"])
    return ImportedHost(
        name=cells["name"],
        address=target.address,
        user=cells.get("user") or target.user,
        port=int(port) if port else target.port,
        jump=cells.get("jump") or None,
        site=cells.get("site") or None,
        kind=cells.get("kind") or None,
        host_key=cells.get("host_key") or None,
        sudo=cells.get("sudo", "").lower() in YES,
        labels={slug(key): value for key, value in cells.items() if key not in COLUMNS and value},
    )


def _target(address: str) -> Target:
    """An address alone, of IPv6 without brackets too, or `user@addr[:port]`. Raises ValueError."""
    if address.count(":") > 1 and "[" not in address:
        return Target(address=address)
    try:
        return parse_host(address)
    except UserError as error:
        raise ValueError(f"address '{address}' is no user@addr[:port]") from error


def slug(name: str) -> str:
    """A name of the fleet's for one of another program."""
    return UNFIT.sub("-", name.lower()).strip("-.")


@dataclass(frozen=True, kw_only=True)
class _Gateway:
    name: str
    address: str
    jump: str | None


def fleet_text(
    hosts: Sequence[ImportedHost], *, site: str | None = None, kind: str | None = None
) -> str:
    """`fleet.toml` of hosts; what they do not say themselves is `site` and `kind`.

    Hosts that others are reached through become gateways.
    """
    by_name = {host.name: host for host in hosts}
    gateways: dict[str, _Gateway] = {}
    for host in hosts:
        _add_gateways(host.jump, by_name, gateways)
    boards = [host for host in hosts if slug(host.name) not in gateways]
    sites = dict.fromkeys(slug(host.site or site or "") for host in boards)
    lines = ["version = 1"]
    for name in filter(None, sites):
        lines += ["", "[[sites]]", *_pairs([("name", name)])]
    for gateway in gateways.values():
        lines += ["", "[[gateways]]"]
        lines += _pairs(
            [("name", gateway.name), ("address", gateway.address), ("jump", gateway.jump)]
        )
    for host in boards:
        lines += ["", "[[boards]]", *_board_lines(host, site, kind)]
    return "\n".join(lines) + "\n"


def _add_gateways(
    jump: str | None, by_name: Mapping[str, ImportedHost], gateways: dict[str, _Gateway]
) -> None:
    before: str | None = None
    for hop in _hops(jump):
        host = by_name.get(hop)
        name = _gateway_name(hop)
        if name not in gateways:
            if host is not None and host.jump and before is None:
                gateways[name] = _Gateway(name=name, address=host.way, jump=_nearest(host.jump))
                _add_gateways(host.jump, by_name, gateways)
            else:
                address = host.way if host is not None else hop
                gateways[name] = _Gateway(name=name, address=address, jump=before)
        before = name


def _hops(jump: str | None) -> list[str]:
    return [hop.strip() for hop in jump.split(",") if hop.strip()] if jump else []


def _gateway_name(hop: str) -> str:
    return slug(hop.rpartition("@")[2])


def _nearest(jump: str | None) -> str | None:
    """The name of the gateway right before a host."""
    hops = _hops(jump)
    return _gateway_name(hops[-1]) if hops else None


def _board_lines(host: ImportedHost, site: str | None, kind: str | None) -> Iterator[str]:
    where = host.site or site
    yield from _pairs(
        [
            ("name", slug(host.name)),
            ("site", slug(where) if where else None),
            ("kind", host.kind or kind),
            ("address", host.way),
            ("jump", _nearest(host.jump)),
            ("host_key", host.host_key),
        ]
    )
    if host.sudo:
        yield "sudo = true"
    if host.labels:
        pairs = (f"{_text(label)} = {_label(value)}" for label, value in host.labels.items())
        yield f"labels = {{ {', '.join(pairs)} }}"


def _pairs(pairs: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    return (f"{key} = {_text(value)}" for key, value in pairs if value is not None)


def _text(value: str) -> str:
    """TOML's basic strings have JSON's escapes, and no raw DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _label(value: str) -> str:
    return value.lower() if value.lower() in ("true", "false") else _text(value)
