"""Whether another version of ONNX Runtime still fits what the runtime's recipe knows of it.

The patches are applied, in the recipe's order, to copies of the files that they name, with the
program and the rules that the recipe uses: some change what others changed, so each of them alone
would prove nothing. Options must be declared, files that the recipe reads must be there, and so
must the sources that `links.txt` names: of one that is gone it tells nothing any more.
"""

import re
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from edgewright.base import process
from edgewright.base.errors import CheckError, UserError
from edgewright.base.runtime_version import RuntimeVersion
from edgewright.base.schema import Document, Part

SOURCES = "onnxruntime"  # the folder of its sources in a build
VERSION_FILE = "VERSION_NUMBER"
LINES_OF_CONTEXT = 2  # that may differ for a hunk to be called fuzzy, as patch's own default

_FILE = re.compile(r"^\+\+\+ (\S+)")
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
_PATCHING = re.compile(r"^patching file '?(.+?)'?$")
_VERDICT = re.compile(
    r"^Hunk #(?P<number>\d+) (?P<word>succeeded|FAILED) at \d+"
    r"(?: with fuzz (?P<fuzz>\d+))?(?: \(offset (?P<offset>-?\d+) lines?\))?"
)


class HunkFit(Part):
    """One hunk of a patch. Only what `fits`, wherever in its file, is taken by the recipe."""

    patch: str  # relative to the recipe
    file: str  # relative to ONNX Runtime's sources
    line: int  # at which the hunk begins in the version that it was made for
    verdict: Literal["fits", "fuzzy", "fails"]
    reason: str = ""


class Outdated(Document):
    """What `edgewright outdated --runtime=… --json` prints."""

    version: Literal[1] = 1
    source: str
    onnxruntime: str  # the other version, by its own file
    built: str  # the version that is built today
    hunks: tuple[HunkFit, ...]
    options: tuple[str, ...]  # that the version does not declare
    files: tuple[str, ...]  # that the recipe reads and the version does not have
    sources: tuple[str, ...]  # that `links.txt` names and the version does not have

    @property
    def misfits(self) -> tuple[HunkFit, ...]:
        return tuple(hunk for hunk in self.hunks if hunk.verdict != "fits")


@dataclass(frozen=True, kw_only=True)
class _Hunk:
    """Where a hunk stands; `number` counts within one patch and file, from 1."""

    file: str
    number: int
    line: int


def compare(recipe: Path, table: RuntimeVersion, source: Path) -> Outdated:
    """Compare the runtime's `recipe` and its `table` with another version's sources.

    `source` is the folder of ONNX Runtime's sources, or a tar archive with one folder of them.
    Raises UserError if it is neither.
    """
    folders = [p.folder for of in table.patches.values() for p in of if p.to == SOURCES]
    paths = [path for name in folders for path in sorted((recipe / name).glob("*.patch"))]
    hunks = {path: _hunks(path.read_text()) for path in paths}
    patched = {hunk.file for of_path in hunks.values() for hunk in of_path}
    files = sorted(table.files.model_dump().values())
    with tempfile.TemporaryDirectory(prefix="edgewright-outdated-") as scratch:
        tree = Path(scratch)
        copy = _copy_from_folder if source.is_dir() else _copy_from_archive
        names = copy(source, {VERSION_FILE, *files, *patched}, tree)
        if not (tree / VERSION_FILE).is_file():
            raise _no_sources(source, [f"has no {VERSION_FILE}"])
        # Before the patches: one may declare an option.
        declared = _declared_options(tree / table.files.options)
        return Outdated(
            source=str(source),
            onnxruntime=(tree / VERSION_FILE).read_text().strip(),
            built=table.version,
            hunks=tuple(fit for path in paths for fit in _apply(path, hunks[path], tree, recipe)),
            options=tuple(sorted({*table.options, *table.xnnpack_options} - declared)),
            files=tuple(name for name in files if not (tree / name).is_file()),
            sources=tuple(sorted(_linked_sources(recipe, table) - names)),
        )


