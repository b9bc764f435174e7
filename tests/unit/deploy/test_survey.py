"""What boards say of themselves: the scripts over files as their kernels write them."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.board.profile import Arch
from edgewright.board.survey import Survey
from edgewright.deploy.probe import APPLETS, PROBE
from edgewright.deploy.survey import MAX_TEXT, SURVEY, parse_survey, printable

FIXTURES = Path(__file__).parents[2] / "data" / "boards"
ROOT = "/opt/edgewright"
# Programs of the board that the scripts ask; `df` and `ldd` of this machine would speak of it.
STAND_INS = """
uname() { if [ "$1" = -m ]; then head -n 1 "{board}/uname"; else tail -n 1 "{board}/uname"; fi; }
df() { echo '/dev/root 7000000 3000000 4000000 43% /'; }
ldd() { return 127; }
"""


def run_on(board: Path, script: str, *arguments: str) -> str:
    """Standard output of a script whose absolute paths are those of a folder."""
    moved = re.sub(
        r"(?<=[\s\"'<(])/(?=(proc|sys|lib|lib64|usr|run|etc|bin|sbin)/)", f"{board}/", script
    )
    text = STAND_INS.replace("{board}", str(board)) + moved
    argv = ["sh", "-c", text, "_", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def survey_of(name: str) -> Survey:
    board = FIXTURES / name
    basics = run_on(board, PROBE, ROOT, *APPLETS)
    return parse_survey(basics, run_on(board, SURVEY), ROOT, name)


@pytest.mark.parametrize(
    ("board", "arch", "core", "fpu", "cores", "mhz", "libc", "init"),
    [
        ("rpi3", "armhf", "cortex-a53", "neon-fp-armv8", 4, 1200, "glibc 2.36", "systemd"),
        ("beaglebone-black", "armhf", "cortex-a8", "neon", 1, 1000, "glibc 2.31", "systemd"),
        ("imx8mm-evk", "arm64", "cortex-a53", "neon-fp-armv8", 4, 1800, "glibc 2.37", "inittab"),
        ("jetson-nano", "arm64", "cortex-a57", "neon-fp-armv8", 4, 1479, "glibc 2.27", "systemd"),
        (
            "rockpro64",
            "arm64",
            "cortex-a72.cortex-a53",
            "neon-fp-armv8",
            6,
            1800,
            "musl 1.2.4",
            "openrc",
        ),
        ("rpi-zero", "armhf", None, None, 1, None, None, "systemd"),
    ],
)
def test_a_board_says_what_it_is(
    board: str,
    arch: str,
    core: str | None,
    fpu: str | None,
    cores: int,
    mhz: int | None,
    libc: str | None,
    init: str | None,
) -> None:
    survey = survey_of(board)

    assert (survey.arch, survey.core, survey.fpu) == (arch, core, fpu)
    assert (survey.cores, survey.clock_mhz, survey.init) == (cores, mhz, init)
    assert (f"{survey.libc.family} {survey.libc.version}" if survey.libc else None) == libc


def test_a_32_bit_userland_on_a_64_bit_kernel_is_told_apart() -> None:
    survey = survey_of("rpi3")

    assert (survey.machine, survey.arch) == ("aarch64", Arch.ARMHF)
    assert survey.kernel == "6.6.51+rpt-rpi-v8"
    assert survey.model == "Raspberry Pi 3 Model B Rev 1.2"
    assert survey.compatible == ("raspberrypi,3-model-b", "brcm,bcm2837")
    assert survey.memory_mb == 945512 // 1024
    assert survey.missing_applets == ()


def test_the_file_system_under_the_root_is_the_last_and_longest_mount() -> None:
    on_tmpfs, read_only = survey_of("rockpro64").deploy_mount, survey_of("imx8mm-evk").deploy_mount

    assert on_tmpfs is not None
    assert read_only is not None
    assert (on_tmpfs.point, on_tmpfs.kind, on_tmpfs.hindrance) == ("/opt", "tmpfs", "noexec")
    assert (read_only.point, read_only.hindrance) == ("/", "ro")


BASICS = "machine aarch64\nbits 2\nspace /dev/root 7 3 4 43% /\n"


def test_an_emulators_own_cpuinfo_gives_no_core() -> None:
    survey = parse_survey(BASICS, "processor processor\t: 0\nprocessor processor\t: 1\n", ROOT, "b")

    assert (survey.core, survey.cores, survey.parts) == (None, 2, ())


def test_a_core_of_another_maker_is_not_taken_for_arms() -> None:
    survey = parse_survey(BASICS, "implementer 0x51\npart 0xd03\n", ROOT, "b")

    assert (survey.core, survey.parts[0].implementer) == (None, "0x51")


def test_a_pair_that_gcc_cannot_name_is_no_core() -> None:
    more = "implementer 0x41\npart 0xd41\nimplementer 0x41\npart 0xd05\n"

    assert parse_survey(BASICS, more, ROOT, "b").core is None


def test_what_draws_on_a_terminal_is_escaped() -> None:
    more = "model \x1b[2J\x07board\u202e\nmount /a\\033[2J ext4 rw\n"

    survey = parse_survey(BASICS, more, ROOT, "b")

    assert survey.model == "\\x1b[2J\\x07board\\u202e"
    assert survey.mounts[0].point == "/a\\x1b[2J"


def test_a_board_that_says_nothing_is_refused() -> None:
    with pytest.raises(TargetError, match="b: did not say what it is"):
        parse_survey("", "", ROOT, "b")


KEYS = "processor implementer part clock musl ldd comm runs mount model compatible kernel uclibc"
lines = st.builds(
    lambda key, value: f"{key} {value}",
    st.sampled_from(KEYS.split()) | st.text(max_size=8),
    st.text(max_size=40)
    | st.sampled_from(["0x41", "0xd03", "processor\t: 0", "/ ext4 rw", "9" * 3000, "/\\400 a b"]),
)


@given(more=st.lists(lines, max_size=20).map("\n".join))
def test_no_answer_breaks_the_parser_or_reaches_the_terminal_raw(more: str) -> None:
    survey = parse_survey(BASICS, more, ROOT, "b")

    assert survey.model_dump_json().isprintable()
    assert all(len(text) <= 10 * MAX_TEXT for text in survey.compatible)


@given(basics=st.lists(st.sampled_from(BASICS.splitlines()) | lines, max_size=6).map("\n".join))
def test_basics_are_facts_or_the_boards_fault(basics: str) -> None:
    try:
        message = parse_survey(basics, "", ROOT, "b").machine
    except TargetError as error:
        message = str(error)

    assert all(line.isprintable() for line in message.replace("\t", " ").split("\n"))


@given(text=st.text())
def test_printable_text_has_a_limit(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text))[: MAX_TEXT - 1] == printable(text)[: MAX_TEXT - 1]
