"""The published schemas, to hold real output against."""

import json
from functools import cache

from jsonschema import Draft202012Validator

from tests.checkout import ROOT

FOLDER = ROOT / "docs" / "schemas"


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text()))


def require_valid(name: str, text: str | bytes) -> None:
    """Fail with all that a document has against the schema of that name."""
    faults = [f"{e.json_path}: {e.message}" for e in validator(name).iter_errors(json.loads(text))]
    assert not faults, "\n".join([f"not what docs/schemas/{name}.json says", *faults])
