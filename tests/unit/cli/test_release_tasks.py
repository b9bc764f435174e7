"""`release.…` at the command line: what is verified, published and pulled is said."""

import json
import time
from pathlib import Path

import pytest

from edgewright.cli import keys as key_tasks
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Entry, Ledger
from edgewright.release import evidence, order
from edgewright.release.manifest import Release, Source
from edgewright.release.sbom import About, Ingredient, render
from edgewright.release.sdk import Sdk, SdkInputs, SdkRuntime, make_sdk
from tests.boards import make_release
from tests.schemas import require_valid
from tests.signing import signer
from tests.unit.cli.test_program import run
from tests.unit.release.test_evidence import INGREDIENTS, signed_release, with_evidence

Shown = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    release = signed_release(tmp_path / "one")
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda _: release)
    return release


def document(command: str, *options: str, shown: Shown, code: int = 0, as_: str = "") -> dict:  # type: ignore[type-arg]
    assert run(command, "--json", *options) == code
    text = shown.readouterr().out
    require_valid(as_ or command, text)
    return dict(json.loads(text))


def test_verify_says_in_one_screen_what_is_proven(release: Release, capsys: Shown) -> None:
    assert run("release.verify", "--complete", str(release.folder)) == 0

    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 24
    for line in ("signature", "files", "materials", "licences", "provenance", "built by"):
        assert line in shown
    assert not [line for line in shown.splitlines() if line.startswith(" ")]  # none is cut in two
    answer = document("release.verify", str(release.archive), shown=capsys)
    assert answer["evidence"]["provenance"]["builder_sha256"] == "b" * 64


def test_verify_says_what_a_release_without_evidence_lacks(tmp_path: Path, capsys: Shown) -> None:
    bare = make_release(tmp_path / "bare", root="/opt")
    order.sign_release(bare, signer())

    assert run("release.verify", str(bare.folder)) == 0
    assert "no bill of materials" in capsys.readouterr().out
    assert run("release.verify", "--complete", str(bare.folder)) == 2


def test_the_bill_lists_parts_and_licences(release: Release, capsys: Shown) -> None:
    answer = document("release.sbom", f"--path={release.archive}", shown=capsys)

    licences = {row["component"]: row["licence"] for row in answer["licences"]}
    assert licences == {item.name: item.licence for item in INGREDIENTS}


def test_the_bill_is_written_in_spdx_too(release: Release, tmp_path: Path, capsys: Shown) -> None:
    options = (f"--path={release.folder}", "--format=spdx")
    place = tmp_path / "bill.spdx.json"

    answer = document("release.sbom", *options, f"--out={place}", shown=capsys)

    assert answer["sbom"] == str(place)
    assert json.loads(place.read_text())["spdxVersion"] == "SPDX-2.3"
    assert run("release.sbom", *options) == 2
    assert "expected --out" in capsys.readouterr().err
    assert run("release.sbom", f"--path={release.folder}", "--format=spdy") == 2
    assert "did you mean 'spdx'" in capsys.readouterr().err


def test_a_vulnerable_part_ends_with_4(release: Release, tmp_path: Path, capsys: Shown) -> None:
    events = [{"introduced": "0"}, {"fixed": "1:1.3.2-1"}]
    package = {"ecosystem": "Debian:13", "name": "zlib"}
    affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
    table = {"id": "CVE-1", "modified": "2020-01-01T00:00:00Z", "affected": affected}
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "a.json").write_text(json.dumps(table))
    options = (f"--database={tmp_path / 'osv'}", f"--path={release.folder}")

    answer = document("release.vulnerabilities", *options, shown=capsys, code=4)
    assert (answer["findings"][0]["advisory"], answer["stale"]) == ("CVE-1", True)
    assert run("release.vulnerabilities", *options) == 4
    assert "STALE" in capsys.readouterr().err


def test_from_publication_to_channel_to_pull(
    release: Release, tmp_path: Path, capsys: Shown
) -> None:
    store = str(tmp_path / "store")
    published = ("--path", str(release.folder), "--channel=nightly")
    assert document("release.publish", store, *published, shown=capsys)["channel"] == "nightly"
    promoted = ("--board=board", "--channel=beta", "--of=nightly")
    document("release.promote", store, *promoted, shown=capsys)
    rows = document("release.list", f"--store={store}", shown=capsys, as_="release.list--store")[
        "releases"
    ]
    assert rows[0]["channels"] == ["beta", "nightly"]
    out = f"--out={tmp_path / 'out'}"
    pulled = document("release.pull", store, "--board=board", "--channel=beta", out, shown=capsys)
    assert pulled["release"] == release.id
    assert document("release.retain", store, "--keep=1", shown=capsys)["kept"] == 1


