"""`--json` of every task: standard output is one document, of the task or of its error."""

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from edgewright.base.errors import CheckError, TargetError
from edgewright.cli import commands, schemas
from edgewright.cli.common import OUT, report_errors, say, write, write_document
from edgewright.cli.documents import Failure, Page
from edgewright.deploy.edgectl import Problem, RefusedError
from tests.schemas import require_valid
from tests.unit.cli.test_program import run

TASKS = sorted(name for group in commands.GROUPS for name in group.tasks)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has nothing: neither workspace, nor key, nor cache."""
    for name in ("CONFIG", "CACHE"):
        monkeypatch.setenv(f"EDGEWRIGHT_{name}", str(tmp_path / name.lower()))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# Tasks that need nothing, and would do minutes of work.
NOTHING = {
    "bench.fleet": ["--boards=0"],
    "bench.rollout": ["--boards=0"],
    "model.curve": ["--images=0"],
    "rollout.simulate": ["--parallel=0"],
}


def arguments(name: str) -> list[str]:
    """What a task cannot do without, and a board where it takes one: none that exists."""
    options = commands.collection()[name].get_arguments()
    needed = [o.name for o in options if o.positional or o.name == "board"]
    return [f"--{name.replace('_', '-')}=nowhere" for name in needed] + NOTHING.get(name, [])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_can_do_nothing_answers_with_one_document(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.host.inspect", lambda needs: [])
    monkeypatch.setattr("edgewright.deploy.remote.socket.create_connection", refuse)
    code = run(name, "--json", *arguments(name))

    shown = capsys.readouterr().out
    if code == 0:
        require_valid(name, shown)
    else:
        require_valid("error", shown)
        failure = Failure.model_validate_json(shown)
        assert failure.command == name
        assert (failure.error.code, code) in [("user", 2), ("target", 3)]
        assert failure.error.message


def refuse(*_: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_every_task_has_json_and_a_schema() -> None:
    tasks = commands.collection()
    options = {name: [a.name for a in tasks[name].get_arguments()] for name in TASKS}

    assert [name for name in TASKS if "json" not in options[name]] == []
    assert sorted(schemas.OUTPUTS) == TASKS


@pytest.mark.parametrize(
    ("argv", "command", "message"),
    [
        ("boards --chekc --json", "boards", "edgewright boards: no option --chekc; did you mean"),
        ("biuld --json", "", "edgewright biuld: no such task; did you mean 'build'?"),
        ("trust --json", "trust", "edgewright trust: expected --host=…"),
        ("keys --json --x", "keys.list", "edgewright keys.list: no option --x"),
        ("keys -j --x", "keys.list", "edgewright keys.list: no option --x"),
    ],
)
def test_a_mistyped_command_answers_with_a_document(
    argv: str, command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv.split()) == 2

    failure = Failure.model_validate_json(capsys.readouterr().out)
    assert failure.command == command
    assert failure.error.message.startswith(message)


@pytest.mark.parametrize(
    "argv",
    ["boards --json keys.list", "boards keys.list --json", "boards -j keys -j", "boards boards -j"],
)
def test_two_tasks_are_not_two_documents(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv.split()) == 2

    failure = Failure.model_validate_json(capsys.readouterr().out)
    assert failure.command == "boards"
    assert failure.error.message.endswith("2 tasks in one call, and --json is one document")


def test_two_tasks_without_documents_run_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("boards", "boards", "--check") == 0

    assert capsys.readouterr().out.count("a53-som") > 1


def answer(body: Any, capsys: pytest.CaptureFixture[str], *, json: bool = True) -> tuple[str, str]:
    """Standard output and standard error of a task's body."""
    with pytest.raises(BaseException):  # noqa: B017, PT011  each body raises what it likes
        report_errors(body, lambda: "smoke")(Context(), json=json)
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_what_a_board_refused_keeps_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    def body(c: Context, json: bool) -> None:
        raise RefusedError("root@b", Problem(code="no_space", message="there is no space"))

    out, err = answer(body, capsys)

    assert json.loads(out) == {
        "version": 1,
        "command": "smoke",
        "error": {
            "code": "no_space",
            "message": "root@b: there is no space",
            "next": "make room on the board, or lower deploy.reserve_mb in its profile",
        },
    }
    assert err.startswith("root@b: there is no space")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (TargetError("b", "is down", facts=["port: 22"], next="invoke status"), "target"),
        (KeyboardInterrupt(), "interrupted"),
        (PermissionError(13, "Permission denied", "/opt/x"), "user"),
        (ZeroDivisionError("division by zero"), "bug"),
    ],
)
def test_every_end_has_a_code(
    raised: BaseException, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(c: Context, json: bool) -> None:
        raise raised

    assert Failure.model_validate_json(answer(body, capsys)[0]).error.code == code
    assert answer(body, capsys, json=False)[0] == ""


def test_what_is_printed_besides_is_no_part_of_the_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(c: Context, json: bool) -> None:
        OUT.print("a table")
        write("a text\n")
        say("a remark")
        write_document(Page(topic=None, text="a document"))
        raise CheckError("smoke test", "failed")

    out, err = answer(body, capsys)

    assert Page.model_validate_json(out).text == "a document"
    assert err.splitlines() == ["a table", "a text", "a remark", "smoke test: failed"]
