"""`profile` as a user calls it: what it refuses before it reaches a board."""

import pytest

from tests.unit.cli.test_cli import run

PROFILE = ("profile", "--board=a53-som", "--host=root@192.0.2.7")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seconds=0"], "expected 1 to 600"),
        (["--run='selftest"], "is no command line"),
        (["--run=selftest", "--attach"], "--run, --attach: expected one of them"),
        (["--symbols=/nowhere"], "has no folder .build-id"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*PROFILE, *options) == 2
    assert words in capsys.readouterr().err
