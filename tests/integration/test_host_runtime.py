"""The boards' version of ONNX Runtime, where this machine's Python has another."""

from pathlib import Path

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.base.runtime_version import runtime_version
from edgewright.model.contract import host_runtime
from edgewright.model.contract.session import open_session
from edgewright.model.convert.to_ort import convert
from tests.checkout import checkout

pytestmark = pytest.mark.docker  # it needs the network, as builds do


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on a machine with another version."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(host_runtime, "version", lambda name: "1.0.0")
    return tmp_path / "cache" / "runtimes"


def test_networks_are_converted_and_run_by_the_boards_version(
    elsewhere: Path, tmp_path: Path
) -> None:
    model = checkout().default_model

    converted = convert(model, tmp_path / "converted")
    session = open_session(model)

    (port,) = session.get_inputs()
    shape = [size for size in port.shape if isinstance(size, int)]
    (answer,) = session.run(None, {port.name: np.zeros(shape, np.float32)})
    assert np.isfinite(answer).all()
    assert converted.ort.read_bytes()[4:8] == b"ORTM"
    installed = [path.name for path in elsewhere.glob("*/onnxruntime-*.dist-info")]
    assert installed == [f"onnxruntime-{runtime_version().wheel}.dist-info"]


def test_a_version_that_pip_does_not_deliver_leaves_nothing(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = runtime_version().model_copy(update={"wheel": "0.0.1"})
    monkeypatch.setattr(host_runtime, "runtime_version", lambda: table)

    with pytest.raises(UserError) as refused:
        host_runtime.child_environment()

    assert "cannot be installed for this Python" in str(refused.value)
    assert [path for path in elsewhere.iterdir() if path.suffix != ".lock"] == []
