"""What the distributions hold: all that the tool needs, nothing that is in a user's way."""

import email
import re
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.base.layout import Resources
from tests.checkout import ROOT
from tests.wheels import build, copy_of_sources

LICENSES = (ROOT / "LICENSES.md").read_text()


def content_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata_of(content: Mapping[str, bytes]) -> email.message.Message:
    name = next(name for name in content if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(content[name])


def recorded(content: Mapping[str, bytes]) -> set[str]:
    name = next(name for name in content if name.endswith(".dist-info/RECORD"))
    return {line.rpartition(",")[0].rpartition(",")[0] for line in content[name].decode().split()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def tool(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content_of(build("wheel", sources, tmp_path_factory.mktemp("tool")))


@pytest.fixture(scope="module")
def demo_models(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content_of(build("wheel", sources / "models", tmp_path_factory.mktemp("demo")))


def test_the_only_top_level_package_is_edgewright(tool: Mapping[str, bytes]) -> None:
    """A `tasks.py` of ours would be imported in place of the user's own."""
    tops = {name.split("/")[0] for name in recorded(tool)}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgewright"}


def test_the_command_is_there(tool: Mapping[str, bytes]) -> None:
    name = next(name for name in tool if name.endswith("entry_points.txt"))

    assert "edgewright = edgewright.cli.__main__:main" in tool[name].decode()


def test_the_wheel_holds_every_file_that_the_tool_brings(tool: Mapping[str, bytes]) -> None:
    packed = Resources(root=Path("edgewright/resources"))
    checkout = Resources(root=ROOT)
    folders = ("boards", "toolchains", "recipes", "runtime_cpp", "runtime_py", "docker", "docs")
    for folder in folders:
        mine, theirs = getattr(checkout, folder), getattr(packed, folder)
        files = {path.relative_to(mine) for path in mine.rglob("*") if path.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        assert {path for path in files if str(theirs / path) not in tool} == set()
    for file in ("calibration", "baseline", "counts_plugin"):
        assert tool[str(getattr(packed, file))] == getattr(checkout, file).read_bytes()
    assert "edgewright/base/new_workspace/edgewright.toml" in tool
    assert "edgewright/base/new_workspace/program/programs/inspect/inspect.cpp" in tool
    assert "edgewright/base/new_workspace/yocto/meta-edgewright/conf/layer.conf" in tool
    assert not [name for name in tool if name.endswith(".pyc") or "onnx" in Path(name).suffix]


def test_programs_stay_executable(sources: Path, tmp_path: Path) -> None:
    """Packages are cached by the content and the mode of what they are built from."""
    with zipfile.ZipFile(build("wheel", sources, tmp_path)) as archive:
        modes = {i.filename: i.external_attr >> 16 & 0o100 for i in archive.infolist()}

    for folder in ("docker", "recipes", "runtime_cpp", "toolchains"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"edgewright/resources/{path.relative_to(ROOT).as_posix()}"
                assert modes[name] == path.stat().st_mode & 0o100, name


def test_the_source_distribution_builds_the_same_wheel(
    sources: Path, tool: Mapping[str, bytes], tmp_path: Path
) -> None:
    with tarfile.open(build("sdist", sources, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = next(tmp_path.glob("edgewright-*"))

    assert content_of(build("wheel", unpacked, tmp_path / "wheel")) == tool


def test_the_models_of_the_demo_are_a_distribution_of_their_own(
    tool: Mapping[str, bytes], demo_models: Mapping[str, bytes]
) -> None:
    metadata, demo = metadata_of(tool), metadata_of(demo_models)
    needed = [
        line
        for line in metadata.get_all("Requires-Dist") or []
        if "extra == 'demo'" in line.replace('"', "'")
    ]

    assert demo["Name"] == "edgewright-demo-models"
    assert demo["License-Expression"] == "CC-BY-NC-SA-4.0"
    assert [re.split(r"[<>=]", line)[0] for line in needed] == ["edgewright-demo-models"]
    models = {path.parent.name for path in (ROOT / "models").glob("*/model.onnx")}
    for model in models:
        for part in ("model.onnx", "card.json", "golden/expected.json"):
            assert f"edgewright_demo_models/{model}/{part}" in demo_models
        licence = next(name for name in demo_models if name.endswith(f"licenses/{model}/README.md"))
        assert b"CC BY-NC-SA 4.0" in demo_models[licence]


def test_the_version_that_the_extra_asks_for_is_the_one_that_is_built() -> None:
    models = tomllib.loads((ROOT / "models" / "pyproject.toml").read_text())["project"]

    assert models["version"].startswith("0.1")


def test_the_licences_of_what_is_packed_are_named(tool: Mapping[str, bytes]) -> None:
    assert metadata_of(tool)["License-File"] == "LICENSES.md"
    for recipe in sorted((ROOT / "recipes").glob("*/conanfile.py")):
        licence = re.search(r'^    license = "(.+)"', recipe.read_text(), re.MULTILINE)
        if licence:
            row = next(line for line in LICENSES.splitlines() if recipe.parent.name in line)
            assert licence[1] in row, recipe.parent.name
