"""`invoke wheel`: what it writes, and what it tells of it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context

from edgewright.build.sdk import SdkRequest
from edgewright.cli import sdk, wheel
from tests import signing
from tests.schemas import require_valid
from tests.unit.build.test_wheel import sdk_with_header
from tests.unit.cli.test_program import run


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SdkRequest]:
    """Requests for SDKs, each of which is there at once."""
    built, requests = sdk_with_header(tmp_path), list[SdkRequest]()

    def build_sdk(request: SdkRequest, progress: object) -> SimpleNamespace:
        requests.append(request)
        return SimpleNamespace(folder=built.folder)

    monkeypatch.setattr(wheel, "build_sdk", build_sdk)
    return requests


def test_a_wheel_is_written_and_told_with_the_line_that_installs_it(
    tmp_path: Path, built: list[SdkRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    out, index = tmp_path / "out", tmp_path / "index"
    options = {"board": "a53-som", "out": str(out), "index": str(index)}

    wheel.wheel(Context(), **options, json=True)
    text = capsys.readouterr().out
    wheel.wheel(Context(), **options)
    screen = capsys.readouterr().out

    require_valid("wheel", text)
    document = json.loads(text)
    [path] = out.glob("*.whl")
    assert (document["wheel"], document["bytes"]) == (str(path), path.stat().st_size)
    assert (index / path.name).read_bytes() == path.read_bytes()
    assert (index / "simple" / "edgewright-runtime" / "index.html").is_file()
    lines = screen.splitlines()  # in a pipe, whatever their length
    assert lines[1] == str(path)
    wanted = f"--find-links={index} edgewright-runtime=={document['wheel_version']}"
    assert lines[-1] == f"on the board: pip install {wanted}"
    assert [request.profile.name for request in built] == ["a53-som", "a53-som"]


@pytest.mark.parametrize(
    ("options", "models"),
    [({}, 1), ({"operators": "all"}, 0), ({"operators": "all", "model": ("mobilevit-s-elpv",)}, 1)],
)
def test_a_wheel_of_all_operators_is_for_no_model_unless_one_is_named(
    tmp_path: Path, built: list[SdkRequest], options: dict[str, Any], models: int
) -> None:
    wheel.wheel(Context(), board="a53-som", out=str(tmp_path), **options)

    [request] = built
    assert request.operators == options.get("operators", "models")
    assert len(request.models) == models


def test_a_choice_of_operators_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wheel", "--board=a53-som", "--operators=most") == 2

    assert capsys.readouterr().err == (
        "--operators=most: unknown choice of operators\n"
        "  expected: models, all\n"
        "next: the same command with --operators=all\n"
    )


def test_a_wheel_is_signed_and_verified_in_one_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    signing.signer()

    wheel.wheel(Context(), board="a53-som", out=str(tmp_path / "out"))

    key = signing.signer().public.id
    assert f"signed by key {key}" in capsys.readouterr().err
    sdk.verify(Context(), path=next((tmp_path / "sdk").glob("*/manifest.json")).parent.as_posix())
    assert f"by key {key}" in capsys.readouterr().out  # the SDK that stays beside it
    [path] = (tmp_path / "out").glob("*.whl")
    sdk.verify(Context(), path=str(path), complete=True)
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.strip().split(maxsplit=1)[1] for line in lines}
    assert rows["wheel"].startswith(f"{path.name}, of SDK ")
    assert rows["provenance"] == f"by key {key}: names the wheel and its bill by hash"
    sdk.verify(Context(), path=str(path), json=True)
    text = capsys.readouterr().out
    require_valid("sdk.verify", text)
    assert json.loads(text)["wheel"] == path.name
