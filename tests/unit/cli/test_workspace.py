"""The command line in a user's repository."""

import errno
import json
import os
from pathlib import Path

import pytest

from edgewright.base import files
from edgewright.base.errors import UserError
from edgewright.cli.common import model_path, workspace
from edgewright.release.latest import release_of
from tests import v0_1_0
from tests.unit.cli.test_cli import run, start

SETTINGS = """
name = "line-four"
default_board = "line-4"
[models]
scratches = "models/scratches.onnx"
"""
BOARD = 'extends = "a53-som"\ncompatible = "example,line-4"\n'


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is in no workspace."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own(outside: Path) -> Path:
    (outside / "edgewright.toml").write_text(SETTINGS)
    (outside / "board_profiles").mkdir()
    (outside / "board_profiles" / "line-4.toml").write_text(BOARD)
    return outside


def test_init_makes_a_workspace_that_knows_its_board(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("init", "--board=rpi2", "--ci=gitlab")

    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        "edgewright.toml",
        "next: edgewright build, or edgewright demo for all of it on an emulated board",
    ]
    assert ".gitlab-ci.yml" in lines
    start("render")
    assert (outside / "build" / "rpi2" / "toolchain.cmake").is_file()


@pytest.mark.parametrize("fault", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_no_bug(
    fault: int,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path, text: str | bytes) -> None:
        raise OSError(fault, os.strerror(fault), str(path))

    monkeypatch.setattr(files, "write_file", refuse)

    assert run("init") == 2

    named, mended_by = capsys.readouterr().err.splitlines()
    assert named == f"{outside / '.gitignore'}: {os.strerror(fault).lower()}"
    assert mended_by.startswith("next: ")


@pytest.mark.parametrize(
    ("nights", "options", "boards"),
    [
        ("", (), '["line-4"]'),  # its own board
        ('boards = ["rpi2", "line-4"]\nmodels = ["scratches"]\n', (), '["rpi2", "line-4"]'),
        ("", ("--boards=rpi2,a53-som",), '["rpi2", "a53-som"]'),
    ],
)
def test_a_workspace_gets_a_pipeline_for_its_boards(
    own: Path, nights: str, options: tuple[str, ...], boards: str
) -> None:
    settings = (own / "edgewright.toml").read_text()
    if nights:
        (own / "nightly.toml").write_text(nights)

    start("init", "--ci=gitlab", *options)

    assert f"- BOARD: {boards}" in (own / ".gitlab-ci.yml").read_text()
    assert f"boards = {boards}" in (own / "nightly.toml").read_text()
    assert (own / "edgewright.toml").read_text() == settings


def test_init_refuses_a_board_that_is_unknown(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", "--board=rpi22") == 2

    assert "board 'rpi22': unknown; did you mean 'rpi2'?" in capsys.readouterr().err
    assert not any(outside.iterdir())


def test_the_default_board_stands_for_the_option_in_any_folder(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = own / "models" / "mine"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)

    start("render")
    assert (own / "build" / "line-4" / "toolchain.cmake").is_file()
    start("render", "--board=rpi2")
    assert (own / "build" / "rpi2" / "toolchain.cmake").is_file()


def test_without_a_default_board_the_option_is_asked_for(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "edgewright.toml").write_text('name = "a"\n')

    assert run("render") == 2
    assert capsys.readouterr().err == (
        "--board: missing\n"
        f"next: edgewright boards, then --board=NAME, or default_board in {own}/edgewright.toml\n"
    )


def test_boards_are_the_users_and_the_catalogues(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("boards", "--json")

    boards = {board["name"]: board for board in json.loads(capsys.readouterr().out)["boards"]}
    assert boards["line-4"]["compatible"] == "example,line-4"
    assert {"a53-som", "rpi2"} <= set(boards)


def test_outside_of_a_workspace_the_catalogue_is_listed_and_a_build_refused(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("boards", "--json")
    assert len(json.loads(capsys.readouterr().out)["boards"]) > 20

    assert run("build", "--board=rpi2") == 2
    assert capsys.readouterr().err == (
        f"{outside}: not in a workspace\n"
        "  expected: edgewright.toml there or in a folder above\n"
        "next: edgewright init\n"
    )
    assert not any(outside.iterdir())


def test_a_model_is_named_by_its_file_or_by_the_settings(own: Path) -> None:
    assert model_path("scratches") == own / "models" / "scratches.onnx"
    for name in ("other/net.onnx", "net.onnx"):
        with pytest.raises(UserError, match="no such model"):
            model_path(name)
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).touch()
        assert model_path(name) == own / name
    assert model_path("").parent.name == "mobilevit-s-elpv"
    (own / "scratches").touch()
    assert model_path("scratches") == own / "scratches"
    with pytest.raises(UserError, match="model 'scratch': unknown; did you mean 'scratches'"):
        model_path("scratch")


def test_the_schema_for_editors_is_written_into_the_workspace(own: Path) -> None:
    start("schema")

    assert "properties" in json.loads((own / "board_profiles" / "schema.json").read_text())


@pytest.mark.parametrize("task", ["lint", "lock", "bench.calibrate", "model.golden"])
def test_what_works_on_edgewrights_own_sources_is_refused_elsewhere(
    task: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(task) == 2

    assert capsys.readouterr().err == (
        f"{own}: not a checkout of edgewright\n"
        "  this works on edgewright's own sources and tests\n"
        "next: repeat it in a checkout\n"
    )


def test_help_explains_workspaces(capsys: pytest.CaptureFixture[str]) -> None:
    start("help", "workspace")

    assert "`edgewright.toml`" in capsys.readouterr().out


def test_a_workspace_of_0_1_0_is_read_once_it_has_settings(own: Path) -> None:
    v0_1_0.unpack("workspace.tar.xz", own)

    assert release_of(workspace().build("a53-som")).id == v0_1_0.CURRENT
