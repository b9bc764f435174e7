"""Models that are as large as another one, and are none that was built."""

from pathlib import Path

import onnx
import pytest

from edgewright.model.contract.network_file import network_sha256
from edgewright.model.contract.task_cards import read_any_card
from edgewright.observe.build_growth import changed_model
from tests.checkout import checkout

# Of a card of schema 1, and of one of schema 2.
MODELS = ("mobilevit-s-elpv", "efficientnet-lite0-elpv")


@pytest.mark.parametrize("name", MODELS)
def test_a_changed_model_has_the_operators_of_the_first_and_a_card_of_its_own(
    name: str, tmp_path: Path
) -> None:
    model = checkout().model(name)
    changed = [changed_model(model, tmp_path / str(step), step) for step in (1, 2)]

    first = [node.op_type for node in onnx.load(model).graph.node]
    for copy in changed:
        assert [node.op_type for node in onnx.load(copy).graph.node] == first
        assert read_any_card(copy.parent / "card.json").file.sha256 == network_sha256(copy)
    assert len({network_sha256(path) for path in (model, *changed)}) == 3
