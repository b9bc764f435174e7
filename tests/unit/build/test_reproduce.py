"""Building a release again: what is refused, how it is disturbed, what counts as the same."""

import os
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.progress import Progress
from edgewright.build import conditions, pipeline
from edgewright.build.reproduce import (
    ReproduceRequest,
    alone_in,
    compared,
    explained,
    reproduce,
)
from edgewright.model.contract.network_file import network_sha256
from edgewright.release.manifest import Release
from tests.boards import make_release
from tests.checkout import checkout

MODEL = checkout().model("mobilevit-xxs-elpv")
NOWHERE = "1" * 40


def released(folder: Path, **source: Any) -> Release:
    """A release of the demo's small network, by the edgewright that is here."""
    release = make_release(folder, root="/opt/edgewright")
    manifest = release.manifest
    model = manifest.model.model_copy(update={"onnx_sha256": network_sha256(MODEL)})
    source_here = pipeline.source_of(checkout()).model_copy(update={"dirty": False, **source})
    return replace(
        release, manifest=manifest.model_copy(update={"model": model, "source": source_here})
    )


def request_of(release: Release, folder: Path, model: Path = MODEL) -> ReproduceRequest:
    return ReproduceRequest(
        release=release,
        model=model,
        workspace=checkout(),
        cache=folder / "cache",
        folder=folder / "reproduced",
        jobs=1,
    )


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"dirty": True}, "was built from files that no commit has"),
        ({"revision": "unknown"}, "was built from files that no commit has"),
        ({"revision": NOWHERE}, f"has no commit {NOWHERE}"),
    ],
)
def test_a_release_of_no_commit_is_refused(
    tmp_path: Path, source: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        reproduce(request_of(released(tmp_path, **source), tmp_path), Progress())


def test_a_release_by_another_edgewright_is_refused(tmp_path: Path) -> None:
    release = released(tmp_path, edgewright="0.0.1")
    own = replace(checkout(), root=tmp_path)  # a user's workspace, which the tool is not part of
    request = replace(request_of(release, tmp_path), workspace=own)

    with pytest.raises(UserError, match="was built by another edgewright") as refused:
        reproduce(request, Progress())

    assert refused.value.next == "pip install edgewright==0.0.1"


def test_another_network_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    request = request_of(released(tmp_path), tmp_path, checkout().default_model)

    with pytest.raises(UserError, match="is not the network of release"):
        reproduce(request, Progress())


def test_files_are_compared_by_their_bytes_on_both_sides(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
    before = {"same": tmp_path / "a", "other": tmp_path / "a", "gone": tmp_path / "a"}
    again = {"same": tmp_path / "b", "other": tmp_path / "c", "new": tmp_path / "c"}

    files = {file.name: file.is_same for file in compared("lib/", before, again)}

    assert files == {"lib/same": True, "lib/other": False, "lib/gone": False, "lib/new": False}


def archive_of(folder: Path, **content: str) -> Path:
    """An archive as that of a release, with files of these names."""
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, BytesIO(text.encode()))
    return path


def test_a_difference_is_explained_by_diffoscope(tmp_path: Path) -> None:
    before = archive_of(tmp_path / "before", card="one\n", program="the same\n")
    again = archive_of(tmp_path / "again", card="two\n", program="the same\n")

    report, advice = explained(tmp_path / "out", before, again)

    assert advice is None
    lines = Path(str(report)).read_text().splitlines()
    assert any("card" in line for line in lines)
    assert not any("program" in line for line in lines)
    assert any(line.endswith("-one") for line in lines)
    assert any(line.endswith("+two") for line in lines)


def test_without_a_report_there_is_the_way_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = archive_of(tmp_path / "before", card="one\n")

    report, advice = explained(tmp_path / "out", before, tmp_path / "gone")

    assert report is None
    assert str(advice).startswith("diffoscope --text ")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert explained(tmp_path, before, before) == (None, "apt-get install diffoscope-minimal")


def test_a_command_is_begun_as_another_user_at_another_time_and_place(tmp_path: Path) -> None:
    around = conditions.prepare(tmp_path / "conditions")
    script = "import os, time; print(os.getuid(), time.time(), time.tzname[0], os.umask(0))"
    python = process.which("python3")
    assert python is not None

    user, clock, zone, mask = process.check([*around.argv, python, "-c", script]).stdout.split()

    days = (float(clock) - process_time()) / 86_400
    assert round(days) == 400
    assert (zone, mask) == ("+1245", "0")
    (by_name,) = (item for item in around.listed if item.name == "user")
    assert by_name.value in (user, None)
    assert (by_name.value is None) == bool(by_name.reason)


def process_time() -> float:
    return float(process.check(["date", "+%s"]).stdout)


def test_containers_begin_under_the_same_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "real" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")

    around = conditions.prepare(tmp_path / "conditions")
    shim = str(around.path / "docker")

    mount = f"{tmp_path}/conditions/inside:/conditions:ro"
    assert process.check([shim, "run", "--rm", "image", "a b"]).stdout.splitlines() == [
        *("run", "--volume", mount, "--entrypoint", "/conditions/enter"),
        *("--rm", "image", "a b"),
    ]
    assert process.check([shim, "image", "ls"]).stdout.splitlines() == ["image", "ls"]
    enter = (tmp_path / "conditions" / "inside" / "enter").read_text()
    assert "FAKETIME=+400d" in enter


def test_two_at_once_are_refused_and_leftovers_go(tmp_path: Path) -> None:
    folder = tmp_path / "reproduced"
    with alone_in(folder):
        (folder / "left").write_text("over")
        with pytest.raises(UserError, match="being reproduced there"), alone_in(folder):
            pass
    with alone_in(folder):
        assert list(folder.iterdir()) == []
