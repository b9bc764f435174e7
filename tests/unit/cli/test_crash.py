"""`crash` as a user calls it, of boards whose crash files a test makes."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.files import copy_file
from edgewright.board.symbol_store import debug_path, store_symbols
from edgewright.deploy.remote import Board, Result
from edgewright.deploy.target import Target
from edgewright.observe.crash.crash_file import CrashFile, parse_crash_file
from edgewright.observe.crash.explain import Explainer
from edgewright.observe.stacks.dump import Thread
from tests.boards import StandIn
from tests.checkout import ROOT
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start
from tests.unit.observe.crash.crash_files import TEXT

ELF = ROOT / "tests" / "data" / "elf"
BUILD = "5d41ed0a75776f3112a0dbe62197607f84d8d9c4"  # of tests/data/elf/unstripped
SYMBOLIZED = TEXT.replace("2612b2652706f1803a52ca5bb4466729258f4d7d", BUILD).replace(
    "000117d8", "000100c0"
)
CRASH = ("crash", "--board=a53-som", "--host=root@board.test")


class CrashedBoard(StandIn):
    """Its crash files, as its shell sends them."""

    def __init__(self, *files: str) -> None:
        super().__init__()
        self._files = files

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        text = "".join(
            f"file {number:09}.crash\n{file}\n" for number, file in enumerate(self._files, 1)
        )
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


def store_of_one_build(folder: Path) -> Path:
    """Of a program whose symbols were never split off: it is its own file of symbols."""
    store_symbols(folder, [ELF / "unstripped"], folder)
    copy_file(ELF / "unstripped", debug_path(folder, BUILD))
    return folder


@pytest.fixture
def symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's symbols of one build; the command runs in a workspace of its own."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "edgewright.toml").write_text('name = "tests"\n')
    monkeypatch.chdir(workspace)
    return store_of_one_build(tmp_path / "cache" / "symbols")


def boards(monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    @contextmanager
    def connect(target: Target, **options: object) -> Iterator[Board]:
        yield CrashedBoard(*files)

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)


def test_crashes_are_grouped_by_cause_with_file_and_line(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards(monkeypatch, SYMBOLIZED, TEXT, SYMBOLIZED.replace("time 1795964298", "time 1795964999"))

    start(*CRASH)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a53-som at root@board.test: 3 crashes"
    assert lines[2].startswith("SIGSEGV in scale, ")
    assert lines[2].endswith("/bare.c:1, at address 0x0")
    assert lines[3].startswith("  2 times, last 2026-11-29 15:09:59 UTC by the board's clock")
    assert lines[4] == "  watch of release 0123456789abcdef, 000000003.crash"
    assert "SIGSEGV at 0x117d8 of build 2612b2652706, at address 0x0" in lines
    assert "  no symbols of build 2612b2652706f1803a52ca5bb4466729258f4d7d here" in lines
    assert '  | ORT says: "no kernel"' in lines


def test_the_document_has_every_thread_and_a_copy_of_each_file(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards(monkeypatch, SYMBOLIZED, SYMBOLIZED[:200])

    start(*CRASH, "--json")

    text = capsys.readouterr().out
    require_valid("crash", text)
    report = json.loads(text)
    (crash,) = report["crashes"]
    assert [thread["id"] for thread in crash["threads"]] == [812, 815]
    assert crash["threads"][0]["frames"][0]["line"] == 1
    assert crash["address"] == "0x0"
    assert parse_crash_file(Path(crash["file"]).read_text(), "copy").build_id == BUILD
    assert report["unread"][0]["name"] == "000000002.crash"


def test_a_board_without_crashes_says_so(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards(monkeypatch)

    start(*CRASH)

    assert capsys.readouterr().out == "a53-som at root@board.test: no crashes\n"


def test_symbols_may_lie_elsewhere(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = symbols.rename(symbols.parent.parent / "of-a-colleague")
    boards(monkeypatch, SYMBOLIZED)

    start(*CRASH, f"--symbols={elsewhere}")
    assert "SIGSEGV in scale" in capsys.readouterr().out

    assert run(*CRASH, f"--symbols={elsewhere / '.build-id'}") == 2
    assert "has no folder .build-id" in capsys.readouterr().err


def test_what_a_board_sends_controls_no_terminal(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/opt/edgewright/releases/0123456789abcdef/bin/edge-infer"
    hostile = SYMBOLIZED.replace(path, "\x1b]52;c;\u202e[red]")
    boards(monkeypatch, hostile, SYMBOLIZED.replace("ORT says", "[link=x]"), "\x1b[2J")

    start(*CRASH)

    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "| [link=x]" in shown.out


def test_a_board_whose_clock_is_beyond_all_dates_is_no_bug(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards(monkeypatch, SYMBOLIZED.replace("time 1795964298", "time 999999999999"))

    start(*CRASH)

    assert "000000001.crash: is no crash file: line 7" in capsys.readouterr().out


def test_a_build_of_another_machine_explains_nothing(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hostile board names any build id: the registers of one machine are not the other's."""
    registers = f"registers{' 0000000000000000' * 33}\nstack 0000000040800600\n"
    other = re.sub("registers.*\nstack .*\n", registers, SYMBOLIZED)
    boards(monkeypatch, other.replace("machine arm", "machine aarch64"), SYMBOLIZED)

    start(*CRASH, "--json")

    report = json.loads(capsys.readouterr().out)
    first, second = report["crashes"]
    assert (first["symbols"], first["threads"][0]["frames"][0]["function"]) == (None, None)
    assert second["threads"][0]["frames"][0]["function"] == "scale"


def test_symbols_that_are_damaged_are_named(
    symbols: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    debug_path(symbols, BUILD).write_text("half a file")
    boards(monkeypatch, SYMBOLIZED)

    assert run(*CRASH) == 2
    assert f"{BUILD[2:]}.debug: not an ELF file" in capsys.readouterr().err


@pytest.fixture(scope="module")
def one_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of_one_build(tmp_path_factory.mktemp("symbols"))


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=17, max_size=17), st.binary(max_size=512))
def test_any_registers_and_stack_are_explained(
    one_build: Path, registers: list[int], stack: bytes
) -> None:
    whole = parse_crash_file(SYMBOLIZED, "1.crash")
    registers[15] = 0x100B8 + registers[15] % 40  # in the code of the program, or just behind it
    thread = Thread(id=1, registers=tuple(registers), stack_address=registers[13], stack=stack)
    crash = CrashFile(**{**vars(whole), "threads": (thread,)})

    explained = Explainer(folders=[one_build]).explain(crash, "1.crash", Path("1.crash"))

    assert 1 <= len(explained.threads[0].frames) <= 64
