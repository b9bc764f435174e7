"""The supervisor script for boards without systemd, run by this machine's own shell."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.base import process
from edgewright.base.files import unique_name
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Manager
from edgewright.build.container import DockerBuilder
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


def supervisor(tmp_path: Path, program: str, **changes: object) -> Path:
    """The script, with `program` in the place of edgectl."""
    state, helper = tmp_path / "state", tmp_path / "root" / "bin" / "edgectl"
    helper.parent.mkdir(parents=True)
    helper.write_text(f"#!/bin/sh\n{program}\n")
    helper.chmod(0o755)
    text = service.render(profile_of(tmp_path, **changes))[-1].text
    script = tmp_path / "service"
    script.write_text(text.replace(f"state={service.STATE}", f"state={state}"))
    return script


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs the script with `program` in the place of edgectl; returns the folder of its state."""
    running: list[subprocess.Popen[bytes]] = []

    def install(program: str, **changes: object) -> Path:
        state, script = tmp_path / "state", supervisor(tmp_path, program, **changes)
        running.append(subprocess.Popen(["sh", str(script)], start_new_session=True))
        return state

    yield install
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


@pytest.mark.docker
def test_where_there_is_no_room_for_a_log_the_program_runs_on(
    builder: DockerBuilder, tmp_path: Path
) -> None:
    state, name = tmp_path / "state", unique_name("edgewright-full")
    words = f"echo run >> {tmp_path}/runs; while :; do echo words; sleep .1; done"
    script = supervisor(tmp_path, words, watchdog_s=60)
    fill = f"dd if=/dev/zero of={state}/another bs=1k; exec sh {script}"
    argv = ["docker", "run", "--detach", "--init", "--name", name]
    argv += ["--volume", f"{tmp_path}:{tmp_path}", "--tmpfs", f"{state}:size=16k"]
    process.check([*argv, builder.image, "sh", "-c", fill])
    try:
        wait_for((tmp_path / "runs").is_file)
        time.sleep(5)  # it is looked after every two seconds
        assert (tmp_path / "runs").read_text() == "run\n"

        process.check(["docker", "exec", name, "rm", f"{state}/another"])
        written = ["docker", "exec", name, "tail", "-n", "1", f"{state}/log"]
        wait_for(lambda: process.check(written).stdout == "words\n")
        assert (tmp_path / "runs").read_text() == "run\n"
    finally:
        process.check(["docker", "rm", "--force", name])
