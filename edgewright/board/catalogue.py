"""Boards by name: profile files of one or more folders, `extends` resolved.

The folders are a search path: the user's own boards first, then the catalogue that edgewright
brings. A file of the former takes the place of one of the same name in the latter, and may extend
it.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import read_file
from edgewright.base.schema import Document, abridged, translate_errors
from edgewright.board.profile import (
    NAME,
    Abi,
    BoardProfile,
    Cpu,
    Libc,
    Runtime,
    Section,
    Service,
    cross_problems,
)
from edgewright.board.refused import refusal_of

PROFILE_BYTES = 1 << 20
MOST_BASES = 16  # files that one board is made of; each costs a frame of Python's stack
# A base that is no board starts with `_`. A path would lead out of the folders.
BASE = re.compile(rf"_?(?:{NAME.pattern})")


class BoardList(Document):
    """`boards --json`."""

    version: Literal[1] = 1
    boards: tuple[BoardProfile, ...]


def board_names(*folders: Path) -> list[str]:
    """Names of all boards in the folders; files that start with `_` are bases, not boards."""
    files = (path for folder in folders for path in folder.glob("*.toml") if _is_file(path))
    return sorted({path.stem for path in files if not path.name.startswith("_")})


def load_board(name: str, *folders: Path) -> BoardProfile:
    """Load the first `<name>.toml` of the folders.

    Raises UserError for a board that is unknown, cannot run at all, or whose file is not valid.
    """
    if NAME.fullmatch(name):
        for number, folder in enumerate(folders):
            path = folder / f"{name}.toml"
            if _is_file(path):
                return load_profile(path, *folders[number + 1 :])
    if refusal := refusal_of(name):
        instead = f"instead: {refusal.instead}, {refusal.why_instead}"
        raise UserError(
            f"board '{name}'",
            refusal.reason,
            facts=[f"board: {refusal.description}", instead],
            next=f"invoke render --board={refusal.instead} --stdout",
        )
    raise _unknown_board(name, folders)


def load_profile(path: Path, *folders: Path) -> BoardProfile:
    """Load one profile file; what it extends lies beside it or in `folders`.

    Raises UserError listing every problem.
    """
    try:
        table = _with_bases(path, (path.parent, *folders))
    except UserError as broken:
        if broken.subject != str(path) or "extends:" not in str(broken):
            raise  # a base's own fault, or a file that is none
        raise _invalid(path, [*broken.facts, *_own_problems(path)]) from broken
    name, problems = table.setdefault("name", path.stem), []
    if name != path.stem:  # boards are looked up by their files' names
        problems.append(f"name: expected '{path.stem}', the file's name, found {abridged(name)}")
    try:
        profile = BoardProfile.model_validate(table)
    except ValidationError as invalid:
        # Pydantic looks at what does not fit together only where every section is valid by itself.
        problems += [*translate_errors(invalid, BoardProfile), *_cross_problems_of_table(table)]
    if problems:
        # Where it did look, it found the same problems.
        raise _invalid(path, list(dict.fromkeys(problems)))
    return profile


def _own_problems(path: Path) -> list[str]:
    """What is wrong with a file whose base is not found; nobody knows what it may leave out."""
    try:
        table = _read_toml(path)
    except UserError:
        return []  # that is the fault
    table.pop("extends", None)
    try:
        BoardProfile.model_validate({"name": path.stem, **table})
    except ValidationError as invalid:
        lines = translate_errors(invalid, BoardProfile)
        return [line for line in lines if not line.endswith(": missing")]
    return []


def _cross_problems_of_table(table: Mapping[str, Any]) -> list[str]:
    """`cross_problems` of a table of which some sections are not valid."""
    return cross_problems(
        _valid_section(Cpu, table.get("cpu")),
        _valid_section(Abi, table.get("abi")),
        _valid_section(Libc, table.get("libc")),
        _valid_section(Runtime, table.get("runtime", {})),
        _valid_section(Service, table.get("service", {})),
    )


S = TypeVar("S", bound=Section)


def _valid_section(model: type[S], table: object) -> S | None:
    try:
        return model.model_validate(table)
    except ValidationError:
        return None


def _with_bases(
    path: Path, folders: Sequence[Path], chain: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """The table of a file over those that it extends; `chain` are the files that led to it."""
    table = _read_toml(path)
    base = table.pop("extends", None)
    if base is None:
        return table
    below = _with_bases(_base_file(path, base, folders, chain), folders, (*chain, path))
    below.pop("name", None)  # a board that is extended keeps its name for itself
    merged = _merge(below, table)
    former, aliases = below.get("compatible"), merged.get("aliases", [])
    # Whoever gives a board he bought a pass of his own does not change its device tree.
    if former != merged.get("compatible") and former is not None and isinstance(aliases, list):
        merged["aliases"] = [*dict.fromkeys([*aliases, former])]
        # But his boards take no releases of theirs.
        merged["former_names"] = table.get("former_names", [])
    return merged


def _base_file(path: Path, base: object, folders: Sequence[Path], chain: tuple[Path, ...]) -> Path:
    """The file that `path` extends: the first in the folders that is not being resolved itself.

    So a user's `rpi2.toml` may extend the catalogue's.
    """
    if not isinstance(base, str):
        raise _invalid(path, [f"extends: expected text, found {abridged(base)}"])
    if len(chain) >= MOST_BASES:
        raise _invalid(chain[0], [f"extends: a chain of more than {MOST_BASES} files"])
    if not BASE.fullmatch(base):
        raise _invalid(path, [f"extends: expected the name of a board, found {abridged(base)}"])
    files = [file for folder in folders if _is_file(file := folder / f"{base}.toml")]
    if not files:
        bases = [file.stem for folder in folders for file in folder.glob("*.toml")]
        places = ", ".join(map(str, dict.fromkeys(folders)))
        raise _invalid(
            path, [f"extends: no such file '{base}.toml' in {places}{near_miss(base, bases)}"]
        )
    for file in files:
        if file not in (*chain, path):
            return file
    circle = " → ".join(file.stem for file in (*chain, path, files[0]))
    raise _invalid((*chain, path)[0], [f"extends: a circle, {circle}"])


def _is_file(path: Path) -> bool:
    """Whether there is something to read; a link that leads nowhere is told when it is read.

    The methods of Path raise for a name that is longer than the file system's names.
    """
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path, limit=PROFILE_BYTES).decode())
    except UnicodeDecodeError as broken:
        raise _invalid(path, [f"not UTF-8: byte {broken.start}"]) from broken
    except (ValueError, RecursionError) as broken:
        raise _invalid(path, [f"not TOML: {broken}"]) from broken


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _invalid(path: Path, problems: list[str]) -> UserError:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return UserError(
        str(path), count, facts=problems, next="mend the file, then invoke boards --check"
    )


def _unknown_board(name: str, folders: Sequence[Path]) -> UserError:
    names = board_names(*folders)
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    return UserError(
        f"board '{name}'",
        f"unknown{near_miss(name, names)}",
        facts=[f"alike: {', '.join(near)}"] if near else [],
        next="invoke boards",
    )
