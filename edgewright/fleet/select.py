"""Which boards of a fleet are meant: `site=lyon and kind=a53-som and not canary`.

    expression = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" expression ")" | test
    test       = "all" | LABEL | LABEL ("=" | "!=") VALUE | LABEL "in" "(" VALUE { "," VALUE } ")"

A label alone means that the board has it, and not as `false`. Every label and every value must
occur in the fleet: after `not`, a mistyped one would select every board.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from edgewright.base.errors import UserError, near_miss

LENGTH = 2_000  # characters of an expression
DEPTH = 50  # of parentheses and `not`
WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
TOKEN = re.compile(rf"\s*(?:(?P<word>{WORD})|(?P<sign>!=|[=(),]))")
RESERVED = frozenset({"and", "or", "not", "in", "all"})
END = "the end"
NEXT = "edgewright fleet.list shows the labels of each board"
TRUE, FALSE = "true", "false"

Facts = Mapping[str, str]  # label → value, of one board


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is asked of one label."""

    label: str
    values: tuple[str, ...] = ()  # none: the label is there, and not `false`
    is_negated: bool = False
    columns: tuple[int, ...] = ()  # of the label, then of each value

    def holds(self, facts: Facts) -> bool:
        value = facts.get(self.label)
        if not self.values:
            return value not in (None, FALSE)
        return (value in self.values) != self.is_negated


@dataclass(frozen=True)
class All:
    """Every board."""

    def holds(self, facts: Facts) -> bool:
        return True


@dataclass(frozen=True)
class Not:
    inner: "Node"

    def holds(self, facts: Facts) -> bool:
        return not self.inner.holds(facts)


@dataclass(frozen=True)
class And:
    parts: tuple["Node", ...]

    def holds(self, facts: Facts) -> bool:
        return all(part.holds(facts) for part in self.parts)


@dataclass(frozen=True)
class Or:
    parts: tuple["Node", ...]

    def holds(self, facts: Facts) -> bool:
        return any(part.holds(facts) for part in self.parts)


Node = Condition | All | Not | And | Or


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression that was read; `subject` is where it stands, for messages."""

    text: str
    subject: str
    node: Node

    def holds(self, facts: Facts) -> bool:
        """Whether a board with these labels is meant."""
        return self.node.holds(facts)

    def require_known(self, vocabulary: Mapping[str, Collection[str]]) -> None:
        """Raise UserError for a label or a value that no board has, by its column."""
        for test in _tests(self.node):
            label, *columns = test.columns
            if test.label not in vocabulary:
                miss = near_miss(test.label, sorted(vocabulary))
                self._fail(label, f"no board has the label '{test.label}'{miss}")
            values = {*vocabulary[test.label]}
            if values <= {TRUE, FALSE}:
                values |= {TRUE, FALSE}
            for value, column in zip(test.values, columns, strict=True):
                if value not in values:
                    miss = near_miss(value, sorted(values))
                    self._fail(column, f"no board has {test.label}={value}{miss}")

    def _fail(self, column: int, problem: str) -> NoReturn:
        raise _mistake(self.subject, self.text, column, problem)


def _tests(node: Node) -> Iterator[Condition]:
    if isinstance(node, Condition):
        yield node
    elif isinstance(node, Not):
        yield from _tests(node.inner)
    elif isinstance(node, And | Or):
        for part in node.parts:
            yield from _tests(part)


def _mistake(subject: str, text: str, column: int, problem: str) -> UserError:
    return UserError(
        subject,
        f"column {column + 1}: {problem}",
        facts=[text, f"{' ' * column}^"],
        next=NEXT,
    )


def parse(text: str, subject: str = "--select") -> Expression:
    """Read an expression. Raises UserError that points at the column of the mistake."""
    if not text.strip():
        raise UserError(subject, "is empty", next=NEXT)
    if len(text) > LENGTH:
        raise UserError(subject, f"expected at most {LENGTH:,} characters, found {len(text):,}")
    line = "".join(" " if character.isspace() else character for character in text)
    return Expression(text=line, subject=subject, node=_Parser(line, subject).parse())


@dataclass(frozen=True, kw_only=True)
class _Token:
    text: str
    column: int
    is_word: bool


class _Parser:
    def __init__(self, text: str, subject: str) -> None:
        self._text, self._subject = text, subject
        self._tokens = list(self._read())
        self._place = self._depth = 0

    def _read(self) -> Iterator[_Token]:
        at = 0
        while self._text[at:].strip():
            match = TOKEN.match(self._text, at)
            if match is None:
                column = len(self._text) - len(self._text[at:].lstrip())
                self._fail(column, f"unexpected {self._text[column]!r}")
            kind = match.lastgroup or ""
            yield _Token(text=match[kind], column=match.start(kind), is_word=kind == "word")
            at = match.end()
        yield _Token(text=END, column=len(self._text.rstrip()), is_word=False)

    def _fail(self, column: int, problem: str) -> NoReturn:
        raise _mistake(self._subject, self._text, column, problem)

    def _expected(self, expectation: str) -> NoReturn:
        actual = self._next.text if self._next.text == END else f"'{self._next.text}'"
        self._fail(self._next.column, f"expected {expectation}, found {actual}")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, text: str) -> bool:
        if self._next.text != text or self._next.text == END:
            return False
        self._place += 1
        return True

    def _word(self, expectation: str) -> _Token:
        token = self._next
        if not token.is_word or token.text in RESERVED:
            self._expected(expectation)
        self._place += 1
        return token

    def parse(self) -> Node:
        node = self._either()
        if self._next.text != END:
            self._expected(f"'and', 'or' or {END}")
        return node

    def _either(self) -> Node:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self) -> Node:
        parts = [self._factor()]
        while self._take("and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _factor(self) -> Node:
        column = self._next.column
        if self._depth == DEPTH:
            self._fail(column, f"nested deeper than {DEPTH} levels")
        self._depth += 1
        try:
            if self._take("not"):
                return Not(self._factor())
            if self._take("("):
                node = self._either()
                if not self._take(")"):
                    self._expected("'and', 'or' or ')'")
                return node
            return All() if self._take("all") else self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Condition:
        label = self._word("a label, 'not', 'all' or '('")
        if self._take("in"):
            values = self._values()
            return _test(label, values)
        is_negated = self._take("!=")
        if is_negated or self._take("="):
            return _test(label, [self._value()], is_negated=is_negated)
        return _test(label, [])

    def _value(self) -> _Token:
        """A value may be called as a word of the grammar: it stands where none may."""
        if not self._next.is_word:
            self._expected("a value")
        self._place += 1
        return self._tokens[self._place - 1]

    def _values(self) -> Sequence[_Token]:
        if not self._take("("):
            self._expected("'('")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take(")"):
            self._expected("',' or ')'")
        return values


def _test(label: _Token, values: Sequence[_Token], *, is_negated: bool = False) -> Condition:
    return Condition(
        label=label.text,
        values=tuple(value.text for value in values),
        is_negated=is_negated,
        columns=(label.column, *(value.column for value in values)),
    )
