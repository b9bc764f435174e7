"""What a release's program does with packed weights of other orders, and with files that lie."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

from edgewright.base.layout import BoardBuild
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch
from edgewright.build import pipeline
from edgewright.build.container import DockerBuilder
from edgewright.build.pipeline import BuildReport
from edgewright.model.convert.packed_weights import (
    READ_BEYOND,
    TILES,
    pack_weights,
    unpack_weights,
)
from tests.integration.conftest import REPO, Silent, request, run_as

pytestmark = pytest.mark.docker

PLAIN_VERSION = 6
MODEL_ERROR = 4  # exit code of edge-infer
LENGTH = 4  # bytes of a vector's length, which is before it


def self_test(
    release: Path, arch: Arch, cpu: str, model: bytes, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Of the release's program with a model that takes the place of its own."""
    shutil.copytree(release / "model", folder / "model", dirs_exist_ok=True)
    # Under another name, or the card would refuse it by its size.
    (folder / "model" / "other.ort").write_bytes(model)
    return run_as(cpu, release, arch, "selftest", "--model", str(folder / "model" / "other.ort"))


def refusal(release: Path, model: bytes, folder: Path) -> str:
    ended = self_test(release, Arch.ARMHF, "max", model, folder)
    assert ended.returncode == MODEL_ERROR, ended.stderr
    _, refused, why = ended.stderr.partition("the runtime refuses it: ")
    assert refused, ended.stderr
    return why


@pytest.fixture(scope="module")
def plain(builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The release's network as it is converted for boards without our kernels."""
    out = BoardBuild(root=tmp_path_factory.mktemp("plain"))
    converted, _ = pipeline.converted_model(REPO.default_model, out, builder.cache)
    return converted.ort.read_bytes()


@pytest.fixture(scope="module")
def model(built: BuildReport) -> bytes:
    """The release's, packed for AArch32."""
    return (built.folder / "model" / "model.ort").read_bytes()


def with_version(model: bytes, version: int) -> bytes:
    """The same weights under another version."""
    former = InferenceSession.InferenceSession.GetRootAs(model, 0).OrtVersion()
    text = str(version).encode()
    field = struct.pack("<I", len(text)) + text.ljust(len(former) + 1, b"\0")
    changed = model.replace(struct.pack("<I", len(former)) + former + b"\0", field)
    assert changed != model
    return changed


def last_packed(model: bytes) -> tuple[int, int]:
    """Where the data of the last packed tensor begins, and its bytes."""
    graph = InferenceSession.InferenceSession.GetRootAs(model, 0).Model().Graph()
    plain = InferenceSession.InferenceSession.GetRootAs(unpack_weights(model), 0).Model().Graph()
    return max(
        (tensor._tab.Vector(tensor._tab.Offset(12)), tensor.RawDataLength())
        for i in range(graph.InitializersLength())
        if (tensor := graph.Initializers(i)).RawDataLength()
        != plain.Initializers(i).RawDataLength()
    )


@pytest.mark.parametrize("tile", ["neon-64", "dot-64"])
def test_weights_in_an_order_of_64_bits_are_refused(
    built: BuildReport, plain: bytes, tmp_path: Path, tile: str
) -> None:
    packed = pack_weights(plain, TILES[tile])

    assert "packed for other kernels" in refusal(built.folder, packed, tmp_path)


@pytest.mark.parametrize("tile", ["neon-32", "neon-64"])
def test_packed_weights_under_the_version_of_plain_ones_give_no_answer(
    built: BuildReport, plain: bytes, tmp_path: Path, tile: str
) -> None:
    """Not even where tiles have as many columns: the program goes by the version alone."""
    unmarked = with_version(pack_weights(plain, TILES[tile]), PLAIN_VERSION)

    ended = self_test(built.folder, Arch.ARMHF, "max", unmarked, tmp_path)

    assert ended.returncode == MODEL_ERROR, ended.stderr
    assert json.loads(ended.stdout)["error"]["code"] == "model_refused"


def test_a_packed_weight_of_minus_128_is_refused(
    built: BuildReport, model: bytes, tmp_path: Path
) -> None:
    start, _ = last_packed(model)
    changed = model[:start] + b"\x80" + model[start + 1 :]

    assert "packed for another kernel" in refusal(built.folder, changed, tmp_path)


@pytest.mark.parametrize("bytes_behind", [0, READ_BEYOND - 1])
def test_weights_without_the_bytes_that_are_read_behind_them_are_refused(
    built: BuildReport, model: bytes, tmp_path: Path, bytes_behind: int
) -> None:
    start, length = last_packed(model)
    shorter = struct.pack("<I", length - READ_BEYOND + bytes_behind)
    changed = model[: start - LENGTH] + shorter + model[start:]

    assert "data size mismatch" in refusal(built.folder, changed, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
@pytest.mark.parametrize("tile", ["neon-64", "dot-64"])
def test_a_64_bit_program_answers_alike_from_either_of_its_orders(
    plain: bytes, tmp_path: Path, tile: str, cpu: str
) -> None:
    """One of the two is that of the CPU, the other is packed anew."""
    board = load_board("a53-som-arm64", REPO.boards)
    release = pipeline.build(request(REPO, board=board.name), Silent()).folder
    packed = pack_weights(plain, TILES[tile])

    ended = self_test(release, board.abi.arch, cpu, packed, tmp_path)

    assert json.loads(ended.stdout)["passed"] is True, ended.stderr
