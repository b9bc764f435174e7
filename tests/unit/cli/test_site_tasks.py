"""People and sites of a ledger, and a server of it, from the command line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.base.errors import ExitCode
from tests.schemas import require_valid
from tests.serving import Client
from tests.unit.cli.test_rollout_tasks import FLEET, run

WAIT_SECONDS = 60


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_LEDGER", str(tmp_path / "ledger.sqlite"))
    fleet = FLEET.replace('name = "hall"\n', 'name = "hall"\ndials_out = true\n', 1)
    (tmp_path / "fleet.toml").write_text(fleet)
    return tmp_path


def test_people_are_added_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fleet.people", "--add=anna", "--role=operator", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("fleet.people", text)
    assert len(json.loads(text)["token"]) == 43

    assert run("fleet.people", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    assert json.loads(text)["token"] is None
    assert [person["role"] for person in json.loads(text)["people"]] == ["operator"]

    assert run("fleet.people", "--remove=anna") == ExitCode.OK
    for mistake in ("--remove=anna", "--add=../x", "--add=x --role=king", "--add=x --days=0"):
        assert run("fleet.people", *mistake.split()) == ExitCode.USER


def test_an_invitation_is_a_private_file_and_is_taken_back(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / "hall.json"
    invite = ("site.invite", f"--fleet={workspace / 'fleet.toml'}", f"--out={path}")
    good = ("--site=hall", "--server=https://fleet.example:8443")
    assert run(*invite, *good, "--json") == ExitCode.OK
    require_valid("site.invite", capsys.readouterr().out)
    require_valid("file-invitation", path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600

    assert run(*invite, *good) == ExitCode.USER  # no invitation takes another one's place
    assert run(*invite, "--site=oven", good[1]) == ExitCode.USER
    assert run(*invite, good[0], "--server=http://fleet.example") == ExitCode.USER
    capsys.readouterr()

    assert run("site.dismiss", "--site=hall", "--json") == ExitCode.OK
    text = capsys.readouterr().out
    require_valid("site.dismiss", text)
    assert json.loads(text)["count"] == 1
    assert run("site.dismiss", "--site=hall") == ExitCode.USER
    assert run("site.run") == ExitCode.USER
    assert "site.json: no such file" in capsys.readouterr().err


def test_a_server_begins_tells_its_url_and_ends_with_ctrl_c() -> None:
    command = [
        sys.executable,
        "-m",
        "edgewright.cli",
        "fleet.serve",
        "--listen=127.0.0.1:0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        text = "".join(server.stdout.readline() for _ in range(4))
        require_valid("fleet.serve", text)
        assert Client(json.loads(text)["url"]).get("/v1/rollouts").status == 401
        server.send_signal(signal.SIGINT)
        assert server.wait(WAIT_SECONDS) == 0
