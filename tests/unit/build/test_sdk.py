"""What an SDK is built for, and what is told of a model that it does not serve."""

from pathlib import Path

import onnx
import pytest
from onnx.helper import make_graph, make_model

from edgewright.base.errors import UserError
from edgewright.base.layout import BoardBuild
from edgewright.base.progress import Progress
from edgewright.board.catalogue import load_board
from edgewright.board.profile import LibcFamily
from edgewright.build import pipeline
from edgewright.build import sdk as sdks
from edgewright.build.sdk import SdkRequest, build_sdk, check_model
from edgewright.model.convert import coverage
from edgewright.model.convert.ops import Operator, parse_config
from edgewright.model.convert.ort_tools import Converted, Needs, Node
from edgewright.release.manifest import Source
from edgewright.release.sdk import (
    OperatorChoice,
    Sdk,
    SdkInputs,
    SdkModel,
    SdkRuntime,
    make_sdk,
)
from tests.checkout import checkout

OPERATORS = 'ai.onnx;13;Add{"inputs": {"0": ["float"]}},MatMul\n'


def sdk_of(tmp_path: Path, operators: str, choice: OperatorChoice = "models") -> Sdk:
    inputs = SdkInputs(
        board="rpi2",
        compatible="raspberrypi,2-model-b",
        content={"operators.config": operators.encode()},
        links={},
        models=(SdkModel(name="cells", onnx_sha256="a" * 64),),
        runtime=SdkRuntime(
            version="1.21.0",
            operators=choice,
            ops_config_sha256="b" * 64,
            libc_floor="2.31",
            execution_providers=("cpu",),
        ),
        source=Source(revision="unknown", dirty=False),
    )
    return make_sdk(inputs, tmp_path / "sdk")


def needs(monkeypatch: pytest.MonkeyPatch, config: str, name: str) -> None:
    node = Node(operator=Operator("ai.onnx", 13, name), name="/head/node")
    monkeypatch.setattr(coverage, "read_needs", lambda _: Needs(ops_config=config, nodes=(node,)))


def test_a_model_outside_of_an_sdk_is_told_with_the_command_that_adds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(monkeypatch, "ai.onnx;13;Erf\n", "Erf")

    with pytest.raises(UserError) as refused:
        check_model(sdk_of(tmp_path, OPERATORS), Path("mine.ort"), tmp_path, tmp_path)

    message = str(refused.value)
    assert message.startswith("mine.ort: needs operators that the runtime was not built with\n")
    assert "ai.onnx:Erf (opset 13), node '/head/node'" in message
    assert message.endswith(
        "next: invoke sdk --board=rpi2 --model=cells --model=mine.ort, "
        "or invoke sdk --board=rpi2 --operators=all"
    )


def test_a_model_outside_of_all_operators_is_not_sent_to_build_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(monkeypatch, "ai.onnx;13;Erf\n", "Erf")

    with pytest.raises(UserError) as refused:
        check_model(sdk_of(tmp_path, OPERATORS, choice="all"), Path("mine.ort"), tmp_path, tmp_path)

    assert str(refused.value).endswith(f"next: {sdks.OUTSIDE_OF_ALL}")


def test_a_model_inside_of_an_sdk_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(monkeypatch, "ai.onnx;13;MatMul\n", "MatMul")

    proof = check_model(sdk_of(tmp_path, OPERATORS), Path("mine.ort"), tmp_path, tmp_path)

    assert proof.required == ["ai.onnx:MatMul (opset 13)"]


def test_operators_are_listed_with_their_types() -> None:
    assert sdks._operator_list(parse_config(OPERATORS, "test")) == (
        "ai.onnx:Add (opset 13): input 0 float\nai.onnx:MatMul (opset 13)\n"
    )


def test_models_are_called_by_their_folders_where_all_are_model_onnx() -> None:
    assert sdks.model_name(Path("models/cells/model.onnx")) == "cells"
    assert sdks.model_name(Path("networks/yolo.onnx")) == "yolo"


def test_the_order_of_models_makes_no_other_sdk(tmp_path: Path) -> None:
    models = [tmp_path / "b.onnx", tmp_path / "a.onnx"]
    for path in models:
        onnx.save(make_model(make_graph([], path.stem, [], [])), str(path))

    named = sdks._sdk_models(models)

    assert [model.name for model in named] == ["a", "b"]
    assert named == sdks._sdk_models([*reversed(models), models[0]])


def test_a_board_with_musl_is_told_what_an_sdk_needs_before_anything_is_built() -> None:
    repo = checkout()
    profile = load_board("a53-som", repo.boards)
    libc = profile.libc.model_copy(update={"family": LibcFamily.MUSL, "floor": "1.2"})
    request = SdkRequest(
        profile=profile.model_copy(update={"libc": libc}), models=(), workspace=repo, jobs=1
    )

    with pytest.raises(UserError, match="has musl, for which the builder's own GCC") as refused:
        build_sdk(request, Progress())
    assert refused.value.next
    assert refused.value.next.startswith("pip install --target=FOLDER ziglang, and write toolchain")


@pytest.mark.parametrize(
    ("board", "floor", "oldest"),
    [("a53-som", "2.12", "2.13"), ("a53-som-arm64", "2.16", "2.17")],
)
def test_a_glibc_that_is_too_old_is_told_before_anything_is_built(
    board: str, floor: str, oldest: str
) -> None:
    repo = checkout()
    profile = load_board(board, repo.boards)
    old = profile.model_copy(update={"libc": profile.libc.model_copy(update={"floor": floor})})
    request = SdkRequest(profile=old, models=(), workspace=repo, jobs=1)

    with pytest.raises(UserError, match=f"has glibc {floor}, an SDK needs {oldest} or newer"):
        build_sdk(request, Progress())


@pytest.mark.parametrize("operators", ["models", "all"])
def test_a_model_with_a_type_that_no_board_has_is_refused_before_anything_is_built(
    operators: OperatorChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(operator=Operator("ai.onnx", 19, "Cast"), name="/head/node")
    config = tmp_path / "ops.config"
    config.write_text("ai.onnx;19;Cast\n")
    types = {"FLOAT8E5M2": "/head/node"}
    needs = Needs(ops_config=config.read_text(), nodes=(node,), types=types)
    monkeypatch.setattr(coverage, "read_needs", lambda _: needs)
    converted = Converted(ort=tmp_path / "model.ort", ops_config=config)
    monkeypatch.setattr(pipeline, "converted_model", lambda *_, **__: (converted, True))
    repo = checkout()
    request = SdkRequest(
        profile=load_board("a53-som", repo.boards),
        models=(Path("mine.onnx"),),
        operators=operators,
        workspace=repo,
        jobs=1,
    )

    with pytest.raises(UserError, match=r"(?s)^mine\.onnx: has .* FLOAT8E5M2, node '/head/node'"):
        sdks._operators(request, BoardBuild(root=tmp_path), tmp_path)
