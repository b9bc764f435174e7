"""Boards of the catalogue, built and self-tested on their own core, as QEMU models it.

A build takes minutes each: this is a test of the night, `pytest -m nightly -k zedboard` for one.
"""

import json
import subprocess

import pytest
from _pytest.mark import ParameterSet

from edgewright.board.catalogue import board_names, load_board
from edgewright.board.cores import core_facts
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build import pipeline
from edgewright.build.container import DockerBuilder
from tests.checkout import checkout
from tests.integration.conftest import Silent, request

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

BOARDS = checkout().boards
ANY_CORE = "max"  # of QEMU: it has all instructions, so it proves nothing about a board's core
EMULATORS = {Arch.ARMHF: "qemu-arm", Arch.ARM64: "qemu-aarch64"}


def lacks_fp16(profile: BoardProfile) -> bool:
    """Whether it is an ARMv8.0 core in 64 bits."""
    core = core_facts(profile.emulation.cpu)
    return profile.abi.arch is Arch.ARM64 and core is not None and not core.v8_2


def cases() -> list[ParameterSet]:
    """Those whose core QEMU models; what is known not to run is expected to end so."""
    profiles = [load_board(name, BOARDS) for name in board_names(BOARDS)]
    sigill = pytest.mark.xfail(
        strict=True, reason="MLAS takes FP16 instructions, which ARMv8.0 lacks"
    )
    return [
        pytest.param(profile, id=profile.name, marks=sigill if lacks_fp16(profile) else ())
        for profile in profiles
        if profile.emulation.cpu != ANY_CORE
    ]


@pytest.mark.parametrize("profile", cases())
def test_a_release_passes_its_self_test_on_the_core_of_its_board(
    profile: BoardProfile, builder: DockerBuilder
) -> None:
    release = pipeline.build(request(checkout(), board=profile.name), Silent()).folder

    argv = [EMULATORS[profile.abi.arch], "-cpu", profile.emulation.cpu]
    argv += [str(release / "bin" / "edge-infer"), "selftest"]
    argv += ["--model", str(release / "model" / "model.ort")]
    ended = subprocess.run(argv, capture_output=True, check=False, timeout=1800)

    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout)["passed"] is True
