"""Emulated boards: what is on them, what stays, what an interrupt leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.deploy.remote import connect
from edgewright.lab import emulate
from edgewright.lab.emulate import EmulatedBoard, State
from tests.integration.conftest import instance_of, shell, wait_until

pytestmark = pytest.mark.board


def test_board_is_a_light_embedded_linux(emulated: EmulatedBoard) -> None:
    with connect(emulated.target) as board:
        assert board.run(["uname", "-m"]).stdout == "armv7l\n"
        assert board.run(["sh", "-c", "grep -c ^processor /proc/cpuinfo"]).stdout == "4\n"
        assert " crc32\n" in board.run(["cat", "/proc/cpuinfo"]).stdout
        for absent in ("python3", "perl", "bash", "sftp-server", "flock", "apt"):
            assert board.run(["sh", "-c", f"command -v {absent}"]).returncode != 0, absent
        assert "BusyBox" in board.run(["busybox"]).stdout


def test_every_ssh_session_has_the_profile_s_cpu(tmp_path: Path) -> None:
    instance = instance_of("rpi2", tmp_path)
    try:
        with connect(emulate.up(instance).target) as board:
            assert board.run(["sh", "-c", 'echo "$QEMU_CPU"']).stdout == "cortex-a7\n"
            assert "crc32" not in board.run(["cat", "/proc/cpuinfo"]).stdout
    finally:
        emulate.down(instance)


def test_the_command_that_is_shown_reaches_a_board_whose_folder_has_a_blank(tmp_path: Path) -> None:
    instance = instance_of("a53-som", tmp_path / "my boards, 50%d")
    try:
        line = f"{emulate.up(instance).ssh_command} 'cd /opt && pwd'"
        answer = subprocess.run(  # as docs/programs.md has it
            ["sh", "-c", 'eval "$1"', "sh", line],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # without the terminal, on which ssh would ask a question
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        emulate.down(instance)

    assert (answer.stdout, answer.returncode) == ("/opt\n", 0), answer.stderr


def test_arm64_board(tmp_path: Path) -> None:
    instance = instance_of("a53-som-arm64", tmp_path)
    try:
        with connect(emulate.up(instance).target) as board:
            assert board.run(["uname", "-m"]).stdout == "aarch64\n"
            assert "Features\t: fp asimd" in board.run(["cat", "/proc/cpuinfo"]).stdout
    finally:
        emulate.down(instance)


def test_up_is_idempotent_and_a_stopped_board_comes_back_with_its_files(tmp_path: Path) -> None:
    instance = instance_of("a53-som", tmp_path)
    try:
        first = emulate.up(instance)
        assert emulate.up(instance) == first
        shell(first, "echo kept > /opt/file")
        subprocess.run(["docker", "kill", first.container], check=True, capture_output=True)
        assert emulate.status(instance).state is State.STOPPED
        again = emulate.up(instance)
        assert shell(again, "cat /opt/file") == "kept"
        with connect(again.target) as board:
            assert board.run(["true"]).returncode == 0
    finally:
        assert emulate.down(instance)
    assert not emulate.down(instance)
    assert emulate.status(instance).state is State.ABSENT


def test_host_key_outlives_the_board(tmp_path: Path) -> None:
    instance = instance_of("a53-som", tmp_path)
    keys = []
    for _ in range(2):
        try:
            board = emulate.up(instance)
            keys.append((board.folder / "known_hosts").read_text().split()[1:])
            with connect(board.target):
                pass
        finally:
            emulate.down(instance)
    assert keys[0] == keys[1]


def test_storage_can_be_small(small_board: EmulatedBoard) -> None:
    assert shell(small_board, "df -k /opt | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2") == "4096"


UP = """
import sys
from pathlib import Path
from edgewright.lab import emulate
from tests.integration.conftest import instance_of
emulate.banner = lambda address, port: False
emulate.up(instance_of("a53-som", Path(sys.argv[1])))
"""


def test_ctrl_c_while_a_board_comes_up_leaves_no_container(tmp_path: Path) -> None:
    name = instance_of("a53-som", tmp_path).container
    child = subprocess.Popen(
        [sys.executable, "-c", UP, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    wait_until(lambda: is_there(name))
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not is_there(name)


def is_there(container: str) -> bool:
    argv = ["docker", "container", "inspect", container]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
