"""`trace` as a user calls it: what it refuses before it reaches a board."""

import pytest

from tests.unit.cli.test_cli import run

TRACE = ("trace", "--board=a53-som", "--host=root@192.0.2.7")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seconds=0"], "expected 1 to 3,600"),
        (["--run=selftest", "--attach"], "expected one of them"),
        (["--run='selftest"], "is no command line"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*TRACE, *options) == 2
    assert words in capsys.readouterr().err
