"""Text of boards and strangers, as a terminal gets it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.base.schema import Foreign, Many, parse_json
from edgewright.base.text import LINE, last_lines, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Prüfung, 検査 £ 5", "plain text, Prüfung, 検査 £ 5"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),  # the clipboard
        ("\x1b[8mhidden\x1b[0m", r"\x1b[8mhidden\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),  # CSI as one character
        ("a\rb\x08c\x7f", r"a\rb\x08c\x7f"),
        ("two\nlines\u2028three\x85", r"two\nlines\u2028three\x85"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),  # turns the direction
        ("in\u200bvis\u00adible\ufeff", r"in\u200bvis\xadible\ufeff"),
        ("\u3164\u2800\ufe0f", r"\u3164\u2800\ufe0f"),  # printable by Unicode, and empty
        ("\U000e0041tag", r"\U000e0041tag"),
    ],
)
def test_what_controls_or_hides_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_shown_controls_a_terminal(text: str) -> None:
    shown = visible(text)
    kinds = {unicodedata.category(letter) for letter in shown}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible(shown) == shown


def test_a_quotation_is_the_end_of_the_text_and_short() -> None:
    assert last_lines("a\n\x1bb\r\nc\n", 2) == [r"\x1bb", "c"]
    assert last_lines("", 5) == []
    flood = last_lines("x" * 5_000_000 + "\n" + "y\n" * 5_000_000, 3)
    assert flood == ["y", "y", "y"]
    assert [len(line) for line in last_lines("x" * 5_000_000, 3)] == [LINE]


def test_an_error_never_controls_the_terminal() -> None:
    escape = "\x1b]0;owned\x07\u202e"
    error = TargetError(escape, escape, facts=[f"| {escape}\n| more"], next=escape)
    assert str(error) == (
        r"\x1b]0;owned\x07\u202e: \x1b]0;owned\x07\u202e"
        "\n  "
        r"| \x1b]0;owned\x07\u202e"
        "\n  | more\nnext: "
        r"\x1b]0;owned\x07\u202e"
    )


def test_an_error_is_no_flood() -> None:
    flood = "x" * 1_000_000
    assert len(str(TargetError(flood, flood, facts=[flood], next=flood))) < 50_000


class Inner(Foreign):
    name: str


class Outer(Foreign):
    verbatim = frozenset({"report"})

    count: int
    share: float = 0.0
    report: str = ""
    names: Many[str] = ()
    inner: Many[Inner] = ()


def parsed(raw: str) -> Outer:
    return parse_json(Outer, raw, "board", "no answer", blame=TargetError)


def test_a_boards_text_is_visible_wherever_it_lies() -> None:
    answer = parsed(
        r'{"count":1,"names":["\u001b[2J"],"inner":[{"name":"\u202e"}],"report":"a\nb"}'
    )
    assert answer.names == (r"\x1b[2J",)
    assert answer.inner[0].name == r"\u202e"
    assert answer.report == "a\nb"


@pytest.mark.parametrize(
    "raw",
    [
        '{"count":"1"}',
        '{"count":true}',
        '{"count":1.0}',
        '{"count":null}',
        '{"count":' + "9" * 5000 + "}",
        '{"count":18446744073709551616}',
        '{"count":1,"share":NaN}',
        '{"count":1,"share":1e999}',
        '{"count":1,"names":"abc"}',
        '{"count":1,"names":["' + "x" * 10_001 + '"]}',
        '{"count":1,"names":{"a":1}}',
        '{"count":1,"names":[[]]}',
        '{"count":1,"inner":[{"name":"\\ud800"}]}',
        '{"count":1,"inner":' + "[" * 5000 + "]" * 5000 + "}",
        '{"count":1,"names":[' + '"",' * 60_000 + '""]}',
        '{"count":1,"inner":[' + "{}," * 11_000 + "{}]}",
        "{" + '"count":1,' * 60_000 + '"count":1}',
        "[]",
        "",
        "\x00",
    ],
)
def test_an_answer_of_wrong_types_is_refused_in_words(raw: str) -> None:
    with pytest.raises(TargetError, match="board: no answer"):
        parsed(raw)
