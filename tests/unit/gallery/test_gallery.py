"""The gallery's own rules, and some of its networks through the stages that need no board."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.cli.gallery import chosen_networks
from edgewright.gallery import fetch, host_stages
from edgewright.gallery.documents import BoardResult, Gallery, GalleryRow, HostResult, Refusal
from edgewright.gallery.networks import NETWORKS, TIMM, Definition, Network
from edgewright.gallery.page import END, START, with_table
from tests.unit.cli.test_program import run

SMALL = ("keyword-spotter", "yolo-small")


def named(name: str) -> Network:
    return next(network for network in NETWORKS if network.name == name)


def test_the_table_is_as_wide_as_it_promises() -> None:
    exported = [network for network in NETWORKS if isinstance(network.source, Definition)]

    assert len(NETWORKS) >= 24
    assert len(exported) >= 12
    assert len({network.name for network in NETWORKS}) == len(NETWORKS)
    assert {network.task for network in NETWORKS} == {
        *("classify", "detect", "segment", "anomaly", "tensor")
    }


@pytest.mark.model
@pytest.mark.parametrize("name", SMALL)
def test_a_network_passes_the_stages_of_the_host(name: str, tmp_path: Path) -> None:
    result = host_stages.run_host(named(name), tmp_path / name, lambda _: None)

    assert result.refusal is None
    assert result.int8_refusal is None
    assert result.loss
    assert result.loss.sqnr_db > 15
    assert result.ort_bytes > 0
    assert result.fast_nodes > 0
    assert (tmp_path / name / "int8" / "golden" / "expected.json").is_file()


def a_network(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.eye(8, 4, dtype=np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_row_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = named("keyword-spotter")
    path = a_network(tmp_path / "net.onnx")
    monkeypatch.setattr(fetch, "fetch", lambda _: path)
    lines: list[str] = []

    first = host_stages.run_host(network, tmp_path / "row", lines.append)
    count = len(lines)
    second = host_stages.run_host(network, tmp_path / "row", lines.append)

    assert first == second
    assert count == len(lines) > 0


def test_a_network_that_cannot_be_fetched_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Network) -> Path:
        raise UserError("silero-vad 6.2.3", "is not the package that the gallery names")

    monkeypatch.setattr(fetch, "fetch", refuse)

    result = host_stages.run_host(named("silero-vad"), tmp_path, lambda _: None)

    assert result.refusal == Refusal(
        stage="fetch", reason="is not the package that the gallery names"
    )


def test_a_bug_in_one_stage_is_told_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Network) -> Path:
        raise ValueError("ambiguous\nand more")

    monkeypatch.setattr(fetch, "fetch", fail)

    result = host_stages.run_host(named("silero-vad"), tmp_path, lambda _: None)

    assert result.refusal
    assert result.refusal.is_traceback
    assert result.refusal.reason == "ValueError: ambiguous"


def test_the_page_says_how_far_each_network_came() -> None:
    host = HostResult(key="k", source="timm: resnet18", imported="nothing", int8_bytes=1)
    complete = BoardResult(
        key="k", program_bytes=1_500_000, model_bytes=9_000, golden_cases=8, instructions=2_000_000
    )
    refused = host.model_copy(update={"refusal": Refusal(stage="import", reason="has | a bar")})
    gallery = Gallery(
        board="a53-som",
        rows=(
            GalleryRow(name="whole", task="classify", host=host, board=complete),
            GalleryRow(name="refused", task="classify", host=refused, board=None),
            GalleryRow(name="waiting", task="classify", host=host, board=None),
        ),
    )

    page = with_table(f"before\n{START}\nold\n{END}\nafter", gallery)

    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("\nafter")
    assert "3 networks: 1 go the whole way on an emulated a53-som, 1 are refused, 1 pass" in page
    assert "import: has / a bar" in page
    assert "| 2.0 |" in page
    with pytest.raises(UserError):
        with_table("a page without marks", gallery)


@pytest.mark.parametrize("content", [b"other bytes", None], ids=["changed", "missing"])
def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(argv: Sequence[str]) -> None:
        folder = Path(argv[argv.index("--dest") + 1])
        if content is not None:
            (folder / TIMM.file).write_bytes(content)

    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(process, "check", download)

    with pytest.raises(UserError) as refused:
        fetch.unpacked_wheel(TIMM)

    assert "is not the package that the gallery names" in str(refused.value)
    assert not any((tmp_path / "gallery").rglob("*.py"))


def test_a_table_of_some_networks_does_not_take_the_place_of_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("model.gallery", "--only=mobilenetv2", "--write-docs") == 2
    assert "would take every network out of the table" in capsys.readouterr().err


def test_a_network_that_the_table_has_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("model.gallery", "--only=mobilenetv9", "--stage=host") == 2

    message = capsys.readouterr().err
    assert "--only=mobilenetv9: no such network" in message
    assert "mobilenetv2" in message


def test_only_the_networks_that_are_named_are_taken() -> None:
    assert chosen_networks(["yolo-small", "keyword-spotter"]) == [
        network for network in NETWORKS if network.name in SMALL
    ]
    assert chosen_networks([]) == list(NETWORKS)
