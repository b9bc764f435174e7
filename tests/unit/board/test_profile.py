import json
import math
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.board.catalogue import board_names, load_board, load_profile
from edgewright.board.cores import Fpu
from edgewright.board.profile import Arch, BoardProfile, Linkage, schema_json
from tests.checkout import checkout
from tests.conftest import CheckGolden

REPO = checkout()
CORPUS = Path(__file__).parents[2] / "profiles"
INVALID = sorted(CORPUS.glob("invalid_*.toml"))
EXPECT = "# expect: "


def problems_of(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_profile(path)
    return str(caught.value).splitlines()


def as_board(source: Path, folder: Path) -> Path:
    """A copy of a file of the corpus under a name that a board may have."""
    for base in CORPUS.glob("_*.toml"):
        shutil.copy(base, folder)
    return Path(shutil.copy(source, folder / "board.toml"))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem.removeprefix("invalid_"))
def test_one_defect_is_told_in_one_line(path: Path, tmp_path: Path) -> None:
    expect = path.read_text().splitlines()[0]
    assert expect.startswith(EXPECT)
    board = as_board(path, tmp_path)

    subject, *facts, command = problems_of(board)

    assert subject == f"{board}: 1 problem"
    assert len(facts) == 1
    assert facts[0].startswith("  " + expect.removeprefix(EXPECT))
    assert command == "next: mend the file, then invoke boards --check"


def test_five_defects_give_five_lines(tmp_path: Path) -> None:
    board = as_board(CORPUS / "five_defects.toml", tmp_path)

    subject, *facts, _ = problems_of(board)

    assert subject == f"{board}: 5 problems"
    assert sorted(facts) == [
        "  cpu.cors: unknown key; did you mean 'cores'?",
        "  cpu.fpu: 'vfpv3' has no NEON, which ONNX Runtime's MLAS kernels need; "
        "expected one of neon, neon-vfpv4, neon-fp-armv8",
        "  libc.floor: expected text, found 2.31",
        "  memory.total_mb: missing",
        "  runtime.linkage: expected 'static' or 'shared', found 'dynamic'",
    ]


@pytest.mark.parametrize(
    ("device", "is_fit"),
    [
        ("/dev/video0", True),
        ("/dev/v4l/by-id/usb-046d:0825_B1-video+0", True),
        ("/etc/passwd", False),
        ("/dev/../etc/passwd", False),
        ("/dev/sd a", False),
        ("/dev/%n", False),
    ],
)
def test_a_device_of_the_service_is_one_of_dev(device: str, is_fit: bool, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(
        f'description = "a board"\n{(CORPUS / "_base.toml").read_text()}'
        f'[service]\ndevices = ["{device}"]\n'
    )
    wrong = [line for line in problems_of(path) if "service.devices" in line]
    assert bool(wrong) is not is_fit


def test_what_does_not_fit_together_is_told_beside_other_defects(tmp_path: Path) -> None:
    text = (CORPUS / "_base.toml").read_text()
    board = tmp_path / "board.toml"
    board.write_text(
        'description = "a board"\n'
        + text.replace("arm-linux-gnueabihf", "aarch64-linux-gnu")
        + "[runtime]\nthreads = 5\n"
    )

    _, *facts, _ = problems_of(board)

    assert sorted(facts) == [
        "  abi.triplet: expected 'arm-linux-gnueabihf' for arch 'armhf', found 'aarch64-linux-gnu'",
        "  compatible: missing",
        "  runtime.threads: expected at most cpu.cores = 4, found 5",
    ]


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_bytes(b'description = "caf\xe9"\n')

    assert problems_of(board)[1] == "  not UTF-8: byte 18"


def test_unknown_board_suggests_a_near_miss() -> None:
    with pytest.raises(UserError) as caught:
        load_board("a53-sum", REPO.boards)

    assert str(caught.value).splitlines() == [
        "board 'a53-sum': unknown; did you mean 'a53-som'?",
        "  alike: a53-som, a53-som-arm64, a53-som-xnnpack",
        "next: invoke boards",
    ]


@pytest.mark.parametrize("name", ["../secret", "_armhf-linux", "A53-SOM", ""])
def test_what_is_not_a_board_name_is_unknown(name: str) -> None:
    with pytest.raises(UserError, match="unknown"):
        load_board(name, REPO.boards)


@pytest.mark.parametrize("name", board_names(REPO.boards))
def test_every_board_of_the_repo_loads(name: str) -> None:
    profile = load_board(name, REPO.boards)

    assert profile.name == name
    assert profile.machine == ("armv7l" if profile.abi.arch is Arch.ARMHF else "aarch64")


def test_the_boards_that_are_promised_are_there() -> None:
    assert {"a53-som", "a53-som-arm64", "imx8mm-evk", "rpi2"} <= set(board_names(REPO.boards))


def test_a_board_overrides_single_keys_of_its_base(tmp_path: Path) -> None:
    (tmp_path / "_base.toml").write_text((CORPUS / "_base.toml").read_text())
    board = tmp_path / "board.toml"
    board.write_text(
        'extends = "_base"\ndescription = "a board"\ncompatible = "test,board"\n'
        '[cpu]\ncores = 2\n[runtime]\nlinkage = "shared"\n'
    )

    profile = load_profile(board)

    assert (profile.cpu.cores, profile.cpu.core) == (2, "cortex-a7")
    assert profile.cpu.fpu is Fpu.NEON_VFPV4
    assert profile.runtime.linkage is Linkage.SHARED
    assert profile.runtime.threads == 1


@pytest.mark.parametrize(
    ("core", "fpu", "version"),
    [
        ("cortex-a7", "neon-vfpv4", 7),
        ("cortex-a53", "neon-vfpv4", 8),
        ("cortex-a53", "neon-fp-armv8", 8),
        ("cortex-a65", "neon", 7),
        ("cortex-a65", "neon-fp-armv8", 8),
        ("cortex-a72.cortex-a53", "neon-fp-armv8", 8),
    ],
)
def test_arm_version_comes_from_the_core_or_else_the_fpu(
    tmp_path: Path, core: str, fpu: str, version: int
) -> None:
    text = (CORPUS / "_base.toml").read_text()
    board = tmp_path / "board.toml"
    board.write_text(
        'description = "a board"\ncompatible = "test,board"\n'
        + text.replace("cortex-a7", core).replace("neon-vfpv4", fpu)
    )

    assert load_profile(board).cpu.arm_version == version


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a53-som-arm64", "cortex-a53"),
        ("a53-som", "max"),  # no model of a 32-bit core from ARMv8 on
        ("rockpro64", "cortex-a53"),  # the smaller of two kinds
        ("quartz64-a", "max"),  # no A55 before QEMU 8
        ("zedboard", "cortex-a9"),
        ("tinker-board", "cortex-a15"),  # as the profile says
    ],
)
def test_a_board_is_emulated_on_its_own_core_where_qemu_has_it(name: str, expected: str) -> None:
    assert load_board(name, REPO.boards).qemu_cpu == expected


