"""Every problem of every file is told at once, in words."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.catalogue import load_board
from tests.checkout import checkout
from tests.unit.cli.test_program import run


def problems(folder: Path, text: str) -> list[str]:
    (folder / "mine.toml").write_text(text)
    with pytest.raises(UserError) as invalid:
        load_board("mine", folder, checkout().resources.boards)
    return list(invalid.value.facts)


def test_a_base_that_is_missing_hides_no_other_problem(tmp_path: Path) -> None:
    text = 'extends = "rpi9"\ndescripton = "x"\ncompatible = "acme"\n[cpu]\ncores = 0\n'

    lines = problems(tmp_path, text)

    assert lines[0].startswith("extends: no such file 'rpi9.toml'")
    assert lines[0].endswith("did you mean 'rpi2'?")
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "compatible",
        "cpu.cores",
        "descripton",
    ]


@pytest.mark.parametrize(
    ("core", "words"),
    [
        ("cortex-a99", "not a core that the compiler knows; did you mean 'cortex-a9'?"),
        ("cortexa53", "did you mean 'cortex-a53'?"),
        ("neoverse-n1", "a core of servers"),
        ("arm1176jzf-s", "is ARMv6, with VFPv2 and without NEON"),
        ("arm926ej-s", "is ARMv5TE, without NEON"),
        ("arm920t", "ARMv4T or ARMv5"),
        ("cortex-m7", "no memory management unit"),
    ],
)
def test_a_core_is_refused_with_its_reason_in_words(core: str, words: str, tmp_path: Path) -> None:
    text = f'extends = "rpi3-armhf"\n[cpu]\ncore = "{core}"\n'

    lines = "\n".join(problems(tmp_path, text))

    assert words in lines
    assert "^" not in lines  # no pattern


def test_an_fpu_without_neon_is_refused_with_its_reason(tmp_path: Path) -> None:
    lines = problems(tmp_path, 'extends = "rpi2"\n[cpu]\nfpu = "vfpv3-d16"\n')

    assert "has no NEON, which ONNX Runtime's MLAS kernels need" in lines[0]


def test_json_has_the_problems_of_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("init")
    for name in ("one", "two"):
        (tmp_path / "board_profiles" / f"{name}.toml").write_text('extends = "rpi2"\nx = 1\n')
    capsys.readouterr()

    assert run("boards", "--check", "--json") == 2

    shown = capsys.readouterr().out
    assert "one.toml: x: unknown key" in shown
    assert "two.toml: x: unknown key" in shown
