"""The hosts of an Ansible inventory, INI or YAML, read without Ansible.

Hosts, groups, ranges (`oven[01:20]`) and variables are read; nothing is run. Variables count as
in Ansible: those of a host before those of its groups, inner groups before outer ones. A group
becomes a label. `edgewright_kind` and `edgewright_site` tell what Ansible has no variable for.
"""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import yaml

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.base.schema import abridged
from edgewright.fleet.imported import YES, ImportedHost, slug

LIMIT = 16 << 20  # bytes
HOSTS = 100_000
VISITS = 1_000_000  # of hosts and groups: by aliases and ranges a short file names many
ALL, UNGROUPED = "all", "ungrouped"
YAML_SUFFIXES = (".yml", ".yaml")
SECTION = re.compile(r"\[\s*([^\]:]+?)\s*(?::\s*(vars|children)\s*)?\]\s*(?:[#;].*)?")
RANGE = re.compile(r"\[(\w+):(\w+)(?::(\d+))?\]")
ADDRESS = ("ansible_host", "ansible_ssh_host")
USER = ("ansible_user", "ansible_ssh_user")
PORT = ("ansible_port", "ansible_ssh_port")
ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")

Variables = dict[str, str]


@dataclass(kw_only=True)
class _Inventory:
    path: Path
    hosts: dict[str, Variables] = field(default_factory=dict)  # by name, in the file's order
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    children: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    variables: dict[str, Variables] = field(default_factory=lambda: defaultdict(dict))
    groups: dict[str, None] = field(default_factory=dict)  # in the file's order

    visits: int = 0

    def visit(self) -> None:
        """Raises ValueError for a file of few lines that means work without end."""
        self.visits += 1
        if self.visits > VISITS:
            raise ValueError("its groups and ranges name too many hosts, or some too often")

    def add_host(self, pattern: str, group: str, variables: Variables) -> None:
        """Raises ValueError."""
        for name in _expanded(pattern):
            self.visit()
            self.hosts.setdefault(name, {}).update(variables)
            self.members[group].add(name)

    def imported(self) -> tuple[ImportedHost, ...]:
        """Raises UserError that names every host that cannot be used."""
        ways = self._groups_of_hosts()
        hosts, wrong = list[ImportedHost](), list[str]()
        for name, own in self.hosts.items():
            merged: Variables = {}
            for group in ways[name]:
                merged |= self.variables[group]
            try:
                hosts.append(_host(name, merged | own, ways[name]))
            except ValueError as error:
                wrong.append(f"{name}: {error}")
        if wrong:
            raise UserError(str(self.path), f"{len(wrong)} hosts cannot be used", facts=wrong)
        return tuple(hosts)

    def _groups_of_hosts(self) -> Mapping[str, list[str]]:
        """For each host its groups, outer ones first."""
        depth = {ALL: 0}
        waiting: list[tuple[str, int, tuple[str, ...]]]
        waiting = [(group, 1, (group,)) for group in self.groups if group != ALL]
        while waiting:
            group, level, way = waiting.pop()
            try:
                self.visit()
            except ValueError as error:
                raise UserError(str(self.path), str(error)) from error
            if depth.get(group, -1) >= level:
                continue
            depth[group] = level
            for child in self.children[group]:
                if child in way:
                    arrows = " -> ".join((*way, child))
                    raise UserError(str(self.path), f"its groups go in a circle: {arrows}")
                waiting.append((child, level + 1, (*way, child)))
        order = sorted(depth, key=lambda group: (depth[group], group))
        inside = {group: self._all_members(group) for group in order}
        ways: dict[str, list[str]] = defaultdict(list)
        for group in order:
            for name in self.hosts if group == ALL else inside[group]:
                ways[name].append(group)
        return ways

    def _all_members(self, group: str) -> set[str]:
        waiting, groups = [group], set[str]()
        while waiting:
            inner = waiting.pop()
            if inner not in groups:
                groups.add(inner)
                waiting += self.children[inner]
        return set().union(*(self.members[inner] for inner in groups))


