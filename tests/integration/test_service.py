"""The supervisor script for boards without systemd, run by this machine's own shell."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Manager
from edgewright.deploy import service
from tests.checkout import checkout

Start = Callable[..., Path]
# Written aside and renamed, as edge-infer does: a reader never finds it empty.
BEATS = """\
while :; do
    echo "{\\"uptime_s\\":$(cut -d . -f 1 /proc/uptime)}" > {0}.new
    mv {0}.new {0}
    sleep 1
done"""


def profile_of(tmp_path: Path, **changes: object) -> BoardProfile:
    profile = load_board("a53-som", checkout().boards)
    settings = {
        "manager": Manager.INITTAB,
        "input": str(tmp_path / "in"),
        "output": str(tmp_path / "out"),
        "restart_s": 1,
        **changes,
    }
    return profile.model_copy(
        update={
            "service": profile.service.model_copy(update=settings),
            "deploy": profile.deploy.model_copy(update={"root": str(tmp_path / "root")}),
        }
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs the script with `program` in the place of edgectl; returns the folder of its state."""
    running: list[subprocess.Popen[bytes]] = []

    def one(program: str, **changes: object) -> Path:
        state, helper = tmp_path / "state", tmp_path / "root" / "bin" / "edgectl"
        helper.parent.mkdir(parents=True)
        helper.write_text(f"#!/bin/sh\n{program}\n")
        helper.chmod(0o755)
        text = service.render(profile_of(tmp_path, **changes))[-1].text
        script = tmp_path / "service"
        script.write_text(text.replace(f"state={service.STATE}", f"state={state}"))
        running.append(subprocess.Popen(["sh", str(script)], start_new_session=True))
        return state

    yield one
    for child in running:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def test_a_program_that_ends_is_started_again_and_counted(start: Start, tmp_path: Path) -> None:
    state = start(f'echo "$@" > {tmp_path}/called; exit 7')

    wait_for(lambda: text_of(state / "starts").strip() not in ("", "0", "1"))
    assert "ended with exit code 7" in (state / "log").read_text()
    words = (tmp_path / "called").read_text()
    assert words.startswith("start /etc/edgewright/run watch --in ")
    assert (tmp_path / "in").is_dir()


def test_the_heartbeat_of_a_program_that_ended_is_not_the_next_one_s(
    start: Start, tmp_path: Path
) -> None:
    state = start(f"echo {{}} > {tmp_path}/state/heartbeat; exit 7", restart_s=600)

    wait_for(lambda: "ended with exit code 7" in text_of(state / "log"))
    assert not (state / "heartbeat").exists()


def test_a_program_without_a_heartbeat_is_killed(start: Start) -> None:
    state = start("exec sleep 600", watchdog_s=3)

    wait_for(lambda: "ended with exit code 137" in text_of(state / "log"))
    assert "no heartbeat for " in (state / "log").read_text()


def test_a_program_with_a_heartbeat_is_left_alone(start: Start, tmp_path: Path) -> None:
    state = start(BEATS.replace("{0}", f"{tmp_path}/state/heartbeat"), watchdog_s=3)

    time.sleep(8)
    assert (state / "starts").read_text() == "1\n"


def test_the_log_does_not_grow_above_its_limit(start: Start) -> None:
    state = start("while :; do echo 0123456789012345678901234567890; sleep .001; done", log_kb=16)

    wait_for(lambda: (state / "log.old").is_file())
    time.sleep(4)
    both = (state / "log").stat().st_size + (state / "log.old").stat().st_size
    assert both < 1024 * 1024  # it is looked at every two seconds


def test_ending_the_supervisor_ends_the_program(start: Start, tmp_path: Path) -> None:
    state = start(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    wait_for(lambda: bool(text_of(tmp_path / "pid")))

    os.kill(int((state / "supervisor").read_text()), signal.SIGTERM)

    wait_for(lambda: not Path(f"/proc/{text_of(tmp_path / 'pid').strip()}").exists())
