"""The Debian archive that this machine's own apt uses: where base systems are made from."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError

ETC = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OVERRIDE = "EDGEWRIGHT_DEBIAN_MIRROR"
ROLLING = frozenset({"stable", "testing", "unstable", "sid", "oldstable"})


# No package counts as installed, and no source but ours. Sandbox::User: else apt downloads as user
# _apt, who may not write to the scratch folder.
PRIVATE = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{folder}/state";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One `deb` line: an archive, one of its suites, the components and the keyring named."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None


def mirror(etc: Path = ETC, os_release: Path = OS_RELEASE) -> str:
    """URI of the Debian main archive (`EDGEWRIGHT_DEBIAN_MIRROR` overrides it).

    Raises UserError if apt knows none.
    """
    return os.environ.get(OVERRIDE) or main_archive(etc, os_release).uri


def keyring(etc: Path = ETC, os_release: Path = OS_RELEASE) -> Path | None:
    """The keyring file that signs the archive, or None to leave the choice to apt."""
    if OVERRIDE in os.environ:
        return KEYRING if KEYRING.is_file() else None
    signed_by = main_archive(etc, os_release).signed_by
    if signed_by and signed_by.startswith("/"):  # deb822 may hold the key itself instead
        return Path(signed_by)
    return KEYRING if KEYRING.is_file() else None


def source_line(suite: str, etc: Path = ETC, os_release: Path = OS_RELEASE) -> str:
    """A one-line source for `suite` alone, for mmdebstrap and private apt configurations."""
    keys = keyring(etc, os_release)
    option = f"[signed-by={keys}] " if keys else ""
    return f"deb {option}{mirror(etc, os_release)} {suite} main"


def private(folder: Path, arch: str, sources: Sequence[str]) -> dict[str, str]:
    """The environment of an apt with lists of its own, in a folder that is empty.

    The machine's own apt, its lists and its locks stay as they are, and nobody has to be root.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text("".join(f"{line}\n" for line in sources))
    config = folder / "apt.conf"
    config.write_text(PRIVATE.format(folder=folder, arch=arch))
    return {"APT_CONFIG": str(config)}


def main_archive(etc: Path = ETC, os_release: Path = OS_RELEASE) -> Entry:
    """The entry that most looks like Debian's main archive. Raises UserError if none does."""
    codename = _codename(os_release)
    ranked = [(_rank(entry, codename), entry) for entry in entries(etc)]
    best = max((rank for rank, _ in ranked), default=0)
    if best == 0:
        raise UserError(
            str(etc),
            "no entry for Debian's main archive",
            facts=["expected: a 'deb' entry of a Debian suite with component 'main'"],
            next=f"{OVERRIDE}=<URI of a Debian mirror> invoke …",
        )
    return next(entry for rank, entry in ranked if rank == best)


def entries(etc: Path = ETC) -> list[Entry]:
    """All enabled binary entries in `sources.list` and `sources.list.d/`, in apt's order."""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    listed: list[Entry] = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            listed += parse_list(path.read_text(encoding="utf-8", errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            listed += parse_deb822(path.read_text(encoding="utf-8", errors="replace"))
    return listed


LIST_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)$"
)


def parse_list(text: str) -> list[Entry]:
    """Entries of a one-line-style file."""
    entries_of_file = []
    for line in text.splitlines():
        match = LIST_LINE.match(line.split("#", 1)[0].strip())
        if match:
            signed = re.search(r"signed-by=(\S+)", match["options"] or "")
            entries_of_file.append(
                Entry(
                    uri=match["uri"].rstrip("/"),
                    suite=match["suite"],
                    components=tuple(match["rest"].split()),
                    signed_by=signed[1] if signed else None,
                )
            )
    return entries_of_file


def parse_deb822(text: str) -> list[Entry]:
    """Entries of a deb822-style file: one for each URI and suite of each stanza."""
    return [
        Entry(
            uri=uri.rstrip("/"),
            suite=suite,
            components=tuple(stanza.get("components", "").split()),
            signed_by=stanza.get("signed-by", "").strip() or None,
        )
        for stanza in _stanzas(text)
        if "deb" in stanza.get("types", "").split()
        and stanza.get("enabled", "yes").strip().lower() not in ("no", "false", "0")
        for uri in stanza.get("uris", "").split()
        for suite in stanza.get("suites", "").split()
    ]


def _stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """Field name in lower case → value, continuation lines joined; comments dropped."""
    stanza: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0].isspace() and field:
            stanza[field] += "\n" + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            field = name.strip().lower()
            stanza[field] = value.strip()


def _rank(entry: Entry, codename: str) -> int:
    """0: not it. Third parties also have suites called 'stable', so signs are added up."""
    if "main" not in entry.components or entry.suite not in ROLLING | {codename}:
        return 0
    if entry.uri.startswith("cdrom:"):
        return 0
    signs = (
        "debian-archive" in (entry.signed_by or ""),
        entry.uri.endswith("/debian"),
        entry.suite == codename,
    )
    return sum(signs)


def _codename(os_release: Path) -> str:
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?([^"\n]+)"?$', text, re.MULTILINE)
    return match[1] if match else ""
