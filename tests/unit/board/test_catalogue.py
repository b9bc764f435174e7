"""Boards by name: the search path, `extends`, and boards that cannot run."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.catalogue import board_names, load_board, load_profile
from edgewright.board.refused import REFUSED, Refusal
from tests.checkout import checkout

BOARDS = checkout().boards


def write_board(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_users_boards_come_before_the_catalogues(tmp_path: Path) -> None:
    write_board(tmp_path, "line-3", 'extends = "a53-som"\ndescription = "camera of line 3"\n')
    write_board(tmp_path, "rpi2", 'extends = "rpi2"\ndescription = "with our carrier"\n')

    assert board_names(tmp_path, BOARDS) == sorted([*board_names(BOARDS), "line-3"])
    line, own, stock = (
        load_board("line-3", tmp_path, BOARDS),
        load_board("rpi2", tmp_path, BOARDS),
        load_board("rpi2", BOARDS),
    )
    assert (line.name, line.description) == ("line-3", "camera of line 3")
    assert line.cpu == load_board("a53-som", BOARDS).cpu
    assert own.description == "with our carrier"
    assert own.model_copy(update={"description": stock.description}) == stock


def test_a_board_that_gives_its_name_can_be_extended(tmp_path: Path) -> None:
    write_board(tmp_path, "ours", 'extends = "a53-som"\nname = "ours"\n')
    write_board(tmp_path, "ours-hot", 'extends = "ours"\n[runtime]\nthreads = 2\n')

    board = load_board("ours-hot", tmp_path, BOARDS)

    assert (board.name, board.runtime.threads, board.cpu.cores) == ("ours-hot", 2, 4)


def test_a_defect_of_extends_is_told_of_the_file_that_has_it(tmp_path: Path) -> None:
    write_board(tmp_path, "ours", 'extends = "a53-sum"\n')
    path = write_board(tmp_path, "ours-hot", 'extends = "ours"\n')

    with pytest.raises(UserError) as caught:
        load_profile(path, BOARDS)

    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'ours.toml'}: 1 problem",
        f"  extends: no such file 'a53-sum.toml' in {tmp_path}, {BOARDS}; did you mean 'a53-som'?",
        "next: mend the file, then invoke boards --check",
    ]


def test_a_longer_circle_is_told_whole(tmp_path: Path) -> None:
    for name, base in (("one", "two"), ("two", "three"), ("three", "one")):
        path = write_board(tmp_path, name, f'extends = "{base}"\n')

    with pytest.raises(UserError) as caught:
        load_profile(path)

    assert caught.value.facts == ("extends: a circle, three → one → two → three",)


@pytest.mark.parametrize("refusal", REFUSED, ids=lambda refusal: refusal.names[0])
def test_a_board_that_cannot_run_is_refused_by_name(refusal: Refusal) -> None:
    for name in refusal.names:
        with pytest.raises(UserError) as caught:
            load_board(name, BOARDS)

        assert str(caught.value).splitlines() == [
            f"board '{name}': {refusal.reason}",
            f"  board: {refusal.description}",
            f"  instead: {refusal.instead}, {refusal.why_instead}",
            f"next: invoke render --board={refusal.instead} --stdout",
        ]


def test_the_reason_names_the_core_and_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"'rpi-zero': ARM1176 is ARMv6.*need NEON"):
        load_board("rpi-zero", BOARDS)


@pytest.mark.parametrize("name", ["rpi-zerow", "RPi_Zero", "raspberrypi", "stm32-f4"])
def test_a_refused_board_may_be_spelt_otherwise(name: str) -> None:
    with pytest.raises(UserError, match=r"without NEON|no memory management unit"):
        load_board(name, BOARDS)


def test_a_name_that_no_file_can_have_is_unknown() -> None:
    with pytest.raises(UserError, match="unknown"):
        load_board("a" * 300, BOARDS)


@pytest.mark.parametrize("base", ["../rpi2", "/etc/rpi2", "", r"a\u0000b", "a" * 300])
def test_extends_names_a_board_and_no_path(base: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'extends = "{base}"\n')

    with pytest.raises(UserError, match=r"extends: (expected the name of a board|no such file)"):
        load_board("mine", tmp_path, BOARDS)


def test_a_chain_of_very_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"d{number}.toml").write_text(f'extends = "d{number + 1}"\n')

    with pytest.raises(UserError) as refused:
        load_board("d0", tmp_path, BOARDS)

    assert str(refused.value).splitlines()[:2] == [
        f"{tmp_path / 'd0.toml'}: 1 problem",
        "  extends: a chain of more than 16 files",
    ]


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").symlink_to("gone.toml")

    assert board_names(tmp_path) == ["mine"]
    with pytest.raises(UserError, match=r"mine\.toml: no such file$"):
        load_board("mine", tmp_path)


def test_a_folder_is_no_board_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()

    assert board_names(tmp_path) == []


def test_refused_names_are_no_boards_and_their_alternatives_are() -> None:
    names = [name for refusal in REFUSED for name in refusal.names]
    boards = set(board_names(BOARDS))

    assert len(set(names)) == len(names)
    assert boards.isdisjoint(names)
    assert {refusal.instead for refusal in REFUSED} <= boards


def test_a_user_may_have_a_board_under_a_refused_name(tmp_path: Path) -> None:
    write_board(tmp_path, "rpi", 'extends = "rpi2"\n')

    assert load_board("rpi", tmp_path, BOARDS).cpu.core == "cortex-a7"


def test_a_profile_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "endless.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"endless\.toml: is too large"):
        load_board("endless", tmp_path)
