"""Known vulnerabilities of what is in a release, by advisories in OSV's format, offline.

A database is a folder of JSON files, as OSV's exports unpack to. It may be anybody's, and large: a
file that names none of the packages is not parsed. What a recipe builds is the upstream source
without Debian's patches, so a Debian revision that mends something does not mend it here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import read_inside
from edgewright.base.schema import Excerpt, Part, Shown, parse_json
from edgewright.release.sbom import Sbom, SbomComponent

ADVISORY_BYTES = 8 << 20
MOST_FILES = 1_000_000
STALE_DAYS = 30
UNPACK = "unpack an export of OSV's database, and name its folder"
DEBIAN = {"bookworm": "12", "trixie": "13", "forky": "14"}  # OSV numbers Debian's releases
PURL = re.compile(r"pkg:deb/debian/(?P<name>[^@?]+)@(?P<version>[^?]+)(\?(?P<qualifiers>.*))?")
MODIFIED = re.compile(rb'"modified"\s*:\s*"([0-9]{4}-[0-9]{2}-[0-9]{2})T')


class _Event(Excerpt):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None


class _Range(Excerpt):
    type: str
    events: tuple[_Event, ...] = ()


class _Package(Excerpt):
    ecosystem: str
    name: str


class _Affected(Excerpt):
    package: _Package | None = None
    ranges: tuple[_Range, ...] = ()
    versions: tuple[str, ...] = ()


class _Advisory(Shown, Excerpt):
    id: str
    summary: str = ""
    details: str = ""
    aliases: tuple[str, ...] = ()
    withdrawn: str | None = None
    affected: tuple[_Affected, ...] = ()


class Finding(Part):
    """A part of a release that an advisory speaks of."""

    component: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    summary: str
    fixed: Annotated[str | None, Field(description="Debian's version that mends it")]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a database says of a release."""

    findings: tuple[Finding, ...]
    advisories: int  # files that were looked at
    newest: datetime  # when the newest of them was changed
    packages: int  # of the release, that advisories may speak of

    def days_old(self, today: datetime) -> int:
        return (today - self.newest) // timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class _DebianComponent:
    """A component by the name of its Debian source package."""

    component: SbomComponent
    name: str
    version: str
    release: str | None  # of Debian


def search(sbom: Sbom, database: Path) -> Search:
    """Look for the parts of a release in all advisories of a folder.

    Raises UserError for a folder without advisories, and for a file that has no date of change,
    or names a part of the release, and is no advisory.
    """
    components = [item for component in sbom.components if (item := _debian_component(component))]
    by_name: dict[str, list[_DebianComponent]] = {}
    for item in components:
        by_name.setdefault(item.name, []).append(item)
    needle = re.compile(b"|".join(b'"%s"' % re.escape(name).encode() for name in by_name) or b"$^")
    findings, count, newest = [], 0, datetime.min.replace(tzinfo=UTC)
    for name in _json_files(database):
        raw = read_inside(database, name, limit=ADVISORY_BYTES)
        changed = MODIFIED.search(raw)
        if changed:
            count += 1
            newest = max(newest, _date(changed[1].decode(), database / name))
        if changed is None or needle.search(raw):  # a file that was cut short may hide one
            advisory = parse_json(
                _Advisory, raw, str(database / name), "not an advisory of OSV", next=UNPACK
            )
            findings += list(_findings(advisory, by_name))
    if not count:
        raise UserError(
            str(database),
            "no advisories",
            facts=["expected: JSON files in OSV's format, as its exports unpack to"],
            next=UNPACK,
        )
    findings.sort(key=lambda finding: (finding.component, finding.advisory))
    return Search(findings=tuple(findings), advisories=count, newest=newest, packages=len(by_name))


def _json_files(database: Path) -> Iterator[str]:
    if not database.is_dir():
        raise UserError(str(database), "no such folder", next=UNPACK)
    for count, path in enumerate(database.rglob("*.json")):
        if count == MOST_FILES:
            raise UserError(str(database), f"more than {MOST_FILES:,} files", next=UNPACK)
        yield path.relative_to(database).as_posix()


