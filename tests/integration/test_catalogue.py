"""Boards of the catalogue, built and run on their own core, as QEMU models it.

QEMU has no model of some cores, of any 32-bit one from ARMv8 on; those programs run on `max`, which
has all instructions: there the audit of the build alone tells what the core lacks.
A build takes minutes each: this is a test of the night, `pytest -m nightly -k zedboard` for one.
"""

import pytest

from edgewright.board.catalogue import board_names, load_board
from edgewright.board.profile import BoardProfile
from edgewright.build import pipeline
from edgewright.build.container import DockerBuilder
from tests.checkout import checkout
from tests.integration.conftest import Silent, request, runs_on_its_core

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

BOARDS = checkout().boards
PROFILES = [load_board(name, BOARDS) for name in board_names(BOARDS)]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda board: f"{board.name}-{board.qemu_cpu}")
def test_a_release_passes_its_self_test_on_the_core_of_its_board(
    profile: BoardProfile, builder: DockerBuilder
) -> None:
    release = pipeline.build(request(checkout(), board=profile.name), Silent()).folder

    runs_on_its_core(release, profile)
