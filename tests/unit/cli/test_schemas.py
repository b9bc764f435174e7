"""docs/schemas/: up to date, one for each document, and what real output is held against."""

import json

import pytest
from jsonschema import Draft202012Validator

from edgewright.base.schema import Excerpt
from edgewright.cli import commands, schemas
from tests.boards import documents
from tests.checkout import checkout
from tests.conftest import CheckGolden
from tests.schemas import FOLDER, require_valid

NAMES = sorted(schemas.DOCUMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_in_the_repo_is_up_to_date(name: str, check_golden: CheckGolden) -> None:
    check_golden(FOLDER / f"{name}.json", schemas.schema_text(schemas.DOCUMENTS[name]))


def test_no_schema_is_left_over() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_tells_a_version(name: str) -> None:
    schema = json.loads(schemas.schema_text(schemas.DOCUMENTS[name]))
    Draft202012Validator.check_schema(schema)
    version = schema["properties"].get("version") or schema["properties"]["schema"]
    versions = version.get("enum") or [version.get("const", 0)]  # a card may be of several

    assert min(versions) >= 1 or issubclass(schemas.DOCUMENTS[name], Excerpt)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(schemas.ANSWERS)))
def test_what_edgewright_writes_has_no_other_keys(name: str) -> None:
    if issubclass(schemas.DOCUMENTS[name], Excerpt):
        return
    schema = json.loads(schemas.schema_text(schemas.DOCUMENTS[name]))

    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_schema_is_empty(name: str) -> None:
    """A serializer of one's own takes all keys out of it, unless it says otherwise."""
    parts = json.loads(schemas.schema_text(schemas.DOCUMENTS[name])).get("$defs", {})

    objects = {key: part for key, part in parts.items() if part.get("type") == "object"}
    assert [key for key, part in objects.items() if not part.get("properties")] == []


def test_every_task_with_json_has_a_schema() -> None:
    tasks = commands.collection()
    options = {name: [a.name for a in tasks[name].get_arguments()] for name in tasks.task_names}

    assert {name for name in options if "json" in options[name]} == set(schemas.OUTPUTS)


@pytest.mark.parametrize("command", ["selftest", "run", "bench"])
def test_what_tests_take_for_edge_infers_answer_could_be_one(command: str) -> None:
    require_valid(f"edge-infer-{command}", json.dumps(documents()[command]))


def test_a_document_that_is_none_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"\$: 'keys' is a required property"):
        require_valid("keys.list", '{"version": 1}')


def test_a_model_folder_and_the_repos_documents_are_what_their_schemas_say() -> None:
    model = checkout().default_model.parent
    for name, path in (
        ("file-card", model / "card.json"),
        ("file-expected", model / "golden" / "expected.json"),
        ("file-baseline", checkout().resources.baseline),
        ("file-calibration", checkout().resources.calibration),
    ):
        require_valid(name, path.read_bytes())
