"""`fleet.toml`: sites, gateways, boards, their labels, host keys and maintenance windows.

Every entry is judged by itself, and then against the others, so that one reading names every
defect of the file, each with its line.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import read_file
from edgewright.base.schema import Document, Part, abridged, translate_errors
from edgewright.deploy.known_hosts import pinned_key
from edgewright.deploy.target import Target, parse_host
from edgewright.fleet import select
from edgewright.fleet.select import FALSE, RESERVED, TRUE, Expression

FILE = "fleet.toml"
LIMIT = 16 << 20  # bytes
ENTRIES = 100_000  # of one list
NEAR_MISSES = 20  # defects that name what may have been meant
NO_JUMP = "none"  # as ProxyJump says it
OWN_LABELS = ("name", "site", "kind")  # that every board has

Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=63)]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=63)]
Address = Annotated[str, Field(min_length=1, max_length=255)]  # user@addr[:port]
HostKey = Annotated[str, Field(max_length=8192)]  # `ssh-ed25519 AAAA…` or `SHA256:…`
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Day(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


DAYS = tuple(Day)


class Window(Part):
    """When boards may be changed: on some days, from a time to a time of the place's clocks."""

    days: tuple[Day, ...] = Field(DAYS, min_length=1)  # on which it begins
    from_: Clock
    to: Clock  # on the next day, if it is earlier than `from`
    timezone: str = Field("UTC", max_length=63)  # e.g. Europe/Paris

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"no time zone {abridged(name)}, e.g. Europe/Paris") from error
        return name

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.from_ == self.to:
            raise ValueError(f"begins and ends at {self.to}; leave it out, and it is always open")
        return self

    def is_open(self, time: datetime) -> bool:
        local = time.astimezone(ZoneInfo(self.timezone))
        clock, today = _highest(local).strftime("%H:%M"), DAYS[local.weekday()]
        if self.from_ < self.to:
            return today in self.days and self.from_ <= clock < self.to
        yesterday = DAYS[local.weekday() - 1]
        return (today in self.days and clock >= self.from_) or (
            yesterday in self.days and clock < self.to
        )

    def next_opening(self, time: datetime) -> datetime:
        """When it opens next; `time`, if it is open."""
        if self.is_open(time):
            return time
        local = time.astimezone(ZoneInfo(self.timezone))
        hour, minute = map(int, self.from_.split(":"))
        for days in range(15):  # once a week, and that once is in an hour that is left out
            day = (local + timedelta(days=days)).replace(
                hour=hour, minute=minute, second=0, microsecond=0, fold=0
            )
            day = _shown_minute(day)
            is_later = day.astimezone(UTC) > time  # two times of one zone compare by their clocks
            if is_later and DAYS[day.weekday()] in self.days and self.is_open(day):
                return day
        raise AssertionError("a window opens on some day of two weeks")


MINUTE = timedelta(minutes=1)


def _highest(local: datetime) -> datetime:
    """What the clock has shown at most: in an hour that comes twice, the second time, its end.

    So a window that has opened or closed in it does not do so once more.
    """
    if not local.fold:
        return local
    while local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        local += MINUTE
    return local - MINUTE


def _shown_minute(local: datetime) -> datetime:
    """The first minute from this one on that the clock shows, where an hour is left out."""
    while local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != local.replace(
        tzinfo=None
    ):
        local += MINUTE
    return local


class Site(Part):
    """A place with boards."""

    name: Word
    gateway: Word | None = None  # that its boards are reached through
    window: Window | None = None
    dials_out: bool = False  # its boards are reached from there alone, by `site.run`


class Gateway(Part):
    """A jump host."""

    name: Word
    address: Address
    jump: Word | None = None  # the gateway, or board, before it
    host_key: HostKey | None = None


