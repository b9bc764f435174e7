"""What makes a release a service, as text; and what a board says of it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Manager, ServiceCommand
from edgewright.cli import screens
from edgewright.deploy import service
from edgewright.release.programs import SERVICE_FILE
from edgewright.release.run_file import launcher
from tests import v0_1_0
from tests.boards import THERMAL, LocalBoard, make_release
from tests.checkout import checkout

BEAT = '{"version":1,"command":"watch","pid":99,"uptime_s":95,"images":12,"failed":2}'
STATE = f"since 40\nstarts 3\nheartbeat {BEAT}\nuptime 100\nlog 39 ended with exit code 137\n"


def profile(manager: Manager, **changes: object) -> BoardProfile:
    board = load_board("a53-som", checkout().boards)
    changed = board.service.model_copy(update={"manager": manager, **changes})
    return board.model_copy(update={"service": changed})


def test_a_board_without_a_service_gets_none() -> None:
    assert service.render(profile(Manager.NONE)) == ()
    board = LocalBoard()
    with pytest.raises(UserError) as refused:
        service.install(board, profile(Manager.NONE))
    assert str(refused.value) == (
        "board 'a53-som': has no service\n"
        "  expected: service.manager = 'inittab', 'runit' or 'systemd'\n"
        "next: set it in board_profiles/a53-som.toml"
    )
    assert board.sent == []


def test_every_init_starts_the_release_through_edgectl() -> None:
    command = "/opt/edgewright/bin/edgectl start /etc/edgewright/run watch --in /var/"
    for manager in (Manager.INITTAB, Manager.RUNIT, Manager.SYSTEMD):
        files = service.render(profile(manager))
        assert command in files[-1].text
        assert ("/etc/edgewright/run", "0755") in {(file.path, file.mode) for file in files}


def started_with(release: Path) -> str:
    """Options that the service's program gives the `edge-infer` in a release's folder."""
    program = release / "bin" / "edge-infer"
    program.parent.mkdir(exist_ok=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    launcher = release.parent / "run"
    launcher.write_text(service.render(profile(Manager.INITTAB))[0].text)
    argv = ["sh", str(launcher), "watch", "--in", "/a folder"]
    return subprocess.run(argv, cwd=release, capture_output=True, text=True, check=True).stdout


def test_the_service_runs_a_release_as_its_run_file_says(tmp_path: Path) -> None:
    release = make_release(tmp_path, root="/opt/edgewright")

    assert started_with(release.folder) == "watch --in /a folder --user edgewright\n"


def test_the_service_runs_a_release_of_0_1_0_as_its_manifest_says(tmp_path: Path) -> None:
    release = v0_1_0.release(tmp_path)

    options = f"--model model/model.ort --threads {release.manifest.runtime.threads}"
    assert started_with(release.folder) == f"watch --in /a folder {options}\n"


def test_the_service_is_the_user_that_the_profile_names() -> None:
    for manager in (Manager.INITTAB, Manager.RUNIT, Manager.SYSTEMD):
        files = {file.path: file.text for file in service.render(profile(manager, user="line"))}
        assert "\nuser=line heartbeat=/run/edgewright/heartbeat\n" in files["/etc/edgewright/run"]


def test_a_program_of_the_users_is_the_service_of_a_release_that_says_so(tmp_path: Path) -> None:
    release = make_release(tmp_path, root="/opt/edgewright").folder
    (release / "bin" / "service").write_text(
        '#!/bin/sh\necho "$# $EDGEWRIGHT_USER $EDGEWRIGHT_HEARTBEAT"\n'
    )
    (release / "bin" / "service").chmod(0o755)

    assert started_with(release) == "0 edgewright /run/edgewright/heartbeat\n"


def test_a_unit_lets_a_program_open_the_devices_of_its_profile_and_no_others() -> None:
    unit = service.render(profile(Manager.SYSTEMD, devices=("/dev/video0",)))[-1].text
    assert "\nDevicePolicy=closed\nDeviceAllow=/dev/video0 rw\n" in unit
    assert "PrivateDevices" not in unit
    assert "\nPrivateDevices=yes\n" in service.render(profile(Manager.SYSTEMD))[-1].text


def test_a_unit_keeps_the_service_from_what_it_does_not_need() -> None:
    unit = service.render(profile(Manager.SYSTEMD))[-1].text
    for line in ("NoNewPrivileges=yes", "ProtectSystem=full", "OOMPolicy=continue"):
        assert f"\n{line}\n" in unit
    writable = "-/opt/edgewright -/var/spool/edgewright/in -/var/spool/edgewright/out"
    assert f"\nReadWritePaths={writable}\n" in unit


def test_systemd_ends_a_heartbeat_with_its_program() -> None:
    """Else the next program passes for well while it still loads."""
    unit = service.render(profile(Manager.SYSTEMD))[-1].text
    assert "\nRuntimeDirectory=edgewright\n" in unit
    assert "RuntimeDirectoryPreserve" not in unit


@pytest.mark.parametrize("exists", [True, False])
def test_the_user_is_made_once(tmp_path: Path, exists: bool) -> None:
    """On a board without a tool for it; two files stand for those in /etc."""
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    line = "edgewright:x:77:77::/:/bin/false\n"
    passwd.write_text("root:x:0:0::/:/bin/sh\n" + (line if exists else "daemon:x:999:1::/:"))
    group.write_text("root:x:0:\n")
    text = service.MAKE_USER.replace("/etc/passwd", str(passwd)).replace("/etc/group", str(group))
    absent = "addgroup() { false; }\nadduser() { false; }\nuseradd() { false; }\n"
    before = passwd.read_text()

    subprocess.run(["sh", "-c", absent + text, "_", "edgewright"], check=True)

    if exists:
        assert passwd.read_text() == before
    else:
        assert passwd.read_text().splitlines()[-1] == "edgewright:x:998:998::/:/bin/false"
        assert group.read_text() == "root:x:0:\nedgewright:x:998:\n"


def test_limits_of_the_profile_are_in_the_script_and_in_the_unit() -> None:
    limits = {"nice": 7, "cpus": (2, 3), "memory_mb": 48, "watchdog_s": 33, "restart_s": 9}
    script = service.render(profile(Manager.INITTAB, **limits))[-1].text
    for line in ("nice=7", "affinity='taskset -c 2,3'", "memory_mb=48", "watchdog_s=33"):
        assert f"\n{line}\n" in script
    unit = service.render(profile(Manager.SYSTEMD, **limits))[-1].text
    for line in ("Nice=7", "CPUAffinity=2 3", "MemoryMax=48M", "WatchdogSec=33", "RestartSec=9"):
        assert f"\n{line}\n" in unit


def test_all_cores_are_left_to_it_unless_the_profile_says_which() -> None:
    assert "\naffinity=''\n" in service.render(profile(Manager.RUNIT))[-1].text
    assert "CPUAffinity" not in service.render(profile(Manager.SYSTEMD))[-1].text


def test_what_a_board_says_of_its_service() -> None:
    state = service.parse_status(STATE, "board", 60)
    assert (state.since_s, state.restarts, state.silent_s) == (60, 2, 5)
    assert (state.images, state.failed, state.healthy) == (12, 2, True)
    assert screens.service_lines(state) == [
        "service    well, last heartbeat 5 s ago",
        "running    60 s, 2 restarts since power-on",
        "images     12, 2 of them failed",
        "log        39 ended with exit code 137",
    ]


def test_heap_and_heat_are_told_where_the_release_tells_them() -> None:
    beat = {"version": 1, "command": "watch", "pid": 7, "uptime_s": 95, "images": 12, "failed": 2}
    beat |= {"heap_bytes": 8_402_176, "thermal": THERMAL}
    state = f"since 40\nstarts 3\nheartbeat {json.dumps(beat)}\nuptime 100\n"

    lines = screens.service_lines(service.parse_status(state, "board", 60))

    assert lines[-2:] == [
        "heap       8,402,176 bytes in use",
        "heat       76.9 °C of 80 °C, sensor good, effort 62% (at the least 55%)",
    ]


def test_a_service_that_is_silent_is_not_well() -> None:
    assert not service.parse_status(STATE.replace("uptime 100", "uptime 156"), "board", 60).healthy
    starting = service.parse_status("since 98\nstarts 1\nuptime 100\n", "board", 60)
    assert (starting.healthy, starting.restarts, starting.since_s) == (False, 0, 2)
    assert screens.service_lines(starting)[0] == "service    no heartbeat"


def test_a_service_that_was_started_on_a_full_disk_is_installed() -> None:
    state = service.parse_status("since \nstarts \nheartbeat \nuptime 100\n", "board", 60)
    assert (state.installed, state.since_s, state.restarts) == (True, None, 0)


def test_a_board_without_it() -> None:
    assert not service.parse_status("uptime 100\n", "board", 60).installed


def test_a_heartbeat_that_is_none() -> None:
    with pytest.raises(TargetError) as broken:
        service.parse_status("starts 1\nheartbeat nonsense\nuptime 1\n", "root@board", 60)
    assert str(broken.value) == (
        "root@board: /run/edgewright/heartbeat: not a heartbeat\n"
        "  not JSON: expected ident at line 1 column 2"
    )


def test_a_file_of_the_service_is_placed_once(tmp_path: Path) -> None:
    file = service.ServiceFile(path=str(tmp_path / "etc" / "service"), text="x\n", mode="0755")
    board = LocalBoard()
    assert service._place(board, file) is service.Placed.NEW
    assert service._place(board, file) is service.Placed.SAME
    assert (tmp_path / "etc" / "service").read_text() == "x\n"
    assert (tmp_path / "etc" / "service").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["service"]
    changed = replace(file, text="y\n")
    assert service._place(board, changed) is service.Placed.CHANGED
    assert (tmp_path / "etc" / "service").read_text() == "y\n"


@pytest.mark.parametrize(
    ("before", "expected"), [(None, "same"), ("x\n", "changed")], ids=["first", "again"]
)
def test_only_a_service_of_other_files_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, expected: str
) -> None:
    """runit may start it before the install is over: a second start would count as a restart."""
    file = service.ServiceFile(path=str(tmp_path / "run"), text="y\n")
    if before:
        Path(file.path).write_text(before)
    monkeypatch.setattr(service, "render", lambda profile: (file,))
    monkeypatch.setattr(service, "MAKE_USER", "")
    argument = tmp_path / "argument"
    monkeypatch.setitem(service.ENABLE, Manager.RUNIT, f'echo "$1" > {argument}')

    assert service.install(LocalBoard(), profile(Manager.RUNIT))

    assert argument.read_text() == f"{expected}\n"


INITTAB = "::sysinit:/etc/init.d/rcS\n" + "::askfirst:/bin/sh\n" * 200


def edit_inittab(script: str, file: Path, *arguments: str, limits: str = "") -> int:
    """Run a script of ours on a file that stands for /etc/inittab, with a harmless `kill`."""
    text = f"kill() {{ :; }}\n{limits}\n{script}"
    return subprocess.run(["sh", "-c", text, "_", *arguments, str(file)], check=False).returncode


def add(file: Path, limits: str = "") -> int:
    script, line = service.ENABLE[Manager.INITTAB], service.INITTAB_LINE
    return edit_inittab(script, file, "same", line, "/nonexistent", limits=limits)


def remove(file: Path, limits: str = "") -> int:
    script, line = service.DISABLE[Manager.INITTAB], service.INITTAB_LINE
    return edit_inittab(script, file, line, "/nonexistent", limits=limits)


@pytest.mark.parametrize("text", [INITTAB, INITTAB.rstrip("\n"), ""])
def test_the_inittab_is_what_it_was_after_the_service_is_gone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "inittab"
    file.write_text(text)
    file.chmod(0o640)

    assert add(file) == 0
    assert file.read_text().splitlines() == [*text.splitlines(), service.INITTAB_LINE]
    assert add(file) == 0
    assert remove(file) == 0

    assert file.read_text().splitlines() == text.splitlines()
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("edit", [add, remove])
def test_an_inittab_that_cannot_be_written_whole_stays_as_it_is(
    tmp_path: Path, edit: Callable[[Path, str], int], capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit of a file's size stands for a full disk: the shell's writes fail in the middle."""
    file = tmp_path / "inittab"
    text = INITTAB + (f"{service.INITTAB_LINE}\n" if edit is remove else "")
    file.write_text(text)

    assert edit(file, "trap '' XFSZ; ulimit -f 2") == 1

    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]
    assert "inittab: cannot be written, and stays as it is" in capfd.readouterr().err


