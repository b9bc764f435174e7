"""`report` as a user calls it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgewright.cli.common import Reach
from edgewright.deploy.target import Target
from edgewright.observe.bench.report import BoardBench
from edgewright.observe.report.document import ReleaseReport
from edgewright.release.manifest import Manifest, Release
from tests import reports
from tests.boards import LocalBoard, make_release
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


@dataclass
class Board:
    """A board that runs a release, and another one before it."""

    releases: list[Release]
    measured: int = 0

    def status(self, board: object, root: str) -> SimpleNamespace:
        current, previous = self.releases
        answer = SimpleNamespace(previous=previous.id)
        return SimpleNamespace(manifest=current.manifest, edgectl=answer)

    def manifest(self, board: object, root: str, release: str) -> Manifest:
        return next(each.manifest for each in self.releases if each.id == release)

    def measure(self, reach: Reach, measured: object) -> BoardBench:
        self.measured += 1
        return reports.bench().model_copy(update={"release": self.releases[0].id})


@contextmanager
def connect(target: Target, **options: object) -> Iterator[LocalBoard]:
    yield LocalBoard()


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    former = make_release(tmp_path, root="/opt", model=b"before")
    board = Board([make_release(tmp_path, root="/opt"), former])
    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    monkeypatch.setattr("edgewright.deploy.install.status", board.status)
    monkeypatch.setattr("edgewright.deploy.install.read_board_manifest", board.manifest)
    monkeypatch.setattr("edgewright.cli.report.measure", board.measure)
    return board


ON_BOARD = ("report", "--board=a53-som", "--host=root@board.test", "--json")


def test_a_board_s_release_is_measured_and_compared_with_its_former_one(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(*ON_BOARD, f"--out={tmp_path / 'page.html'}")

    document = ReleaseReport.model_validate_json(capsys.readouterr().out)
    current, former = board.releases
    assert (document.release, board.measured) == (current.id, 1)
    assert document.former
    assert document.former.release == former.id
    assert document.programs_reason == "the release is not on this machine"


def test_a_saved_measurement_saves_another_one(board: Board, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    saved = reports.bench().model_copy(update={"release": board.releases[0].id})
    bench.write_text(saved.to_json())

    start(*ON_BOARD, f"--out={tmp_path / 'page.html'}", f"--bench={bench}")

    assert board.measured == 0


def test_a_board_that_runs_another_release_is_not_reported(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ON_BOARD, f"--release={board.releases[1].folder}") == 3
    assert "runs another release" in capsys.readouterr().err
    assert board.measured == 0