def require_fit(outdated: Outdated) -> None:
    """Raise CheckError, with a line for each part that does not fit, unless all do."""
    facts = [f"{hunk.patch}: {hunk.file}:{hunk.line} {hunk.reason}" for hunk in outdated.misfits]
    facts += [f"option {name}: not declared" for name in outdated.options]
    facts += [f"{name}: read by the recipe, and not there" for name in outdated.files]
    facts += [f"links.txt: {name} is not there" for name in outdated.sources]
    if facts:
        raise CheckError(
            f"ONNX Runtime {outdated.onnxruntime}",
            f"{len(facts)} parts of the recipe for {outdated.built} do not fit",
            facts=facts,
            next="renew these as recipes/onnxruntime-minimal/kernels/README.md tells, "
            "then invoke outdated again",
        )


def _declared_options(lists: Path) -> set[str]:
    text = lists.read_text(errors="replace") if lists.is_file() else ""
    return set(re.findall(r"option\s*\(\s*(onnxruntime_\w+)", text))


def _linked_sources(recipe: Path, table: RuntimeVersion) -> set[str]:
    """ONNX Runtime's own sources in the lists of links; not ours, which the build puts beside."""
    prefix = f"src/{SOURCES}/"
    lines = "".join((recipe / name).read_text() for name in table.links.values()).splitlines()
    names = {line.split(":", 1)[0] for line in lines}
    return {
        name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and "/edgewright/" not in name
    }


def _hunks(patch: str) -> list[_Hunk]:
    hunks: list[_Hunk] = []
    file, number = "", 0
    for line in patch.splitlines():
        if named := _FILE.match(line):
            file, number = named[1], 0
        elif header := _HUNK.match(line):
            number += 1
            hunks.append(_Hunk(file=file, number=number, line=int(header[1])))
    return hunks


def _copy_from_folder(source: Path, selected: set[str], tree: Path) -> set[str]:
    """Copy the selected files; returns the names of all that are there."""
    for name in selected:
        if (source / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, tree / name)
    return {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}


def _copy_from_archive(source: Path, selected: set[str], tree: Path) -> set[str]:
    """Copy the selected files; returns the names of all members."""
    names = set()
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = "/".join(PurePosixPath(member.name).parts[1:])
                names.add(name)
                content = archive.extractfile(member) if name in selected else None
                if content:
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    (tree / name).write_bytes(content.read())
    except (OSError, tarfile.TarError, EOFError) as unreadable:
        raise _no_sources(source, [str(unreadable)]) from unreadable
    return names


def _no_sources(source: Path, facts: Sequence[str]) -> UserError:
    return UserError(
        str(source),
        "not ONNX Runtime's sources, neither a folder nor a tar archive of them",
        facts=facts,
        next="invoke outdated --runtime=onnxruntime-1.22.0.tar.gz",
    )


def _apply(path: Path, hunks: Sequence[_Hunk], tree: Path, recipe: Path) -> list[HunkFit]:
    """Apply one patch, fuzzy hunks too, so that those of later patches find what they change."""
    argv = ["patch", "--strip=0", f"--fuzz={LINES_OF_CONTEXT}", "--force", "--verbose"]
    argv += ["--no-backup-if-mismatch", "--reject-file=-", f"--directory={tree}"]
    output = process.capture([*argv, f"--input={path}"], env={"LC_ALL": "C"}).stdout
    verdicts: dict[tuple[str, int], re.Match[str]] = {}
    file = ""
    for line in output.splitlines():
        if patching := _PATCHING.match(line):
            file = patching[1]
        elif verdict := _VERDICT.match(line):
            verdicts[file, int(verdict["number"])] = verdict
    return [
        HunkFit(
            patch=path.relative_to(recipe).as_posix(),
            file=hunk.file,
            line=hunk.line,
            **_judge(verdicts.get((hunk.file, hunk.number))),
        )
        for hunk in hunks
    ]


def _judge(verdict: re.Match[str] | None) -> dict[str, str]:
    """The verdict on a hunk, by what `patch` says of it; it says nothing where it has no file."""
    if verdict is None:
        return {"verdict": "fails", "reason": "no such file"}
    if verdict["word"] == "FAILED":
        return {"verdict": "fails", "reason": "the lines that it changes are not there"}
    if verdict["fuzz"]:
        return {"verdict": "fuzzy", "reason": "lines beside those that it changes differ"}
    moved = f"moved by {verdict['offset']} lines" if verdict["offset"] else ""
    return {"verdict": "fits", "reason": moved}
