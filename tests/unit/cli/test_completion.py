"""Completion as shells ask for it: their own scripts, run in the shells that are here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import checkout

PROGRAM = """#!{python}
import sys
sys.argv[0] = "edgewright"
from edgewright.cli.program import main
main()
"""
# What Tab does in each: the words are cut as the shell cuts them, Bash's at `=` too.
TAB = {
    "bash": "COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
    '_complete_{name} {name} "${{COMP_WORDS[COMP_CWORD]}}"; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "words=({words}); _complete_{name}; print -l -- ${{(M)reply:#${{words[-1]}}*}}",
}
SHELLS = [shell for shell in TAB if shutil.which(shell)]


def complete(shell: str, program: str, words: str, path: str) -> list[str]:
    """What may follow: the candidates that the shell would show."""
    script = f'eval "$({program} --print-completion-script={shell})"\n' + TAB[shell].format(
        words=words, name=program
    )
    flags = ["--norc", "-c"] if shell == "bash" else ["-f", "-c"]
    ended = subprocess.run(
        [shell, *flags, script],
        cwd=checkout().root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.split()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "edgewright"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["edgewright", "invoke"])
def test_tab_completes_tasks_and_options(shell: str, program: str, path: str) -> None:
    assert complete(shell, program, f"{program} keys.", path) == [
        *("keys.list", "keys.generate", "keys.external", "keys.provision", "keys.revoke"),
        *("keys.floor", "keys.forget"),
    ]
    assert complete(shell, program, f"{program} boards --ch", path) == ["--check"]


@pytest.mark.parametrize(
    ("shell", "words", "boards"),
    [
        ("bash", "edgewright render --board = a53-som-x", ["a53-som-xnnpack"]),
        ("bash", "edgewright render --board a53-som-x", ["a53-som-xnnpack"]),
        ("zsh", "edgewright render --board=a53-som-x", ["--board=a53-som-xnnpack"]),
    ],
)
def test_tab_completes_boards(shell: str, words: str, boards: list[str], path: str) -> None:
    if shell in SHELLS:
        assert complete(shell, "edgewright", words, path) == boards
