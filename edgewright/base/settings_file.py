"""TOML files that a user writes: read within limits, every problem told at once."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgewright.base import files
from edgewright.base.errors import UserError
from edgewright.base.schema import translate_errors

BYTES = 1 << 20

Settings = TypeVar("Settings", bound=BaseModel)


def read_table(path: Path) -> dict[str, Any]:
    """The table of a file. Raises UserError for what is missing, too large or not TOML."""
    try:
        return tomllib.loads(files.read_file(path, limit=BYTES).decode())
    except (ValueError, RecursionError) as broken:  # UnicodeDecodeError is a ValueError
        raise UserError(str(path), f"not TOML: {broken}", next=f"mend {path}") from broken


def settings_of(kind: type[Settings], table: dict[str, Any], path: Path) -> Settings:
    """The settings in a table. Raises UserError with every problem, and near misses of keys."""
    try:
        return kind.model_validate(table)
    except ValidationError as invalid:
        problems = translate_errors(invalid, kind)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        raise UserError(str(path), count, facts=problems, next=f"mend {path}") from invalid
