import pytest

from edgewright.base.errors import EdgewrightError, ExitCode, TargetError, UserError


def test_a_message_is_subject_problem_facts_and_next_command() -> None:
    error = UserError(
        "build/rpi2/bin/edge-infer",
        "needs GLIBC_2.34, board 'rpi2' has glibc 2.31",
        facts=["symbol: pthread_create@GLIBC_2.34"],
        next="invoke build --board=rpi2",
    )

    assert str(error) == (
        "build/rpi2/bin/edge-infer: needs GLIBC_2.34, board 'rpi2' has glibc 2.31\n"
        "  symbol: pthread_create@GLIBC_2.34\n"
        "next: invoke build --board=rpi2"
    )


def test_a_message_may_be_one_line() -> None:
    assert str(TargetError("pi@10.0.0.7", "no answer after 10 s")) == (
        "pi@10.0.0.7: no answer after 10 s"
    )


def test_every_line_of_a_fact_is_indented() -> None:
    assert str(UserError("a", "b", facts=["one\ntwo", "three"])) == "a: b\n  one\n  two\n  three"


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (TargetError, 3), (EdgewrightError, 1)])
def test_blame_decides_the_exit_code(kind: type[EdgewrightError], code: int) -> None:
    assert kind("a", "b").exit_code == code


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "BUG": 1,
        "USER": 2,
        "TARGET": 3,
        "CHECK": 4,
        "INTERRUPTED": 130,
        "NO_READER": 141,
    }
