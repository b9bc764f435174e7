"""Models that are as large as another one, and are none that was built; and what builds cost."""

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.base.progress import Progress
from edgewright.board.catalogue import load_board
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildRequest
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.contract.task_cards import read_any_card
from edgewright.observe import build_growth
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


def written(folder: Path, weights: onnx.TensorProto) -> Path:
    """A model of two tensors, with the demo's card."""
    shutil.copytree(checkout().default_model.parent, folder)
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1], [0.5])
    graph = helper.make_graph([], "small", [], [], initializer=[scale, weights])
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    return folder / "model.onnx"


def test_each_weight_really_changes_and_stays_within_what_is_packed(tmp_path: Path) -> None:
    values = [0, 1, 2, -128, -127, -1, 126, 127]
    model = written(tmp_path / "model", helper.make_tensor("w", TensorProto.INT8, [8], values))

    for step in range(len(values)):
        copy = changed_model(model, tmp_path / str(step), step)
        after = numpy_helper.to_array(onnx.load(copy).graph.initializer[1]).tolist()
        assert [i for i in range(len(values)) if after[i] != values[i]] == [step]
        assert after[step] != -128


def test_a_network_without_int8_weights_is_refused(tmp_path: Path) -> None:
    model = written(tmp_path / "model", helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]))

    with pytest.raises(UserError) as refused:
        changed_model(model, tmp_path / "copy", 1)

    assert str(refused.value).startswith(f"{model}: has no INT8 weights")
    assert f"next: invoke model.quantize --model={model}" in str(refused.value)


def test_a_second_measurement_finds_nothing_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(cache))

    def build(request: BuildRequest, progress: Progress) -> None:
        """Leave what a build leaves: a conversion, once for each model, and a release."""
        converted = (request.products or cache) / "models" / network_sha256(request.model)
        converted.mkdir(parents=True, exist_ok=True)
        (converted / "model.ort").write_bytes(bytes(1000))
        request.out.root.mkdir(parents=True, exist_ok=True)
        (request.out.root / "release").write_bytes(bytes(30))

    monkeypatch.setattr(pipeline, "build", build)
    measured = [
        build_growth.measure(
            checkout(),
            load_board("a53-som", checkout().boards),
            checkout().default_model,
            boards=2,
            models=2,
            jobs=1,
            progress=Progress(),
        )
        for _ in range(2)
    ]

    for curve in measured:
        assert [(point.count, point.cache_bytes) for point in curve.models] == [
            (1, 1000),
            (2, 2000),
        ]
        assert [(point.workspace_bytes, point.cache_bytes) for point in curve.boards] == [
            (30, 0),
            (60, 0),
        ]
    assert not cache.exists()
