"""The tasks as a user calls them, through Invoke."""

import json
from pathlib import Path

import pytest

from edgewright.cli.program import Edgewright
from edgewright.observe.build_time import Compilation
from edgewright.release import minisign
from edgewright.release.minisign import SecretKey
from tests.schemas import require_valid

OVER_SSH = (
    *("deploy", "smoke", "status", "doctor", "rollback", "keys.provision", "keys.revoke"),
    *("keys.floor", "keys.forget", "soak", "crash", "debug", "report", "trace"),
    *("service.install", "service.remove", "bench.transfer", "bench.board"),
)
WAYS = ("--board", "--host", "--emulated", "--lab", "--ask-password")


def run(*argv: str) -> int:
    """The exit code of `edgewright ARGV…`."""
    with pytest.raises(SystemExit) as ended:
        start(*argv)
    return int(ended.value.code or 0)


def start(*argv: str) -> None:
    Edgewright().run(["edgewright", *argv])


@pytest.mark.parametrize("task", OVER_SSH)
def test_every_task_over_ssh_has_the_same_ways_to_a_board(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--help", task)

    shown = capsys.readouterr().out
    assert [way for way in WAYS if way not in shown] == []


@pytest.mark.parametrize("task", OVER_SSH)
def test_an_unknown_board_is_refused_before_a_password_is_asked_for(
    task: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: pytest.fail(prompt))

    needed = ["--id=0123456789ABCDEF"] if task == "keys.revoke" else []
    way = ["--board=nope", "--host=root@192.0.2.7", "--ask-password"]
    assert run(task, *way, *needed) == 2
    assert "board 'nope': unknown" in capsys.readouterr().err


@pytest.mark.parametrize("ways", [(), ("--emulated", "--lab"), ("--emulated", "--host=a@b")])
def test_exactly_one_way_to_the_board_is_expected(
    ways: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("smoke", "status"):
        assert run(command, "--board=a53-som", *ways) == 2
        shown = capsys.readouterr().err
        assert "expected one of --host=user@addr[:port], --emulated" in shown
        assert "next: the same command with one of them" in shown


def test_a_second_board_finds_what_the_first_one_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[tuple[str, Path]] = []

    def timed(board: str, what: str, cache: Path, *, all_sources: bool = False) -> Compilation:
        caches.append((f"{board}, all" if all_sources else board, cache))
        return Compilation(
            board=board, what=what, steps=9, seconds=9.0, core_seconds=9.0, program_sha256=board
        )

    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr("edgewright.cli.bench._timed_build", timed)

    start("bench.build", "--board=a53-som", "--second=rpi2")
    start("bench.build", "--board=a53-som", "--second=rpi2", "--no-everything")

    assert [name for name, _ in caches] == ["a53-som, all"] + 2 * ["a53-som", "rpi2"]
    folders = [folder for _, folder in caches]
    assert len({*folders}) == 3
    assert folders[1] == folders[2]
    assert folders[3] == folders[4]
    assert capsys.readouterr().err.count("the program is the same") == 1


def test_a_key_that_a_command_signs_with_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    public = SecretKey.generate().public
    (tmp_path / "token.pub").write_text(minisign.public_key_text(public))

    start("keys.external", "--name=token", f"--public={tmp_path}/token.pub", "--command=sign it")
    capsys.readouterr()
    start("keys.list", "--json")

    written = capsys.readouterr().out
    require_valid("keys.list", written)
    (key,) = json.loads(written)["keys"]
    assert (key["public"], key["command"], key["secret"]) == (public.line, "sign it", False)
    start("keys.list")
    assert public.fingerprint in capsys.readouterr().out  # whole, however narrow the terminal
    assert run("keys.external", "--name=x", "--public=/nowhere", "--command=sign it") == 2
