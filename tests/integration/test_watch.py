"""edge-infer as a service, on this machine: folders in and out, crashes, limits."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgewright.base import process
from edgewright.base.files import unique_name
from tests.checkout import checkout
from tests.integration.checkers import SANITIZERS, CheckedProgram, Checker, each_night
from tests.integration.conftest import end_containers, heat
from tests.integration.toy_model import toy_model
from tests.schemas import require_valid

pytestmark = pytest.mark.docker
ROOT = checkout().root


@dataclass
class Service:
    """One `edge-infer watch` in a container that has the checkout and this test's folder."""

    name: str
    folder: Path

    def drop(self, name: str, image: Image.Image | bytes) -> None:
        """As a camera would: aside, then by rename."""
        aside = self.folder / "in" / f".{name}"
        if isinstance(image, bytes):
            aside.write_bytes(image)
        else:
            image.save(aside, "PNG")
        aside.rename(self.folder / "in" / name)

    def result(self, name: str, seconds: float = 600) -> dict[str, Any]:
        path = self.folder / "out" / f"{name}.json"
        wait_for(path.is_file, seconds)
        require_valid("edge-infer-watch", path.read_text())
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    @property
    def heartbeat(self) -> dict[str, Any]:
        text = (self.folder / "beat").read_text()
        require_valid("edge-infer-heartbeat", text)
        result: dict[str, Any] = json.loads(text)
        return result

    def end(self, signal: str = "TERM") -> int:
        """Its exit code. The first process of a container is deaf until it listens for signals."""
        process.check(["docker", "kill", "--signal", signal, self.name])
        return int(process.check(["docker", "wait", self.name], timeout=60).stdout)


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


Start = Callable[..., Service]


