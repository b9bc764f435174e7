"""Sources by hash: fetched before a build, and nothing but what a recipe pins."""

import hashlib
import json
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.build import supply
from edgewright.build.supply import Pins
from tests.build_supply import Shelf

CONTENT = b"sources of zlib"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes" / "zlib"
    folder.mkdir(parents=True)
    (folder / "conandata.yml").write_text(
        "suite: trixie\nsources:\n"
        f"  - {{package: zlib, file: zlib_1.3.orig.tar.gz, sha256: {SHA256}, into: .}}\n"
    )
    return folder


def test_a_source_is_fetched_once(recipe: Path, tmp_path: Path) -> None:
    shelf, store = Shelf({"zlib_1.3.orig.tar.gz": CONTENT}), tmp_path / "sources"

    for _ in range(2):
        supply.fetch([recipe], store, shelf, tmp_path / "log")

    assert shelf.requested == ["zlib_1.3.orig.tar.gz"]
    assert (store / SHA256 / "zlib_1.3.orig.tar.gz").read_bytes() == CONTENT
    assert [path.name for path in store.iterdir()] == [SHA256]


@pytest.mark.parametrize(
    ("delivered", "fact"),
    [
        ({"zlib_1.3.orig.tar.gz": b"others"}, f"expected: sha256 {SHA256}"),
        ({"zlib_1.4.orig.tar.gz": CONTENT}, "found: zlib_1.4.orig.tar.gz"),
        ({}, "found: nothing"),
    ],
)
def test_what_is_not_the_pinned_source_never_counts_as_fetched(
    delivered: dict[str, bytes], fact: str, recipe: Path, tmp_path: Path
) -> None:
    store = tmp_path / "sources"

    with pytest.raises(UserError) as refused:
        supply.fetch([recipe], store, Shelf(delivered), tmp_path / "log")

    assert str(refused.value).startswith(
        "zlib_1.3.orig.tar.gz: is not what was delivered as source of zlib\n"
    )
    assert fact in str(refused.value)
    assert [*store.iterdir()] == []


def test_a_recipe_without_sources_needs_nothing(tmp_path: Path) -> None:
    shelf = Shelf({})

    supply.fetch([tmp_path], tmp_path / "sources", shelf, tmp_path / "log")

    assert supply.pins_of(tmp_path) == Pins()
    assert shelf.requested == []


def test_the_wanted_file_of_a_source_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt fails where an archive lacks another file of the source, and escapes names of files."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\ncase $1 in source)"
        ' printf sources > "date_3%7erc.orig.tar.gz"; exit 100 ;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("EDGEWRIGHT_DEBIAN_MIRROR", "http://mirror.test/debian")
    sha256 = hashlib.sha256(b"sources").hexdigest()
    table = f"sources: [{{package: date, file: date_3~rc.orig.tar.gz, sha256: {sha256}}}]\n"
    (tmp_path / "conandata.yml").write_text(table)

    supply.fetch([tmp_path], tmp_path / "sources", supply.Network(), tmp_path / "log")

    assert (tmp_path / "sources" / sha256 / "date_3~rc.orig.tar.gz").read_bytes() == b"sources"


def test_a_package_of_another_architecture_is_asked_for_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt keeps to its own otherwise, and has no lists of another."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f'  *Architectures::=arm64\\ update) touch "{tmp_path}/lists" ;;\n'
        f'  *Architectures::=arm64\\ download\\ cxx:arm64) test -f "{tmp_path}/lists"\n'
        "    printf library > cxx_14_arm64.deb ;;\n"
        "  *download\\ headers) printf headers > headers_1_all.deb ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("EDGEWRIGHT_DEBIAN_MIRROR", "http://mirror.test/debian")
    files = {"cxx_14_arm64.deb": b"library", "headers_1_all.deb": b"headers"}
    sources = [
        {"package": name.split("_")[0], "file": name, "sha256": hashlib.sha256(raw).hexdigest()}
        for name, raw in files.items()
    ]
    (tmp_path / "conandata.yml").write_text(json.dumps({"sources": sources}))

    supply.fetch([tmp_path], tmp_path / "sources", supply.Network(), tmp_path / "log")

    assert {path.name for path in (tmp_path / "sources").glob("*/*")} == {*files}