def test_the_schema_in_the_repo_is_up_to_date(check_golden: CheckGolden) -> None:
    check_golden(REPO.resources.board_schema, schema_json())


def test_the_schema_is_closed() -> None:
    schema = json.loads(schema_json())
    objects = [schema, *(d for d in schema["$defs"].values() if d["type"] == "object")]

    assert [part["title"] for part in objects if part["additionalProperties"] is not False] == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged_tables(draw: st.DrawFn) -> dict[str, Any]:
    """A sound table in which some values were replaced, taken away or added."""
    table = tomllib.loads((CORPUS / "_base.toml").read_text())
    table |= {"name": "board", "description": "a board", "compatible": "test,board"}
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.sampled_from([table, *(v for v in table.values() if isinstance(v, dict))]))
        key = draw(st.sampled_from(sorted(place)) | st.text(max_size=8)) if place else "x"
        if draw(st.booleans()):
            place[key] = draw(values)
        else:
            place.pop(key, None)
    return table


@given(table=damaged_tables() | st.dictionaries(st.text(max_size=8), values))
def test_any_table_is_a_profile_or_the_users_error(table: Mapping[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewright.board.catalogue._read_toml", lambda path: dict(table))
        profile = profile_or_error(Path("board.toml"))

    if isinstance(profile, BoardProfile):
        assert math.isfinite(profile.budgets.latency_ms)
    else:
        subject, *facts, command = profile.splitlines()
        assert len(facts) == int(subject.split()[1])
        assert all(fact.startswith("  ") for fact in facts)
        assert command.startswith("next: ")


def profile_or_error(path: Path) -> BoardProfile | str:
    try:
        return load_profile(path)
    except UserError as error:
        return str(error)


@given(data=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_are_a_profile_or_the_users_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "board.toml"
    path.write_bytes(data)
    with pytest.raises(UserError):
        load_profile(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a.b = 1\na = 2"])
def test_toml_that_trips_the_parser_is_the_users_error(tmp_path: Path, text: str) -> None:
    board = tmp_path / "board.toml"
    board.write_text(text)

    assert problems_of(board)[1].startswith("  not TOML: ")