class Board(Part):
    """One board."""

    name: Word
    site: Word
    kind: Word  # its board profile
    address: Address
    jump: Word | None = None  # a gateway or a board; `none`: not the site's gateway either
    host_key: HostKey | None = None
    sudo: bool = False
    emulated: bool = False  # its times and memory are its emulator's
    labels: Annotated[dict[Word, LabelValue | bool | int], Field(max_length=32)] = Field({})
    window: Window | None = None  # in place of the site's

    @property
    def facts(self) -> Mapping[str, str]:
        """What a selection asks for."""
        own = {"name": self.name, "site": self.site, "kind": self.kind}
        return {label: _label_text(value) for label, value in self.labels.items()} | own


def _label_text(value: str | bool | int) -> str:
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return str(value)


class Fleet(Document):
    """`fleet.toml`."""

    version: Literal[1]
    sites: Annotated[tuple[Site, ...], Field(max_length=ENTRIES)] = ()
    gateways: Annotated[tuple[Gateway, ...], Field(max_length=ENTRIES)] = ()
    boards: Annotated[tuple[Board, ...], Field(max_length=ENTRIES)] = ()
    groups: Annotated[dict[Word, str], Field(max_length=ENTRIES)] = Field({})  # name → selection


Entry = Site | Gateway | Board
ENTRY_KINDS: Mapping[str, type[Entry]] = {"sites": Site, "gateways": Gateway, "boards": Board}
SINGULAR = {"sites": "site", "gateways": "gateway", "boards": "board"}


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """A fleet without defects, and the file that it stands in."""

    path: Path
    fleet: Fleet
    lines: "Lines" = field(repr=False)

    @cached_property
    def hosts(self) -> Mapping[str, Gateway | Board]:
        """Gateways and boards by name."""
        entries: tuple[Gateway | Board, ...] = (*self.fleet.gateways, *self.fleet.boards)
        return {entry.name: entry for entry in entries}

    @cached_property
    def _sites(self) -> Mapping[str, Site]:
        return {site.name: site for site in self.fleet.sites}

    @cached_property
    def vocabulary(self) -> Mapping[str, Collection[str]]:
        """Each label of the fleet, and the values that boards have of it."""
        return _vocabulary(self.fleet.boards)

    def select(self, expression: str = "", group: str = "") -> tuple[Board, ...]:
        """The boards that both mean; without either, all.

        Raises UserError for what cannot be read, means nothing here, or no board.
        """
        wanted = [self._group(group)] if group else []
        if expression:
            wanted.append(select.parse(expression))
        for part in wanted:
            part.require_known(self.vocabulary)
        boards = [
            board for board in self.fleet.boards if all(part.holds(board.facts) for part in wanted)
        ]
        if not boards:
            texts = [f"{part.subject}: {part.text}" for part in wanted]
            raise UserError(str(self.path), "no board is selected", facts=texts, next=select.NEXT)
        return tuple(boards)

    def _group(self, name: str) -> Expression:
        if name not in self.fleet.groups:
            raise UserError(
                f"--group={name}",
                f"no group of {self.path}{near_miss(name, self.fleet.groups)}",
                facts=[f"groups: {', '.join(sorted(self.fleet.groups)) or 'none'}"],
                next="edgewright fleet.list",
            )
        return select.parse(self.fleet.groups[name], f"group '{name}'")

    def window(self, board: Board) -> Window | None:
        return board.window or self._sites[board.site].window

    def jump(self, entry: Gateway | Board) -> Gateway | Board | None:
        """What comes before it on the way."""
        name = _jump_name(entry, self._sites)
        return self.hosts[name] if name else None

    def target(self, entry: Gateway | Board) -> Target:
        """The way to a board or a gateway, through what stands before it."""
        jump, host = self.jump(entry), parse_host(entry.address)
        line = self.lines.of(_list_of(entry), self._place(entry), "host_key")
        source = f"{self.path}:{line}" if line else str(self.path)
        return Target(
            address=host.address,
            user=host.user,
            port=host.port,
            sudo=isinstance(entry, Board) and entry.sudo,
            emulated=isinstance(entry, Board) and entry.emulated,
            shares_memory=isinstance(entry, Board) and entry.emulated,
            host_key=pinned_key(entry.host_key, source) if entry.host_key else None,
            jump=self.target(jump) if jump else None,
        )

    def _place(self, entry: Gateway | Board) -> int:
        return self._places[entry.name]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        lists: tuple[tuple[Gateway | Board, ...], ...] = (self.fleet.gateways, self.fleet.boards)
        return {entry.name: place for entries in lists for place, entry in enumerate(entries)}


