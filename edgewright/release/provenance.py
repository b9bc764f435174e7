"""Provenance: what a release, an SDK or a wheel was built from.

Formats: in-toto Statement v1, with the predicate SLSA Provenance v1. Without times, so that the
same build has the same statement.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from edgewright.base.schema import Excerpt, Part, Shown, parse_json

STATEMENT_BYTES = 4 << 20
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edgewright:build:v1"  # of releases
SDK_BUILD_TYPE = "urn:edgewright:sdk:v1"
WHEEL_BUILD_TYPE = "urn:edgewright:wheel:v1"
MOST = 5_000  # subjects, or dependencies


class Resource(Part):
    """A ResourceDescriptor of in-toto: something, by its hashes."""

    name: str
    uri: str | None = None
    digest: Mapping[str, str] = {}  # algorithm → hexadecimal
    annotations: Mapping[str, str] = {}


def file_resource(name: str, content: bytes) -> Resource:
    return Resource(name=name, digest={"sha256": hashlib.sha256(content).hexdigest()})


def statement(
    *,
    build_type: str = BUILD_TYPE,
    subject: Sequence[Resource],
    parameters: Mapping[str, JsonValue],
    internal: Mapping[str, JsonValue],
    dependencies: Sequence[Resource],
    builder: str,
    versions: Mapping[str, str],
) -> bytes:
    """The statement about a build, in one form: sorted keys, no spaces."""
    table: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [_table(item) for item in subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": build_type,
                "externalParameters": parameters,
                "internalParameters": internal,
                "resolvedDependencies": [_table(item) for item in dependencies],
            },
            "runDetails": {"builder": {"id": builder, "version": versions}},
        },
    }
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _table(resource: Resource) -> dict[str, Any]:
    return {key: value for key, value in resource.model_dump().items() if value}


# Reading what may be anybody's


class _Foreign(Shown, Excerpt):
    pass


class StatedResource(_Foreign):
    name: str = ""
    uri: str = ""
    digest: Annotated[dict[str, str], Field(default_factory=dict)]
    annotations: Annotated[dict[str, str], Field(default_factory=dict)]

    def resource(self) -> Resource:
        """The same, to be stated again."""
        return Resource(**{**dict(self), "uri": self.uri or None})


class StatedBuild(_Foreign):
    build_type: Annotated[str, Field(alias="buildType")]
    parameters: Annotated[dict[str, JsonValue], Field(alias="externalParameters")]
    dependencies: Annotated[
        tuple[StatedResource, ...], Field(alias="resolvedDependencies", max_length=MOST)
    ] = ()


class StatedBuilder(_Foreign):
    id: str
    version: Annotated[dict[str, str], Field(default_factory=dict)]


class StatedRun(_Foreign):
    builder: StatedBuilder


class Predicate(Excerpt):
    build: Annotated[StatedBuild, Field(alias="buildDefinition")]
    run: Annotated[StatedRun, Field(alias="runDetails")]


class Statement(Excerpt):
    """What is read of a statement."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[StatedResource, ...], Field(max_length=MOST)]
    predicate_type: Annotated[
        Literal["https://slsa.dev/provenance/v1"], Field(alias="predicateType")
    ]
    predicate: Predicate

    @property
    def subjects(self) -> dict[str, str]:
        """Name → SHA-256."""
        return {item.name: item.digest.get("sha256", "") for item in self.subject}

    def dependency(self, name: str) -> StatedResource | None:
        return next((item for item in self.predicate.build.dependencies if item.name == name), None)


def read_statement(raw: bytes, subject: str) -> Statement:
    """A statement with SLSA's predicate. Raises UserError."""
    return parse_json(
        Statement, raw, subject, "not a statement of provenance", limit=STATEMENT_BYTES
    )
