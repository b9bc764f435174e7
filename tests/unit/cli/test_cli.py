"""The tasks as a user calls them, through Invoke."""

import json
from pathlib import Path

import pytest

from edgewright.base.files import write_file
from edgewright.base.progress import Progress, StageReport
from edgewright.board.audit import Audit
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildReport, BuildRequest
from edgewright.cli.program import Edgewright
from edgewright.model.convert.coverage import Coverage
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


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[BuildRequest]:
    """A user's workspace with a build and a cache, and builds that take no time; what they were."""
    requests: list[BuildRequest] = []

    def build(request: BuildRequest, progress: Progress) -> BuildReport:
        requests.append(request)
        folder = request.out.root / "release"
        write_file(folder / "bin" / "edge-infer", "a program")
        write_file(request.out.latest, "newer\n")
        write_file(request.out.logs / "onnxruntime-minimal.log", "[9/9] Linking a\n")
        return BuildReport(
            board=request.profile.name,
            release="newer",
            folder=folder,
            builder="docker",
            stages=(StageReport(name="onnxruntime-minimal", seconds=9.0, origin="built"),),
            sizes={},
            budgets={},
            coverage=Coverage(nodes=1, required=[], built=[]),
            audit=Audit(board=request.profile.name, passed=True, files=()),
        )

    write_file(tmp_path / "edgewright.toml", 'name = "tests"\n')
    write_file(tmp_path / "build" / "a53-som" / "latest", "the user's\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "build", build)
    return requests


def test_a_second_board_finds_what_the_first_one_compiled(
    builds: list[BuildRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    start("bench.build", "--board=a53-som", "--second=rpi2")
    start("bench.build", "--board=a53-som", "--second=rpi2", "--no-everything")

    linked = ["a53-som", "a53-som", "rpi2"]
    assert [build.profile.name for build in builds] == ["a53-som", *linked, *linked]
    assert [build.all_sources for build in builds] == [True] + 6 * [False]
    caches = [build.cache for build in builds]
    assert len({*caches}) == 3
    assert len({*caches[1:4]}) == len({*caches[4:]}) == 1
    assert capsys.readouterr().err.count("the program is the same") == 1


def test_a_timed_build_is_no_build_of_the_user(
    builds: list[BuildRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.cli.keys.sign_build", lambda board: pytest.fail("signed"))

    start("bench.build", "--board=a53-som")

    assert len(builds) == 3
    assert not [build for build in builds if build.out.root.is_relative_to(tmp_path)]
    assert not [build for build in builds if build.workspace.root.exists()]
    assert (tmp_path / "build" / "a53-som" / "latest").read_text() == "the user's\n"


@pytest.mark.parametrize("counts", [(), ("--boards=2", "--models=3")])
def test_documents_of_builds_are_as_their_schemas_say(
    counts: tuple[str, ...], builds: list[BuildRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    command = "bench.growth" if counts else "bench.build"
    start(command, "--board=a53-som", "--json", *counts)

    printed = capsys.readouterr().out
    require_valid(command, printed)
    if counts:
        document = json.loads(printed)
        assert [point["count"] for point in document["boards"]] == [1, 2]
        assert [point["count"] for point in document["models"]] == [1, 2, 3]
        assert len(builds) == 6


@pytest.mark.parametrize("count", ["--boards=0", "--models=-1"])
def test_a_curve_needs_a_build(
    count: str, builds: list[BuildRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench.growth", "--board=a53-som", count) == 2
    assert f"{count}: expected 1 or more" in capsys.readouterr().err
    assert not builds


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
