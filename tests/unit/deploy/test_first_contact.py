"""A board is told its kind once: its device tree has a say before."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.board.catalogue import load_board
from edgewright.deploy.first_contact import require_kind
from edgewright.deploy.remote import Result
from tests.boards import LocalBoard
from tests.checkout import checkout

RPI2 = load_board("rpi2", checkout().resources.boards)


@dataclass
class Tree(LocalBoard):
    """A board whose device tree has these names."""

    names: str

    def __post_init__(self) -> None:
        super().__init__()

    def script(self, text: str, *arguments: str, timeout: float | None = None) -> Result:
        return Result(argv=("sh",), returncode=0, stdout=self.names, stderr="")


def test_the_kernels_name_is_the_boards() -> None:
    assert require_kind(Tree("raspberrypi,2-model-b\nbrcm,bcm2836\n"), RPI2) is None


def test_a_board_without_a_device_tree_is_not_refused() -> None:
    assert require_kind(Tree(""), RPI2) == "has no device tree to tell its kind by"


def test_a_profile_for_any_board_refuses_none() -> None:
    generic = load_board("generic-armv7-neon", checkout().resources.boards)

    remark = require_kind(Tree("acme,gateway\n"), generic)

    assert remark == (
        "is 'acme,gateway' by its device tree, 'generic-armv7-neon' is for boards of any name"
    )


def test_another_kind_is_refused_with_both_names() -> None:
    with pytest.raises(TargetError) as refused:
        require_kind(Tree("raspberrypi,3-model-b\nbrcm,bcm\x1b[2J\n"), RPI2)

    assert str(refused.value).splitlines()[:3] == [
        "root@board.test: is no 'rpi2' by its device tree",
        "  expected: raspberrypi,2-model-b",
        "  found: raspberrypi,3-model-b, brcm,bcm\\x1b[2J",
    ]


def test_a_pass_of_ones_own_does_not_change_the_device_tree(tmp_path: Path) -> None:
    text = 'extends = "rpi2"\ndescription = "line 3"\ncompatible = "acme,line-3"\n'
    (tmp_path / "line-3.toml").write_text(text)
    own = load_board("line-3", tmp_path, checkout().resources.boards)

    assert require_kind(Tree("raspberrypi,2-model-b\n"), own) is None
    assert require_kind(Tree("acme,line-3\n"), own) is None


def test_boards_of_a_bought_kind_take_no_releases_of_it(tmp_path: Path) -> None:
    boards = checkout().resources.boards
    text = 'extends = "rpi2"\ndescription = "line 3"\n'
    (tmp_path / "same.toml").write_text(text)
    (tmp_path / "line-3.toml").write_text(text + 'compatible = "acme,line-3"\n')

    former = ("raspberrypi,2-model-b", "raspberrypi,model-2-b")
    assert load_board("same", tmp_path, boards).names == former
    assert load_board("line-3", tmp_path, boards).names == ("acme,line-3",)


def test_the_catalogue_has_the_kernels_names_and_those_of_0_1_0() -> None:
    boards = checkout().resources.boards

    assert load_board("imx8mm-evk", boards).names == ("fsl,imx8mm-evk", "nxp,imx8mm-evk")
