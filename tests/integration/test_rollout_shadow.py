"""Rollouts that begin with a shadow, to two emulated boards whose services are always at work.

Two boards are no verdict: a person looks at what the candidate answered, and decides.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import ExitCode
from edgewright.board.catalogue import load_board
from edgewright.deploy import service
from edgewright.deploy.remote import connect
from edgewright.fleet.rollout import operate
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Ledger
from tests.integration.brightness import LABELS
from tests.integration.conftest import REPO, run_edgewright, shell, wait_until
from tests.integration.test_rollout_emulated import (
    Build,
    Fleet,
    build,  # noqa: F401
    deploy_to_all,
    fleet_of,
    go_back,
    home,  # noqa: F401
)
from tests.schemas import require_valid

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

FRAMES = 30  # of a board, for it to count
WAITS = "shadow of wave 1 waits for approval"
# Images of the release that is in charge, one after the other, as a camera's come: by rename.
CAMERA = """
until cd /var/spool/edgewright/in; do sleep 1; done  # the service makes it
while :; do
    for image in /opt/edgewright/current/model/golden/*.png; do
        number=$((number + 1))
        cp "$image" .next && mv .next "$number.png"
        sleep 0.3
    done
    rm -f ../out/*.json
done
"""


@pytest.fixture(scope="module")
def fleet(
    home: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    with fleet_of(2, home, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def former(fleet: Fleet, build: Build) -> str:  # noqa: F811
    """The release that is in charge of both boards, whose services are at work."""
    release = deploy_to_all(fleet, build("former"))
    profile = load_board("a53-som", REPO.boards)
    for emulated in fleet.boards.values():
        with connect(emulated.target) as board:
            assert service.install(board, profile)
        shell(emulated, f"sh -c '{CAMERA}' > /dev/null 2>&1 &")
    return release


Decide = Callable[[Ledger], object]


@pytest.fixture
def rollout(
    fleet: Fleet, former: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str, Decide], tuple[int, dict[str, Any]]]]:
    """From its start to its end; exit code and status. A person decides on the shadow."""

    def start(release: str, decide: Decide) -> tuple[int, dict[str, Any]]:
        ledger = Ledger(open_database(str(tmp_path / "ledger")), time.time)

        is_over = threading.Event()

        def person() -> None:
            wait_until(lambda: is_over.is_set() or _phase(ledger) == WAITS, seconds=1800)
            if not is_over.is_set():
                decide(ledger)

        with ThreadPoolExecutor(1) as pool:
            deciding = pool.submit(person)
            try:
                code = run_edgewright(
                    "rollout.start", f"--fleet={fleet.file}", "--select=all",
                    f"--release={release}", "--waves=100%", "--soak=0s", "--shadow=1m",
                    "--gate=failures<=0", "--parallel=2", f"--ledger={tmp_path / 'ledger'}",
                    "--name=canary", "--json",
                )  # fmt: skip
            finally:
                is_over.set()
        deciding.result()
        shown = capsys.readouterr()
        require_valid("rollout.start", shown.out)
        return code, json.loads(shown.out)

    yield start
    go_back(fleet, former)


def _phase(ledger: Ledger) -> str:
    return next((rollout.phase for rollout in ledger.rollouts()), "")


def test_a_candidate_with_other_answers_is_seen_and_no_board_is_switched(
    rollout: Callable[[str, Decide], tuple[int, dict[str, Any]]],
    build: Build,  # noqa: F811
    fleet: Fleet,
    former: str,
) -> None:
    release = build("swapped", labels=(LABELS[1], LABELS[0]))

    code, status = rollout(release, lambda ledger: operate.abort(ledger, "canary", "ann"))

    assert (code, status["state"]) == (ExitCode.CHECK, "aborted")
    assert {*fleet.current().values()} == {former}
    for board in status["boards"]:
        shadow = board["measured"]["shadow"]
        assert (shadow["agreed"], shadow["fault"], shadow["reason"]) == (0, None, None)
        assert shadow["differing"] >= FRAMES
        assert {pair["fate"] for pair in shadow["pairs"]} == {"disagreed"}


def test_a_candidate_with_the_same_answers_is_approved_and_takes_over(
    rollout: Callable[[str, Decide], tuple[int, dict[str, Any]]],
    build: Build,  # noqa: F811
    fleet: Fleet,
    former: str,
) -> None:
    release = build("sound", card_name="brightness-2")

    code, status = rollout(release, lambda ledger: operate.approve(ledger, "canary", "ann", "ok"))

    assert (code, status["state"]) == (ExitCode.OK, "done")
    assert {*fleet.current().values()} == {release} != {former}
    for board in status["boards"]:
        shadow = board["measured"]["shadow"]
        assert (shadow["differing"], shadow["fault"], shadow["reason"]) == (0, None, None)
        assert shadow["agreed"] >= FRAMES
