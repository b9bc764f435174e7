"""Every command that code or documents name exists, with the options that they give it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from edgewright.base.layout import installed_resources
from edgewright.cli import commands

REPO = installed_resources().root
DOCUMENTS = sorted(
    {
        *(REPO / "docs").glob("*.md"),
        *(path for path in REPO.rglob("README.md") if ".venv" not in path.parts),
    }
)
MODULES = sorted((REPO / "edgewright").rglob("*.py"))

OPTION = re.compile(r"(?<![\w-])--(?!no-)([a-z][a-z-]+)|--no-([a-z][a-z-]+)")
# Where a command starts. In prose, `edgewright is` starts none.
COMMAND = re.compile(
    r"\binvoke (?=[a-z])"
    r"|(?:`|(?:^|\W)(?:Example:|next:|then|\$) )edgewright (?=[a-z])"
    r"|\bedgewright (?=[a-z]+\.[a-z]|[a-z]+ --)"
)
END = re.compile(r"[`|;#)]|, | edgewright ")
OF_OTHER_PROGRAMS = {"force", "append", "groups", "strip-all"}  # docker, usermod, strip
CORE = {"help", "list", "version", "print-completion-script", "complete"}


@cache
def flags() -> dict[str, set[str]]:
    """Task → its options."""
    contexts = commands.collection().to_contexts()
    options = {c.name: {flag.lstrip("-") for flag in c.flags} for c in contexts}
    defaults = {g.name: f"{g.name}.{g.default}" for g in commands.GROUPS if g.default}
    return options | {name: options[task] for name, task in defaults.items()}


def faults(text: str) -> Iterator[str]:
    """What is wrong with the commands in a text: no such task, no such option."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in COMMAND.split(line)[1:]:
            yield from command_faults(END.split(command)[0])


def command_faults(command: str) -> Iterator[str]:
    """Those of `TASK --option=value TASK …`."""
    words = command.split()
    task = re.sub(r"[,.:…]+$", "", words[0]) if words else ""
    if task not in flags():
        yield f"no task '{task}': {command}"
        return
    for word in words[1:]:
        task = word if word in flags() else task
        for plain, negated in OPTION.findall(word):
            if (plain or negated) not in flags()[task] | CORE:
                yield f"{task} has no option --{plain or negated}: {command}"


def code_of(document: str) -> str:
    """The code blocks and code spans of a Markdown document, a line each."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", document, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", prose)
    return re.sub(
        r"^edgewright ", "$ edgewright ", "\n".join([*blocks, *spans]), flags=re.MULTILINE
    )


def text_of(node: ast.expr) -> str:
    """A string as it may look: X for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    return "X" if isinstance(node, ast.FormattedValue) else ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_commands_in_documents_exist(path: Path) -> None:
    assert [*faults(code_of(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))
def test_commands_in_code_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [text_of(n) for n in ast.walk(tree) if isinstance(n, ast.Constant | ast.JoinedStr)]

    assert [fault for text in strings for fault in faults(text)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))
def test_remedies_name_what_exists(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    keywords = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "next"]
    remedies = [f"next: {text_of(keyword.value)}" for keyword in keywords]
    options = {plain for remedy in remedies for plain, _ in OPTION.findall(remedy)}

    assert [fault for remedy in remedies for fault in faults(remedy)] == []
    flags_known = set().union(*flags().values()) | CORE | OF_OTHER_PROGRAMS
    assert options - flags_known == set()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("next: mend it, then invoke boads --check", "no task 'boads'"),
        ("invoke model.train --checkpoint=x", "model.train has no option --checkpoint"),
        ("`edgewright build --bord=x`", "build has no option --bord"),
        ("invoke build --board=x deploy --jobs=2", "deploy has no option --jobs"),
    ],
)
def test_this_test_finds(text: str, fault: str) -> None:
    assert [found.partition(":")[0] for found in faults(text)] == [fault]


@pytest.mark.parametrize("text", ["invoke keys", "edgewright is a tool", "run invoke build --json"])
def test_this_test_lets_pass(text: str) -> None:
    assert [*faults(text)] == []
