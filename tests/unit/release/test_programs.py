"""Programs that a manifest names, and that no other room has a name of one."""

import ast
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import UserError
from edgewright.release.manifest import (
    MOST_FILES,
    ReleaseInputs,
    build_release,
    parse_manifest,
    read_manifest,
)
from edgewright.release.programs import DEFAULT_PROGRAM, ReleasedProgram
from tests.checkout import ROOT
from tests.unit.release.test_manifest import make_inputs

DEFAULT = [{"name": "edge-infer", "selftest": ["selftest"]}]
INSPECT = ReleasedProgram(name="inspect", selftest=("selftest", "--all"))


def with_inspect(folder: Path, *programs: ReleasedProgram) -> ReleaseInputs:
    inputs = make_inputs(folder)
    binary, data = folder / "inspect", folder / "part.png"
    binary.write_bytes(b"another program")
    data.write_bytes(b"pixels")
    return replace(
        inputs,
        binaries=(*inputs.binaries, binary),
        programs=programs,
        program_files={"share/inspect/golden/part.png": data, "bin/service": binary},
    )


def test_a_release_of_the_default_program_has_the_manifest_that_it_always_had(
    tmp_path: Path,
) -> None:
    release = build_release(make_inputs(tmp_path / "in"), tmp_path / "out")
    assert b'"programs"' not in release.manifest.canonical()
    assert read_manifest(release.folder / "manifest.json").programs == (DEFAULT_PROGRAM,)


def test_own_programs_are_named_in_the_manifest_and_lie_in_the_release(tmp_path: Path) -> None:
    inputs = with_inspect(tmp_path / "in", DEFAULT_PROGRAM, INSPECT)
    manifest = build_release(inputs, tmp_path / "out").manifest
    assert json.loads(manifest.canonical())["programs"] == [
        {"name": "edge-infer", "selftest": ["selftest"]},
        {"name": "inspect", "selftest": ["selftest", "--all"]},
    ]
    assert manifest.own_programs == (INSPECT,)
    assert manifest.has_default_program
    modes = {file.path: file.mode for file in manifest.files}
    assert modes["bin/inspect"] == modes["bin/service"] == "0755"
    assert modes["share/inspect/golden/part.png"] == "0644"


def test_a_program_stands_in_place_of_the_default_one(tmp_path: Path) -> None:
    inputs = with_inspect(tmp_path / "in", INSPECT)
    manifest = build_release(inputs, tmp_path / "out").manifest
    assert not manifest.has_default_program
    assert manifest.own_programs == (INSPECT,)


@pytest.mark.parametrize(
    ("programs", "problem"),
    [
        ([], "at least 1"),
        ([{"name": "absent", "selftest": ["x"]}], "has no file 'bin/absent'"),
        ([{"name": "inspect", "selftest": ["x"]}] * 2, "a program comes twice"),
        ([{"name": "inspect"}], "programs.0.selftest: missing"),
        ([{"name": "inspect", "selftest": []}], "at least 1"),
        ([{"name": "../inspect", "selftest": ["x"]}], "programs.0.name: expected"),
        ([{"name": "inspect", "selftest": ["a\nb"]}], "programs.0.selftest.0: expected"),
        (DEFAULT, "not in canonical form"),
    ],
)
def test_a_manifest_with_unfit_programs_is_refused(
    programs: list[object], problem: str, tmp_path: Path
) -> None:
    inputs = with_inspect(tmp_path / "in", DEFAULT_PROGRAM, INSPECT)
    table = json.loads(build_release(inputs, tmp_path / "out").manifest.canonical())
    with pytest.raises(UserError) as refused:
        parse_manifest(canonical(table | {"programs": programs}), "manifest.json")
    assert problem in str(refused.value)


def canonical(table: dict[str, Any]) -> bytes:
    """With its right id, however wrong the rest is: the default programs are no part of that."""
    body = {key: value for key, value in table.items() if key != "id"}
    counted = {key: value for key, value in body.items() if value != DEFAULT}
    return text(body | {"id": hashlib.sha256(text(counted)).hexdigest()[:16]})


def text(body: dict[str, Any]) -> bytes:
    line = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return line.encode() + b"\n"


@pytest.mark.parametrize("room", ["build", "release", "deploy"])
def test_the_default_program_is_named_in_one_place(room: str) -> None:
    named = {
        path.name: texts
        for path in sorted((ROOT / "edgewright" / room).glob("*.py"))
        if (texts := [text for text in _texts(path) if DEFAULT_PROGRAM.name in text])
    }
    assert named == ({"programs.py": [DEFAULT_PROGRAM.name]} if room == "release" else {})


def _texts(path: Path) -> list[str]:
    """Of a module's code; what is a sentence of its own is for readers."""
    tree = ast.parse(path.read_text())
    sentences = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in sentences
    ]


def test_a_release_that_a_board_would_refuse_is_not_made(tmp_path: Path) -> None:
    inputs = with_inspect(tmp_path / "in", DEFAULT_PROGRAM, INSPECT)
    data = tmp_path / "part"
    data.touch()
    many = {f"share/inspect/golden/{number}": data for number in range(MOST_FILES)}
    with pytest.raises(UserError, match="at most 4,096 files"):
        build_release(replace(inputs, program_files=many), tmp_path / "out")
    long = {f"share/inspect/{number:0400}": data for number in range(3000)}
    with pytest.raises(UserError, match="at most 1,048,576 bytes of manifest"):
        build_release(replace(inputs, program_files=long), tmp_path / "out")
    assert not (tmp_path / "out").exists()
