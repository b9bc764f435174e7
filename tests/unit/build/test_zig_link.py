"""A command line of GCC's that links: what goes to zig, and what to GNU ld."""

import subprocess
from pathlib import Path

import pytest

from edgewright.build import zig_link
from edgewright.build.zig_link import arguments, main, parse

LOADER = "/lib/ld-musl-armhf.so.1"


@pytest.fixture
def zig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the libraries of a musl."""
    monkeypatch.setattr(zig_link, "__file__", str(tmp_path / "link.py"))
    for name in ("static/crt1.o", "static/libc.a", "static/libc++.a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("shared/crt1.o", "shared/Scrt1.o", "shared/libc.so", "shared/libc++.a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run; a source named broken.c does not compile."""
    commands: list[list[str]] = []

    def call(argv: list[str]) -> int:
        commands.append(argv)
        return 3 if "broken.c" in argv else 0

    monkeypatch.setattr(subprocess, "call", call)
    return commands


def linked(zig: Path, *words: str) -> list[str]:
    return [word.replace(f"{zig}/", "") for word in arguments(parse(words), zig, LOADER)]


def test_words_go_to_whom_they_are_for() -> None:
    command = parse(
        [
            *("-O2", "-DNDEBUG", "-I", "include", "-Wall", "a.o"),
            *("-Wl,--gc-sections,--exclude-libs,ALL", "-Wl,-Map=x"),
            *("-L/lib", "-lspng", "-lm", "-pthread", "-o", "prog"),
        ]
    )

    assert command.compiler == ["-O2", "-DNDEBUG", "-I", "include", "-Wall", "-pthread"]
    assert command.linker == [
        *("a.o", "--gc-sections", "--exclude-libs", "ALL", "-Map=x"),
        *("-L/lib", "-lspng", "-o", "prog"),
    ]


def test_a_program_is_static_or_asks_for_the_board_s_loader(zig: Path) -> None:
    static = linked(zig, "a.o", "-static", "-o", "prog")
    shared = linked(zig, "a.o", "-o", "prog")
    movable = linked(zig, "a.o", "-pie", "-o", "prog")

    assert "static/crt1.o" in static
    assert "static/libc.a" in static
    assert not [word for word in static if "shared" in word or "dynamic-linker" in word]
    assert {f"--dynamic-linker={LOADER}", "shared/crt1.o", "shared/libc.so"} <= {*shared}
    assert "shared/Scrt1.o" in movable


def test_a_library_has_no_start_of_a_program_but_a_stack_for_its_threads(zig: Path) -> None:
    words = linked(zig, "-shared", "a.o", "-o", "liba.so")

    assert not [word for word in words if word.endswith("crt1.o") or "dynamic-linker" in word]
    assert "stack-size=8388608" in words
    assert words.index("a.o") < words.index("shared/libc++.a") < words.index("shared/libc.so")


@pytest.mark.parametrize("alone", ["-r", "-nostdlib", "-nodefaultlibs"])
def test_what_names_its_libraries_itself_is_linked_with_no_others(zig: Path, alone: str) -> None:
    words = linked(zig, alone, "a.o", "-Wl,--unique=.text.*", "-o", "merged.o")

    assert words == [
        *(["-r"] if alone == "-r" else []),
        "a.o",
        "--unique=.text.*",
        "-o",
        "merged.o",
    ]


def test_sources_are_compiled_first(zig: Path, ran: list[list[str]]) -> None:
    code = main(["ld", LOADER, "zig", "cc", "--", "-O1", "a.c", "b.o", "-o", "prog"])

    (compiled, link) = ran
    assert code == 0
    assert compiled[:5] == ["zig", "cc", "-O1", "-c", "a.c"]
    assert link[0] == "ld"
    assert link.index(compiled[-1]) < link.index("b.o")


def test_a_source_that_does_not_compile_is_not_linked(zig: Path, ran: list[list[str]]) -> None:
    assert main(["ld", LOADER, "zig", "cc", "--", "broken.c", "-o", "prog"]) == 3
    assert len(ran) == 1


def test_a_question_goes_to_zig(zig: Path, ran: list[list[str]]) -> None:
    main(["ld", LOADER, "zig", "cc", "--", "--version"])

    assert ran == [["zig", "cc", "--version"]]


@pytest.mark.parametrize(
    "option", ["-iquote", "-isysroot", "-imacros", "--param", "-MJ", "-Xclang", "-Xassembler"]
)
def test_an_option_s_second_word_is_no_input(option: str) -> None:
    command = parse([option, "word", "a.o"])

    assert command.compiler == [option, "word"]
    assert command.linker == ["a.o"]


def test_a_library_may_be_named_in_two_words() -> None:
    assert parse(["a.o", "-l", "m", "-l", "spng"]).linker == ["a.o", "-lspng"]


@pytest.mark.parametrize("suffix", ["c", "C", "c++", "cc", "cpp", "cxx", "i", "ii", "s", "S"])
def test_a_source_is_told_by_its_suffix(suffix: str) -> None:
    assert parse(["b.o", f"a.{suffix}"]).sources == [f"a.{suffix}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-nostartfiles", "a.o"], "-nostartfiles: not done with zig"),
        (["a.o", "-static-pie"], "-static-pie: not done with zig"),
        (["-nodefaultlibs", "a.o", "-lc"], "-lc: not done with zig"),
        (["a.o", "-l", "gcc", "-nostdlib"], "-lgcc: not done with zig"),
    ],
)
def test_what_is_not_done_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        parse(words)
