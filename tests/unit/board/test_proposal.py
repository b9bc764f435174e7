"""A profile from a survey: what it states, what it resembles, and what it leaves open."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError, UserError
from edgewright.board.catalogue import board_names, load_board, load_profile
from edgewright.board.proposal import Proposal, propose
from edgewright.board.survey import CpuPart, Libc, Mount, Survey
from tests.checkout import checkout

BOARDS = checkout().resources.boards
CATALOGUE = [load_board(name, BOARDS) for name in board_names(BOARDS)]
RPI3 = Survey(
    machine="aarch64",
    kernel="6.6.51",
    userland_bits=32,
    cores=4,
    parts=(CpuPart(implementer="0x41", part="0xd03"),),
    features=("crc32", "neon", "vfpv4"),
    clock_mhz=1200,
    model="Raspberry Pi 3 Model B Rev 1.2",
    compatible=("raspberrypi,3-model-b", "brcm,bcm2837"),
    libc=Libc(family="glibc", version="2.36"),
    init="systemd",
    memory_mb=923,
    deploy_root="/opt/edgewright",
    free_mb=4000,
    mounts=(Mount(point="/", kind="ext4", options=("rw", "noatime")),),
    missing_applets=(),
)


def proposal_of(name: str = "", **changes: Any) -> Proposal:
    return propose(RPI3.model_copy(update=changes), "root@board", CATALOGUE, name)


def load(proposal: Proposal, folder: Path) -> object:
    path = folder / f"{proposal.name}.toml"
    path.write_text(proposal.toml)
    return load_profile(path, BOARDS)


def test_a_board_of_the_catalogue_gives_its_own_profile(tmp_path: Path) -> None:
    proposal = proposal_of()
    path = tmp_path / f"{proposal.name}.toml"
    path.write_text(proposal.toml)

    profile, expected = load_profile(path, BOARDS), load_board("rpi3-armhf", BOARDS)

    assert (profile.name, profile.compatible) == ("3-model-b", expected.compatible)
    assert (profile.cpu, profile.abi, profile.runtime) == (
        expected.cpu,
        expected.abi,
        expected.runtime,
    )
    assert (profile.libc.floor, profile.memory.total_mb) == ("2.36", 923)
    assert proposal.unknown == ()


def test_it_resembles_first_what_has_its_compatible_and_userland() -> None:
    first, second, third = proposal_of().resembles

    assert str(first) == (
        "rpi3-armhf: raspberrypi,3-model-b, 32-bit userland, cortex-a53, 4 cores, 1024 MiB"
    )
    assert str(second) == (
        "rpi3-arm64: raspberrypi,3-model-b, cortex-a53, 4 cores, 1024 MiB; differs: 64-bit userland"
    )
    assert {"32-bit userland", "cortex-a53"} <= set(third.alike)


def test_a_board_like_no_other_says_so() -> None:
    proposal = proposal_of(
        compatible=("acme,x1",), parts=(CpuPart(implementer="0x41", part="0xc0e"),)
    )

    assert proposal.resembles == ()
    assert "# Resembles no board of the catalogue.\n" in proposal.toml
    assert tomllib.loads(proposal.toml)["cpu"]["core"] == "cortex-a17"


def test_what_was_not_learnt_is_a_comment_and_the_profile_is_not_valid(tmp_path: Path) -> None:
    proposal = proposal_of(parts=(), cores=None, memory_mb=None, libc=None)

    assert [unknown.key for unknown in proposal.unknown] == [
        "cpu.core",
        "cpu.cores",
        "libc.floor",
        "memory.total_mb",
    ]
    assert (
        "# core = …  # not learnt: /proc/cpuinfo shows no CPU part; an emulator shows its host's\n"
        in proposal.toml
    )
    with pytest.raises(UserError) as caught:
        load(proposal, tmp_path)
    assert set(caught.value.facts) == {
        "cpu.core: missing",
        "cpu.cores: missing",
        "memory.total_mb: missing",
    }


def test_a_board_with_musl_says_so_and_a_c_library_that_no_profile_has_stays_a_comment(
    tmp_path: Path,
) -> None:
    musl = proposal_of(libc=Libc(family="musl", version="1.2.5"))
    uclibc = proposal_of(libc=Libc(family="uclibc", version="1.0.40"))

    load(musl, tmp_path)  # which a glibc's floor beside it would not survive
    assert '[libc]\nfamily = "musl"\nfloor = "1.2"\n' in musl.toml
    assert "# floor: for glibc and musl only, the board has uclibc 1.0.40" in uclibc.toml


def test_a_musl_that_tells_no_version_is_musl_all_the_same(tmp_path: Path) -> None:
    proposal = proposal_of(libc=Libc(family="musl", version=None))

    assert [unknown.key for unknown in proposal.unknown] == ["libc.floor"]
    assert '[libc]\nfamily = "musl"\n# floor = …  # not learnt: the board' in proposal.toml
    with pytest.raises(UserError, match=r"floor: expected a version of musl"):
        load(proposal, tmp_path)


def test_an_unknown_width_names_no_base() -> None:
    proposal = proposal_of(userland_bits=None)

    assert "extends" not in tomllib.loads(proposal.toml)
    assert [unknown.key for unknown in proposal.unknown] == ["extends"]


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        (
            {"mounts": (Mount(point="/opt", kind="ext4", options=("ro",)),)},
            "/opt/edgewright is on /opt (ext4), mounted ro: set deploy.root to a folder where "
            "programs can be written and run",
        ),
        (
            {"mounts": (Mount(point="/opt", kind="tmpfs", options=("rw",)),)},
            "/opt/edgewright is on /opt, a tmpfs: lost at power-off",
        ),
        (
            {"libc": Libc(family="musl", version="1.2.4")},
            'libc is musl: only runtime.linkage = "static", the default, runs',
        ),
        (
            {"missing_applets": ("sha256sum", "tr")},
            "a deploy needs applets that the board lacks: sha256sum, tr",
        ),
        ({}, 'to run as a service, say so: [service] manager = "systemd"'),
        ({"init": "procd"}, "process 1 is procd, which service.manager does not know"),
        ({"init": None}, "what process 1 is could not be learnt: service.manager is left out"),
    ],
)
def test_what_a_person_should_know_is_said(changes: dict[str, Any], remark: str) -> None:
    proposal = proposal_of(**changes)

    assert remark in proposal.remarks
    assert f"# {remark}.\n" in proposal.toml


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"machine": "x86_64"}, "is not an Arm board"),
        (
            {"machine": "armv6l", "parts": (CpuPart(implementer="0x41", part="0xb76"),)},
            "ARM1176 is ARMv6, with VFPv2 and without NEON; ONNX Runtime's MLAS kernels need NEON, "
            "which came with ARMv7-A",
        ),
        (
            {"machine": "armv7l", "features": ("half", "thumb", "vfpv3d16")},
            "has no NEON; ONNX Runtime's MLAS kernels need NEON",
        ),
        (
            {"compatible": ()},
            "does not say what it is called",
        ),
    ],
)
def test_a_board_that_cannot_run_or_has_no_name_gets_no_profile(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TargetError) as caught:
        proposal_of(**changes)

    assert str(caught.value).splitlines()[0] == f"root@board: {problem}"


def test_a_first_name_that_no_profile_can_state_gives_way_to_the_catalogues() -> None:
    names = ("nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210")

    jetson, other = proposal_of(compatible=names), proposal_of("x", compatible=names[::2])

    assert tomllib.loads(jetson.toml)["compatible"] == "nvidia,jetson-nano"
    assert any(names[0] in remark for remark in jetson.remarks)
    assert [unknown.key for unknown in other.unknown] == ["compatible"]


def test_a_name_that_is_given_is_the_profiles() -> None:
    assert proposal_of("line-3", compatible=()).name == "line-3"


texts = st.text(st.characters(codec="utf-8"), max_size=30).filter(str.isprintable)


@given(model=st.none() | texts, compatible=st.lists(texts, max_size=3), kernel=st.none() | texts)
def test_whatever_a_board_calls_itself_the_profile_is_toml(
    model: str | None, compatible: list[str], kernel: str | None
) -> None:
    proposal = proposal_of("x", model=model, compatible=tuple(compatible), kernel=kernel)

    table = tomllib.loads(proposal.toml)

    assert table["description"] == (model or "no model in the device tree")
    assert set(table) <= {
        "extends",
        "description",
        "compatible",
        "cpu",
        "libc",
        "memory",
        "runtime",
    }
