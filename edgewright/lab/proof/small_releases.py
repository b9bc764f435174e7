"""Releases that a slow board installs in seconds: the real program with a network of two nodes.

They are made of the last build, so the programs that are installed and started are those that
would be shipped; only the model differs. Each carries random bytes behind its model, so that each
deploy has something to send.
"""

import random
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from PIL import Image

from edgewright.model.contract.card import (
    Card,
    Input,
    ModelFile,
    Output,
    PerImage,
    Preprocess,
    write_card,
)
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.convert.to_ort import convert
from edgewright.model.pack.golden import EXPECTED, expect
from edgewright.release.manifest import Release, ReleaseInputs, build_release
from edgewright.release.programs import DEFAULT_PROGRAM

SIDE = 32  # pixels
PAYLOAD = 256 * 1024  # bytes


def small_releases(built: Release, out: Path, count: int, rng: random.Random) -> list[Release]:
    """`count` releases in `out`, with the programs and the deploy root of `built`."""
    with tempfile.TemporaryDirectory(prefix="edgewright-small-") as scratch:
        folder = Path(scratch)
        _write_model(folder)
        ort = convert(folder / "model.onnx", folder / "converted").ort.read_bytes()
        releases = []
        for _ in range(count):
            # A reader of the FlatBuffer does not look behind it.
            (folder / "model.ort").write_bytes(ort + rng.randbytes(PAYLOAD))
            releases.append(build_release(_inputs(built, folder), out))
    return releases


def _inputs(built: Release, folder: Path) -> ReleaseInputs:
    manifest = built.manifest
    return ReleaseInputs(
        board=manifest.board,
        compatible=manifest.compatible,
        deploy_root=manifest.deploy_root,
        binaries=(built.folder / DEFAULT_PROGRAM.path, built.folder / "bin" / "edgectl"),
        ort_model=folder / "model.ort",
        onnx_sha256=network_sha256(folder / "model.onnx"),
        card=folder / "card.json",
        golden=folder / "golden",
        runtime=manifest.runtime,
        budgets=manifest.budgets,
        source=manifest.source,
    )


def _write_model(folder: Path) -> None:
    """Network, card and golden set: is the upper or the lower half of the image brighter?"""
    model = folder / "model.onnx"
    onnx.save(_network(), model)
    card = Card(
        name="brighter-half",
        labels=("upper", "lower"),
        input=Input(shape=(1, 1, SIDE, SIDE)),
        output=Output(shape=(1, 2)),
        preprocess=Preprocess(color="gray", normalize=PerImage()),
        file=ModelFile.of(model),
    )
    write_card(card, folder / "card.json")
    golden = folder / "golden"
    golden.mkdir()
    picture = Image.new("L", (SIDE, SIDE))
    picture.paste(255, (0, SIDE // 2, SIDE, SIDE))
    picture.save(golden / "lower.png")
    expected = expect(model, card, [golden / "lower.png"])
    (golden / EXPECTED).write_text(expected.model_dump_json(by_alias=True))


def _network() -> onnx.ModelProto:
    """The mean of each half; its operators are among those of every quantized image network."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, 2, SIDE * SIDE // 2])
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["image", "shape"], ["halves"]),
            helper.make_node("ReduceMean", ["halves"], ["logits"], axes=[2], keepdims=0),
        ],
        "brighter-half",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        [shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
