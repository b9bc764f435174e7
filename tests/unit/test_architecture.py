"""The arrows between modules, and what may not stand anywhere in the repo."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.checkout import ROOT

PACKAGE = ROOT / "edgewright"
CLI = sorted((PACKAGE / "cli").rglob("*.py"))
FILES = sorted(set(PACKAGE.rglob("*.py")) - set(CLI))
EVERY = [*FILES, *CLI, ROOT / "tasks.py"]

# The rooms of `edgewright/`, from the ground up: each may import those below it, and none beside
# it. docs/architecture.md draws them.
FLOORS: tuple[set[str], ...] = (
    {"base", "client"},
    {"board", "model", "release"},
    {"build", "deploy"},
    {"observe", "lab", "export"},
    {"fleet"},
    {"nightly", "gallery"},
    {"host"},
    {"cli"},
)
# The rooms of `edgewright/model/`, likewise; its task decoders stand beside what judges them.
MODEL_FLOORS: tuple[set[str], ...] = (
    {"contract"},
    {"importer", "tasks"},
    {"convert", "judge"},
    {"train", "quantize"},
    {"pack"},
)
# Library → the only modules that may import it.
RESERVED = {
    "aiohttp": ("edgewright.fleet.serve",),
    "dbos": ("edgewright.fleet.rollout.durable",),
    "sqlalchemy": ("edgewright.fleet.rollout", "edgewright.nightly.ledger"),
    "fabric": ("edgewright.deploy.remote",),
    "ssh2": ("edgewright.deploy.libssh2", "edgewright.fleet.bench.bare_logins"),
    "paramiko": ("edgewright.deploy.remote", "edgewright.deploy.ssh_config"),
    "invoke": ("edgewright.cli",),
    "rich": ("edgewright.cli",),
    "torch": ("edgewright.model.train",),
}
# Seconds each, or not there without an extra.
HEAVY = {"aiohttp", "dbos", "elpv_dataset", "matplotlib", "sqlalchemy", "torch", "torch_pruning"}
HEAVY |= {"spdx_tools", "ssh2", "transformers"}

NEED_MODEL = (
    *("edgewright.gallery", "edgewright.model"),
    *("edgewright.nightly.page", "edgewright.observe.peers.plot"),
)
NEED_ROLLOUT = (
    *("edgewright.fleet.rollout", "edgewright.fleet.serve", "edgewright.fleet.site"),
    *("edgewright.cli.rollout", "edgewright.deploy.libssh2"),
    "edgewright.fleet.bench.bare_logins",
    *("edgewright.nightly.ledger", "edgewright.nightly.many_machines"),
)
NEED_SPDX = ("edgewright.release.spdx",)
NEED_AN_EXTRA = (*NEED_MODEL, *NEED_ROLLOUT, *NEED_SPDX)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """`edgewright.model.contract.card` of its file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """Full names that import statements name; `from a import b` gives both a and a.b."""
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute here"
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from at_import(child)


def third_party(names: set[str]) -> set[str]:
    return {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"edgewright"}


def floor_of(room: str, floors: tuple[set[str], ...]) -> int:
    """How far above the ground a room lies. A room that no floor names fails the test."""
    return next(level for level, rooms in enumerate(floors) if room in rooms)


def rooms_above(importer: str, imported: set[str], floors: tuple[set[str], ...]) -> set[str]:
    """The imported rooms that are not below the importing one."""
    limit = floor_of(importer, floors)
    return {room for room in imported - {importer} if floor_of(room, floors) >= limit}


def rooms(names: set[str], inside: str) -> set[str]:
    """The rooms of package `inside` that full names of ours lead into."""
    parts = (name.removeprefix(f"{inside}.").split(".")[0] for name in names if inside in name)
    folder = ROOT / Path(*inside.split("."))
    return {p for p in parts if (folder / p).is_dir() or (folder / f"{p}.py").is_file()}


