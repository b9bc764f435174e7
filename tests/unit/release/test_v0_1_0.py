"""Releases and records of 0.1.0 are read, verified and signed anew by this version."""

from pathlib import Path

import pytest

from edgewright.base.layout import BoardBuild
from edgewright.deploy.report import SmokeReport
from edgewright.release import keys, order
from edgewright.release.keys import Signer
from edgewright.release.latest import release_of
from tests import v0_1_0


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    v0_1_0.install_keys(tmp_path / "config", monkeypatch)
    return keys.user_keys().open_signer("default", lambda _: None)


def test_an_archive_verifies_with_its_signature_beside_it(signer: Signer) -> None:
    verified = order.verify(v0_1_0.ARCHIVE, [signer.public])

    assert (verified.manifest.id, verified.order.compatible) == (
        v0_1_0.CURRENT,
        "edgewright,a53-som",
    )


def test_a_release_folder_verifies_and_takes_a_newer_signature(
    signer: Signer, tmp_path: Path
) -> None:
    release = v0_1_0.release(tmp_path)
    before = order.verify_release(release, [signer.public]).order

    after = order.sign_release(release, signer)

    assert after.sequence > before.sequence
    assert order.verify_release(release, [signer.public]).order == after


def test_the_last_build_of_a_workspace_is_known(tmp_path: Path) -> None:
    out = BoardBuild(root=v0_1_0.unpack("workspace.tar.xz", tmp_path) / "build" / "a53-som")

    assert release_of(out).id == v0_1_0.CURRENT


def test_the_smoke_report_of_a_workspace_is_read(tmp_path: Path) -> None:
    workspace = v0_1_0.unpack("workspace.tar.xz", tmp_path)
    text = (workspace / "build" / "a53-som" / "reports" / "smoke.json").read_text()

    assert SmokeReport.model_validate_json(text).release == v0_1_0.CURRENT