def test_what_a_rollout_needs_is_retained(
    release: Release, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place = str(tmp_path / "store"), tmp_path / "fleet.sqlite"
    newer = with_evidence(make_release(tmp_path / "newer", root="/opt", model=b"newer"))
    order.sign_release(newer, signer())
    for item in (release, newer):
        document("release.publish", store, f"--path={item.folder}", shown=capsys)
    retain = ("release.retain", store, "--keep=1")
    assert run(*retain, f"--ledger={place}") == 2
    monkeypatch.setenv("EDGEWRIGHT_LEDGER", str(place))
    assert run(*retain) == 2
    assert "no such ledger" in capsys.readouterr().err
    ledger = Ledger(open_database(str(place)), time.time)
    entry = Entry(board="oven-1", site="lyon", wave=1, release=newer.id, former=release.id)
    ledger.plan("bread", "{}", [entry])

    assert document(*retain, shown=capsys)["removed"] == []
    ledger.end("bread", "done", "")
    assert document(*retain, shown=capsys)["removed"] == [release.id]


def test_a_provenance_of_other_inputs_is_signed_by_the_next_build(release: Release) -> None:
    signed = release.signature.read_bytes()
    with_evidence(release, INGREDIENTS[:2])
    assert evidence.is_unsigned(evidence.beside(release))

    key_tasks.sign_build("board")

    assert not evidence.is_unsigned(evidence.beside(release))
    assert release.signature.read_bytes() == signed


@pytest.mark.parametrize("command", ["release.sbom", "release.sign", "release.publish STORE"])
def test_a_board_that_is_mistyped_is_not_to_be_built(command: str, capsys: Shown) -> None:
    assert run(*command.split(), "--board=a53som") == 2
    assert "board 'a53som': unknown; did you mean 'a53-som'?" in capsys.readouterr().err


def test_without_a_board_the_one_of_the_settings_counts(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    (tmp_path / "edgewright.toml").write_text('name = "ours"\ndefault_board = "a53-som"\n')
    monkeypatch.chdir(tmp_path)

    answer = document("release.sbom", shown=capsys)
    assert answer["release"] == release.id

    assert run("release.sbom", "--board=a53-som", f"--path={release.folder}") == 2
    assert "--board, --path: expected one of them" in capsys.readouterr().err


def test_the_bill_of_an_sdk_is_shown_and_held_against_its_texts(
    tmp_path: Path, capsys: Shown
) -> None:
    part = Ingredient(
        ref="zlib", kind="library", name="zlib", version="1", licence="Zlib", texts={"zlib/L": b"x"}
    )
    about = About(ref="sdk", kind="library", name="library", version="1", sha256="a" * 64)
    bill = {evidence.SBOM: render(about, [part], []), "operators.config": b""}

    def of_board(board: str, text: bytes) -> Sdk:
        return make_sdk(sdk_inputs(board, {**bill, "licenses/zlib/L": text}), tmp_path / "sdk")

    sdk, other = of_board("rpi2", b"x"), of_board("rpi3-armhf", b"y")

    assert document("release.sbom", f"--path={sdk.folder}", shown=capsys)["release"] == sdk.id
    assert run("release.sbom", f"--path={other.folder}") == 2
    assert "licenses/zlib/L: not the text that the bill" in capsys.readouterr().err


def sdk_inputs(board: str, content: dict[str, bytes]) -> SdkInputs:
    runtime = SdkRuntime(
        version="1.21.0", ops_config_sha256="b" * 64, libc_floor="2.31", execution_providers=()
    )
    return SdkInputs(
        board=board,
        compatible=f"test,{board}",
        content=content,
        links={},
        models=(),
        runtime=runtime,
        source=Source(revision="unknown", dirty=False),
    )


def test_an_archive_of_an_sdk_is_unpacked_first(tmp_path: Path, capsys: Shown) -> None:
    archive = tmp_path / "0123456789abcdef.tar.gz"
    archive.write_bytes(b"")

    assert run("sdk.verify", str(archive)) == 2
    assert capsys.readouterr().err == (
        f"{archive}: is a file, expected the folder of an SDK\n"
        f"next: tar -xzf {archive} && cp {tmp_path}/0123456789abcdef.minisig "
        "0123456789abcdef/manifest.json.minisig, then edgewright sdk.verify 0123456789abcdef\n"
    )


def test_a_folder_of_anything_is_no_empty_store(tmp_path: Path, capsys: Shown) -> None:
    (tmp_path / "photographs").mkdir()

    assert run("release.list", f"--store={tmp_path}") == 2
    assert f"{tmp_path}: no such store\nnext: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("release.verify absent/1.tar.gz", "absent/1.tar.gz: no such release\nnext: "),
        ("sdk.verify absent/sdk", "absent/sdk: no such SDK\nnext: "),
        ("release.pull absent --board=a53-som --channel=beta", "absent: no such store\nnext: "),
        ("release.list --store=absent", "absent: no such store\nnext: "),
        (
            "wheel --board=a53-som --model=absent/model.onnx",
            "absent/model.onnx: no such model\nnext: ",
        ),
    ],
)
def test_what_is_not_there_is_named_by_its_path(command: str, words: str, capsys: Shown) -> None:
    assert run(*command.split()) == 2
    assert words in capsys.readouterr().err
