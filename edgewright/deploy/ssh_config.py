"""The hosts that an OpenSSH configuration names, as Paramiko reads it."""

import re
from dataclasses import dataclass
from pathlib import Path

import paramiko

from edgewright.base.errors import UserError
from edgewright.base.files import read_file

LIMIT = 4 << 20  # bytes
LINE = re.compile(r"\s*(?P<key>host|match|include)[\s=]+(?P<rest>.*)", re.IGNORECASE)
PATTERN = re.compile(r"[*?!]")


@dataclass(frozen=True, kw_only=True)
class ConfiguredHost:
    """A host that has a name of its own in the configuration, not a pattern."""

    line: int
    name: str
    address: str
    user: str | None
    port: int | None
    jump: str | None  # as `ProxyJump` has it, the outermost first


def configured_hosts(path: Path) -> tuple[ConfiguredHost, ...]:
    """The named hosts of a configuration, in its order.

    Raises UserError for a file that cannot be parsed, that would run commands to be understood
    (`Match exec`), or whose hosts are reached by a `ProxyCommand`.
    """
    try:
        text = read_file(path, limit=LIMIT).decode()
        lines = _named_lines(path, text)
        config = paramiko.SSHConfig.from_text(text)
    except (UnicodeDecodeError, paramiko.ConfigParseError) as broken:
        raise UserError(str(path), "no SSH configuration", facts=[str(broken)]) from broken
    return tuple(_host(config, name, line, path) for name, line in lines.items())


def _named_lines(path: Path, text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None:
            continue
        key, words = match["key"].lower(), match["rest"].split()
        if key == "match" and "exec" in match["rest"].lower():
            raise UserError(
                f"{path}:{number}",
                "'Match exec' would run a command to read this file",
                next="import a copy without it",
            )
        if key == "include":
            raise UserError(
                f"{path}:{number}", "'Include' is not followed", next="import that file by itself"
            )
        if key == "host":
            names = (word.strip('"') for word in words)
            for name in names:
                if not PATTERN.search(name):
                    lines.setdefault(name, number)
    return lines


def _host(config: paramiko.SSHConfig, name: str, line: int, path: Path) -> ConfiguredHost:
    try:
        settings = config.lookup(name)
        port = int(settings["port"]) if "port" in settings else None
    except (ValueError, paramiko.SSHException) as wrong:
        raise UserError(f"{path}:{line}", "cannot be understood", facts=[str(wrong)]) from wrong
    if "proxycommand" in settings:
        raise UserError(
            f"{path}:{line}",
            f"'{name}' is reached by a ProxyCommand: an inventory has jump hosts alone",
            next="write it as ProxyJump",
        )
    jump = settings.get("proxyjump")
    return ConfiguredHost(
        line=line,
        name=name,
        address=settings["hostname"],
        user=settings.get("user"),
        port=port,
        jump=None if jump is None or jump.lower() == "none" else jump,
    )
