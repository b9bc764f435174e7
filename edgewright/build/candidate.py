"""Whether another version of ONNX Runtime still takes the patches of the runtime's recipe.

The patches are applied, in the recipe's order, to copies of the files that they name, with the
program and the rules that the recipe uses. Some change what others changed, so each of them alone
would prove nothing.
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
from edgewright.base.schema import Document, Part

# Folders of patches to ONNX Runtime's sources, in the order in which the recipe applies them; those
# of `patches/eigen` are to a library that has a version of its own.
PATCH_FOLDERS = ("patches/always", "patches/arm64", "kernels/hooks", "patches/xnnpack")
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


class CandidateFit(Document):
    """What `invoke runtime.candidate --json` prints."""

    version: Literal[1] = 1
    source: str
    onnxruntime: str  # the candidate's version, by its own file
    hunks: tuple[HunkFit, ...]

    @property
    def misfits(self) -> tuple[HunkFit, ...]:
        return tuple(hunk for hunk in self.hunks if hunk.verdict != "fits")


@dataclass(frozen=True, kw_only=True)
class _Hunk:
    """Where a hunk stands; `number` counts within one patch and file, from 1."""

    file: str
    number: int
    line: int


def fit_candidate(recipe: Path, source: Path) -> CandidateFit:
    """Apply every patch of the runtime's `recipe` to a copy of a candidate's files.

    `source` is the folder of ONNX Runtime's sources, or a tar archive with one folder of them.
    Raises UserError if it is neither.
    """
    paths = [path for name in PATCH_FOLDERS for path in sorted((recipe / name).glob("*.patch"))]
    hunks = {path: _hunks(path.read_text()) for path in paths}
    names = {hunk.file for of_path in hunks.values() for hunk in of_path}
    with tempfile.TemporaryDirectory(prefix="edgewright-candidate-") as scratch:
        tree = Path(scratch)
        copy = _copy_from_folder if source.is_dir() else _copy_from_archive
        copy(source, {VERSION_FILE, *names}, tree)
        if not (tree / VERSION_FILE).is_file():
            raise _no_sources(source, [f"has no {VERSION_FILE}"])
        return CandidateFit(
            source=str(source),
            onnxruntime=(tree / VERSION_FILE).read_text().strip(),
            hunks=tuple(fit for path in paths for fit in _apply(path, hunks[path], tree, recipe)),
        )


def require_fit(fit: CandidateFit) -> None:
    """Raise CheckError, with a line for each of them, unless all hunks fit."""
    if fit.misfits:
        raise CheckError(
            f"ONNX Runtime {fit.onnxruntime}",
            f"{len(fit.misfits)} of {len(fit.hunks)} hunks do not fit",
            facts=[f"{hunk.patch}: {hunk.file}:{hunk.line} {hunk.reason}" for hunk in fit.misfits],
            next="renew these patches as recipes/onnxruntime-minimal/kernels/README.md tells, "
            "then invoke runtime.candidate again",
        )


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


def _copy_from_folder(source: Path, names: set[str], tree: Path) -> None:
    for name in names:
        if (source / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, tree / name)


def _copy_from_archive(source: Path, names: set[str], tree: Path) -> None:
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = "/".join(PurePosixPath(member.name).parts[1:])
                content = archive.extractfile(member) if name in names else None
                if content:
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    (tree / name).write_bytes(content.read())
    except (OSError, tarfile.TarError, EOFError) as unreadable:
        raise _no_sources(source, [str(unreadable)]) from unreadable


def _no_sources(source: Path, facts: Sequence[str]) -> UserError:
    return UserError(
        str(source),
        "not ONNX Runtime's sources, neither a folder nor a tar archive of them",
        facts=facts,
        next="invoke runtime.candidate --source=onnxruntime-1.21.0.tar.gz",
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
