"""A real board over SSH surveyed and examined: busybox, dropbear, a 32-bit userland."""

from pathlib import Path

import pytest

from edgewright.board.catalogue import board_names, load_board, load_profile
from edgewright.board.proposal import propose
from edgewright.deploy.remote import Board
from edgewright.deploy.survey import survey
from edgewright.observe.doctor import facts
from edgewright.observe.doctor.judge import judge
from edgewright.observe.doctor.report import Grade
from tests.checkout import checkout

pytestmark = pytest.mark.board

BOARDS = checkout().resources.boards


def test_the_emulated_board_gives_a_profile_of_itself(board: Board, tmp_path: Path) -> None:
    known = load_board("a53-som", BOARDS)

    answers = survey(board, "/opt/edgewright")

    assert (answers.machine, answers.arch, answers.core) == ("armv7l", "armhf", "cortex-a53")
    assert (answers.cores, answers.fpu) == (known.cpu.cores, known.cpu.fpu)
    assert answers.libc is not None
    assert answers.libc.family == "glibc"
    assert answers.missing_applets == ()
    assert answers.deploy_mount is not None
    assert answers.deploy_mount.hindrance is None

    catalogue = [load_board(name, BOARDS) for name in board_names(BOARDS)]
    proposal = propose(answers, str(board.target), catalogue, "mine")
    profile = tmp_path / "mine.toml"
    profile.write_text(f'compatible = "test,mine"\n{proposal.toml}')

    assert {unknown.key for unknown in proposal.unknown} == {"compatible"}  # no device tree there
    assert "a53-som" in {resemblance.board for resemblance in proposal.resembles}
    assert load_profile(profile, BOARDS).cpu.core == "cortex-a53"


# What the kernel of a board in trouble would show; the emulated board has this machine's own.
TROUBLE = """
mkdir -p $1/proc $1/sys/class/thermal/thermal_zone0 $1/sys/block/mmcblk0/device
cd $1
printf 'MemTotal: 2000000 kB\nMemAvailable: 1000 kB\n' >proc/meminfo
printf 'oom_kill 3\n' >proc/vmstat
printf 'soc\n' >sys/class/thermal/thermal_zone0/type
printf '91000' >sys/class/thermal/thermal_zone0/temp  # no line end
printf 'passive\n' >sys/class/thermal/thermal_zone0/trip_point_0_type
printf '85000\n' >sys/class/thermal/thermal_zone0/trip_point_0_temp
printf 'MMC\n' >sys/block/mmcblk0/device/type
printf '0x0b 0x03\n' >sys/block/mmcblk0/device/life_time
"""


def test_the_emulated_board_says_what_would_hurt(board: Board) -> None:
    profile = load_board("a53-som", BOARDS)
    asked = {check.name: check for check in judge(facts.ask(board, "/opt/edgewright"), profile)}

    for name in ("userland", "mount", "space", "inodes", "applets", "libc", "kernel", "clock"):
        assert asked[name].grade is Grade.WELL, asked[name]
    assert "MiB available" in asked["memory"].found

    tree = board.script("mktemp -d").stdout.strip()
    board.script(TROUBLE, tree)
    checks = judge(facts.ask(board, "/opt/edgewright", tree), profile)
    board.script('rm -r "$1"', tree)

    hurting = {check.name: check.grade for check in checks}
    assert hurting["storage mmcblk0"] is hurting["memory"] is Grade.BROKEN
    assert hurting["heat soc"] is hurting["out of memory"] is Grade.RISK
    assert checks[0].grade is Grade.BROKEN
