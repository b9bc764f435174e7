"""What an SDK may cost."""

from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.board.catalogue import load_board
from edgewright.observe import sdk_cost
from edgewright.observe.sdk_cost import LibraryBytes, SdkCost, require_goals
from edgewright.release.sdk import make_sdk
from tests.checkout import checkout
from tests.unit.release.test_sdk import INPUTS


def cost(size: int = 400, example: int = 1001, goal: int | None = 400) -> SdkCost:
    return SdkCost(
        board="board",
        cpu="cortex-a7",
        sdk="0123456789abcdef",
        libraries=(LibraryBytes(file="lib/libedge.so.0.1.0", bytes=size, goal=goal),),
        edge_infer=1000,
        example=example,
        goal=1001,
    )


def test_an_sdk_within_its_goals_is_well() -> None:
    require_goals(cost())
    require_goals(cost(size=401, goal=None))
    assert cost().share == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("dear", "fact"),
    [
        (cost(size=401), "lib/libedge.so.0.1.0: 401 bytes, goal 400"),
        (cost(example=1002), "infer: 1,002 instructions an image, goal 1,001"),
    ],
)
def test_what_costs_more_is_named(dear: SdkCost, fact: str) -> None:
    with pytest.raises(CheckError, match="cost more than they may") as refused:
        require_goals(dear)
    assert fact in str(refused.value)
    assert str(refused.value).endswith("\nnext: invoke bench.instructions --board=board")
    assert refused.value.exit_code == 4


def test_libraries_to_stand_beside_are_named_by_commas() -> None:
    assert sdk_cost.parse_libraries("all,debian") == ("all", "debian")
    assert sdk_cost.parse_libraries("") == ()


@pytest.mark.parametrize("name", ["ncnn", "xnnpack"])
def test_what_has_no_library_for_the_network_is_refused(name: str) -> None:
    """XNNPACK's provider makes no session of it in INT8."""
    with pytest.raises(UserError) as refused:
        sdk_cost.parse_libraries(f"all,{name}")
    assert str(refused.value) == (
        f"--vs={name}: no such library\n"
        "  expected: all, debian, sherpa, onnxruntime\n"
        "next: the same command with --vs=all"
    )


def test_a_library_that_has_no_goal_is_listed_too(tmp_path: Path) -> None:
    profile = load_board("a53-som", checkout().boards)

    (library,) = sdk_cost._libraries(make_sdk(INPUTS, tmp_path), profile)

    assert library == LibraryBytes(file="lib/libx.so.1.2", bytes=len(b"library"), goal=None)
