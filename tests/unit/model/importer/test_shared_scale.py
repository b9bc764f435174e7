"""Detectors that were quantized as a whole."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.pack.import_folder import ImportRequest, import_model

BOXES, LABELS, PLACES = 4, 2, 6


def detector(path: Path, *, rounds: str) -> Path:
    """Boxes and scores by two convolutions, joined; `rounds`: "", "joint" or "apart"."""
    weights: dict[str, NDArray[Any]] = {
        "boxes_weight": np.ones((BOXES, 3, 4, 4), np.float32),
        "scores_weight": np.full((LABELS, 3, 4, 4), 0.01, np.float32),
        "scale": np.array(2.0, np.float32),
        "zero": np.array(0, np.uint8),
        "table": np.array([1, BOXES + LABELS, PLACES]),
    }

    def rounded(name: str) -> list[onnx.NodeProto]:
        parts = [f"{name}_q", f"{name}_dq"]
        return [
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], parts[:1], parts[0]),
            helper.make_node("DequantizeLinear", [parts[0], "scale", "zero"], parts[1:], parts[1]),
        ]

    nodes = [
        helper.make_node("Conv", ["image", f"{name}_weight"], [name], name, strides=[4, 4])
        for name in ("boxes", "scores")
    ]
    parts = ["boxes", "scores"]
    if rounds == "apart":
        nodes += [node for part in parts for node in rounded(part)]
        parts = [f"{part}_dq" for part in parts]
    nodes.append(helper.make_node("Concat", parts, ["joined"], "join", axis=1))
    if rounds == "joint":
        nodes += rounded("joined")
    last = "joined_dq" if rounds == "joint" else "joined"
    nodes.append(helper.make_node("Reshape", [last, "table"], ["output0"], "flat"))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 12])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, PLACES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def imported(model: Path) -> None:
    import_model(
        ImportRequest(
            model=model,
            out=model.parent / "made",
            task="detect",
            labels=("crack", "finger"),
            roles={"output0": "predictions"},
        )
    )


@pytest.mark.parametrize("rounds", ["", "apart"])
def test_boxes_and_scores_with_scales_of_their_own_are_taken(tmp_path: Path, rounds: str) -> None:
    imported(detector(tmp_path / "net.onnx", rounds=rounds))
    assert (tmp_path / "made" / "card.json").is_file()


def test_boxes_and_scores_of_one_scale_are_refused_by_their_node(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        imported(detector(tmp_path / "net.onnx", rounds="joint"))
    assert "has boxes and scores in one quantized tensor" in str(refused.value)
    assert "node: Concat 'join'" in str(refused.value)
    assert not (tmp_path / "made").exists()
