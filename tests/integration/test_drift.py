"""What services keep of real images to notice drift, beside the same in Python."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewright.base import process
from edgewright.base.files import unique_name
from edgewright.build.container import DockerBuilder
from edgewright.client import Client, Format, Frame
from edgewright.model.contract.card import read_card
from edgewright.model.judge.data import load_elpv
from edgewright.model.judge.observed import NAMES, histograms_of, observe
from edgewright.observe.board_stream import Ending
from edgewright.observe.drift.board_file import Window, fetch_windows, list_unsure
from edgewright.observe.profile.session import attached_command, sample
from edgewright.release.run_file import RUN_FILE, RunFile, UnsureLimits
from tests.boards import LocalBoard
from tests.checkout import checkout
from tests.integration.conftest import accepts, wait_until
from tests.integration.test_edge_infer_host import write_golden, write_manifest
from tests.integration.toy_model import toy_model
from tests.schemas import require_valid

pytestmark = pytest.mark.docker
REPO = checkout().root
RELEASE = "0123456789abcdef"
SIDE = 96  # of the network's input: other than the images'


@dataclass
class Line:
    """A deploy root with one release, and its service in a container."""

    builder: DockerBuilder
    program: Path
    folder: Path
    containers: list[str] = field(default_factory=list)

    @property
    def release(self) -> Path:
        return self.folder / "root" / "releases" / RELEASE

    def windows(self) -> tuple[Window, ...]:
        return fetch_windows(LocalBoard(), str(self.folder / "root"))

    def start(self, *arguments: str) -> str:
        """A service; the name of its container."""
        name = unique_name("edgewright-drift")
        self.containers.append(name)
        argv = ["docker", "run", "--detach", "--name", name, "--volume", f"{REPO}:{REPO}"]
        argv += ["--volume", f"{self.folder}:{self.folder}", self.builder.image]
        process.check([*argv, str(self.program), *arguments, "--release", str(self.release)])
        return name

    def end(self, name: str) -> None:
        """As services are ended."""
        process.check(["docker", "kill", "--signal", "TERM", name])
        assert process.check(["docker", "wait", name], timeout=60).stdout.strip() == "0"

    def start_watch(self, images: Sequence[Path]) -> str:
        """A service at work on these images."""
        into = self.folder / "in"
        name = self.start("watch", "--in", str(into), "--out", str(self.folder / "out"))
        for image in images:
            aside = into / f".{image.name}"
            shutil.copyfile(image, aside)
            aside.rename(into / image.name)
        return name

    def watch(self, images: Sequence[Path]) -> None:
        """Judge these images."""
        name = self.start_watch(images)
        results = [self.folder / "out" / f"{image.name}.json" for image in images]
        wait_until(lambda: all(path.is_file() for path in results))
        self.end(name)

    def serve(self, images: Sequence[Path]) -> None:
        """Judge these images over a socket: as a file, as what is in it, and as a frame."""
        path = self.folder / "in" / "infer.sock"
        name = self.start("serve", "--folder", str(path.parent))
        wait_until(lambda: accepts(str(path)))
        with Client(str(path)) as client:
            asks: Iterator[Ask] = cycle(
                [client.file, partial(ask_by_content, client), partial(ask_by_frame, client)]
            )
            for image, ask in zip(images, asks, strict=False):
                answer = {**ask(image), "image": image.name}
                (self.folder / "out" / f"{image.name}.json").write_text(json.dumps(answer))
        self.end(name)

    def margins(self) -> dict[str, float]:
        """How sure the network was of each image: by the two largest probabilities."""
        answers = [json.loads(path.read_text()) for path in (self.folder / "out").glob("*.json")]
        tops = {answer["image"]: sorted(answer["probabilities"])[-2:] for answer in answers}
        return {image: second - first for image, (first, second) in tops.items()}


def ask_by_content(client: Client, image: Path) -> dict[str, Any]:
    return client.image(image.read_bytes())


def ask_by_frame(client: Client, image: Path) -> dict[str, Any]:
    picture = Image.open(image)
    form = Format.RGB if picture.mode == "RGB" else Format.GRAY
    with Frame(picture.width, picture.height, form) as frame:
        frame.pixels[:] = picture.tobytes()
        return client.frame(frame)


MakeLine = Callable[[int], Line]
Ask = Callable[[Path], dict[str, Any]]
Judge = Callable[[Line, Sequence[Path]], None]


@pytest.fixture
def make_line(builder: DockerBuilder, host_build: Path, tmp_path: Path) -> Iterator[MakeLine]:
    lines: list[Line] = []

    def make(channels: int) -> Line:
        line = Line(builder, host_build / "edge-infer", tmp_path)
        lines.append(line)
        for name in ("in", "out"):
            (tmp_path / name).mkdir()
        write_golden(toy_model(line.release / "model", channels, SIDE, SIDE), 0.0)
        says = RunFile(
            model="model/model.onnx",
            threads=1,
            execution_providers=("cpu",),
            unsure_images=UnsureLimits(images=3, bytes=1 << 20),
        )
        (line.release / RUN_FILE).write_bytes(says.content())
        write_manifest(line.release)
        return line

    yield make
    for line in lines:
        for name in line.containers:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def cells(folder: Path, channels: int, count: int = 24) -> list[Path]:
    """Real images of solar cells; tinted, each in its own way, for a network that takes colours."""
    folder.mkdir()
    samples = load_elpv()
    images = []
    for number in range(count):
        path = folder / f"{number:02}.png"
        shutil.copyfile(samples[number * len(samples) // count].path, path)
        if channels == 3:
            gray = np.asarray(Image.open(path).convert("L"), np.uint16)
            tinted = np.stack([gray, gray * (16 - number % 12) // 16, gray // 2], axis=2)
            Image.fromarray(tinted.astype(np.uint8)).save(path)
        images.append(path)
    return images


@pytest.mark.parametrize("judge", [Line.watch, Line.serve])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_board_counts_is_what_python_counts(
    make_line: MakeLine, tmp_path: Path, channels: int, judge: Judge
) -> None:
    line, images = make_line(channels), cells(tmp_path / "cells", channels)
    began = int(time.time())
    judge(line, images)

    windows = line.windows()  # two, if the hour ended meanwhile
    for text in (tmp_path / "root" / "drift" / "histograms.jsonl").read_text().splitlines():
        require_valid("edge-infer-histograms", text)
    assert {window.release for window in windows} == {RELEASE}
    assert sum(window.images for window in windows) == len(images)
    assert began <= windows[0].start <= windows[-1].end <= int(time.time())

    model = line.release / "model" / "model.onnx"
    expected = histograms_of(observe(model, read_card(model.parent / "card.json"), images))
    for name in NAMES:
        counted = [
            statistic for window in windows if (statistic := window.statistics.of(name)) is not None
        ]
        histogram = expected.of(name)
        assert bool(counted) == (histogram is not None)
        if histogram is None:
            continue
        assert sum(each.sum for each in counted) == pytest.approx(histogram.sum, rel=1e-4)
        assert sum(each.squares for each in counted) == pytest.approx(histogram.squares, rel=1e-4)
        counts = np.sum([each.counts for each in counted], axis=0)
        # A value at the border of two bins may fall into either.
        assert np.abs(np.cumsum(counts) - np.cumsum(histogram.counts)).max() <= 1
    assert (expected.saturation is not None) == (channels == 3)


def test_the_least_certain_images_are_kept_and_a_restart_loses_nothing(
    make_line: MakeLine, tmp_path: Path
) -> None:
    line, images = make_line(3), cells(tmp_path / "cells", 3, 12)
    line.watch(images[:6])
    line.watch(images[6:])

    assert sum(window.images for window in line.windows()) == len(images)
    margins = line.margins()
    unsure = list_unsure(LocalBoard(), str(tmp_path / "root"))
    least = sorted(margins.values())[:3]
    assert [image.margin for image in unsure] == pytest.approx(least, abs=2e-6)
    for image in unsure:
        original = tmp_path / "cells" / image.name.split("-")[-1]
        assert (tmp_path / "root" / "unsure" / image.name).read_bytes() == original.read_bytes()


def test_a_service_is_sampled_while_it_works_and_goes_on(
    make_line: MakeLine, tmp_path: Path
) -> None:
    line, images = make_line(3), cells(tmp_path / "cells", 3, 400)
    name = line.start_watch(images)
    wait_until((tmp_path / "root" / "crashes").is_dir)
    argv = ["docker", "exec", "--interactive", name, *attached_command(str(tmp_path / "root"))]

    sampling = sample(argv, seconds=8, subject="line", next="give it images")

    assert sampling.ended is Ending.IN_TIME
    assert "\ncommand watch\n" in sampling.text
    assert sampling.text.count("\nthread ") >= 3  # of this machine, whose registers no board has
    wait_until(lambda: all((tmp_path / "out" / f"{i.name}.json").is_file() for i in images), 300)
    wait_until(lambda: not (tmp_path / "root" / "crashes" / "samples").exists())


def test_a_service_for_programs_keeps_them_too_whatever_they_came_as(
    make_line: MakeLine, tmp_path: Path
) -> None:
    line, images = make_line(3), cells(tmp_path / "cells", 3, 9)
    line.serve(images)

    stored = list_unsure(LocalBoard(), str(tmp_path / "root"))
    least = sorted(line.margins().items(), key=lambda item: item[1])[:3]
    assert [image.margin for image in stored] == pytest.approx([m for _, m in least], abs=2e-6)
    # Who asks gives numbers to requests, not names: the first is 1.
    numbers = [1 + int(Path(name).stem) for name, _ in least]
    assert [int(image.name.split("-")[-1]) for image in stored] == numbers
    for image, (name, _) in zip(stored, least, strict=True):
        copy, original = tmp_path / "root" / "unsure" / image.name, tmp_path / "cells" / name
        assert Image.open(copy).tobytes() == Image.open(original).tobytes()
