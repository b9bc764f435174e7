"""A candidate beside the service of the release in charge, on this machine: same frames, both
answers compared, and a service that does not notice."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgewright.client import Client, Format, Frame, Kind
from edgewright.deploy.remote import Result
from edgewright.observe.shadow.run import Turn, read_turn
from edgewright.release.run_file import RUN_FILE
from tests.integration.conftest import accepts, wait_until
from tests.integration.test_drift import (
    Line,
    MakeLine,
    cells,
    make_line,  # noqa: F401
)
from tests.integration.test_edge_infer_host import write_manifest
from tests.integration.test_serve import samples
from tests.schemas import require_valid

pytestmark = pytest.mark.docker
CANDIDATE = "fedcba9876543210"
SECONDS = 12
OUTCOME = 'edge_infer_shadow_frames_total{{outcome="{}"}}'


@dataclass
class Camera:
    """A program that has the service judge images, one after the other.

    A frame, or a file, is the same memory each time, and no picture as soon as it was judged.
    """

    path: Path
    images: list[Path]
    kind: Kind = Kind.IMAGE
    seconds: list[float] = field(default_factory=list)  # that each answer took
    classes: dict[str, str] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with Client(str(self.path)) as client:
            while not self.is_over.is_set():
                image = self.images[len(self.seconds) % len(self.images)]
                began = time.monotonic()
                self.classes[image.name] = self.answer(client, image)["class"]
                self.seconds.append(time.monotonic() - began)

    def answer(self, client: Client, image: Path) -> dict[str, Any]:
        if self.kind is Kind.FRAME:
            self.frame.pixels[:] = Image.open(image).tobytes()
            answer = client.frame(self.frame)
            self.frame.pixels[:] = bytes(len(self.frame.pixels))
            return answer
        if self.kind is Kind.FILE:
            file = self.path.with_suffix(".png")
            file.write_bytes(image.read_bytes())
            answer = client.file(file)
            file.write_bytes(b"")
            return answer
        return client.image(image.read_bytes())

    @cached_property
    def frame(self) -> Frame:
        width, height = Image.open(self.images[0]).size
        return Frame(width, height, Format.RGB)


@dataclass(frozen=True)
class Live:
    """A service that is asked all the time, and the container that it runs in."""

    line: Line
    name: str
    camera: Camera

    @property
    def candidate(self) -> Path:
        return self.line.release.parent / CANDIDATE

    def argv(self, seconds: int = SECONDS) -> list[str]:
        program = str(self.line.program)
        argv = ["docker", "exec", self.name, program, "shadow", f"--release={self.candidate}"]
        return [*argv, f"--seconds={seconds}"]

    def run(self) -> Turn:
        ended = subprocess.run(self.argv(), capture_output=True, text=True, check=False)
        for text in ended.stdout.splitlines():
            require_valid("edge-infer-shadow", text)
        result = Result(
            argv=("edge-infer", "shadow"),
            returncode=ended.returncode,
            stdout=ended.stdout,
            stderr=ended.stderr,
        )
        return read_turn(result, "candidate")

    def metrics(self) -> dict[str, float]:
        argv = ["curl", "--silent", "--unix-socket", str(self.camera.path.parent / "metrics.sock")]
        scraped = subprocess.run(
            [*argv, "http://board/"], capture_output=True, text=True, check=True
        )
        return samples(scraped.stdout)

    def outcome(self, name: str) -> float:
        return self.metrics()[OUTCOME.format(name)]


@pytest.fixture
def live(
    make_line: MakeLine,  # noqa: F811
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Live]:
    line, path = make_line(3), tmp_path / "in" / "infer.sock"
    shutil.copytree(line.release, line.release.parent / CANDIDATE)
    name = line.start("serve", "--folder", str(path.parent))
    wait_until(lambda: accepts(str(path)))
    kind = getattr(request, "param", Kind.IMAGE)
    camera = Camera(path, cells(tmp_path / "cells", 3, 12), kind)
    with asked_all_the_time(camera):
        yield Live(line, name, camera)
    line.end(name)


@contextmanager
def asked_all_the_time(camera: Camera) -> Iterator[None]:
    asking = threading.Thread(target=camera.run)
    asking.start()
    try:
        yield
    finally:
        camera.is_over.set()
        asking.join()


@pytest.mark.parametrize(
    "live",
    [
        Kind.IMAGE,
        pytest.param(Kind.FILE, marks=pytest.mark.nightly),
        pytest.param(Kind.FRAME, marks=pytest.mark.nightly),
    ],
    indirect=True,
)
def test_the_same_release_agrees_on_every_frame(live: Live) -> None:
    turn = live.run()

    assert (turn.fault, turn.reason, turn.sums.connections) == (None, None, 1)
    assert turn.sums.agreed >= 3
    assert (turn.sums.disagreed, turn.sums.failed) == (0, 0)
    assert turn.sums.offered >= turn.sums.agreed
    assert {pair.current == pair.candidate for pair in turn.pairs} == {True}
    assert len({pair.current for pair in turn.pairs}) > 1
    # What it says of its last frame, the service reads with the next one it has.
    assert live.outcome("agreed") in (turn.sums.agreed - 1, turn.sums.agreed)
    assert live.outcome("missed") > 0
    assert not (live.line.folder / "root" / "shadow" / "frames-2.sock").exists()


def test_answers_in_another_order_are_told_frame_by_frame(live: Live) -> None:
    card = live.candidate / "model" / "card.json"
    content = json.loads(card.read_text())
    content["labels"] = content["labels"][::-1]
    card.write_text(json.dumps(content))
    swap_golden(live.candidate)
    write_manifest(live.candidate)

    turn = live.run()

    assert turn.sums.disagreed >= 3
    assert turn.sums.agreed == 0
    shown = {(pair.current.split()[0], pair.candidate.split()[0]) for pair in turn.pairs}
    labels = content["labels"]
    opposite = dict(zip(labels, labels[::-1], strict=True))
    assert shown == {(label, opposite[label]) for label in set(live.camera.classes.values())}


def swap_golden(release: Path) -> None:
    """A golden set of its own, which it passes."""
    expected = release / "model" / "golden" / "expected.json"
    golden = json.loads(expected.read_text())
    labels = json.loads((release / "model" / "card.json").read_text())["labels"]
    for case in golden["cases"]:
        case["class"] = labels[case["probabilities"].index(max(case["probabilities"]))]
    expected.write_text(json.dumps(golden))


@pytest.mark.nightly
def test_a_candidate_that_hangs_and_is_killed_costs_the_service_nothing(live: Live) -> None:
    def process(signal: str) -> None:
        script = f"grep -lz '^shadow$' /proc/[0-9]*/cmdline | cut -d/ -f3 | xargs kill -{signal}"
        subprocess.run(["docker", "exec", live.name, "sh", "-c", script], check=True)

    candidate = subprocess.Popen(live.argv(seconds=300), stdout=subprocess.PIPE)
    wait_until(lambda: live.outcome("agreed") >= 3)
    process("STOP")
    time.sleep(0.5)  # a frame under way comes to its end
    answered, stopped = len(live.camera.seconds), live.outcome("agreed")
    wait_until(lambda: len(live.camera.seconds) >= answered + 10)
    assert live.outcome("agreed") <= stopped + 1
    process("KILL")
    assert candidate.wait() != 0
    answered = len(live.camera.seconds)
    wait_until(lambda: len(live.camera.seconds) >= answered + 10)

    again = live.run()  # the service looks for another one every five seconds

    assert again.sums.connections == 1
    assert again.sums.agreed >= 1


@pytest.mark.nightly
def test_a_candidate_without_a_service_says_that_nobody_came(live: Live) -> None:
    live.camera.is_over.set()

    turn = live.run()

    assert (turn.sums.connections, turn.sums.offered, turn.fault) == (0, 0, None)


@pytest.mark.nightly
def test_a_service_that_watches_a_folder_gives_its_images_too(
    make_line: MakeLine,  # noqa: F811
    tmp_path: Path,
) -> None:
    line, images = make_line(3), cells(tmp_path / "cells", 3, 200)
    shutil.copytree(line.release, line.release.parent / CANDIDATE)
    assert (line.release / RUN_FILE).is_file()
    name = line.start_watch(images[:1])
    wait_until(lambda: (tmp_path / "out" / f"{images[0].name}.json").is_file())
    live = Live(line, name, Camera(tmp_path, images))
    candidate = subprocess.Popen(live.argv(20), stdout=subprocess.PIPE, text=True)
    wait_until((tmp_path / "root" / "shadow" / "frames-2.sock").exists)
    for image in images:
        aside = tmp_path / "in" / f".{image.name}"
        shutil.copyfile(image, aside)
        aside.rename(tmp_path / "in" / image.name)
        time.sleep(0.05)

    written, _ = candidate.communicate()

    sums = json.loads(written.splitlines()[-1])
    assert sums["agreed"] >= 1
    assert sums["disagreed"] == sums["failed"] == 0
