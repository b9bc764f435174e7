"""The full-system board. Its kernel is downloaded and booted once: see `invoke setup --lab`."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright import lab
from edgewright.lab import Lab, Power
from edgewright.layout import REPO, RepoLayout
from edgewright.profile import load_board
from edgewright.remote import connect

pytestmark = pytest.mark.nightly

if shutil.which(lab.QEMU) is None:
    pytest.skip("needs invoke setup --lab --yes", allow_module_level=True)


@pytest.fixture(scope="module")
def som(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    profile = load_board("a53-som", RepoLayout().boards)
    board = Lab(profile=profile, folder=tmp_path_factory.mktemp("lab"))
    yield board
    lab.down(board)


def said(board: Lab, script: str) -> str:
    with connect(lab.up(board).target) as there:
        return there.run(["sh", "-c", script]).stdout.strip()


def test_it_is_the_profile_s_machine(som: Lab) -> None:
    assert said(som, "grep -c 'CPU part.*0xd03' /proc/cpuinfo") == "4"
    assert 1900 < int(said(som, "grep MemTotal /proc/meminfo | tr -dc 0-9")) // 1024 < 2048
    assert said(som, "head -c 5 /bin/sh | tail -c 1 | tr '\\001' 1") == "1"
    assert "ext4" in said(som, "grep ' / ' /proc/mounts")


def test_a_power_cut_loses_the_page_cache_and_keeps_the_disk(som: Lab) -> None:
    before = said(som, "echo kept > /opt/kept; sync; echo lost > /opt/lost; cat /opt/lost")
    first = said(som, "cat /proc/sys/kernel/random/boot_id")
    assert before == "lost"

    lab.cut(som)

    assert lab.power(som) is Power.OFF
    assert said(som, "cat /opt/kept") == "kept"
    assert said(som, "cat /opt/lost") == ""
    assert said(som, "cat /proc/sys/kernel/random/boot_id") != first


def test_deploys_survive_power_cuts() -> None:
    """The task as a user runs it, on the last build."""
    if not (RepoLayout().build("a53-som").latest).is_file():
        pytest.skip("needs invoke build --board=a53-som")
    argv = [sys.executable, "-m", "invoke", "lab.powercut", "--board=a53-som", "--cuts=5"]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "5 power cuts in" in done.stderr


def test_down_leaves_nothing_but_keys(tmp_path: Path) -> None:
    board = Lab(profile=load_board("a53-som", RepoLayout().boards), folder=tmp_path)
    lab.insert_disk(board)
    assert lab.down(board)
    assert {path.name for path in tmp_path.iterdir()} <= {
        "id_ed25519",
        "host_ed25519",
        "lock",
        "lab.log",
    }
    assert lab.power(board) is Power.ABSENT
