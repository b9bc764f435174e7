"""Documents: strict models, one way to read JSON from outside, one wording of what is wrong in it.

What leaves this program as JSON is a `Document`; its JSON schema is published in docs/schemas.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from edgewright.base.errors import EdgewrightError, UserError, near_miss
from edgewright.base.text import visible

LIMIT = 16 << 20  # bytes of a document
# Of a document's lists and tables, and of these themselves: in memory an element takes 50 bytes
# and more, an empty table 1,700.
ELEMENTS = 50_000
CONTAINERS = 10_000
TEXT = 10_000  # characters of a text that people are to read
QUOTED_BYTES = 16 << 10  # larger documents are refused without their values
PROBLEMS = 20  # lines about one document; whoever wrote it may have written a million mistakes
VALUE_WIDTH = 60  # characters of a value that an error shows


class Part(BaseModel):
    """A part of a document: it does not change, and has no keys but its own.

    A key that Python cannot use as a name has an underscore more here: `class_`, `schema_`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.rstrip("_"),
        populate_by_name=True,
        defer_build=True,
    )


class Excerpt(Part, extra="ignore"):
    """What we need of a document that another program writes; a newer one may say more."""


class Shown(BaseModel):
    """A model whose text others wrote, for people to read: it is made visible on its way in."""

    verbatim: ClassVar[frozenset[str]] = frozenset()  # fields that are read as a document again

    @field_validator("*", mode="after")
    @classmethod
    def _made_visible(cls, value: Any, info: ValidationInfo) -> Any:
        return value if info.field_name in cls.verbatim else _visible(value)


class Foreign(Shown, Excerpt, strict=True, allow_inf_nan=False):
    """What a board says: types are exact, numbers finite and of 64 bits, text visible and short."""

    @field_validator("*", mode="after")
    @classmethod
    def _made_visible(cls, value: Any, info: ValidationInfo) -> Any:
        """In place of that of `Shown`: Pydantic calls each validator for each field."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if not -1 << 63 <= value < 1 << 64:
                raise ValueError("expected a number of 64 bits")
            return value
        if info.field_name in cls.verbatim:
            return value
        shown = _visible(value)
        texts = shown if isinstance(shown, tuple) else (shown,)
        if any(isinstance(text, str) and len(text) > TEXT for text in texts):
            raise ValueError(f"expected at most {TEXT:,} characters")
        return shown


def _visible(value: Any) -> Any:
    if type(value) is str:  # a word of an enumeration is ours
        return visible(value)
    if isinstance(value, tuple):
        return tuple(map(_visible, value))
    if isinstance(value, dict):
        return {_visible(key): _visible(inner) for key, inner in value.items()}
    return value


Item = TypeVar("Item")
# A list of a board's: pydantic takes a kilobyte for each fault, so the first one ends it.
Many = Annotated[tuple[Item, ...], FailFast()]


class Document(Part):
    """A whole document that this program writes; a kind narrows `version` to one number."""

    version: int

    def to_json(self) -> str:
        """The document as a file has it: indented, with a final newline."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


Model = TypeVar("Model", bound=BaseModel)


def parse_json(
    kind: type[Model],
    raw: bytes | str,
    subject: str,
    problem: str,
    *,
    blame: type[EdgewrightError] = UserError,
    next: str | None = None,
    limit: int = LIMIT,
) -> Model:
    """Read JSON that is not trusted.

    Raises `blame` with `subject` and `problem`, and every fault of the document as a fact, if it
    is longer than `limit` bytes, has more than `ELEMENTS` parts or `CONTAINERS`, is nested deeper
    than pydantic's parser goes (about 200 levels), is no JSON, or not of this kind.
    """
    if isinstance(raw, str):  # half of a surrogate pair is an error of the document, not of ours
        raw = raw.encode(errors="surrogatepass")
    if len(raw) > limit:
        facts = [f"expected: at most {limit:,} bytes", f"found: {len(raw):,} bytes"]
        raise blame(subject, problem, facts=facts, next=next)
    commas, brackets = raw.count(b","), raw.count(b"{") + raw.count(b"[")
    if commas > ELEMENTS or brackets > CONTAINERS:
        facts = [
            f"expected: at most {ELEMENTS:,} commas and {CONTAINERS:,} brackets",
            f"found: {commas:,} and {brackets:,}",
        ]
        raise blame(subject, problem, facts=facts, next=next)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as invalid:
        facts = translate_errors(invalid, kind, quote=len(raw) <= QUOTED_BYTES)
    raise blame(subject, problem, facts=facts, next=next)


