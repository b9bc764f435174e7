"""How readable the code is, in figures: `python tests/measure_code.py [FOLDER]`.

Prints what docs/architecture.md quotes: the share of vague names among all names that the code
binds, the share of private module functions that are used once, comment lines, the longest chain
of imports, and the number of modules in the largest package.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Words that say that a thing was found, made or passed on, not what it is.
VAGUE = frozenset(
    {
        "found",
        "made",
        "there",
        "told",
        "kept",
        "now",
        "one",
        "ones",
        "it",
        "thing",
        "things",
        "what",
        "how",
        "done",
        "given",
        "got",
        "seen",
        "left",
        "here",
        "whole",
        "rest",
        "said",
        "asked",
        "wanted",
        "held",
        "taken",
        "put",
        "meant",
        "known",
        "own",
        "gone",
        "way",
        "ways",
        "others",
        "mine",
        "ours",
        "used",
        "needed",
        "tried",
        "shown",
    }
)


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Every name that an assignment, a parameter, a loop, a function or a class binds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def module_functions(tree: ast.Module) -> tuple[int, int, int]:
    """Module-level functions; the private ones among them; the private ones used once."""
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    uses = Counter(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))
    private = [f for f in functions if f.name.startswith("_")]
    return len(functions), len(private), sum(uses[f.name] == 1 for f in private)


def comment_lines(text: str) -> tuple[int, int]:
    """Lines that are or end in a comment; lines that are not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return sum(line.startswith("#") or "  # " in line for line in lines), len(lines)


def imports(tree: ast.AST, modules: set[str]) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & modules


def longest_chain(arrows: dict[str, set[str]]) -> int:
    """Modules on the longest path of imports; there is no circle (a test holds that)."""
    depth: dict[str, int] = {}

    def measure(module: str) -> int:
        if module not in depth:
            depth[module] = 0  # an arrow back to a module under way adds nothing
            depth[module] = 1 + max((measure(m) for m in arrows[module] - {module}), default=0)
        return depth[module]

    return max(measure(module) for module in arrows)


def main(folder: Path) -> None:
    trees = {path: ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}
    names = Counter(name.strip("_") for tree in trees.values() for name in bound_names(tree))
    vague = Counter({n: count for n, count in names.items() if VAGUE & set(n.lower().split("_"))})
    functions = [module_functions(tree) for tree in trees.values()]
    comments = [comment_lines(path.read_text()) for path in trees]
    modules = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): tree
        for path, tree in trees.items()
    }
    arrows = {name: imports(tree, set(modules)) for name, tree in modules.items()}
    largest = Counter(path.parent for path in trees if path.name != "__init__.py").most_common(1)[0]

    def share(part: int, of: int) -> str:
        return f"{100 * part / of:.1f} % ({part:,} of {of:,})"

    print(f"vague names               {share(vague.total(), names.total())}")
    print(f"  most of them            {', '.join(f'{n} {c}' for n, c in vague.most_common(12))}")
    print(
        f"private functions used once, of module functions  "
        f"{share(sum(f[2] for f in functions), sum(f[0] for f in functions))}"
    )
    commented = share(sum(c[0] for c in comments), sum(c[1] for c in comments))
    print(f"comment lines             {commented}")
    print(f"longest import chain      {longest_chain(arrows)} modules")
    print(
        f"largest package           {largest[1]} modules in {largest[0].relative_to(folder.parent)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "edgewright"))
