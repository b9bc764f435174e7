"""A build that has no network at all, from a mirror and an empty cache."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import ExitCode
from edgewright.base.runtime_version import runtime_version
from edgewright.build import container
from edgewright.build.container import DockerBuilder
from edgewright.build.mirror import open_mirror
from edgewright.model.contract import host_runtime
from tests.checkout import checkout, workspace_at
from tests.schemas import require_valid

pytestmark = pytest.mark.docker

NO_INTERFACES = (
    ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
)


def test_a_build_container_has_no_network(builder: DockerBuilder, tmp_path: Path) -> None:
    builder.run(["ls", "/sys/class/net"], tmp_path / "log")

    assert (tmp_path / "log").read_text().splitlines()[1:] == ["lo"]


@pytest.mark.nightly
def test_a_mirror_is_all_that_a_build_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builder image, sources and packages: nothing of them is on the machine before."""
    clone, folder = tmp_path / "clone", tmp_path / "mirror"
    subprocess.run(["git", "clone", "--quiet", str(checkout().root), str(clone)], check=True)
    # An image that no other run has, of which Docker has no layer in its cache.
    dockerfile = clone / "docker/builder/Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text.replace("COPY packages", f"LABEL run={tmp_path}\nCOPY packages"))
    image = container.image_tag(workspace_at(clone).resources)

    def edgewright(prefix: Sequence[str], *arguments: str) -> dict[str, Any]:
        env = {
            **os.environ,
            "PYTHONPATH": str(clone),
            "EDGEWRIGHT_CACHE": str(tmp_path / "cache"),
            "EDGEWRIGHT_CONFIG": str(tmp_path / "config"),
        }
        command = [*prefix, sys.executable, "-m", "edgewright.cli", *arguments, "--json"]
        ended = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
        assert ended.returncode == ExitCode.OK, ended.stdout + ended.stderr
        document: dict[str, Any] = json.loads(ended.stdout)
        require_valid(arguments[0], ended.stdout)
        return document

    created = edgewright([], "mirror.create", str(folder))
    shutil.rmtree(tmp_path / "cache")
    try:
        verified = edgewright(NO_INTERFACES, "mirror.verify", str(folder))
        options = ["--board=a53-som", "--builder=docker", f"--mirror={folder}"]
        built = edgewright(NO_INTERFACES, "build", *options)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", image], check=True)

    assert (verified["index_sha256"], verified["faults"]) == (created["index_sha256"], [])
    stages = {stage["name"]: stage["origin"] for stage in built["stages"]}
    assert stages["builder"] == stages["onnxruntime-minimal"] == "built"
    assert (built["builder"], created["builder"]) == (
        image.replace("/", "-").replace(":", "-"),
        image,
    )

    # A Python with another ONNX Runtime gets the boards' one from there, too.
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(host_runtime, "version", lambda name: "1.0.0")
    open_mirror(folder).host_runtime()
    (installed,) = (tmp_path / "other" / "runtimes").glob("*/onnxruntime-*.dist-info")
    assert installed.name == f"onnxruntime-{runtime_version().wheel}.dist-info"