def _list_of(entry: Entry) -> str:
    return next(name for name, kind in ENTRY_KINDS.items() if isinstance(entry, kind))


def _jump_name(entry: Gateway | Board, sites: Mapping[str, Site]) -> str | None:
    name = entry.jump
    if name is None and isinstance(entry, Board) and entry.site in sites:
        name = sites[entry.site].gateway
    return None if name == NO_JUMP else name


def _vocabulary(boards: Sequence[Board]) -> Mapping[str, Collection[str]]:
    vocabulary: dict[str, set[str]] = defaultdict(set)
    for board in boards:
        for label, value in board.facts.items():
            vocabulary[label].add(value)
    return vocabulary


def load(path: Path, kinds: Collection[str]) -> Inventory:
    """Read a fleet. `kinds` are the board profiles that there are.

    Raises UserError that names every defect, with its line.
    """
    raw = read_file(path, limit=LIMIT, next="edgewright fleet.import --csv=FILE writes one")
    return parse(raw, path, kinds)


def parse(raw: bytes, path: Path, kinds: Collection[str]) -> Inventory:
    """`load`, of what the file holds."""
    try:
        text = raw.decode()
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        facts = [str(error).splitlines()[0]]
        raise UserError(str(path), "not TOML", facts=facts, next=f"mend {path}") from error
    lines = Lines(text, table)
    checker = _Checker(lines=lines, kinds=kinds)
    fleet = checker.fleet(table)
    if checker.defects:
        count = len(checker.defects)
        raise UserError(
            str(path),
            f"{count} defect{'s' * (count > 1)}",
            facts=[
                f"{path}:{line}: {words}" if line else f"{path}: {words}"
                for line, words in sorted(checker.defects, key=lambda defect: defect[0] or 0)
            ],
            next=f"mend {path}, then edgewright fleet.check --fleet={path}",
        )
    return Inventory(path=path, fleet=fleet, lines=lines)