def read_record(kind: type[Model], path: Path) -> Model | None:
    """What this program wrote to a cache; None if it is not there or damaged: it is made anew."""
    try:
        return parse_record(kind, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_record(kind: type[Model], raw: bytes | str) -> Model | None:
    """The same of a text; None if it is damaged."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError:
        return None


# Pydantic's kinds of error in our words; the names in braces come from its context.
WORDS = {
    "missing": "missing",
    "model_type": "expected a table, found {found}",
    "dict_type": "expected a table, found {found}",
    "tuple_type": "expected a list, found {found}",
    "string_type": "expected text, found {found}",
    "int_type": "expected a whole number, found {found}",
    "int_parsing": "expected a whole number, found {found}",
    "int_from_float": "expected a whole number, found {found}",
    "float_type": "expected a number, found {found}",
    "float_parsing": "expected a number, found {found}",
    "bool_type": "expected true or false, found {found}",
    "bool_parsing": "expected true or false, found {found}",
    "enum": "expected {expected}, found {found}",
    "literal_error": "expected {expected}, found {found}",
    "string_pattern_mismatch": "expected a match of {pattern}, found {found}",
    "greater_than": "expected more than {gt:g}, found {found}",
    "greater_than_equal": "expected at least {ge}, found {found}",
    "less_than_equal": "expected at most {le}, found {found}",
    "finite_number": "expected a finite number, found {found}",
    "json_invalid": "not JSON: {error}",
    "value_error": "{error}",
}


def translate_errors(
    invalid: ValidationError, kind: type[BaseModel], *, quote: bool = True
) -> list[str]:
    """What is wrong with a document of this kind: `key.key: words`, at most `PROBLEMS` lines.

    Without `quote` no value is shown: pydantic copies each whole, and every missing key has its
    whole table for a value.
    """
    errors = invalid.errors(include_input=quote, include_url=False)
    # Near misses are sought for what is shown alone: a hostile document has 100,000 unknown keys.
    lines = [line for error in errors[:PROBLEMS] for line in _lines(error, kind)]
    more = max(len(lines) - PROBLEMS, 0) + max(len(errors) - PROBLEMS, 0)
    return [*lines[:PROBLEMS], f"and {more:,} more"] if more else lines


def _lines(error: Mapping[str, Any], kind: type[BaseModel]) -> list[str]:
    where = ".".join(map(_key, error["loc"]))
    if error["type"] == "extra_forbidden":
        return [
            f"{where}: unknown key{near_miss(str(error['loc'][-1]), _keys(kind, error['loc']))}"
        ]
    # Pydantic's own words go through `format`, too.
    words = WORDS.get(error["type"], error["msg"].replace("{", "{{").replace("}", "}}"))
    text = words.format(**error.get("ctx", {}), found=abridged(error.get("input", ...)))
    return [f"{where}: {line}" if where else line for line in text.splitlines()]


def _key(part: str | int) -> str:
    """A key as TOML writes it."""
    return str(part) if re.fullmatch(r"[A-Za-z0-9_-]+", str(part)) else repr(part)


def _keys(kind: type[BaseModel], where: Sequence[str | int]) -> list[str]:
    """The keys of the table in which the last part of `where` is unknown."""
    tables = [kind]
    for part in where[:-1]:
        fields = [field for table in tables for field in table.model_fields.items()]
        inner = [field.annotation for name, field in fields if part in (name, field.alias)]
        if inner:  # else a place in a list, or which one of a union it is
            tables = [model for annotation in inner for model in _models(annotation)]
    return [field.alias or name for table in tables for name, field in table.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is made of: `A` and `B` of `tuple[A | B, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def abridged(value: object) -> str:
    """A value as an error shows it, cut to `VALUE_WIDTH` characters."""
    if value is ...:
        return "another value"
    text = repr(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 1]}…"
