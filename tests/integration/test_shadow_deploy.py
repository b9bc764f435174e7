"""A candidate that the real `edgectl` runs beside a service: what becomes of it; nothing is
switched. Its program is a shell script; the real one is in test_shadow.py.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.install import Deployer
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.observe.shadow.report import ShadowReport, require_agreement
from edgewright.observe.shadow.run import shadow_connected
from edgewright.release.keys import user_keys
from edgewright.release.manifest import Release
from tests.boards import LocalBoard, Watched, make_release
from tests.checkout import checkout
from tests.integration.test_deploy_service import (  # noqa: F401
    SERVES,
    Deploy,
    edge_infer,
    install,
    root,
    supervisor,
)

pytestmark = pytest.mark.docker


def line(**fields: Any) -> str:
    return json.dumps({"version": 1, "command": "shadow", **fields})


def pair(frame: int, fate: str, candidate: str) -> str:
    answers = {"current": {"class": "ok"}, "candidate": {"class": candidate}}
    return line(frame=frame, fate=fate, **answers)


def writes(*lines: str, then: str = "exit 0") -> str:
    return "; ".join([f"echo '{each}'" for each in lines] + [then])


SUMS = line(connections=1, offered=90, agreed=38, disagreed=2, failed=0, peak_rss_kb=30_000)
GREEDY = "x=$(head -c 4194304 /dev/zero | tr '\\0' x); while :; do y=$y$x; done"


@pytest.fixture
def shadow(
    tmp_path: Path,
    root: Path,  # noqa: F811
    host_edgectl: Path,
    install: Deploy,  # noqa: F811
) -> Callable[[str], tuple[Release, ShadowReport]]:
    """Runs a candidate that does this beside the release `one`, which is in charge."""
    former = install("one", SERVES)

    def run(does: str) -> tuple[Release, ShadowReport]:
        program = edge_infer(SERVES).decode()
        program = program.replace('case "$1" in', f'case "$1" in\nshadow) {does} ;;', 1)
        release = make_release(
            tmp_path / "built" / "candidate", root=str(root), model=b"candidate",
            edgectl=host_edgectl, edge_infer=program.encode(),
        )  # fmt: skip
        board = LocalBoard()
        settings = DeploySettings(
            target=board.target,
            release=release,
            signing=SigningPolicy(keys=user_keys(), ask=lambda _: None),
            deployer=Deployer(holder="tester@here", locks=tmp_path / "locks"),
            known_hosts=(),
        )
        watched = Watched()
        report = shadow_connected(board, settings, profile_at(root), 3.0, watched)
        assert watched.stages.count("trial beside the release in charge") == 1
        assert "smoke test before the switch" not in watched.stages
        state = Edgectl(board=board, root=str(root)).status()
        assert (state.current, state.previous, state.txn) == (former.id, None, None)
        return release, report

    return run


def profile_at(root: Path) -> BoardProfile:  # noqa: F811
    profile = load_board("a53-som", checkout().boards)
    budgets = profile.budgets.model_copy(update={"peak_rss_mb": 32.0})
    deploy = profile.deploy.model_copy(update={"root": str(root)})
    return profile.model_copy(update={"deploy": deploy, "budgets": budgets})


def served(root: Path) -> bool:  # noqa: F811
    service = Edgectl(board=LocalBoard(), root=str(root)).status().service
    return service is not None and service.ready


def wait_until_served(root: Path) -> None:  # noqa: F811
    deadline = time.monotonic() + 30
    while not served(root):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_a_candidate_answered_is_told_and_nothing_is_switched(
    shadow: Callable[[str], tuple[Release, ShadowReport]],
    supervisor: Callable[[], None],  # noqa: F811
    root: Path,  # noqa: F811
) -> None:
    supervisor()
    wait_until_served(root)

    release, report = shadow(writes(pair(3, "disagreed", "bad"), SUMS, then="sleep 3; exit 0"))

    assert (report.release, report.fault, report.reason) == (release.id, None, None)
    assert (report.agreed, report.disagreed, report.failed, report.offered) == (38, 2, 0, 90)
    assert [(p.frame, p.current, p.candidate) for p in report.pairs] == [(3, "ok", "bad")]
    assert report.share == pytest.approx(0.05)
    require_agreement(report, 0.05)
    assert served(root)


@pytest.mark.parametrize(
    ("does", "fault"),
    [
        (writes(pair(1, "agreed", "ok"), then="kill -SEGV $$"), "ended by signal 11"),
        (
            writes(line(error={"code": "model_damaged", "message": "is damaged"}), then="exit 4"),
            "ended with exit code 4: is damaged",
        ),
        (GREEDY, "its edge-infer shadow took more than 64 MiB of memory"),
    ],
)
def test_a_candidate_that_ends_does_so_alone(
    shadow: Callable[[str], tuple[Release, ShadowReport]],
    supervisor: Callable[[], None],  # noqa: F811
    root: Path,  # noqa: F811
    does: str,
    fault: str,
) -> None:
    supervisor()
    wait_until_served(root)

    _, report = shadow(does)

    assert report.fault is not None
    assert fault in report.fault
    assert served(root)


def test_a_candidate_that_hangs_is_ended_soon_after_its_time(
    shadow: Callable[[str], tuple[Release, ShadowReport]],
    supervisor: Callable[[], None],  # noqa: F811
    root: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgewright.observe.shadow.run.START_SECONDS", 2)
    supervisor()
    wait_until_served(root)

    release, report = shadow("exec sleep 600")

    assert report.fault == f"release {release.id}: its edge-infer shadow took too long"
    assert report.seconds < 60
    assert served(root)


def test_a_board_without_a_running_service_says_so(
    shadow: Callable[[str], tuple[Release, ShadowReport]],
) -> None:
    _, report = shadow(writes(SUMS))

    assert (report.reason, report.frames) == ("no service runs on the board", 0)
