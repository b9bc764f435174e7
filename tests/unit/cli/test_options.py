"""Options declared once: what Invoke makes of them, and what a task gets."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.program import Program

from edgewright.cli.options import flatten, make_task


@dataclass(frozen=True, kw_only=True)
class Place:
    host: Annotated[str, "where it is"]
    dry_run: Annotated[bool, "change nothing"] = False
    beside: Annotated[tuple[str, ...], "another one; may be given several times"] = ()


def run(body: Any, *argv: str) -> None:
    """Start a task as `edgewright ARGV…` does."""
    Program(namespace=Collection(make_task(flatten(body)))).run(["edgewright", *argv], exit=False)


def test_a_task_gets_its_options_as_one_value() -> None:
    received: list[tuple[Place, int]] = []

    def visit(c: Context, place: Place, count: Annotated[int, "how often"] = 1) -> None:
        received.append((place, count))

    run(visit, "visit", "--host=a", "--dry-run", "--beside=x", "--beside=y", "--count=3")
    run(visit, "visit", "--host=b")

    assert received == [
        (Place(host="a", dry_run=True, beside=("x", "y")), 3),
        (Place(host="b"), 1),
    ]


def test_an_option_of_its_own_may_be_given_several_times_too() -> None:
    received: list[tuple[str, ...]] = []

    def visit(c: Context, names: Annotated[tuple[str, ...], "whom to visit"] = ()) -> None:
        received.append(names)

    run(visit, "visit", "--names=x", "--names=y")
    run(visit, "visit")

    assert received == [("x", "y"), ()]


def test_the_help_of_a_task_is_that_of_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    def visit(c: Context, place: Place) -> None:
        """Go there."""

    run(visit, "--help", "visit")

    shown = capsys.readouterr().out
    assert "Go there." in shown
    for line in ("--host=STRING", "where it is", "--dry-run", "change nothing"):
        assert line in shown


def test_an_option_without_help_is_refused_when_the_task_is_made() -> None:
    def visit(c: Context, host: str) -> None:
        """Go there."""

    with pytest.raises(TypeError, match="option 'host': expected Annotated"):
        make_task(flatten(visit))
