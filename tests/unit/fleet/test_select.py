"""Label expressions: what they mean, and what is said of one that means nothing."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.fleet import select
from edgewright.fleet.select import All, And, Condition, Node, Not, Or, parse

LYON = {"name": "lyon-1", "site": "lyon", "kind": "a53-som", "canary": "true", "line": "3"}
TURIN = {"name": "turin-1", "site": "turin", "kind": "rpi2", "canary": "false"}
VOCABULARY = {
    "name": {"lyon-1", "turin-1"},
    "site": {"lyon", "turin"},
    "kind": {"a53-som", "rpi2"},
    "canary": {"true", "false"},
    "line": {"3"},
}


@pytest.mark.parametrize(
    ("text", "lyon", "turin"),
    [
        ("all", True, True),
        ("site=lyon", True, False),
        ("site!=lyon", False, True),
        ("site=lyon and kind=a53-som and not canary", False, False),
        ("site=lyon and kind=a53-som and canary", True, False),
        ("not canary", False, True),
        ("line", True, False),
        ("line!=3", False, True),  # also of a board without the label
        ("line=3 or kind=rpi2", True, True),
        ("kind in (rpi2, a53-som)", True, True),
        ("not (site=lyon or site=turin)", False, False),
        ("site=turin or site=lyon and not canary", False, True),  # `and` binds more tightly
        ("not site=lyon and not canary", False, True),
        (" ( ( site = lyon ) ) ", True, False),
        ("canary=false", False, True),
    ],
)
def test_what_an_expression_means(text: str, lyon: bool, turin: bool) -> None:
    expression = parse(text)

    expression.require_known(VOCABULARY)
    assert (expression.holds(LYON), expression.holds(TURIN)) == (lyon, turin)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("site=", 6, "expected a value, found the end"),
        ("site=lyon kind=rpi2", 11, "expected 'and', 'or' or the end, found 'kind'"),
        ("site=lyon and", 14, "expected a label, 'not', 'all' or '(', found the end"),
        ("(site=lyon", 11, "expected 'and', 'or' or ')', found the end"),
        ("site in lyon", 9, "expected '(', found 'lyon'"),
        ("site in (lyon", 14, "expected ',' or ')', found the end"),
        ("site==lyon", 6, "expected a value, found '='"),
        ("site=lyon & canary", 11, "unexpected '&'"),
        ("and", 1, "expected a label, 'not', 'all' or '(', found 'and'"),
        ("kind=rpi2 and sit=lyon", 15, "no board has the label 'sit'; did you mean 'site'?"),
        ("not site=lion", 10, "no board has site=lion; did you mean 'lyon'?"),
        ("site in (lyon, nice)", 16, "no board has site=nice"),
        ("not " * 60 + "canary", 201, "nested deeper than 50 levels"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, column: int, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(text).require_known(VOCABULARY)

    assert str(refused.value) == (
        f"--select: column {column}: {problem}\n"
        f"  {text}\n"
        f"  {' ' * (column - 1)}^\n"
        "next: edgewright fleet.list shows the labels of each board"
    )


def test_an_expression_is_not_empty_and_has_a_length() -> None:
    with pytest.raises(UserError, match="--select: is empty"):
        parse(" ")
    with pytest.raises(UserError, match="at most 2,000 characters"):
        parse("a" * 3000)


WORDS = st.from_regex(select.WORD, fullmatch=True).filter(
    lambda word: word not in select.RESERVED and word.isascii() and len(word) < 9
)
TESTS = st.builds(
    lambda label, values, is_negated: Condition(
        label=label, values=tuple(values), is_negated=is_negated and len(values) == 1
    ),
    WORDS,
    st.lists(WORDS, max_size=3),
    st.booleans(),
)
NODES = st.recursive(
    TESTS | st.just(All()),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=12,
)


def written(node: Node) -> str:
    if isinstance(node, Condition):
        if not node.values:
            return node.label
        if len(node.values) == 1:
            return f"{node.label}{'!=' if node.is_negated else '='}{node.values[0]}"
        return f"{node.label} in ({','.join(node.values)})"
    if isinstance(node, Not):
        return f"not ({written(node.inner)})"
    if isinstance(node, And | Or):
        word = " and " if isinstance(node, And) else " or "
        return word.join(f"({written(part)})" for part in node.parts)
    return "all"


@given(NODES, st.lists(st.dictionaries(WORDS, WORDS, max_size=4), max_size=4))
def test_what_is_written_is_read_again(node: Node, boards: list[dict[str, str]]) -> None:
    text = written(node)
    if len(text) > select.LENGTH:
        return
    expression = parse(text)

    for facts in boards:
        assert expression.holds(facts) == node.holds(facts)


@given(st.text("site=lyn() ,!andort", max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(UserError):
        parse(text).holds(LYON)