def from_ansible(path: Path) -> tuple[ImportedHost, ...]:
    """The hosts of an inventory; YAML by its suffix, else INI.

    Raises UserError for a file that cannot be read so, and for each host that cannot be used.
    """
    raw = read_file(path, limit=LIMIT)
    if raw.startswith(b"#!"):
        raise UserError(
            str(path),
            "is a program: it is not run",
            next=f"ansible-inventory -i {path} --list -y > hosts.yml, and import that",
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(str(path), "not UTF-8", facts=[str(error)]) from error
    read = _read_yaml if path.suffix in YAML_SUFFIXES else _read_ini
    return read(path, text).imported()


# INI


def _read_ini(path: Path, text: str) -> _Inventory:
    inventory, wrong = _Inventory(path=path), list[str]()
    group, kind = UNGROUPED, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if section := SECTION.fullmatch(line):
            group, kind = section[1], section[2] or ""
            inventory.groups[group] = None
            continue
        try:
            _add_line(inventory, group, kind, line)
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
    if wrong:
        raise UserError(str(path), f"{len(wrong)} lines cannot be used", facts=wrong)
    return inventory


def _add_line(inventory: _Inventory, group: str, kind: str, line: str) -> None:
    """Raises ValueError."""
    if kind == "vars":
        name, is_pair, value = line.partition("=")
        if not is_pair:
            raise ValueError("expected NAME=VALUE")
        inventory.variables[group][name.strip()] = value.strip().strip("'\"")
        return
    first, *assignments = shlex.split(line, comments=True)
    if kind == "children":
        inventory.children[group].add(first)
        inventory.groups[first] = None
        return
    pairs = [word.partition("=") for word in assignments]
    if bad := next((word for word, is_pair, _ in pairs if not is_pair), None):
        raise ValueError(f"expected NAME=VALUE, found {abridged(bad)}")
    variables = {name: value for name, _, value in pairs}
    pattern, port = first, ""
    if "[" not in first.rpartition(":")[2] and first.rpartition(":")[2].isdigit():
        pattern, _, port = first.rpartition(":")  # an old way to write a port
    inventory.add_host(pattern, group, ({PORT[0]: port} if port else {}) | variables)


# YAML


def _read_yaml(path: Path, text: str) -> _Inventory:
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(str(path), "not YAML", facts=[str(error)]) from error
    inventory = _Inventory(path=path)
    try:
        for name, body in _table(document, "the file").items():
            _add_group(inventory, name, body, ())
    except ValueError as error:
        raise UserError(str(path), "no inventory", facts=[str(error)]) from error
    return inventory


def _add_group(inventory: _Inventory, name: str, body: object, way: tuple[str, ...]) -> None:
    """Raises ValueError."""
    if name in way:
        raise ValueError(f"its groups go in a circle: {' -> '.join((*way, name))}")
    if len(way) > 50:
        raise ValueError("groups are nested deeper than 50 levels")
    inventory.visit()
    inventory.groups[name] = None
    table = _table(body, f"group '{name}'")
    if unknown := {*table} - {"hosts", "vars", "children"}:
        raise ValueError(f"group '{name}': unknown key {abridged(min(unknown))}")
    for host, variables in _table(table.get("hosts"), f"hosts of '{name}'").items():
        inventory.add_host(host, name, _texts(variables, f"host '{host}'"))
    inventory.variables[name].update(_texts(table.get("vars"), f"vars of '{name}'"))
    for child, inner in _table(table.get("children"), f"children of '{name}'").items():
        inventory.children[name].add(child)
        _add_group(inventory, child, inner, (*way, name))


def _table(value: object, subject: str) -> dict[str, object]:
    """Raises ValueError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{subject}: expected a table, found {abridged(value)}")
    return {str(key): inner for key, inner in value.items()}


def _texts(value: object, subject: str) -> Variables:
    """The variables that are words or numbers; others are for Ansible."""
    plain = {k: v for k, v in _table(value, subject).items() if isinstance(v, str | int | float)}
    return {key: str(inner) for key, inner in plain.items()}


# Hosts


def _expanded(pattern: str) -> Iterator[str]:
    """`oven[01:03]` is oven01, oven02, oven03. Raises ValueError."""
    match = RANGE.search(pattern)
    if match is None:
        if "[" in pattern:
            raise ValueError(f"{abridged(pattern)} is no host and no range")
        yield pattern
        return
    before, after = pattern[: match.start()], pattern[match.end() :]
    for middle in _steps(match[1], match[2], int(match[3] or 1)):
        for suffix in _expanded(after):
            yield f"{before}{middle}{suffix}"


def _steps(first: str, last: str, step: int) -> Iterator[str]:
    """Raises ValueError."""
    if step < 1:
        raise ValueError(f"the range [{first}:{last}] has no steps")
    if first.isdecimal() and last.isdecimal() and len(first) < 10 and len(last) < 10:
        begin, end = int(first), int(last)
        words = (str(number).zfill(len(first)) for number in range(begin, end + 1, step))
    elif len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        begin, end = ord(first), ord(last)
        words = (chr(number) for number in range(begin, end + 1, step))
    else:
        raise ValueError(f"[{first}:{last}] is no range")
    if begin > end or (end - begin) // step >= HOSTS:
        raise ValueError(f"the range [{first}:{last}] is empty, or beyond {HOSTS:,} hosts")
    yield from words


def _host(name: str, variables: Variables, groups: list[str]) -> ImportedHost:
    """Raises ValueError."""
    used = (*ADDRESS, *USER, *PORT, *ARGUMENTS, "ansible_become", "ansible_connection")
    for key in (*used, "edgewright_kind", "edgewright_site"):
        if "{{" in variables.get(key, ""):
            raise ValueError(f"{key} is a template, which Ansible alone can fill in")
    if variables.get("ansible_connection", "ssh") not in ("ssh", "smart", "paramiko"):
        raise ValueError(f"is reached by '{variables['ansible_connection']}', not by SSH")
    port = _first(variables, PORT)
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"port {abridged(port)} is no number")
    return ImportedHost(
        name=name,
        address=_first(variables, ADDRESS) or name,
        user=_first(variables, USER),
        port=int(port) if port else None,
        jump=_jump(variables),
        site=variables.get("edgewright_site"),
        kind=variables.get("edgewright_kind"),
        sudo=variables.get("ansible_become", "").lower() in YES,
        labels={slug(group): "true" for group in groups if group not in (ALL, UNGROUPED)},
    )


def _first(variables: Variables, names: tuple[str, ...]) -> str | None:
    return next((variables[name] for name in names if variables.get(name)), None)


def _jump(variables: Variables) -> str | None:
    """The jump hosts among the arguments for `ssh`. Raises ValueError."""
    words = [word for name in ARGUMENTS for word in shlex.split(variables.get(name, ""))]
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == "-J":
            return following
        if word.startswith("-J"):
            return word[2:]
        setting = following if word == "-o" else word.removeprefix("-o")
        key, _, value = setting.replace(" ", "=", 1).partition("=")
        if key.lower() == "proxyjump":
            return None if value.lower() == "none" else value
        if key.lower() == "proxycommand":
            raise ValueError("is reached by a ProxyCommand: an inventory has jump hosts alone")
    return None