@pytest.fixture
def start(program: CheckedProgram, tmp_path: Path) -> Iterator[Start]:
    names: list[str] = []

    def start(*options: str, docker: Sequence[str] = ()) -> Service:
        for folder in ("in", "out"):
            (tmp_path / folder).mkdir(exist_ok=True)
        model = toy_model(tmp_path / "model", 1, 8, 8)
        name = unique_name("edgewright-watch")
        names.append(name)
        argv = ["docker", "run", "--detach", "--name", name, "--volume", f"{ROOT}:{ROOT}"]
        argv += ["--volume", f"{tmp_path}:{tmp_path}", *docker, program.image]
        argv += [str(program.path), "watch", "--model", str(model)]
        argv += ["--in", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
        process.check([*argv, "--heartbeat", str(tmp_path / "beat"), *options])
        return Service(name=name, folder=tmp_path)

    yield start
    end_containers(names)


def golden_set(folder: Path, label: str) -> None:
    """One golden image whose expected class is `label`; the toy says class0 of it."""
    (folder / "golden").mkdir(parents=True)
    gray(10).save(folder / "golden" / "g.png", "PNG")
    probabilities = [0.5, 0.5]
    case = {"image": "g.png", "class": label, "probabilities": probabilities}
    expected = {"schema": 1, "tolerance": 0.99, "cases": [case]}
    (folder / "golden" / "expected.json").write_text(json.dumps(expected))


def gray(value: int) -> Image.Image:
    image = Image.new("L", (8, 8), value)
    image.putpixel((0, 0), 255 - value)
    return image


@pytest.mark.parametrize(
    "program", [Checker.NONE, *each_night(*SANITIZERS, Checker.VALGRIND)], indirect=True
)
def test_images_become_results_and_go(start: Start) -> None:
    service = start()
    service.drop("b.png", gray(10))
    service.drop("a.png", b"no image")

    good, bad = service.result("b.png"), service.result("a.png")

    assert (good["command"], good["image"], good["model"]) == ("watch", "b.png", "toy")
    assert good["class"].startswith("class")
    assert bad["error"]["code"] == "image_format"
    assert bad["error"]["message"].startswith(f"{service.folder}/in/a.png: is not an image")
    wait_for(lambda: not list((service.folder / "in").iterdir()))
    wait_for(lambda: service.heartbeat["images"] == 2)
    assert service.heartbeat["failed"] == 1
    assert service.end() == 0


def test_a_network_that_is_wrong_about_a_golden_image_does_not_serve(
    start: Start, tmp_path: Path
) -> None:
    golden_set(tmp_path / "model", "class1")
    service = start()
    service.drop("a.png", gray(10))

    ended = process.check(["docker", "wait", service.name], timeout=60)

    assert int(ended.stdout) == 6
    assert not (tmp_path / "beat").exists()
    assert (tmp_path / "in" / "a.png").exists()


def test_a_network_that_is_right_about_it_serves_and_beats(start: Start, tmp_path: Path) -> None:
    golden_set(tmp_path / "model", "class0")
    service = start()
    service.drop("a.png", gray(10))

    service.result("a.png")

    assert service.heartbeat["failed"] == 0


def test_images_that_were_there_before_are_taken_too_and_dot_files_are_not(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    gray(1).save(tmp_path / "in" / "early.png")
    (tmp_path / "in" / ".half.png").write_bytes(b"\x89PNG")
    service = start()

    service.result("early.png")

    assert [path.name for path in (tmp_path / "in").iterdir()] == [".half.png"]


def test_an_image_that_was_at_hand_is_tried_once_more_and_then_given_up(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    gray(1).save(tmp_path / "in" / ".working-innocent.png", "PNG")
    gray(1).save(tmp_path / "in" / ".again-deadly.png", "PNG")
    service = start()

    assert service.result("deadly.png")["error"]["code"] == "image_crashed"
    assert service.result("innocent.png")["class"].startswith("class")
    wait_for(lambda: not list((tmp_path / "in").iterdir()))


def write_slow(path: Path) -> None:
    """An image whose decoder has work for long enough to be seen at it."""
    Image.effect_noise((6000, 6000), 40).save(path, "PNG", compress_level=1)


def end_at_work_on(service: Service, hidden: str) -> None:
    """As a crash would, while the image has this name."""
    wait_for((service.folder / "in" / hidden).exists)
    service.end("KILL")
    assert (service.folder / "in" / hidden).exists()


def test_of_two_images_at_hand_the_first_is_blamed_for_crashes(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write_slow(tmp_path / "in" / ".working-1.png")
    gray(1).save(tmp_path / "in" / ".working-2.png", "PNG")  # was decoded ahead

    end_at_work_on(start(), ".again-1.png")
    assert (tmp_path / "in" / ".working-2.png").exists()
    service = start()

    assert service.result("1.png")["error"]["code"] == "image_crashed"
    assert service.result("2.png")["class"]


def test_the_image_that_was_decoded_ahead_has_two_tries_of_its_own(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    gray(1).save(tmp_path / "in" / ".working-1.png", "PNG")
    write_slow(tmp_path / "in" / ".working-2.png")

    first = start()
    assert first.result("1.png")["class"]
    end_at_work_on(first, ".working-2.png")
    end_at_work_on(start(), ".again-2.png")

    assert start().result("2.png")["error"]["code"] == "image_crashed"


def test_what_lies_beside_an_image_that_crashed_twice_is_as_good_as_new(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    gray(1).save(tmp_path / "in" / ".again-1.png", "PNG")
    write_slow(tmp_path / "in" / ".working-2.png")

    first = start()
    assert first.result("1.png")["error"]["code"] == "image_crashed"
    end_at_work_on(first, ".working-2.png")

    assert start().result("2.png")["class"]


def test_images_wait_while_nobody_takes_the_results(start: Start) -> None:
    service = start("--keep", "2")
    for name in ("1.png", "2.png", "3.png"):
        service.drop(name, gray(3))
    service.result("2.png")
    time.sleep(1)
    assert not (service.folder / "out" / "3.png.json").exists()
    assert (service.folder / "in" / "3.png").exists()

    (service.folder / "out" / "1.png.json").unlink()

    service.result("3.png")


def test_on_a_full_disk_images_wait_for_room_and_none_is_lost(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    service = start(docker=["--tmpfs", f"{out}:size=8k"])  # two results

    def results() -> set[str]:
        argv = ["docker", "exec", service.name, "sh", "-c", f"ls {out}"]
        return {*process.check(argv).stdout.split()}

    names = ["a.png", "b.png", "c.png", "d.png"]
    for name in names:
        service.drop(name, gray(10))
    wait_for(lambda: len(results()) == 2)
    logs = ["docker", "logs", service.name]
    wait_for(lambda: f"{out}: no space left on device" in process.check(logs).stderr)
    first = results()
    waiting = [path.name for path in (tmp_path / "in").iterdir()]
    assert len(waiting) == 2

    process.check(["docker", "exec", service.name, "sh", "-c", f"rm {out}/*"])
    wait_for(lambda: not [*(tmp_path / "in").iterdir()])
    assert first | results() == {f"{name}.json" for name in names}
    assert service.end() == 0


def test_a_killed_program_loses_no_image(start: Start) -> None:
    service = start()
    names = [f"{number:03}.png" for number in range(40)]
    for name in names:
        service.drop(name, gray(7))
    service.result(names[0])
    service.end("KILL")
    assert len([*(service.folder / "in").glob(".working-*")]) <= 2  # one is decoded ahead
    again = start()
    again.drop("last.png", gray(7))  # the first one may have done all the others
    for name in (*names, "last.png"):
        again.result(name)
    assert again.end() == 0


def test_a_second_image_of_a_name_waits_until_the_first_result_is_fetched(start: Start) -> None:
    service = start()
    service.drop("part.png", gray(10))
    first = service.result("part.png")
    service.drop("part.png", b"no image")
    service.drop("other.png", gray(10))
    service.result("other.png")
    time.sleep(1)
    assert service.result("part.png") == first
    assert (service.folder / "in" / "part.png").exists()

    (service.folder / "out" / "part.png.json").unlink()

    assert service.result("part.png")["error"]["code"] == "image_format"


def test_a_slow_copy_loses_no_image(start: Start) -> None:
    service = start()
    service.drop("first.png", gray(9))
    service.result("first.png")  # from here on it sees who writes
    aside = service.folder / "whole.png"
    gray(9).save(aside)
    content = aside.read_bytes()
    with (service.folder / "in" / "slow.png").open("wb") as slow:
        for at in range(0, len(content), 20):
            slow.write(content[at : at + 20])
            slow.flush()
            service.drop(f"{at}.png", gray(9))  # what wakes the service up in the middle
            service.result(f"{at}.png")
        time.sleep(3)
        assert not (service.folder / "out" / "slow.png.json").exists()
    assert "class" in service.result("slow.png")


@pytest.mark.parametrize("length", [200, 246, 247, 255])
def test_an_image_of_any_name_gets_a_result(start: Start, length: int) -> None:
    name = "n" * (length - 4) + ".png"
    service = start()
    gray(1).save(service.folder / "aside.png")
    (service.folder / "aside.png").rename(service.folder / "in" / name)
    if length <= 246:
        assert "class" in service.result(name)
    else:
        cut = f"{'n' * 200}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        result = service.result(cut)
        assert result["image"] == name
        assert result["error"]["code"] == "image_name"
    wait_for(lambda: not list((service.folder / "in").iterdir()))


def test_a_name_gets_a_line_of_the_log_and_no_more(start: Start) -> None:
    service = start()
    service.drop("line\n\x1b[31mred\x7f.png", b"no image")
    service.drop("after.png", gray(1))
    service.result("after.png")
    line = b"line\\u000a\\u001b[31mred\\u007f.png: is not an image of a known format\n"
    logs = ["docker", "logs", service.name]
    wait_for(lambda: line in subprocess.run(logs, capture_output=True, check=True).stderr)


def test_nothing_is_read_or_written_through_a_link(start: Start, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    secret, victim = tmp_path / "secret.png", tmp_path / "victim"
    gray(1).save(secret)
    victim.write_text("mine")
    (tmp_path / "out" / ".a.png.json").symlink_to(victim)
    (tmp_path / "out" / "b.png.json").symlink_to(victim)
    service = start()
    (tmp_path / "in" / "link.png").symlink_to(secret)
    service.drop("a.png", gray(1))
    service.drop("b.png", gray(1))

    assert "class" in service.result("a.png")
    assert service.result("link.png")["error"]["message"].endswith("link.png: is a link")
    assert victim.read_text() == "mine"
    assert (tmp_path / "in" / "b.png").exists()  # until its name is free
    assert secret.exists()


def test_the_service_is_a_user_of_its_own(start: Start, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    tmp_path.chmod(0o755)
    service = start("--user", "games")
    hidden = tmp_path / "in" / ".secret.png"
    gray(1).save(hidden, "PNG")
    hidden.chmod(0o600)  # of root's
    hidden.rename(tmp_path / "in" / "secret.png")
    service.drop("a.png", gray(1))

    assert "class" in service.result("a.png")
    assert service.result("secret.png")["error"]["message"].endswith("permission denied")
    assert (tmp_path / "in" / ".unread-secret.png").exists()
    ids = ["docker", "exec", service.name, "sh", "-c", "grep -E '^(Uid|NoNewPrivs)' /proc/1/status"]
    status = subprocess.run(ids, capture_output=True, text=True, check=True).stdout.split()
    assert status == ["Uid:", "5", "5", "5", "5", "NoNewPrivs:", "1"]
    assert (tmp_path / "out" / "a.png.json").stat().st_uid == 5
    assert service.end() == 0


KILL_THE_DECODER_TWICE = """
left=2 last=
while [ $left -gt 0 ]; do
    child=$(cat /proc/1/task/1/children)
    [ -z "$child" ] || [ "$child" = "$last" ] && continue
    kill -KILL $child && left=$((left - 1)) last=$child
done
"""


def test_an_image_that_ends_its_decoder_ends_nothing_else(start: Start) -> None:
    """As the kernel does when memory is short: the first time it is tried again."""
    service = start()
    service.drop("first.png", gray(1))
    service.result("first.png")
    argv = ["docker", "exec", service.name, "sh", "-c", KILL_THE_DECODER_TWICE]
    killer = subprocess.Popen(argv)
    service.drop("deadly.png", Image.effect_noise((6000, 6000), 40))
    deadly = service.result("deadly.png")
    killer.wait(timeout=60)

    assert deadly["error"]["code"] == "image_crashed"
    assert deadly["error"]["message"].endswith("ended the decoder by signal 9")
    service.drop("next.png", gray(1))
    assert "class" in service.result("next.png")
    assert service.end() == 0


def cores_of(service: Service) -> set[str]:
    """Which cores the service's threads may run on, as Linux lists them."""
    argv = ["docker", "exec", service.name, "sh", "-c"]
    argv.append("grep -h Cpus_allowed_list /proc/1/task/*/status")
    return {line.split()[1] for line in process.check(argv).stdout.splitlines()}


def test_a_hot_board_is_slowed_down_and_gets_its_speed_back(start: Start, tmp_path: Path) -> None:
    tree = heat(tmp_path, 85)
    service = start("--thermal-limit", "80", "--sysfs", str(tree), "--threads", "2")
    numbers = iter(range(1000))

    def judged_by(thermal: Callable[[dict[str, Any]], bool]) -> bool:
        """Sensors are read where there is something to infer."""
        name = f"{next(numbers)}.png"
        service.drop(name, gray(10))
        assert "class" in service.result(name)
        time.sleep(0.2)
        return thermal(service.heartbeat["thermal"])

    wait_for(lambda: judged_by(lambda thermal: thermal["effort"] == 0.1))
    hot = service.heartbeat["thermal"]
    assert (hot["celsius"], hot["threads"], hot["sensor"]) == (85, 1, "good")
    assert len(cores_of(service)) == 1
    assert all("," not in cores and "-" not in cores for cores in cores_of(service))

    heat(tmp_path, 40)
    wait_for(lambda: judged_by(lambda thermal: thermal["effort"] == 1))
    cool = service.heartbeat["thermal"]
    assert (cool["celsius"], cool["highest_c"], cool["least_effort"]) == (40, 85, 0.1)
    (tmp_path / "tree" / "sys" / "class" / "thermal" / "thermal_zone0" / "temp").unlink()
    wait_for(lambda: judged_by(lambda thermal: thermal["sensor"] == "missing"))
    assert service.heartbeat["thermal"]["effort"] == 0.5
    assert service.end() == 0


@pytest.mark.parametrize("program", [Checker.NONE], indirect=True)
def test_its_heartbeat_tells_the_heap_in_use(start: Start) -> None:
    """Sanitizers have allocators of their own, which tell nothing."""
    service = start()
    service.drop("a.png", gray(10))
    service.result("a.png")

    wait_for(lambda: service.heartbeat["heap_bytes"] > 100_000)
