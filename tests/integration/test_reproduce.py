"""A release built twice, with nothing alike but its inputs. A first build's time: of the night."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import checkout
from tests.schemas import require_valid

pytestmark = [pytest.mark.docker, pytest.mark.nightly]


@pytest.mark.parametrize("board", ["a53-som", "a53-som-arm64"])
def test_the_same_inputs_make_the_same_bytes(board: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(checkout().root), str(clone)], check=True)

    def edgewright(*arguments: str) -> dict[str, Any]:
        env = {**os.environ, "PYTHONPATH": str(clone), "EDGEWRIGHT_CONFIG": str(tmp_path / "keys")}
        command = [sys.executable, "-m", "edgewright.cli", *arguments, f"--board={board}", "--json"]
        ended = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        document: dict[str, Any] = json.loads(ended.stdout)
        return document

    edgewright("build", "--no-estimate")
    report = edgewright("release.reproduce")

    require_valid("release.reproduce", json.dumps(report))
    assert report["same"]
    assert report["again"] == report["release"]
    assert {"onnxruntime-minimal", "edge-infer", "edgectl"} <= {*report["packages"]}
    names = {file["name"] for file in report["files"]}
    assert {"bin/edge-infer", "model/model.ort", "evidence/sbom.cdx.json"} <= names
    assert not (clone / "build" / board / "reproduced").exists()
