"""Tasks beyond classification: `edge-infer` on this machine against the Python reference."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgewright.model.pack.import_folder import ImportRequest, import_model
from tests.unit.model import tensor_network

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def tensors(scratch: Path) -> Path:
    """The model folder of a network of tensors."""
    network = tensor_network.write_network(scratch / "net")
    cases = tensor_network.write_cases(scratch / "cases", 2)
    out = scratch / "made"
    import_model(ImportRequest(model=network, out=out, task="tensor", images=str(cases)))
    return out


def test_tensors_pass_their_self_test(host_edge_infer: EdgeInfer, tensors: Path) -> None:
    ended = host_edge_infer(["selftest", "--model", str(tensors / "model.onnx")])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [case["passed"] for case in json.loads(ended.stdout)["cases"]] == [True, True]


def test_a_wrong_tensor_does_not_pass(
    host_edge_infer: EdgeInfer, tensors: Path, scratch: Path
) -> None:
    wrong = scratch / "wrong"
    wrong.mkdir()
    expected = json.loads((tensors / "golden" / "expected.json").read_text())
    expected["cases"][0]["samples"][0]["values"][0] += 5
    (wrong / "expected.json").write_text(json.dumps(expected))
    for name in (name for case in expected["cases"] for name in case["tensors"]):
        (wrong / name).write_bytes((tensors / "golden" / name).read_bytes())

    model = str(tensors / "model.onnx")
    ended = host_edge_infer(["selftest", "--model", model, "--golden", str(wrong)])
    assert ended.returncode == 6
    case, other = json.loads(ended.stdout)["cases"]
    assert (case["passed"], other["passed"]) == (False, True)
    assert case["problems"][0].startswith("output sum differs by 5, ")


def test_outputs_come_as_numpy_reads_them(
    host_edge_infer: EdgeInfer, tensors: Path, scratch: Path
) -> None:
    golden = tensors / "golden"
    files = [golden / "0-0.npy", golden / "0-1.npy"]
    paths = ",".join(map(str, files))
    ended = host_edge_infer(
        ["run", "--model", str(tensors / "model.onnx"), "--dump-outputs", str(scratch), paths]
    )
    assert ended.returncode == 0, ended.stderr
    reading, offsets = map(np.load, files)
    assert np.load(scratch / "0.npy") == pytest.approx(reading + offsets)
    assert (np.load(scratch / "1.npy") == (reading > offsets)).all()
