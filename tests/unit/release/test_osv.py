"""Advisories about what is in a release, offline."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release import osv
from edgewright.release.documents import vulnerability_report
from edgewright.release.sbom import Sbom, SbomComponent

TODAY = datetime(2026, 11, 29, tzinfo=UTC)


def bill(*purls: str) -> Sbom:
    rows = [{"bom-ref": purl.split("@")[0].rpartition("/")[2], "purl": purl} for purl in purls]
    components = [SbomComponent(type="library", name=str(row["bom-ref"]), **row) for row in rows]
    return Sbom(bomFormat="CycloneDX", specVersion="1.6", components=tuple(components))


ZLIB = bill("pkg:deb/debian/zlib@1.3.dfsg%2Breally1.3.1?arch=source&distro=trixie")


def advisory(folder: Path, name: str = "CVE-1", **changes: Any) -> None:
    events = [{"introduced": "0"}, {"fixed": "1:1.3.dfsg+really1.3.1-2"}]
    affected = {
        "package": {"ecosystem": "Debian:13", "name": "zlib"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    table: dict[str, Any] = {
        "id": name,
        "modified": "2026-11-20T10:00:00.5Z",
        "summary": "overflow",
    }
    table |= {"affected": [affected | changes.pop("affected", {})]}
    (folder / f"{name}.json").write_text(json.dumps(table | changes))


def findings(folder: Path, sbom: Sbom = ZLIB) -> list[tuple[str, str | None]]:
    return [(item.advisory, item.fixed) for item in osv.search(sbom, folder).findings]


def test_a_version_before_the_mended_one_is_found(tmp_path: Path) -> None:
    advisory(tmp_path)

    assert findings(tmp_path) == [("CVE-1", "1:1.3.dfsg+really1.3.1-2")]


@pytest.mark.parametrize(
    ("events", "is_hit"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "1:1.2.13-1"}], False),
        ([{"introduced": "0"}, {"fixed": "1:1.2-1"}, {"introduced": "1:1.3-1"}], True),
        ([{"introduced": "1:1.4-1"}], False),
        ([{"introduced": "0"}, {"last_affected": "1:1.3-1"}], False),
        ([{"introduced": "0"}, {"last_affected": "1:2.0-1"}], True),
    ],
)
def test_ranges_are_read_as_osv_has_it(
    tmp_path: Path, events: list[dict[str, str]], is_hit: bool
) -> None:
    advisory(tmp_path, affected={"ranges": [{"type": "ECOSYSTEM", "events": events}]})

    assert bool(findings(tmp_path)) is is_hit


@pytest.mark.parametrize(
    ("ecosystem", "name", "is_hit"),
    [
        ("Debian:13", "zlib", True),
        ("Debian", "zlib", True),
        ("Debian:12", "zlib", False),
        ("Debian:13", "zlib-ng", False),
        ("PyPI", "zlib", False),
    ],
)
def test_packages_of_other_systems_are_others(
    tmp_path: Path, ecosystem: str, name: str, is_hit: bool
) -> None:
    advisory(tmp_path, affected={"package": {"ecosystem": ecosystem, "name": name}})

    assert bool(findings(tmp_path)) is is_hit


def test_a_listed_version_is_found(tmp_path: Path) -> None:
    versions = ["1:1.3.dfsg+really1.3.1"]
    advisory(tmp_path, affected={"ranges": [], "versions": versions})

    assert findings(tmp_path) == [("CVE-1", None)]


def test_a_withdrawn_advisory_says_nothing(tmp_path: Path) -> None:
    advisory(tmp_path, withdrawn="2026-11-21T00:00:00Z")

    assert findings(tmp_path) == []


@pytest.mark.parametrize(("modified", "stale"), [("2026-11-20", False), ("2026-10-01", True)])
def test_a_database_that_nobody_renewed_says_so(tmp_path: Path, modified: str, stale: bool) -> None:
    advisory(tmp_path, modified=f"{modified}T00:00:00Z")
    advisory(tmp_path, "older", modified="2020-01-01T00:00:00Z")

    report = vulnerability_report("id", tmp_path, osv.search(ZLIB, tmp_path), TODAY)

    assert (report.newest, report.stale, report.advisories) == (modified, stale, 2)


def test_a_folder_without_advisories_is_no_clean_bill(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no advisories"):
        osv.search(ZLIB, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"id": "CVE-2", "summary": "zlib'])
def test_a_file_that_was_cut_short_is_no_clean_bill(text: str, tmp_path: Path) -> None:
    advisory(tmp_path)
    (tmp_path / "short.json").write_text(text)

    with pytest.raises(UserError, match=r"short\.json: not an advisory of OSV"):
        osv.search(ZLIB, tmp_path)


def test_a_broken_advisory_about_a_part_is_told(tmp_path: Path) -> None:
    advisory(tmp_path, affected={"ranges": "all"})

    with pytest.raises(UserError, match="not an advisory of OSV"):
        osv.search(ZLIB, tmp_path)


def test_a_link_in_a_database_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"modified": "2026-01-01T00:00:00Z"}')
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "a.json").symlink_to(tmp_path / "secret")

    with pytest.raises(UserError, match="is a link"):
        osv.search(ZLIB, tmp_path / "osv")


# dpkg --compare-versions gives each of these orders.
ORDERED = [
    ("1.0~rc1-1", "1.0-1"),
    ("1.0-1", "1.0-1.1"),
    ("1.0", "1.0-1"),
    ("1.2.5", "1.2.10"),
    ("1.0", "1.0a"),
    ("1.0a", "1.0+b"),
    ("2.41-11", "2.41-12+deb13u5"),
    ("1.3.dfsg-3", "1.3.dfsg+really1.3.1-1"),
    ("1.0~~", "1.0~"),
    ("09", "10"),
]


@pytest.mark.parametrize(("older", "newer"), ORDERED)
def test_versions_are_ordered_as_dpkg_does(older: str, newer: str) -> None:
    assert osv.compare(older, newer) < 0 < osv.compare(newer, older)


VERSIONS = st.text("0129abz.+~-:", max_size=12)


@given(first=VERSIONS, two=VERSIONS, three=VERSIONS)
def test_the_order_is_one(first: str, two: str, three: str) -> None:
    assert osv.compare(first, first) == 0
    assert (osv.compare(first, two) > 0) is (osv.compare(two, first) < 0)
    if osv.compare(first, two) <= 0 and osv.compare(two, three) <= 0:
        assert osv.compare(first, three) <= 0
