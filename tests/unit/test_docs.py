"""What the documents say of the code is read from the code."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgewright.board.catalogue import load_profile
from edgewright.board.profile import BoardProfile
from tests.checkout import ROOT, checkout
from tests.conftest import CheckGolden

BOARDS = ROOT / "docs" / "boards.md"
BEGIN, END = "<!-- keys: pytest --update-golden writes this table -->\n", "<!-- end of keys -->\n"

Schema = dict[str, Any]


def rows(part: Schema, whole: Schema, prefix: str = "") -> Iterator[str]:
    for name, field in part["properties"].items():
        kinds = [resolved(kind, whole) for kind in field.get("anyOf", [field])]
        kind = next(kind for kind in kinds if kind.get("type") != "null")
        if kind.get("type") == "object":
            yield from rows(kind, whole, f"{name}.")
        else:
            must = name in part.get("required", []) and name != "name"
            default = "**required**" if must else shown(field.get("default"))
            meaning = field.get("description", "")
            yield f"| `{prefix}{name}` | {meaning} | {values(kind, whole)} | {default} |"


def resolved(kind: Schema, whole: Schema) -> Schema:
    if "$ref" in kind:
        return dict(whole["$defs"][kind["$ref"].rpartition("/")[2]])
    return kind


def values(kind: Schema, whole: Schema) -> str:
    if "const" in kind or "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        return f"list: {values(resolved(kind['items'], whole), whole)}"
    if "pattern" in kind:
        return f"`{kind['pattern']}`".replace("|", "\\|")
    bounds = {"minimum": "from", "exclusiveMinimum": "more than", "maximum": "to"}
    limits = [f"{word} {kind[key]:g}" for key, word in bounds.items() if key in kind]
    names = {"string": "text", "integer": "whole number", "number": "number"}
    return " ".join([names[kind["type"]], *limits])


def shown(default: object) -> str:
    return "" if default is None else f"`{default}`"


def test_the_table_of_keys_is_that_of_the_models(check_golden: CheckGolden) -> None:
    schema = BoardProfile.model_json_schema()
    table = ["| key | meaning | values | default |", "|---|---|---|---|", *rows(schema, schema)]
    before, _, rest = BOARDS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)

    check_golden(BOARDS, before + BEGIN + "\n".join(table) + "\n" + END + after)


def test_the_example_is_a_sound_profile(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", BOARDS.read_text(), re.DOTALL)
    for base in checkout().boards.glob("_*.toml"):
        shutil.copy(base, tmp_path)
    board = tmp_path / "orangepi-one.toml"
    board.write_text(textwrap.dedent(example))

    assert load_profile(board).cpu.core == "cortex-a7"
