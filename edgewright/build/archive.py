"""What recipes pin and the builder has, beside what Debian's archive offers today.

A recipe takes its sources from one suite, by name and hash. Where the suite has moved on, as for
a security update, it delivers that file no more: a machine without it in its cache cannot build.
What is newer in the suite for what comes next is told, and is no fault.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base import apt, process
from edgewright.base.errors import CheckError
from edgewright.base.layout import Resources
from edgewright.base.schema import Document, Part
from edgewright.build.container import image_tag
from edgewright.build.supply import ARCH, SUITE, image_exists, pins_of
from edgewright.release.osv import compare

NEXT_SUITE = "sid"
BUILDER = "builder"
_MADISON = re.compile(r"^\s*(?P<name>\S+) \| +(?P<version>\S+) \| +\S+ (?P<suite>[^/\s]+)/")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A package in the version that is used today."""

    package: str
    user: str  # a recipe, or the builder
    version: str  # of a source without Debian's revision, as the names of archives have it
    suite: str


class PackageAge(Part):
    """A package as it is used, and as the archive has it; null: not there."""

    package: str
    user: str
    used: str
    suite: str
    offered: str | None
    next: str | None  # in the suite for what comes next
    state: Literal["same", "moved", "gone"]  # the suite, since


class ArchiveAge(Document):
    """What `edgewright outdated --json` prints."""

    version: Literal[1] = 1
    next_suite: str
    builder: str | None  # its image; null where it was not built yet, and so not looked at
    packages: tuple[PackageAge, ...]


def age(resources: Resources, log: Path) -> ArchiveAge:
    """Ask the archive. Raises UserError where it does not answer."""
    image = image_tag(resources)
    is_built = image_exists(image)
    pins = [*recipe_pins(resources.recipes)]
    if is_built:
        pins += builder_pins(resources.docker / "builder" / "packages.txt", image)
    suites = sorted({pin.suite for pin in pins} | {NEXT_SUITE})
    offers = parse_offers(_madison(suites, sorted({pin.package for pin in pins}), log))
    rows = tuple(judge(pin, offers) for pin in pins)
    return ArchiveAge(next_suite=NEXT_SUITE, builder=image if is_built else None, packages=rows)


def recipe_pins(recipes: Path) -> Iterator[Pin]:
    """The sources of all recipes."""
    for path in sorted(recipes.glob("*/conandata.yml")):
        pins = pins_of(path.parent)
        for source in pins.sources:
            yield Pin(
                package=source.package,
                user=path.parent.name,
                version=version_of(source.file),
                suite=pins.suite,
            )


def version_of(file: str) -> str:
    """`1.3` of `zlib_1.3.orig.tar.gz`; of a `.deb` with its revision."""
    version = file.split("_")[1]
    return re.sub(r"\.orig\.tar\.\w+$", "", version)


def builder_pins(names: Path, image: str) -> Iterator[Pin]:
    """The packages that the builder's image was asked for, in the versions that it got."""
    requested = {*names.read_text().split()}
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n"]
    listed = process.check(["docker", "run", "--rm", "--network", "none", image, *command]).stdout
    for line in listed.splitlines():
        package, _, version = line.partition(" ")
        if package in requested:
            yield Pin(package=package, user=BUILDER, version=version, suite=SUITE)


def _madison(suites: Sequence[str], packages: Sequence[str], log: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="edgewright-apt-") as scratch:
        binary = [apt.source_line(suite) for suite in suites]
        sources = [line.replace("deb ", "deb-src ", 1) for line in binary]
        env = apt.private(Path(scratch), ARCH, [*binary, *sources])
        process.run_logged(["apt-get", "update"], log, env=env)
        return process.check(["apt-cache", "madison", *packages], env=env).stdout


Offers = Mapping[tuple[str, str], str]  # (package, suite) → the newest version there


def parse_offers(madison: str) -> Offers:
    """The newest version of each package in each suite, of what `apt-cache madison` prints."""
    offers: dict[tuple[str, str], str] = {}
    for line in madison.splitlines():
        if match := _MADISON.match(line):
            place = (match["name"], match["suite"])
            if place not in offers or compare(match["version"], offers[place]) > 0:
                offers[place] = match["version"]
    return offers


def judge(pin: Pin, offers: Offers) -> PackageAge:
    """Compare a package with the archive's; epochs do not count."""
    offered = offers.get((pin.package, pin.suite))
    state: Literal["same", "moved", "gone"] = "gone"
    if offered is not None:
        # Of a source Debian's revision is unknown, and changes without a new archive of sources.
        plain = offered.rpartition(":")[2]
        upstream = plain.rpartition("-")[0] or plain
        state = "same" if pin.version.rpartition(":")[2] in (plain, upstream) else "moved"
    return PackageAge(
        package=pin.package,
        user=pin.user,
        used=pin.version,
        suite=pin.suite,
        offered=offered,
        next=offers.get((pin.package, NEXT_SUITE)),
        state=state,
    )


def require_current(packages: Iterable[PackageAge]) -> None:
    """Raises CheckError for what the suite that it comes from offers no more."""
    stale = [row for row in packages if row.state != "same"]
    if stale:
        raise CheckError(
            f"{len(stale)} packages",
            "are not what the archive offers",
            facts=[
                f"{row.user}: {row.package} {row.used}, {row.suite} has {row.offered or 'none'}"
                for row in stale
            ],
            next="write version and hash into the recipe's conandata.yml; invoke setup --yes "
            "builds the builder anew once docker/builder/ changes",
        )
