import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("edgewright", deadline=None)
hypothesis.settings.load_profile("edgewright")

# A shell that starts the tests in the background has them, and all their children, ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

CheckGolden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing"
    )


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> CheckGolden:
    """Compare a text with a golden file, or write the file under `--update-golden`."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        content = path.read_text() if path.exists() else None
        assert content == text, f"{path} is not up to date: pytest --update-golden"

    return check
