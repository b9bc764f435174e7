"""A survey of a real board over SSH: busybox, dropbear, a 32-bit userland."""

from pathlib import Path

import pytest

from edgewright.board.catalogue import board_names, load_board, load_profile
from edgewright.board.proposal import propose
from edgewright.deploy.remote import Board
from edgewright.deploy.survey import survey
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
