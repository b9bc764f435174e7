"""What the documents say of the code is read from the code."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgewright.board.catalogue import board_names, load_board
from edgewright.board.profile import BoardProfile
from edgewright.board.refused import REFUSED
from edgewright.cli import schemas
from tests.checkout import ROOT, checkout
from tests.conftest import CheckGolden

BOARDS = ROOT / "docs" / "boards.md"
CATALOGUE = checkout().resources.boards
BEGIN = "<!-- {}: pytest --update-golden writes this table -->\n"
END = "<!-- end of {} -->\n"

Schema = dict[str, Any]


def rows(part: Schema, schema: Schema, prefix: str = "") -> Iterator[str]:
    for name, field in part["properties"].items():
        kinds = [resolved(kind, schema) for kind in field.get("anyOf", [field])]
        kind = next(kind for kind in kinds if kind.get("type") != "null")
        if kind.get("type") == "object":
            yield from rows(kind, schema, f"{name}.")
        else:
            must = name in part.get("required", []) and name != "name"
            default = "**required**" if must else default_cell(field.get("default"))
            meaning = field.get("description", "")
            yield f"| `{prefix}{name}` | {meaning} | {values(kind, schema)} | {default} |"


def resolved(kind: Schema, schema: Schema) -> Schema:
    if "$ref" in kind:
        return dict(schema["$defs"][kind["$ref"].rpartition("/")[2]])
    return kind


def values(kind: Schema, schema: Schema) -> str:
    if "const" in kind or "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        return f"list: {values(resolved(kind['items'], schema), schema)}"
    if "pattern" in kind:
        return f"`{kind['pattern']}`".replace("|", "\\|")
    bounds = {"minimum": "from", "exclusiveMinimum": "more than", "maximum": "to"}
    limits = [f"{word} {kind[key]:g}" for key, word in bounds.items() if key in kind]
    names = {"string": "text", "integer": "whole number", "number": "number"}
    return " ".join([names[kind["type"]], *limits])


def default_cell(default: object) -> str:
    return "" if default is None else f"`{default}`"


def check_table(check_golden: CheckGolden, name: str, table: list[str]) -> None:
    """Compare the table between the marks of this name with what it should be."""
    before, begin, marked = BOARDS.read_text().partition(BEGIN.format(name))
    _, end, after = marked.partition(END.format(name))

    check_golden(BOARDS, before + begin + "\n".join(table) + "\n" + end + after)


def test_the_table_of_keys_is_that_of_the_models(check_golden: CheckGolden) -> None:
    schema = BoardProfile.model_json_schema()
    table = ["| key | meaning | values | default |", "|---|---|---|---|", *rows(schema, schema)]

    check_table(check_golden, "keys", table)


def test_the_table_of_boards_is_the_catalogue(check_golden: CheckGolden) -> None:
    table = ["| board | what it is | cores | MiB | userland | `compatible` | QEMU's core |"]
    table += ["|---|---|---|---|---|---|---|"]
    for name in board_names(CATALOGUE):
        board = load_board(name, CATALOGUE)
        cells = (
            f"`{name}`",
            board.description,
            f"{board.cpu.cores}x {board.cpu.core}",
            str(board.memory.total_mb),
            board.abi.arch,
            f"`{board.compatible}`",
            board.qemu_cpu,
        )
        table.append(f"| {' | '.join(cells)} |")

    check_table(check_golden, "boards", table)


def test_the_table_of_refused_boards_is_what_is_refused(check_golden: CheckGolden) -> None:
    table = ["| refused | why | instead |", "|---|---|---|"]
    for board in REFUSED:
        names = ", ".join(f"`{name}`" for name in board.names)
        instead = f"`{board.instead}`: {board.why_instead}"
        table.append(f"| {board.description}: {names} | {board.reason} | {instead} |")

    check_table(check_golden, "refused", table)


def test_the_examples_are_sound_profiles(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", BOARDS.read_text(), re.DOTALL)
    derived, complete, with_musl, with_toolchain = examples
    (tmp_path / "line-3-alpine.toml").write_text(with_musl)
    (tmp_path / "our-som.toml").write_text(with_toolchain)
    (tmp_path / "line-3-camera.toml").write_text(textwrap.dedent(derived))
    (tmp_path / "orangepi-one.toml").write_text(textwrap.dedent(complete))

    assert load_board("line-3-camera", tmp_path, CATALOGUE).cpu.core == "cortex-a53"
    assert load_board("line-3-alpine", tmp_path, CATALOGUE).libc.family == "musl"
    our_som = load_board("our-som", tmp_path, CATALOGUE)
    assert our_som.toolchain.external == "/opt/gcc-arm-10.3"
    assert load_board("orangepi-one", tmp_path, CATALOGUE).cpu.core == "cortex-a7"


SHOWN_BY = re.compile(r"`(tests/[\w/.]+?\.py)(?:::(\w+))?`")


def test_each_test_that_a_promise_names_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    tables = text.partition("Each promise below names the test that shows it.")[2]
    rows_below = [line for line in tables.splitlines() if line.startswith("| ")]
    promises = [row for row in rows_below if not row.endswith("| shown by |")]
    assert promises
    assert [row for row in promises if not SHOWN_BY.search(row)] == []
    require_tests_exist("\n".join(promises))


def require_tests_exist(text: str) -> None:
    absent = []
    for path, name in SHOWN_BY.findall(text):
        source = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
        if not source or (name and f"def {name}(" not in source):
            absent.append(f"{path}::{name}")
    assert absent == []


def test_the_page_about_upgrades_has_each_document_of_several_versions() -> None:
    text = (ROOT / "docs" / "upgrades.md").read_text()
    require_tests_exist(text)
    table = text.partition("| document | versions |")[2].partition("\n\n")[0]

    assert {*re.findall(r"`([\w.-]+)`", table)} == {
        *(name for name, kind in schemas.DOCUMENTS.items() if newest_version(kind) > 1),
        "file-keys-1",  # the first version has a model of its own
    }


def newest_version(kind: type[BaseModel]) -> int:
    properties = json.loads(schemas.schema_text(kind))["properties"]
    version = properties.get("version") or properties["schema"]
    return int(max(version.get("enum") or [version.get("const", 1)]))