def _date(text: str, path: Path) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as broken:
        raise UserError(str(path), f"modified: no date: {text}", next=UNPACK) from broken


def _debian_component(component: SbomComponent) -> _DebianComponent | None:
    match = PURL.fullmatch(component.purl)
    if match is None:
        return None
    from packageurl import PackageURL

    try:
        url = PackageURL.from_string(component.purl)
    except ValueError:
        return None
    qualifiers = url.qualifiers if isinstance(url.qualifiers, Mapping) else {}
    release = DEBIAN.get(str(qualifiers.get("distro", "")))
    return _DebianComponent(
        component=component, name=url.name, version=url.version or "", release=release
    )


def _findings(
    advisory: _Advisory, by_name: Mapping[str, list[_DebianComponent]]
) -> Iterator[Finding]:
    if advisory.withdrawn:
        return
    for affected in advisory.affected:
        if affected.package is None:
            continue
        for item in by_name.get(affected.package.name, ()):
            if not _same_system(affected.package.ecosystem, item):
                continue
            is_hit, fixed = _is_affected(affected, item.version)
            if is_hit:
                yield Finding(
                    component=item.component.ref or item.component.name,
                    version=item.version,
                    advisory=advisory.id,
                    aliases=advisory.aliases,
                    summary=(advisory.summary or advisory.details.partition("\n")[0])[:200],
                    fixed=fixed,
                )


def _same_system(ecosystem: str, item: _DebianComponent) -> bool:
    """Debian's advisories for the release that the source is of, or for all of them."""
    system, _, release = ecosystem.partition(":")
    return system == "Debian" and (not release or item.release in (None, release))


def _is_affected(affected: _Affected, version: str) -> tuple[bool, str | None]:
    """By OSV's own evaluation: a list of versions, or ranges of events in order."""
    if version in map(_without_epoch, affected.versions):
        return True, None
    for span in affected.ranges:
        if span.type != "ECOSYSTEM":
            continue
        is_hit, fixed = False, None
        for event in sorted(span.events, key=_event_order):
            if event.introduced is not None and _at_most(event.introduced, version):
                is_hit = True
            if event.fixed is not None:
                if _at_most(event.fixed, version):
                    is_hit = False
                else:
                    fixed = fixed or event.fixed
            if event.last_affected is not None and compare(event.last_affected, version) < 0:
                is_hit = False
        if is_hit:
            return True, fixed
    return False, None


def _event_order(event: _Event) -> "tuple[bool, object]":
    place = event.introduced or event.fixed or event.last_affected or "0"
    return place != "0", cmp_to_key(compare)(place)


def _at_most(limit: str, version: str) -> bool:
    return limit == "0" or compare(limit, version) <= 0


# Debian's order of versions, by Debian Policy 5.6.12


def compare(first: str, second: str) -> int:
    """Negative, 0 or positive, as the first version is older, the same or newer.

    Epochs do not count: the names of source archives lack them.
    """
    parts = map(_parts, map(_without_epoch, (first, second)))
    return next((order for order in map(_compare_part, *parts) if order), 0)


def _without_epoch(version: str) -> str:
    return version.partition(":")[2] if ":" in version else version


def _parts(version: str) -> tuple[str, str]:
    upstream, dash, revision = version.rpartition("-")
    return (upstream, revision) if dash else (revision, "")


def _compare_part(first: str, second: str) -> int:
    """Texts and numbers by turns; in texts `~` is before the end, and letters before the rest."""
    for ours, theirs in zip_longest(_pairs(first), _pairs(second), fillvalue=("", 0)):
        for a, b in zip_longest(_weights(ours[0]), _weights(theirs[0]), fillvalue=0):
            if a != b:
                return a - b
        if ours[1] != theirs[1]:
            return ours[1] - theirs[1]
    return 0


def _pairs(text: str) -> list[tuple[str, int]]:
    # int() of more than 4,300 digits is an error, and no version has that many.
    return [(word, int(digits[:18] or 0)) for word, digits in re.findall(r"(\D*)(\d*)", text)]


def _weights(word: str) -> Iterable[int]:
    return [-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in word]
