"""A line of solar cells on the emulated board, over its SSH: drift, collect and profile of the
service that runs there, as a user calls them.

Ten minutes on two cores, most of it emulated inferences:
`pytest -m nightly tests/integration/test_drift_board.py`.
"""

import csv
import json
import random
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from edgewright.deploy.remote import Board, connect
from edgewright.lab import emulate
from edgewright.model.judge.data import Sample, load_elpv, split
from edgewright.observe.board_stream import Ending
from edgewright.observe.drift.report import DriftReport
from edgewright.observe.profile.report import ProfileReport
from tests.integration.conftest import wait_until
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start

pytestmark = [pytest.mark.docker, pytest.mark.board, pytest.mark.nightly]

BOARD = "--board=line"
ON_BOARD = (BOARD, "--emulated")
PROFILE = """\
extends = "a53-som"
description = "a53-som that keeps the images which it is least sure of"

[service]
unsure_images = 48
"""
IN, OUT = "/var/spool/edgewright/in", "/var/spool/edgewright/out"
# Ends as a service is ended, which writes its histograms; its supervisor starts it again.
RESTART = r"""kill "$(sed 's/.*"pid":\([0-9]*\).*/\1/' /run/edgewright/heartbeat)" """
NORMAL = DARK = 52  # images: a verdict takes 50


@dataclass(frozen=True, kw_only=True)
class Line:
    """A board whose service judges what lies in its folder."""

    board: Board
    folder: Path  # the workspace

    def give(self, samples: Sequence[Sample], light: float = 1.0) -> None:
        """In one file, as each command takes an emulated login some seconds; then by rename."""
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for sample in samples:
                image = Image.open(sample.path).convert("L").point(lambda value: int(value * light))
                content = BytesIO()
                image.save(content, "PNG")
                member = tarfile.TarInfo(sample.name)
                member.size, member.mode = content.tell(), 0o644
                content.seek(0)
                archive.addfile(member, content)
        packed.seek(0)
        self.board.put(packed, f"{IN}/.images.tar")
        self.board.script(f"cd {IN} && mkdir .new && tar -x -f .images.tar -C .new")
        self.board.script(f"cd {IN} && mv .new/* . && rm -r .new .images.tar")

    def results(self) -> int:
        return len(self.board.check(["ls", OUT]).stdout.split())

    def judged(self, count: int) -> None:
        """Waits for so many results, fetches them, and has the service write what it counted."""
        wait_until(lambda: self.results() >= count, seconds=1800)
        self.board.script(f"rm -f {OUT}/*.json; {RESTART}")
        wait_until(lambda: self.board.script(f"ls {OUT}").raw == b"")
        time.sleep(5)  # until the supervisor has noticed


@pytest.fixture(scope="module")
def parts() -> tuple[Sample, ...]:
    """Images that the network was not trained on."""
    return split(load_elpv()).test


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("line")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CONFIG", str(folder / "config"))
        patch.chdir(folder)
        (folder / "board_profiles").mkdir()
        (folder / "board_profiles" / "line.toml").write_text(PROFILE)
        (folder / "edgewright.toml").write_text(
            'name = "line"\ndefault_model = "mobilevit-xxs-elpv"\n'
        )
        start("build", BOARD)
        start("emulate.up", BOARD)
        start("deploy", *ON_BOARD)
        start("service.install", *ON_BOARD)
        try:
            target = emulate.running(instance()).target
            with connect(target) as board:
                wait_until(lambda: board.run(["ls", IN]).returncode == 0)  # the service made it
                yield Line(board=board, folder=folder)
        finally:
            start("emulate.down", BOARD)


def instance() -> emulate.Instance:
    from edgewright.cli.common import instance_of

    return instance_of("line")


def drift(capsys: pytest.CaptureFixture[str], expected: int) -> DriftReport:
    capsys.readouterr()
    if expected:
        assert run("drift", *ON_BOARD, "--json") == expected
    else:
        start("drift", *ON_BOARD, "--json")
    text = capsys.readouterr().out
    require_valid("drift", text)
    return DriftReport.model_validate_json(text)


def test_what_moves_on_a_line_is_told_over_ssh_and_its_images_train_a_network(
    line: Line, parts: tuple[Sample, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chosen = random.Random(1).sample(parts, NORMAL + DARK)  # cells of one module are alike
    normal, dark = chosen[:NORMAL], chosen[NORMAL:]

    line.give(normal)
    profile_of_the_service(capsys, tmp_path)
    line.judged(len(normal))
    unchanged = drift(capsys, 0)
    assert (unchanged.verdict, unchanged.compared_with) == ("steady", "the release's reference")
    assert unchanged.newest is not None
    assert unchanged.newest.images == len(normal)

    began = int(float(line.board.check(["date", "+%s"]).stdout))
    line.give(dark, light=0.5)
    line.judged(len(dark))
    moved = {
        statistic.name: statistic
        for statistic in drift(capsys, 4).statistics
        if statistic.verdict == "moved"
    }
    assert moved["brightness"].newest < moved["brightness"].reference
    assert moved["brightness"].since is not None
    assert moved["brightness"].since >= began

    collected(parts, capsys, tmp_path / "collected")


def profile_of_the_service(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """While it judges images; it goes on afterwards."""
    capsys.readouterr()
    page = folder / "profile.html"
    start("profile", *ON_BOARD, "--attach", "--seconds=15", f"--out={page}", "--json")
    report = ProfileReport.model_validate_json(capsys.readouterr().out)
    assert (report.run, report.is_service, report.ended) == (("watch",), True, Ending.IN_TIME)
    assert report.samples > 100
    assert report.in_main + report.in_threads > 0.9 * report.samples
    functions = {share.function for share in report.functions}
    assert "edge::watch" in {function.partition("(")[0] for function in functions}
    assert "the service" in page.read_text()


def collected(parts: tuple[Sample, ...], capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Fetches the images, labels them as the data set does, and judges and trains with them."""
    start("collect", *ON_BOARD, f"--out={folder}", "--clear", "--json")
    require_valid("collect", capsys.readouterr().out)
    truth = {sample.name: sample.label for sample in parts}
    with (folder / "labels.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "ok", "defective"]
    assert len(rows) == 48
    margins = [int(Path(row[0]).name.partition("-")[0]) for row in rows]
    assert margins == sorted(margins)  # the least certain first
    for row in rows:
        row[1 + truth[row[0].rpartition("-")[2]]] = "1"
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])

    start("model.evaluate", f"--images={folder}", "--json")
    assert json.loads(capsys.readouterr().out)["count"] == 48
    start("model.train", f"--dataset={folder}", "--arch=xxs", "--epochs=1", "--run=labelled")
    start("collect", *ON_BOARD)
    assert "no images" in capsys.readouterr().out