@pytest.mark.parametrize("path", [p for p in EVERY if p.parent != ROOT], ids=name_of)
def test_rooms_import_only_the_rooms_below_them(path: Path) -> None:
    names, own = imports(ast.walk(tree(path))), name_of(path).split(".")
    ours = {name for name in names if name.startswith("edgewright.")}

    if len(own) > 1:
        assert rooms_above(own[1], rooms(ours, "edgewright"), FLOORS) == set()
    if own[1:2] == ["model"] and len(own) > 2:
        neighbours = rooms({n for n in ours if "edgewright.model." in n}, "edgewright.model")
        allowed = {"convert"} if own[2] == "quantize" else set()
        assert rooms_above(own[2], neighbours, MODEL_FLOORS) - allowed == set()


def test_the_page_about_the_house_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}

    assert {room for room in folders if f"| `{room}/` |" not in page} == set()


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    direct = {name_of(path): imports(at_import(tree(path))) for path in EVERY}
    left = {module: needs & set(direct) - {module} for module, needs in direct.items()}
    while free := {module for module, needs in left.items() if not needs & set(left)}:
        left = {module: needs for module, needs in left.items() if module not in free}

    assert left == {}


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_some_libraries_belong_to_one_room(path: Path) -> None:
    used = third_party(imports(ast.walk(tree(path)))) & set(RESERVED)
    inside = name_of(path)

    outside = {lib for lib in used if not inside.startswith(RESERVED[lib])}
    assert outside == ({"invoke"} & used if inside == "tasks" else set())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_library_has_no_globals_that_it_changes(path: Path) -> None:
    """Fifty deploys run in one process: no environment is written, no layout is shared."""
    text = [ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.stmt)]
    changes = [line for line in text if CHANGES_ENVIRON.match(line)]
    shared = [
        ast.unparse(node)
        for node in tree(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and LAYOUT.search(ast.unparse(node))
    ]

    assert (changes, shared) == ([], [])


LAYOUT = re.compile(r"\b(Workspace|Resources|installed_resources|find_workspace|BoardBuild)\(")
CHANGES_ENVIRON = re.compile(
    r"os\.environ\[.*\] = |del os\.environ|os\.environ\.(pop|update|setdefault|clear)|os\.putenv"
)


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_no_name_of_a_file_or_container_is_the_process_id_alone(path: Path) -> None:
    """Two threads of one process have one id, and so may two containers of one machine."""
    assert "getpid" not in path.read_text()


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_documents_files_aside_and_locks_are_base_s_work(path: Path) -> None:
    """One strict model, one wording of its errors, one way to rename and to lock."""
    if name_of(path).startswith("edgewright.base."):
        return
    by_hand = {"ConfigDict", "BaseModel", "flock", "mkstemp"}
    words = {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)}
    words |= {n.attr for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute)}

    assert words & by_hand == ({"BaseModel"} & words if path.stem == "schemas" else set())


def test_the_library_starts_without_the_heavy_libraries() -> None:
    """No chain of imports from outside those that need an extra reaches what it brings."""
    direct = {name_of(path): imports(at_import(tree(path))) for path in EVERY}
    reached = {name for name in direct if not name.startswith(NEED_AN_EXTRA)}
    while more := set().union(*(direct[name] & set(direct) for name in reached)) - reached:
        reached |= more

    assert {name: direct[name] & HEAVY for name in reached if direct[name] & HEAVY} == {}


def declared(extra: str | None = None) -> set[str]:
    """Names of the distributions that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
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
    name = name_of(path)
    needs = {"model": NEED_MODEL, "rollout": NEED_ROLLOUT, "spdx": NEED_SPDX}
    allowed = declared(next((extra for extra in needs if name.startswith(needs[extra])), None))

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
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    texts = {path: path.read_bytes() for path in paths if path.is_file()}
    return {
        path.relative_to(ROOT).as_posix(): data.decode(errors="replace")
        for path, data in texts.items()
        if b"\0" not in data
    }


@pytest.mark.parametrize("word", [*HOSTS, *MACHINE_PATHS])
def test_no_registry_host_and_no_path_of_one_machine_stands_in_the_repo(word: str) -> None:
    pattern = re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])")

    assert [name for name, text in repo_texts().items() if pattern.search(text)] == []


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """By its own setting pytest looks into no folder of the name `build`, and says nothing."""
    patterns = pytestconfig.getini("norecursedirs")
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    parts = {part for folder in folders for part in folder.relative_to(ROOT).parts}

    assert {part for part in parts if any(fnmatch(part, pattern) for pattern in patterns)} == set()
