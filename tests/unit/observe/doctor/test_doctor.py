"""What of a board hurts: the real scripts over trees as a board's kernel shows them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import CheckError
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, LibcFamily
from edgewright.board.survey import Libc, Mount, Survey
from edgewright.deploy.remote import Result
from edgewright.observe.board_files import BoardFiles, parse_files, read_files
from edgewright.observe.doctor.facts import (
    LOOK,
    PATTERNS,
    STORAGE_ERRORS,
    Health,
    Swap,
    parse_health,
)
from edgewright.observe.doctor.judge import judge
from edgewright.observe.doctor.report import HURTS, Check, DoctorReport, Grade, require_well
from tests.boards import StandIn
from tests.checkout import checkout
from tests.schemas import require_valid

ROOT = "/opt/edgewright"
ZONE = "sys/class/thermal/thermal_zone0"
CPU = "sys/devices/system/cpu/cpu0/cpufreq"
# A board with nothing to complain about.
WELL = {
    "proc/loadavg": "0.20 0.10 0.05 1/99 1234",
    "proc/sys/kernel/panic": "10",
    "proc/sys/kernel/tainted": "0",
    "proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable:    1500000 kB\nSwapTotal: 0 kB",
    "proc/vmstat": "nr_free_pages 5\noom_kill 0",
    "proc/swaps": "Filename Type Size Used Priority",
    "sys/devices/system/cpu/online": "0-3",
    "sys/devices/system/cpu/present": "0-3",
    f"{CPU}/scaling_governor": "schedutil",
    f"{CPU}/scaling_max_freq": "1400000",
    f"{CPU}/cpuinfo_max_freq": "1400000",
    f"{ZONE}/type": "cpu-thermal",
    f"{ZONE}/temp": "48500",
    f"{ZONE}/trip_point_0_type": "passive",
    f"{ZONE}/trip_point_0_temp": "80000",
    f"{ZONE}/trip_point_1_type": "critical",
    f"{ZONE}/trip_point_1_temp": "95000",
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/block/mmcblk0/device/type": "MMC",
    "sys/block/mmcblk0/device/life_time": "0x01 0x02",
    "sys/block/mmcblk0/device/pre_eol_info": "0x01",
    "sys/fs/ext4/mmcblk0p2/errors_count": "0",
    "sys/class/rtc/rtc0/name": "rtc-pcf8563 0-0051",
    "etc/dropbear/dropbear_ed25519_host_key": "key",
}
# Programs of a board that has a clock and a log; this machine's own would speak of it.
STAND_INS = """
date() { echo 1700000000; }
adjtimex() { echo '    status:       1 (PLL)'; }
dmesg() { cat "$r/log" 2>/dev/null; }
df() { echo '/dev/mmcblk0p2 100000 4000 96000 4% /'; }
"""
SURVEY = Survey(
    machine="armv7l",
    kernel="6.6.51",
    userland_bits=32,
    cores=4,
    parts=(),
    features=(),
    clock_mhz=1400,
    model=None,
    compatible=(),
    libc=Libc(family="glibc", version="2.36"),
    init="inittab",
    memory_mb=1953,
    deploy_root=ROOT,
    free_mb=4000,
    mounts=(Mount(point="/", kind="ext4", options=("rw",)),),
    missing_applets=(),
)
A53 = load_board("a53-som", checkout().resources.boards)


class TreeBoard(StandIn):
    """Runs what it is asked on this machine."""

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        return Result(
            argv=tuple(argv), returncode=ended.returncode, stdout=ended.stdout, stderr=ended.stderr
        )


def health_of(
    folder: Path, changed: dict[str, str | None], survey: Survey = SURVEY, asked_at: float = 1.7e9
) -> Health:
    """Of a well board but for some files; None: a file that it lacks."""
    for path, text in {**WELL, **changed}.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(f"{text}\n")
    argv = ["sh", "-c", STAND_INS + LOOK, "_", str(folder), ROOT, STORAGE_ERRORS]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    files = read_files(TreeBoard(), PATTERNS, str(folder))
    return parse_health(answer, survey, files, asked=(asked_at, asked_at + 0.2))


def hurting(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if check.grade in HURTS]


def test_a_board_that_is_well_has_nothing_to_complain_about(tmp_path: Path) -> None:
    checks = judge(health_of(tmp_path, {}), A53)

    assert {check.name: check.grade for check in checks if check.grade is not Grade.WELL} == {
        "kernel's log": Grade.UNKNOWN
    }
    assert {"heat cpu-thermal", "storage mmcblk0", "ext4 mmcblk0p2", "governor"} <= {
        check.name for check in checks
    }


@pytest.mark.parametrize(
    ("changed", "name", "grade", "words"),
    [
        ({f"{ZONE}/temp": "85000"}, "heat cpu-thermal", "risk", "85.0 °C, slows down at 80 °C"),
        ({f"{ZONE}/temp": "93000"}, "heat cpu-thermal", "broken", "switches off at 95 °C"),
        ({f"{ZONE}/temp": "72000"}, "heat cpu-thermal", "risk", "72.0 °C"),
        ({f"{ZONE}/temp": "-274000"}, "heat cpu-thermal", "not known", "nothing that can be true"),
        ({f"{ZONE}/temp": "nan"}, "heat cpu-thermal", "not known", "nothing that can be true"),
        ({f"{ZONE}/trip_point_0_type": "active"}, "heat cpu-thermal", "note", "95 °C"),
        (
            {"sys/class/thermal/cooling_device0/cur_state": "3"},
            "throttling thermal-cpufreq-0",
            "risk",
            "cooling state 3",
        ),
        (
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "50001"},
            "firmware's limits",
            "risk",
            "now: under-voltage; since power-on: under-voltage, throttled",
        ),
        ({f"{CPU}/scaling_governor": "powersave"}, "governor", "risk", "powersave"),
        ({f"{CPU}/scaling_max_freq": "600000"}, "governor", "risk", "capped"),
        ({f"{CPU}/scaling_governor": None}, "governor", "not known", "not measured"),
        (
            {"sys/block/mmcblk0/device/life_time": "0x0a 0x01"},
            "storage mmcblk0",
            "risk",
            "up to 100 % of its life used",
        ),
        (
            {"sys/block/mmcblk0/device/life_time": "0x0b 0x01"},
            "storage mmcblk0",
            "broken",
            "beyond its life",
        ),
        (
            {"sys/block/mmcblk0/device/pre_eol_info": "0x02"},
            "storage mmcblk0",
            "risk",
            "80 % of its spare blocks",
        ),
        ({"sys/fs/ext4/mmcblk0p2/errors_count": "7"}, "ext4 mmcblk0p2", "risk", "7 errors"),
        (
            {
                "sys/class/ubi/ubi0/bad_peb_count": "9",
                "sys/class/ubi/ubi0/reserved_for_bad": "0",
            },
            "flash ubi0",
            "risk",
            "9 bad blocks, 0 spare ones",
        ),
        ({"log": "mmc0: Timeout\nEXT4-fs error (device sda)"}, "kernel's log", "risk", "storage"),
        ({"log": "all is well"}, "kernel's log", "well", "no error"),
        (
            {"proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable: 20000 kB"},
            "memory",
            "broken",
            "20 MiB available",
        ),
        ({"proc/vmstat": "oom_kill 2"}, "out of memory", "risk", "2 programs killed"),
        ({"proc/swaps": "/swapfile file 102400 2048 -2"}, "swap", "risk", "2 of 100 MiB used"),
        ({"proc/swaps": "/swapfile file 102400 0 -2"}, "swap", "note", "0 of 100 MiB used"),
        ({"proc/swaps": "/dev/zram0 partition 1024 512 5"}, "swap", "well", "compressed memory"),
        ({"proc/sys/kernel/tainted": "128"}, "kernel's health", "risk", "an oops"),
        ({"proc/sys/kernel/panic": "0"}, "kernel panic", "note", "no watchdog device"),
        ({"proc/loadavg": "7.50 1.00 1.00 9/99 1"}, "load", "note", "7.50 on 4 cores"),
        ({"sys/class/rtc/rtc0/name": None}, "clock without power", "note", "no real-time clock"),
        ({"sys/devices/system/cpu/online": "0-1"}, "cores that are off", "note", "0-1"),
    ],
)
def test_a_fault_of_the_board_is_named_with_its_remedy(
    changed: dict[str, str | None], name: str, grade: str, words: str, tmp_path: Path
) -> None:
    checks = judge(health_of(tmp_path, changed), A53)

    (check,) = [check for check in checks if check.name == name]
    assert check.grade == grade
    assert words in check.found
    assert bool(check.next) is bool(check.harm) is (check.grade not in (Grade.WELL, "not known"))
    assert [c.name for c in checks if c.grade in HURTS] == [name] * (check.grade in HURTS)


@pytest.mark.parametrize(
    ("changed", "name", "grade"),
    [
        ({"mounts": (Mount(point="/", kind="ext4", options=("ro",)),)}, "mount", "broken"),
        ({"mounts": (Mount(point="/opt", kind="ext4", options=("noexec",)),)}, "mount", "broken"),
        ({"missing_applets": ("sha256sum",)}, "applets", "broken"),
        ({"free_mb": 3}, "space", "broken"),
        ({"free_mb": 20}, "space", "risk"),
        ({"userland_bits": 64, "machine": "aarch64"}, "userland", "broken"),
        ({"kernel": "2.6.39"}, "kernel", "broken"),
        ({"cores": 1}, "cores", "risk"),
        ({"libc": Libc(family="musl", version="1.2.4")}, "libc", "note"),
        ({"libc": Libc(family="glibc", version="2.19")}, "libc", "note"),
        ({"libc": None}, "libc", "not known"),
    ],
)
def test_a_board_that_is_unfit_is_told(
    changed: dict[str, object], name: str, grade: str, tmp_path: Path
) -> None:
    checks = judge(health_of(tmp_path, {}, SURVEY.model_copy(update=changed)), A53)

    assert [check.grade for check in checks if check.name == name] == [grade]


@pytest.mark.parametrize(
    "libc",
    [
        Libc(family="musl", version="1.2.0"),
        Libc(family="musl", version="1.10.1"),
        Libc(family="musl", version=None),
        Libc(family="glibc", version="2.36"),
        Libc(family="glibc", version="1.1"),
    ],
)
def test_static_programs_of_a_board_with_musl_run_with_any_c_library(
    libc: Libc, tmp_path: Path
) -> None:
    assert judged_for_musl(libc, tmp_path).grade is Grade.WELL


def test_a_musl_that_is_older_than_the_profile_says_is_told_by_two_numbers(tmp_path: Path) -> None:
    check = judged_for_musl(Libc(family="musl", version="1.1.24"), tmp_path)

    assert (check.grade, check.found) == (Grade.NOTE, "musl 1.1.24")
    assert check.next == 'set libc.floor = "1.1" in the profile'


def test_a_musl_is_not_compared_with_a_floor_of_glibc(tmp_path: Path) -> None:
    survey = SURVEY.model_copy(update={"libc": Libc(family="musl", version="1.2")})
    checks = judge(health_of(tmp_path, {}, survey), A53)

    assert [check.next for check in checks if check.name == "libc"] == [
        'keep runtime.linkage = "static" in the profile'
    ]


def judged_for_musl(libc: Libc, tmp_path: Path) -> Check:
    """What doctor says of a C library to a profile with musl 1.2."""
    musl = A53.libc.model_copy(update={"family": LibcFamily.MUSL, "floor": "1.2"})
    health = health_of(tmp_path, {}, SURVEY.model_copy(update={"libc": libc}))
    checks = judge(health, A53.model_copy(update={"libc": musl}))
    return next(check for check in checks if check.name == "libc")


def test_chips_tell_their_heat_once_beside_the_zones(tmp_path: Path) -> None:
    chips: dict[str, str | None] = {
        "sys/class/hwmon/hwmon0/name": "cpu_thermal",  # the zone again
        "sys/class/hwmon/hwmon0/temp1_input": "48500",
        "sys/class/hwmon/hwmon1/name": "nvme",
        "sys/class/hwmon/hwmon1/temp1_input": "36850",
        "sys/class/hwmon/hwmon1/temp1_label": "Composite",
    }

    checks = judge(health_of(tmp_path, chips), A53)

    heats = {check.name: check.found for check in checks if check.name.startswith("heat")}
    assert sorted(heats) == ["heat cpu-thermal", "heat nvme Composite"]
    assert heats["heat nvme Composite"] == "36.9 °C"


def test_releases_and_a_host_key_in_memory_are_gone_after_the_next_start(tmp_path: Path) -> None:
    in_memory = (
        Mount(point="/", kind="ext4", options=("rw",)),
        Mount(point="/etc", kind="tmpfs", options=("rw",)),
        Mount(point="/opt", kind="tmpfs", options=("rw",)),
    )
    survey = SURVEY.model_copy(update={"mounts": in_memory})

    assert hurting(judge(health_of(tmp_path, {}, survey), A53)) == ["mount", "host key"]


@pytest.mark.parametrize(
    ("ahead_s", "grade", "words"),
    [
        (0, "well", "as this machine's, steered by NTP"),
        (-30, "note", "30 s ahead of this machine's"),
        (400_000, "risk", "4.6 days behind this machine's"),
    ],
)
def test_a_clock_is_compared_with_this_machine_s(
    ahead_s: int, grade: str, words: str, tmp_path: Path
) -> None:
    checks = judge(health_of(tmp_path, {}, asked_at=1.7e9 + ahead_s), A53)

    (clock,) = [check for check in checks if check.name == "clock"]
    assert clock.grade == grade
    assert words in clock.found


@pytest.mark.parametrize(("free", "grade"), [("40", "broken"), ("1500", "risk"), ("90000", "well")])
def test_few_inodes_are_told_though_there_is_space(free: str, grade: str) -> None:
    lines = f"inodes /dev/mmcblk0p2 100000 4000 {free} 96% /"

    checks = judge(parse_health(lines, SURVEY, BoardFiles({}), asked=(0, 0)), A53)

    (inodes,) = [check for check in checks if check.name == "inodes"]
    assert inodes.grade == grade


def test_a_board_that_says_nothing_is_not_taken_for_well() -> None:
    nothing = parse_health("", SURVEY, BoardFiles({}), asked=(0, 0))

    silent = {"inodes", "kernel's log", "memory", "heat", "governor", "load", "clock", "host key"}
    unknown = {c.name for c in judge(nothing, A53) if c.grade is Grade.UNKNOWN}
    assert unknown == silent


def test_the_worst_comes_first_and_is_a_refusal(tmp_path: Path) -> None:
    changed: dict[str, str | None] = {
        f"{ZONE}/temp": "72000",
        "proc/sys/kernel/panic": "0",
        "sys/block/mmcblk0/device/life_time": "0x0b 0x0b",
    }
    checks = judge(health_of(tmp_path, changed), A53)
    grades = [check.grade for check in checks]
    report = report_of(checks)

    assert grades == sorted(grades, key=list(Grade).index)
    require_valid("doctor", report.to_json())
    with pytest.raises(CheckError) as refused:
        require_well(report)
    assert str(refused.value) == (
        "board.test: 2 things would hurt: storage mmcblk0, heat cpu-thermal\n"
        "  storage mmcblk0: it becomes read-only or loses data when it is worn out\n"
        "  heat cpu-thermal: less than 10 °C of room: it slows down under load\n"
        "next: plan to replace it; look for what writes so much"
    )


def report_of(checks: tuple[Check, ...], profile: BoardProfile = A53) -> DoctorReport:
    return DoctorReport(
        target="board.test",
        board=profile.name,
        emulated=False,
        host_key="SHA256:x",
        hurts=len(hurting(checks)),
        checks=checks,
    )


PATHS = st.sampled_from([path for path in WELL if path.startswith(("sys", "proc"))])
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "9" * 4000,
            "-1",
            "0x",
            "0xff 0xff",
            "\x1b]0;t\x07",
            "\u202e",
            "[link=x]",
            "1e999",
            "99999",
        ]
    ),
)


@given(st.lists(st.tuples(PATHS, VALUES), max_size=20), st.text(max_size=200))
def test_a_lying_board_gets_a_report_that_can_be_shown(
    answers: list[tuple[str, str]], more: str
) -> None:
    files = parse_files("\n".join(f"{path} {value}" for path, value in answers))
    lines = "\n".join(f"{key} {more}" for key in ("date", "ntp", "inodes", "swap", "storage"))

    report = report_of(judge(parse_health(lines, SURVEY, files, asked=(0, 1)), A53))

    require_valid("doctor", report.to_json())
    texts = [text for check in report.checks for text in (check.name, check.found, *check.facts)]
    assert all(text.isprintable() and len(text) < 1000 for text in texts)


def test_only_a_swap_with_a_path_is_one() -> None:
    text = "swap Filename Size Used\nswap /dev/sda1 100 5\nswap /x 9x 5"

    assert parse_health(text, SURVEY, BoardFiles({}), asked=(0, 0)).swaps == (
        Swap(file="/dev/sda1", kib=100, used_kib=5),
    )