def run_script(script: str, *arguments: str, board: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ours with shell functions that stand for the board's programs."""
    argv = ["sh", "-c", f"sleep() {{ :; }}\n{board}\n{script}", "_", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("manager", "board", "reason"),
    [
        (Manager.RUNIT, 'sv() { echo "fail: runsv not running"; return 1; }', "does runsvdir run"),
        (
            Manager.RUNIT,
            'sv() { [ "$1" = status ] || { echo "timeout: run"; return 1; }; }',
            "timeout",
        ),
        (Manager.INITTAB, 'kill() { [ "$1" != -0 ]; }', "is process 1 busybox init?"),
        (
            Manager.SYSTEMD,
            'systemctl() { [ "$1" != restart ] || { echo failed >&2; false; }; }',
            "failed",
        ),
    ],
)
def test_a_service_that_init_does_not_start_is_told(
    tmp_path: Path, manager: Manager, board: str, reason: str
) -> None:
    inittab = tmp_path / "inittab"
    inittab.write_text(INITTAB)
    arguments = ("changed", service._subject(manager), "/nonexistent", str(inittab))

    enabled = run_script(service.ENABLE[manager], *arguments, board=board)

    assert enabled.returncode == 1
    assert reason in enabled.stderr


@pytest.mark.parametrize(
    ("manager", "board", "reason"),
    [
        (
            Manager.RUNIT,
            'sv() { [ "$1" = status ] || { echo "timeout: run"; return 1; }; }',
            "timeout",
        ),
        (Manager.INITTAB, "kill() { :; }", "the service (process 77) has not ended within 60 s"),
    ],
)
def test_a_service_that_does_not_end_is_told_and_keeps_its_files(
    tmp_path: Path, manager: Manager, board: str, reason: str
) -> None:
    supervisor, inittab, folder = tmp_path / "supervisor", tmp_path / "inittab", tmp_path / "runit"
    supervisor.write_text("77\n")
    inittab.write_text(f"{INITTAB}{service.INITTAB_LINE}\n")
    folder.mkdir()
    subject = str(folder) if manager is Manager.RUNIT else service.INITTAB_LINE

    disabled = run_script(
        service.DISABLE[manager], subject, str(supervisor), str(inittab), board=board
    )

    assert disabled.returncode == 1
    assert reason in disabled.stderr
    assert folder.is_dir()


@pytest.mark.parametrize("manager", [Manager.INITTAB, Manager.RUNIT, Manager.SYSTEMD])
def test_a_service_that_has_gone_already_can_be_removed(tmp_path: Path, manager: Manager) -> None:
    inittab = tmp_path / "inittab"
    inittab.write_text(INITTAB)
    supervisor, folder = tmp_path / "supervisor", tmp_path / "edgewright"
    supervisor.write_text("77\n")
    subject = service.INITTAB_LINE if manager is Manager.INITTAB else str(folder)
    board = 'kill() { [ "$1" = -HUP ]; }\nsv() { return 1; }\nsystemctl() { return 1; }'

    disabled = run_script(
        service.DISABLE[manager], subject, str(supervisor), str(inittab), board=board
    )

    assert (disabled.returncode, disabled.stderr) == (0, "")


def test_a_service_for_programs_has_a_folder_for_its_sockets() -> None:
    command = "/etc/edgewright/run serve --folder /run/edgewright/serve --heartbeat "
    script = service.render(profile(Manager.INITTAB, command=ServiceCommand.SERVE))[-1].text
    assert command in script
    assert "\nfolders=/run/edgewright/serve\n" in script
    unit = service.render(profile(Manager.SYSTEMD, command=ServiceCommand.SERVE))[-1].text
    assert command in unit
    assert "\nExecStartPre=/bin/mkdir -p /run/edgewright/serve\n" in unit


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (launcher("edgewright", "/run/heartbeat"), ""),
        ('exec bin/edge-infer "$@"\n', "no\n"),
        (None, ""),
    ],
)
def test_a_service_of_an_older_edgewright_starts_no_program_of_a_users(
    text: str | None, answer: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    if text is not None:
        path.write_text(text)
    result = run_script(service.STARTS_OWN, str(path), SERVICE_FILE, board="")
    assert (result.returncode, result.stdout) == (0, answer)