HEADER = re.compile(r"\s*\[(\[)?\s*([A-Za-z_-]+)\s*(?:\.\s*([A-Za-z_-]+)\s*)?\]")
KEY = re.compile(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*[=.]")


class Lines:
    """On which line of a file an entry of a list stands, and each of its keys.

    It knows the lists that are written as `[[boards]]`. Python's TOML reader tells no lines.
    """

    def __init__(self, text: str, table: Mapping[str, Any]) -> None:
        self._entries: dict[str, list[dict[str, int]]] = defaultdict(list)
        keys = {"": 1}  # of the whole file
        self._entries[""].append(keys)
        for number, line in enumerate(text.splitlines(), 1):
            if header := HEADER.match(line):
                if header[1]:
                    keys = {"": number}
                    self._entries[header[2]].append(keys)
                elif header[3]:  # `[boards.labels]` is a key of its board
                    keys.setdefault(header[3], number)
                else:  # `[groups]`
                    keys = {"": number}
                    self._entries[header[2]].append(keys)
            elif key := KEY.match(line):
                keys.setdefault(key[1], number)
        for name in [*self._entries]:
            entries = table.get(name)
            count = len(entries) if isinstance(entries, list) else 1
            if len(self._entries[name]) != count:  # a text of several lines looks like a header
                del self._entries[name]

    def of(self, name: str, place: int = 0, key: str = "") -> int | None:
        """The line of a key, else of its entry; None where nobody knows."""
        if name not in self._entries:
            return None
        keys = self._entries[name][place]
        return keys.get(key, keys[""])


def _items(table: object) -> Iterator[tuple[str, object]]:
    if isinstance(table, dict):
        yield from table.items()


Kind = TypeVar("Kind", bound=Entry)


@dataclass(kw_only=True)
class _Checker:
    lines: Lines
    kinds: Collection[str]
    defects: list[tuple[int | None, str]] = field(default_factory=list)
    # Of each list, also of entries with defects: to refer to one of them is no mistake.
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def fleet(self, table: dict[str, Any]) -> Fleet:
        """What is sound of a fleet; what is not is among the defects."""
        lists = {name: self._entries(table.pop(name, []), name) for name in ENTRY_KINDS}
        try:
            Fleet.model_validate(table)
        except ValidationError as invalid:
            for words in translate_errors(invalid, Fleet):
                self.defects.append((self._line_of_rest(words), words))
        groups = {name: text for name, text in _items(table.get("groups")) if isinstance(text, str)}
        sites = self._of(lists, Site)
        gateways = self._of(lists, Gateway)
        boards = self._of(lists, Board)
        self._names(lists)
        by_site = {site.name: site for site in sites.values()}
        self._references(lists)
        self._ways([*gateways.values(), *boards.values()], lists, by_site)
        self._keys(lists)
        all_sound = len(boards) == len(self.names["boards"])
        self._groups(groups, _vocabulary([*boards.values()]) if all_sound else None)
        return Fleet(
            version=1,
            sites=tuple(sites.values()),
            gateways=tuple(gateways.values()),
            boards=tuple(boards.values()),
            groups=groups,
        )

    def _line_of_rest(self, words: str) -> int | None:
        key, _, inner = words.split(":")[0].partition(".")
        return self.lines.of(key, 0, inner) or self.lines.of("", 0, key)

    @staticmethod
    def _of(lists: Mapping[str, Mapping[int, Entry]], kind: type[Kind]) -> dict[int, Kind]:
        entries = next(entries for name, entries in lists.items() if ENTRY_KINDS[name] is kind)
        return {place: entry for place, entry in entries.items() if isinstance(entry, kind)}

    def _entries(self, items: object, name: str) -> dict[int, Entry]:
        """The sound entries of a list, by their places."""
        if not isinstance(items, list):
            self._add(name, None, "", f"{name}: expected [[{name}]], found {abridged(items)}")
            return {}
        if len(items) > ENTRIES:
            self._add(name, None, "", f"{name}: expected at most {ENTRIES:,}, found {len(items):,}")
            return {}
        kind, sound = ENTRY_KINDS[name], {}
        self.names[name] = {str(item["name"]) for item in items if "name" in dict(_items(item))}
        for place, item in enumerate(items):
            try:
                sound[place] = kind.model_validate(item)
            except ValidationError as invalid:
                label = item.get("name") if isinstance(item, dict) else None
                who = f"{SINGULAR[name]} {abridged(label) if label else place + 1}"
                for words in translate_errors(invalid, kind):
                    self._add(name, place, words.split(":")[0].split(".")[0], f"{who}: {words}")
        return sound

    def _add(self, name: str, place: int | None, key: str, words: str) -> None:
        line = self.lines.of(name, place, key) if place is not None else None
        self.defects.append((line, words))

    def _each(
        self, lists: Mapping[str, Mapping[int, Entry]], *names: str
    ) -> Iterator[tuple[Callable[[str, str], None], Entry]]:
        """Each entry of these lists, and how a defect of one of its keys is added."""
        for name in names:
            for place, entry in lists[name].items():
                yield partial(self._add_to, name, place, entry), entry

    def _add_to(self, name: str, place: int, entry: Entry, key: str, words: str) -> None:
        self._add(name, place, key, f"{SINGULAR[name]} '{entry.name}': {words}")

    def _names(self, lists: Mapping[str, Mapping[int, Entry]]) -> None:
        """Sites have names of their own; gateways and boards share theirs: both may be jumps."""
        for group in (("sites",), ("gateways", "boards")):
            first: dict[str, Entry] = {}
            for add, entry in self._each(lists, *group):
                if entry.name == NO_JUMP:
                    add("name", f"may not be called so: jump = '{NO_JUMP}' means no jump host")
                if entry.name in first:
                    other = SINGULAR[_list_of(first[entry.name])]
                    add("name", f"has the name of another {other}")
                first.setdefault(entry.name, entry)

    def _references(self, lists: Mapping[str, Mapping[int, Entry]]) -> None:
        hops = self.names["gateways"] | self.names["boards"]

        def require(
            add: Callable[[str, str], None], key: str, name: str | None, known: Collection[str]
        ) -> None:
            if name is not None and name != NO_JUMP and name not in known:
                # A search among thousands of names takes a while: not for thousands of defects.
                near = near_miss(name, sorted(known)) if len(self.defects) < NEAR_MISSES else ""
                add(key, f"{key} '{name}' is unknown{near}")

        for add, entry in self._each(lists, *ENTRY_KINDS):
            if isinstance(entry, Site):
                require(add, "gateway", entry.gateway, self.names["gateways"])
                continue
            require(add, "jump", entry.jump, hops)
            if isinstance(entry, Board):
                require(add, "site", entry.site, self.names["sites"])
                require(add, "kind", entry.kind, self.kinds)
                for label in entry.labels:
                    if label in RESERVED or label in OWN_LABELS:
                        add("labels", f"label '{label}' means something else in a selection")
            try:
                parse_host(entry.address)
            except UserError:
                add("address", f"address {abridged(entry.address)} is no user@addr[:port]")

    def _ways(
        self,
        entries: Sequence[Gateway | Board],
        lists: Mapping[str, Mapping[int, Entry]],
        sites: Mapping[str, Site],
    ) -> None:
        """Jump hosts in a circle, and two entries with one address behind one jump host."""
        jumps = {entry.name: _jump_name(entry, sites) for entry in entries}
        in_circles: set[str] = set()
        first: dict[tuple[str, int, str | None], str] = {}
        for add, entry in self._each(lists, "gateways", "boards"):
            assert not isinstance(entry, Site)
            circle = _circle(entry.name, jumps)
            if circle and in_circles.isdisjoint(circle):
                arrows = " -> ".join((*circle, circle[0]))
                add("jump", f"its jump hosts go in a circle: {arrows}")
            in_circles |= {*circle}
            try:
                host = parse_host(entry.address)
            except UserError:
                continue  # a defect already
            way = (host.address.lower(), host.port or 22, jumps[entry.name])
            if way in first:
                add("address", f"has the address of '{first[way]}': {entry.address}")
            first.setdefault(way, entry.name)

    def _keys(self, lists: Mapping[str, Mapping[int, Entry]]) -> None:
        """A key that is none, and one that two hosts have: the storage of one was copied."""
        first: dict[str, str] = {}
        for add, entry in self._each(lists, "gateways", "boards"):
            assert not isinstance(entry, Site)
            if entry.host_key is None:
                continue
            try:
                key = pinned_key(entry.host_key, FILE).fingerprint
            except ValueError as wrong:
                add("host_key", f"host_key: {wrong}")
                continue
            if key in first:
                add("host_key", f"host_key: is that of '{first[key]}', so it identifies neither")
            first.setdefault(key, entry.name)

    def _groups(
        self, groups: Mapping[str, str], vocabulary: Mapping[str, Collection[str]] | None
    ) -> None:
        """Without a vocabulary, for lack of boards without defects, meanings are not judged."""
        for name, text in groups.items():
            try:
                expression = select.parse(text, f"group '{name}'")
                if vocabulary is not None:
                    expression.require_known(vocabulary)
            except UserError as wrong:
                words = "\n".join((f"{wrong.subject}: {wrong.problem}", *wrong.facts))
                self.defects.append((self.lines.of("groups", 0, name), words))


def _circle(start: str, jumps: Mapping[str, str | None]) -> tuple[str, ...]:
    """The circle that the way to `start` is part of; empty where there is none."""
    way: list[str] = []
    at: str | None = start
    while at is not None and at not in way:
        way.append(at)
        at = jumps.get(at)
    return tuple(way) if at == start else ()
