"""`report` as a user calls it."""

from pathlib import Path

import pytest

from edgewright.observe.report.document import ReleaseReport
from tests import reports
from tests.boards import make_release
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start


def test_a_page_is_written_and_its_document_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    former = make_release(tmp_path, root="/opt", model=b"before")
    release = make_release(tmp_path, root="/opt", edge_infer=ELF.read_bytes())
    bench = tmp_path / "bench.json"
    bench.write_text(reports.bench().model_copy(update={"release": release.id}).to_json())
    page = tmp_path / "page.html"

    start("report", f"--release={release.folder}", f"--bench={bench}", f"--out={page}", "--json")

    text = capsys.readouterr().out
    require_valid("report", text)
    document = ReleaseReport.model_validate_json(text)
    assert document.former
    assert (document.release, document.former.release) == (release.id, former.id)
    assert document.programs_reason
    assert "symbols of build" in document.programs_reason
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


ELF = Path(__file__).parents[2] / "data" / "elf" / "good-v7"


def test_a_file_that_is_no_measurement_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = make_release(tmp_path, root="/opt")
    (tmp_path / "bench.json").write_text("{}")

    assert run("report", f"--release={release.folder}", f"--bench={tmp_path / 'bench.json'}") == 2
    assert "not what --bench takes" in capsys.readouterr().err
