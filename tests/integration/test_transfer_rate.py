"""A deploy's rate beside `ssh host 'cat > file'`, to a board whose processor is not emulated.

The board is this machine in a network namespace, behind a line of 100 Mbit/s: Debian's dropbear
with its window of 24 KiB, and edgectl. The files below /opt and /root are its own.
"""

from pathlib import Path

import pytest

from edgewright.deploy import install as deploy
from edgewright.deploy.remote import connect
from edgewright.observe import transfer_rate as transfer_bench
from tests import signing
from tests.boards import make_release
from tests.integration.conftest import NativeBoard

pytestmark = pytest.mark.nightly


def test_a_deploy_sends_nine_tenths_as_fast_as_plain_ssh(
    native_board: NativeBoard, host_edgectl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy, "judge_target", lambda facts, target: [])
    built = make_release(tmp_path / "built", root=transfer_bench.ROOT, edgectl=host_edgectl)
    with connect(native_board.target) as board:
        report = transfer_bench.run(board, built, signing.signer(), megabytes=32, rounds=5)
    print(report.model_dump_json(indent=2))
    assert report.rate_ratio >= 0.9
