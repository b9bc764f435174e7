from pathlib import Path

import pytest

from edgewright.base import apt
from edgewright.base.errors import UserError

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    return tmp_path


@pytest.fixture(autouse=True)
def no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(apt.OVERRIDE, raising=False)


def test_deb822_has_one_entry_for_each_suite_of_enabled_binary_stanzas() -> None:
    package = apt.parse_deb822(DEB822)
    assert [(entry.uri, entry.suite) for entry in package] == [
        ("http://mirror.test/debian", "bookworm"),
        ("http://mirror.test/debian", "bookworm-updates"),
        ("http://mirror.test/debian-security", "bookworm-security"),
    ]
    assert package[0].components == ("main", "contrib")
    assert package[2].signed_by is not None
    assert package[2].signed_by.startswith("-----BEGIN")


def test_one_line_entries() -> None:
    text = (
        "# deb http://no.test/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://a.test/debian bookworm main contrib # x\n"
        "deb-src http://a.test/debian bookworm main\n"
        "deb cdrom:[Debian]/ bookworm main\n"
    )
    index = apt.parse_list(text)
    assert index[0] == apt.Entry(
        uri="http://a.test/debian",
        suite="bookworm",
        components=("main", "contrib"),
        signed_by="/k.gpg",
    )
    assert len(index) == 2


def test_main_archive_is_not_a_third_party_that_calls_its_suite_stable(etc: Path) -> None:
    (etc / "sources.list.d" / "a.list").write_text(
        "deb [signed-by=/usr/share/keyrings/other.gpg] http://other.test/deb stable main\n"
    )
    (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert apt.mirror(etc, etc / "os-release") == "http://mirror.test/debian"
    assert apt.keyring(etc, etc / "os-release") == Path(keyring)
    assert apt.source_line("trixie", etc, etc / "os-release") == (
        f"deb [signed-by={keyring}] http://mirror.test/debian trixie main"
    )


def test_old_style_sources_list(etc: Path) -> None:
    (etc / "sources.list").write_text("deb http://old.test/debian bookworm main\n")
    assert apt.mirror(etc, etc / "os-release") == "http://old.test/debian"


def test_no_debian_archive(etc: Path) -> None:
    with pytest.raises(UserError) as missing:
        apt.mirror(etc, etc / "os-release")
    assert str(missing.value) == (
        f"{etc}: no entry for Debian's main archive\n"
        "  expected: a 'deb' entry of a Debian suite with component 'main'\n"
        "next: EDGEWRIGHT_DEBIAN_MIRROR=<URI of a Debian mirror> invoke …"
    )


def test_override(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.OVERRIDE, "http://mine.test/debian")
    assert apt.mirror(etc, etc / "os-release") == "http://mine.test/debian"
    assert apt.source_line("trixie").endswith("http://mine.test/debian trixie main")
