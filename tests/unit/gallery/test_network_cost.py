"""What is judged of networks in full size, and what they are."""

import pytest

from edgewright.base.errors import CheckError
from edgewright.gallery.documents import NetworkCost, NetworkCosts, PeerCost
from edgewright.gallery.network_cost import GOALS, require_goals
from edgewright.gallery.networks import IN_FULL_SIZE


def costs(instructions: int, goal: int | None) -> NetworkCosts:
    peer = PeerCost(runtime="debian", precision="INT8", instructions=1)
    cost = NetworkCost(
        network="resnet18",
        source="timm: resnet18",
        side=224,
        macs=1000,
        instructions=instructions,
        goal=goal,
        peers=(peer,),
    )
    return NetworkCosts(board="a53-som", cpu="max", networks=(cost,))


def test_an_inference_above_its_goal_is_refused_with_its_figure() -> None:
    require_goals(costs(360, 360))
    require_goals(costs(9999, None))  # of a 64-bit board

    with pytest.raises(CheckError) as refused:
        require_goals(costs(361, 360))

    assert "resnet18: 361 instructions, goal 360" in str(refused.value)


def test_each_network_in_full_size_has_a_goal() -> None:
    assert {network.name for network in IN_FULL_SIZE} == {*GOALS}


def test_the_backbone_is_yolov8n_s() -> None:
    pytest.importorskip("torch")
    from edgewright.model.train.definitions import OURS

    # Of yolov8n.pt the layers 0 to 9 have so many, without their norms' statistics.
    assert sum(p.numel() for p in OURS["yolov8n_backbone"]().parameters()) == 1_272_656
