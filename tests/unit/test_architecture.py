"""The arrows between modules, and what may not stand anywhere in the repo."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from edgewright.base.layout import REPO

PACKAGE = REPO / "edgewright"
CLI = sorted((PACKAGE / "cli").rglob("*.py"))
FILES = sorted(set(PACKAGE.rglob("*.py")) - set(CLI))
EVERY = [*FILES, *CLI, REPO / "tasks.py"]

# Module → the modules of ours that it may import, beside `LEAVES`. A module that is not named
# here is at the top: it may import any other, and no module that is named here may import it.
LEAVES = {"errors", "layout", "digest"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "layout": set(),
    "digest": set(),
    "process": set(),
    "profile": set(),
    "apt": {"process"},
    "target": set(),
    "report": set(),
    "release": set(),
    "minisign": set(),
    "keys": {"minisign"},
    "signed": {"keys", "minisign", "release"},
    "elf": {"profile"},
    "audit": {"elf", "profile"},
    "toolchain": {"profile"},
    "model": {"process", "profile"},
    "container": {"apt", "process"},
    "packages": {"apt", "container", "process"},
    "openssh": {"target"},
    "remote": {"openssh", "target"},
    "edgectl": {"remote", "target"},
    "transfer": set(),
    "keyring": {"edgectl", "keys", "minisign", "remote"},
    "probe": {"audit", "remote", "target"},
    "deploy": {"audit", "edgectl", "elf", "probe", "release", "remote", "target", "transfer"},
    "smoke": {"release", "remote", "report", "target"},
    "bench": {"apt", "container", "elf", "model", "process", "profile"},
    "board_image": {"apt", "process", "profile"},
    "debs": {"apt", "process"},
    "board_keys": {"target"},
    "emulate": {"board_image", "board_keys", "process", "profile", "target"},
    "lab_image": {"board_image", "board_keys", "debs", "process"},
    "lab": {"board_image", "board_keys", "lab_image", "process", "profile", "target"},
    "proof": {"minisign", "packages", "process", "release", "signed"},
    "writelog": set(),
    "service": {"profile", "remote", "smoke"},
    "lab_bench": {"release", "remote", "report", "smoke"},
    "lab_release": {"model", "release"},
    "powercut": {"lab", "process", "release", "remote", "smoke", "writelog"},
}
HEAVY = {"elpv_dataset", "matplotlib", "torch", "torch_pruning", "transformers"}  # of [model]

NEED_EXTRA = ("edgewright.model", "edgewright.observe.peers.plot")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """`edgewright.model.contract.card` of its file."""
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """Full names that import statements name; `from a import b` gives both a and a.b."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute here"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from at_import(child)


def ours(names: set[str]) -> set[str]:
    """Modules of ours, as in the table: `edgewright.model.contract.card` is `model`."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {"bench", "cli", "model", "proof"}
    seconds = {name.split(".")[1] for name in names if name.startswith("edgewright.")}
    return seconds & modules


def third_party(names: set[str]) -> set[str]:
    return {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"edgewright"}


def modules() -> dict[str, list[Path]]:
    """Name in the table → its files."""
    table: dict[str, list[Path]] = {}
    for path in FILES:
        if path != PACKAGE / "__init__.py":
            table.setdefault(path.relative_to(PACKAGE).with_suffix("").parts[0], []).append(path)
    return table


@pytest.mark.parametrize("module", sorted(set(MAY_IMPORT) & set(modules())))
def test_arrows_run_downward(module: str) -> None:
    found = set().union(*(ours(imports(ast.walk(tree(path)))) for path in modules()[module]))

    assert found - {module} <= MAY_IMPORT[module] | LEAVES


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    left = {
        module: set().union(*(ours(imports(ast.walk(tree(path)))) for path in paths)) - {module}
        for module, paths in modules().items()
    }
    while free := {module for module, needs in left.items() if not needs & set(left)}:
        left = {module: needs for module, needs in left.items() if module not in free}

    assert left == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_the_tasks(path: Path) -> None:
    assert third_party(imports(ast.walk(tree(path)))) & {"tasks", "invoke"} == set()
    assert "cli" not in ours(imports(ast.walk(tree(path))))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_remote_speaks_ssh(path: Path) -> None:
    speaks = third_party(imports(ast.walk(tree(path)))) & {"fabric", "paramiko"}

    assert not speaks or name_of(path) == "edgewright.deploy.remote"


def test_the_library_starts_without_the_heavy_libraries() -> None:
    """No chain of imports from outside `NEED_EXTRA` reaches the extra [model]."""
    direct = {name_of(path): imports(at_import(tree(path))) for path in EVERY}
    reached = {name for name in direct if not name.startswith(NEED_EXTRA)}
    while more := set().union(*(direct[name] & set(direct) for name in reached)) - reached:
        reached |= more

    assert {name: direct[name] & HEAVY for name in reached if direct[name] & HEAVY} == {}


def declared(extra: str | None = None) -> set[str]:
    """Names of the distributions that pyproject.toml asks for."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    return {normal(re.split(r"[\s<>=!~\[;]", line)[0]) for line in lines}


@cache
def providers() -> Mapping[str, list[str]]:
    """Import name → the installed distributions that bring it."""
    return packages_distributions()


def normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_every_library_that_is_imported_is_declared(path: Path) -> None:
    allowed = declared("model" if name_of(path).startswith(NEED_EXTRA) else None)

    for library in third_party(imports(ast.walk(tree(path)))):
        assert allowed & {normal(name) for name in providers().get(library, [library])}, library


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_library_never_prints(path: Path) -> None:
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    printing = [f"line {c.lineno}" for c in calls if ast.unparse(c.func) in PRINTERS]

    assert printing == []


PRINTERS = {"print", "sys.stdout.write", "sys.stderr.write", "rich.print"}


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_commands_are_never_handed_to_a_shell_as_text(path: Path) -> None:
    keywords = [node for node in ast.walk(tree(path)) if isinstance(node, ast.keyword)]

    assert [k.lineno for k in keywords if k.arg == "shell"] == []
    assert "os.system" not in path.read_text()


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_unknown_hosts_are_never_accepted(path: Path) -> None:
    names = {n.attr for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute)}
    names |= {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)}
    names |= {name.split(".")[-1] for name in imports(ast.walk(tree(path)))}

    assert names & {"AutoAddPolicy", "WarningPolicy"} == set()


# Written apart, so that this file does not hold what it looks for.
HOSTS = [
    ".".join(parts)
    for parts in (
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry-1", "docker", "io"),
        ("index", "docker", "io"),
        ("ghcr", "io"),
        ("gcr", "io"),
        ("quay", "io"),
        ("center2", "conan", "io"),
        ("proxy", "golang", "org"),
    )
]
MACHINE_PATHS = ["/".join(("", "work", "main")), "/".join(("", "work", "shared"))]


@cache
def repo_texts() -> dict[str, str]:
    """Every text file that git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    paths = (REPO / name for name in listed.stdout.split("\0") if name)
    texts = {path: path.read_bytes() for path in paths if path.is_file()}
    return {
        path.relative_to(REPO).as_posix(): data.decode(errors="replace")
        for path, data in texts.items()
        if b"\0" not in data
    }


@pytest.mark.parametrize("word", [*HOSTS, *MACHINE_PATHS])
def test_no_registry_host_and_no_path_of_one_machine_stands_in_the_repo(word: str) -> None:
    pattern = re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])")

    assert [name for name, text in repo_texts().items() if pattern.search(text)] == []
