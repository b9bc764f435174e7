"""The program around the tasks: what it imports, lists, completes and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from edgewright.base.layout import installed_resources
from edgewright.cli import commands
from edgewright.cli.help import TOPICS
from edgewright.cli.program import Edgewright
from edgewright.cli.words import as_called
from tests.schemas import require_valid

REPO = installed_resources().root
HEAVY = ("conan", "fabric", "onnx", "onnxruntime", "paramiko", "torch", "capstone", "numpy")
START = (
    "import sys; sys.argv[0] = 'edgewright'; from edgewright.cli.program import main\n"
    "try: main()\n"
    f"finally: print({{*{HEAVY}}} & {{*sys.modules}}, file=sys.stderr)"
)


def run(*argv: str) -> int:
    """The exit code of `edgewright ARGV…`."""
    try:
        Edgewright().run(["edgewright", *argv])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("group", commands.GROUPS, ids=lambda group: group.name)
def test_the_index_names_the_tasks_of_its_modules(group: commands.Group) -> None:
    from invoke.collection import Collection

    for module in group.modules:
        indexed = {
            t for g in commands.GROUPS for m, ts in g.modules.items() for t in ts if m == module
        }
        loaded = __import__(f"edgewright.cli.{module}", fromlist=["*"])
        assert {*Collection.from_module(loaded).tasks} == indexed
    assert not group.default or f"{group.name}.{group.default}" in group.tasks


@pytest.mark.parametrize("argv", ["--version", "--list", "boards", "--help", "biuld"])
def test_quick_commands_import_nothing_heavy(argv: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", START, argv], cwd=REPO, capture_output=True, text=True, check=False
    )

    assert ended.stderr.endswith("set()\n"), ended.stderr


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("biuld", "edgewright biuld: no such task; did you mean 'build'?\nnext: edgewright --list"),
        ("keys.lst", "edgewright keys.lst: no such task; did you mean 'keys.list'?"),
        ("--lst", "edgewright: no option --lst; did you mean '--list'?\nnext: edgewright --help"),
        (
            "boards --chekc",
            "edgewright boards: no option --chekc; did you mean '--check'?\n"
            "next: edgewright boards --help",
        ),
        # Invoke itself takes this for the value of --board
        ("smoke --bord=x", "edgewright smoke: no option --bord; did you mean '--board'?"),
        ("trust", "edgewright trust: expected --host=…\nnext: edgewright trust --help"),
        (
            "smoke",
            "--board: missing\nnext: edgewright boards, then --board=NAME, or default_board in",
        ),
        ("emulate", "--board: missing"),
        ("smoke --board= --emulated", "--board: is empty\nnext: edgewright boards"),
        ("smoke -x", "edgewright smoke: no option -x"),
        ("-x", "edgewright: no option -x"),
        ("-T x boards", "invalid literal for int"),
        ("-D", "edgewright: "),
        ("-f nosuch boards", "Config files of type ''"),
        ("--list-format=xml --list", "--list-format: expected flat, nested, json, found 'xml'"),
        ("smoke --board", "edgewright smoke: --board: expected a value"),
        ("boards all", "edgewright boards: unexpected word all"),
        ("keys.provision x --after=y", "--after: expected a whole number, found 'y'"),
        ("keys.provision x --after y", "--after: expected a whole number, found 'y'"),
        ("boards --board", "edgewright boards: no option --board"),
        ("--help=biuld", "edgewright biuld: no such task; did you mean 'build'?"),
        ("--list=key", "group 'key': unknown; did you mean 'keys'?"),
        (
            "help ky",
            "topic 'ky': unknown; did you mean 'keys'?\n"
            "  topics: workspace, boards, models, deploy, service, keys, supply-chain, export, "
            "sdk, programs, wheel, fleet, observe, formats, ci, nightly, upgrades",
        ),
        ("render --board=a53-sam", "board 'a53-sam': unknown; did you mean 'a53-som'?"),
    ],
)
def test_what_is_mistyped_is_named_with_exit_code_2(
    argv: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv.split()) == 2
    assert text in capsys.readouterr().err


def test_a_short_flag_means_the_same_in_every_task() -> None:
    meanings: dict[str, set[str]] = {}
    for context in commands.collection().to_contexts():
        for argument in context.args.values():
            for short in (name for name in argument.names if len(name) == 1):
                meanings.setdefault(short, set()).add(argument.name)
    of_the_program = {name for a in Edgewright().core_args() for name in a.names if len(name) == 1}

    assert {short: len(names) for short, names in meanings.items()} == dict.fromkeys("bjkmy", 1)
    assert of_the_program.isdisjoint(meanings)


@pytest.mark.parametrize(
    "argv", ["deploy --help", "--help deploy", "--help=deploy", "trust --help"]
)
def test_help_needs_no_argument_of_the_task(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv.split()) == 0

    shown = capsys.readouterr().out
    assert "Example: edgewright " in shown
    assert "--host=STRING" in shown


def test_the_help_of_a_build_explains_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "--help") == 0

    shown = capsys.readouterr().out
    for text in ("-b STRING, --board=STRING", "board profile, e.g. a53-som", "-j, --json"):
        assert text in shown


def test_the_first_list_is_short_and_a_group_has_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("--list")
    shown = capsys.readouterr().out
    assert all(group.about.split()[0] in shown for group in commands.GROUPS)
    assert "bench.calibrate" not in shown
    assert len(shown.splitlines()) < 30

    run("--list=bench")
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  bench")] == [
        *commands.group_named("bench").tasks
    ]


def test_a_bare_namespace_runs_its_default_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path))

    assert run("keys", "--json") == 0
    text = capsys.readouterr().out
    require_valid("keys.list", text)
    assert '"keys": []' in text


@pytest.mark.parametrize("program", ["invoke", "inv", "edgewright"])
def test_commands_are_shown_as_they_were_called(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [f"/usr/bin/{program}"])

    assert as_called("next: mend it, then invoke boards --check; edgewright is a tool") == (
        f"next: mend it, then {program} boards --check; edgewright is a tool"
    )


def test_invoke_in_a_checkout_is_the_same_program() -> None:
    code = "import sys; sys.argv[0] = 'invoke'; from invoke.main import program; program.run()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "biuld"],
        cwd=REPO / "docs",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (
        2,
        "invoke biuld: no such task; did you mean 'build'?\nnext: invoke --list\n",
    )


@pytest.mark.parametrize("topic", TOPICS)
def test_help_prints_the_page_of_a_topic(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help", topic) == 0
    assert capsys.readouterr().out == (REPO / "docs" / TOPICS[topic][0]).read_text()


def test_help_alone_lists_topics_and_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help") == 0

    shown = capsys.readouterr().out
    words = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert words >= {*TOPICS, *(task for group in commands.GROUPS for task in group.tasks)}


@pytest.mark.parametrize("words", [("keys", "--json"), ("--json", "keys"), ("keys", "-j")])
def test_a_topic_is_one_json_document_too(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("help", *words) == 0

    assert json.loads(capsys.readouterr().out)["topic"] == "keys"


def test_an_option_is_no_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", "--json") == 2

    assert "--list: expected the name of a group, found '--json'" in capsys.readouterr().err


def test_help_on_a_terminal_is_set_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", "cat")
    monkeypatch.setattr("edgewright.cli.help.OUT", Console(force_terminal=True))

    assert run("help", "keys") == 0

    shown = capsys.readouterr().out
    assert "Rotate" in shown
    assert "## Rotate" not in shown


PROGRAM = "import sys; from edgewright.cli.program import main; sys.argv[0] = 'edgewright'; main()"


@pytest.mark.parametrize("words", [["boards"], ["boards", "--json"], ["--help"], ["--list"]])
def test_who_reads_may_go_at_any_time(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], stdout=writer, stderr=subprocess.PIPE, text=True
    )

    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("words", ["boards", "boards --json", "help boards", "--list"])
def test_a_closed_standard_output_is_no_fault(words: str) -> None:
    command = f'"$0" -c "$1" {words} >&-'

    ended = subprocess.run(["sh", "-c", command, sys.executable, PROGRAM], capture_output=True)

    assert (ended.returncode, ended.stderr) == (0, b"")
