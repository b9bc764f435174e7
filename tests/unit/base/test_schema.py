"""Documents that are read and written: strict, bounded, and with errors that say what to mend."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import PROBLEMS, Document, Excerpt, Part, parse_json


class Wheel(Part):
    spokes: int
    rim: Literal["steel", "alloy"] = "steel"


class Bicycle(Document):
    version: Literal[1] = 1
    class_: str
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    weight: Annotated[float, Field(gt=0)] = 9.5


class Glimpse(Excerpt):
    version: Literal[1]


def problems(**table: object) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_json(Bicycle, json.dumps(table), "bike.json", "is not a bicycle")
    assert (caught.value.subject, caught.value.problem) == ("bike.json", "is not a bicycle")
    return list(caught.value.facts)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"class": "road", "wight": 8}, ["wight: unknown key; did you mean 'weight'?"]),
        ({"class": "road", "zzz": 8}, ["zzz: unknown key"]),
        ({}, ["class: missing"]),
        ({"class": "road", "weight": 0}, ["weight: expected more than 0, found 0"]),
        ({"class": "road", "weight": "x"}, ["weight: expected a number, found 'x'"]),
        ({"class": 1}, ["class: expected text, found 1"]),
        ({"class": "road", "version": 2}, ["version: expected 1, found 2"]),
        ({"class": "road", "wheels": 2}, ["wheels: expected a list, found 2"]),
        ({"class": "road", "wheels": [3]}, ["wheels.0: expected a table, found 3"]),
        (
            {"class": "road", "wheels": [{"spokes": 1.5}]},
            ["wheels.0.spokes: expected a whole number, found 1.5"],
        ),
        (
            {"class": "road", "spare": {"spoke": 36}},
            ["spare.spokes: missing", "spare.spoke: unknown key; did you mean 'spokes'?"],
        ),
        (
            {"class": "road", "wheels": [{"spokes": 36, "rin": "steel"}]},
            ["wheels.0.rin: unknown key; did you mean 'rim'?"],
        ),
    ],
)
def test_every_fault_of_a_document_is_told_in_our_words(
    table: dict[str, object], expected: list[str]
) -> None:
    assert problems(**table) == expected


def test_a_million_mistakes_do_not_make_a_million_lines() -> None:
    messages = problems(**{"class": "road"}, **{f"key-{number}": 0 for number in range(1000)})

    assert len(messages) == PROBLEMS + 1
    assert messages[-1] == f"and {1000 - PROBLEMS} more"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"[1]", b"null", b'{"class": NaN}', b"[" * 100_000], ids=repr
)
def test_what_is_no_document_is_an_error_of_its_own_subject(raw: bytes) -> None:
    with pytest.raises(UserError, match=r"^bike\.json: is not a bicycle\n  "):
        parse_json(Bicycle, raw, "bike.json", "is not a bicycle")


def test_nesting_has_a_limit_also_where_a_model_takes_anything() -> None:
    deep = '{"version": 1, "more": ' + "[" * 1_000 + "]" * 1_000 + "}"
    with pytest.raises(UserError, match=r"not JSON: recursion limit exceeded"):
        parse_json(Glimpse, deep, "bike.json", "is not a bicycle")


def test_a_document_has_a_limit_of_bytes() -> None:
    with pytest.raises(UserError) as caught:
        parse_json(Bicycle, "é" * 50, "bike.json", "is not a bicycle", limit=99)

    assert str(caught.value) == (
        "bike.json: is not a bicycle\n  expected: at most 99 bytes\n  found: 100 bytes"
    )


def test_half_of_a_surrogate_pair_is_no_document() -> None:
    with pytest.raises(UserError, match="is not a bicycle"):
        parse_json(Bicycle, '{"version": 1, "class": "\ud800"}', "bike.json", "is not a bicycle")


def test_who_is_to_blame_is_the_callers_choice() -> None:
    with pytest.raises(TargetError, match="next: mend the board"):
        parse_json(Bicycle, "", "board", "odd", blame=TargetError, next="mend the board")


def test_an_excerpt_lets_a_newer_writer_say_more() -> None:
    assert parse_json(Glimpse, '{"version": 1, "more": 2}', "x", "y").version == 1


def test_a_document_is_written_as_it_is_read_and_does_not_change() -> None:
    bicycle = Bicycle(class_="road", wheels=(Wheel(spokes=36),))

    assert json.loads(bicycle.to_json())["class"] == "road"
    assert parse_json(Bicycle, bicycle.to_json(), "x", "y") == bicycle
    with pytest.raises(ValidationError, match="frozen"):
        setattr(bicycle, "weight", 7.5)  # noqa: B010
