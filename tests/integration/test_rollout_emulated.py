"""Rollouts to eight emulated boards: the right gate stops a bad release at its canaries, and a
sound one goes through all gates.

Everything is real but the processor: the releases are built, the boards log in by SSH.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import ExitCode
from edgewright.base.layout import Resources, user_cache
from edgewright.build import pipeline
from edgewright.lab import board_keys, emulate
from edgewright.lab.emulate import EmulatedBoard
from edgewright.release import order
from edgewright.release.keys import user_keys
from edgewright.release.manifest import load_release
from tests.integration.brightness import LABELS, brightness_model
from tests.integration.conftest import (
    REPO,
    Silent,
    alone,
    instance_of,
    new_user,
    request,
    run_edgewright,
    shell,
)
from tests.schemas import require_valid

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

BOARDS, CANARIES = 8, 5  # fewer canaries are no verdict
GATES = "failures<=0,instructions<=5%,leak<=1,accuracy<=10%"
PATCHED = Path("runtime_cpp") / "src" / "engine.cpp"
WHERE = "  const double ms = now_ms() - start;\n"
# Volatile, or the compiler would see that nobody reads it.
LEAK = "  static_cast<volatile char*>(std::malloc(4096))[0] = 1;\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with new_user(home, cache=user_cache()):
        user_keys().generate()
        yield home


@dataclass(frozen=True, kw_only=True)
class Fleet:
    file: Path
    boards: dict[str, EmulatedBoard]

    def current(self) -> dict[str, str]:
        """The release that each board runs."""
        link = "readlink /opt/edgewright/current"
        return {name: shell(board, link)[-16:] for name, board in self.boards.items()}


@pytest.fixture(scope="module")
def fleet(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(BOARDS, home, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@contextmanager
def fleet_of(count: int, home: Path, folder: Path) -> Iterator[Fleet]:
    login = home / ".ssh" / board_keys.USER
    boards: dict[str, EmulatedBoard] = {}
    text = 'version = 1\n[[sites]]\nname = "lab"\n'
    instances = {f"oven-{n}": instance_of("a53-som", folder / f"{n}") for n in range(count)}
    try:
        for name, instance in instances.items():
            instance.folder.mkdir(parents=True)
            shutil.copy(login, instance.folder / board_keys.USER)
            boards[name] = emulate.up(instance)
            key = board_keys.public(board_keys.key(instance.folder / board_keys.HOST))
            text += (
                f'[[boards]]\nname = "{name}"\nsite = "lab"\nkind = "a53-som"\nemulated = true\n'
                f'address = "root@127.0.0.1:{boards[name].port}"\nhost_key = "{key}"\n'
            )
        (folder / "fleet.toml").write_text(text)
        yield Fleet(file=folder / "fleet.toml", boards=boards)
    finally:
        for instance in instances.values():
            emulate.down(instance)


Build = Callable[..., str]


@pytest.fixture(scope="module")
def build(home: Path, scratch: Path) -> Build:
    """Builds a release by the name of its model folder, with the runtime of the demo's model."""
    signer = user_keys().open_signer("default", lambda _: None)
    demo = REPO.models / "mobilevit-xxs-elpv" / "model.onnx"
    with alone():
        ops, _ = pipeline.converted_model(demo, REPO.build("a53-som"), user_cache())
        shutil.copy(ops.ops_config, scratch / "ops.config")

    def build(name: str, *, resources: Resources = REPO.resources, **network: Any) -> str:
        model = brightness_model(scratch / name, **network)
        ordered = request(replace(REPO, resources=resources), model)
        with alone():
            built = pipeline.build(replace(ordered, runtime_ops=scratch / "ops.config"), Silent())
        order.sign_release(load_release(built.folder), signer)  # this user's key, none of before
        return built.release

    return build


@pytest.fixture(scope="module")
def leaking(scratch: Path) -> Resources:
    """The sources, with an `edge-infer` that keeps 4 KiB of each inference."""
    root = scratch / "leaking"
    for folder in ("board_profiles", "docker", "recipes", "runtime_cpp", "toolchains"):
        shutil.copytree(REPO.root / folder, root / folder)
    source = (root / PATCHED).read_text()
    assert source.count(WHERE) == 1
    (root / PATCHED).write_text("#include <cstdlib>\n" + source.replace(WHERE, WHERE + LEAK))
    return Resources(root=root)


@pytest.fixture(scope="module")
def former(fleet: Fleet, build: Build) -> str:
    """The release that all boards run at first."""
    return deploy_to_all(fleet, build("former"))


def deploy_to_all(fleet: Fleet, release: str) -> str:
    """The last build, whose id this is."""
    to_all = ("deploy", f"--fleet={fleet.file}", "--select=all", "--parallel=2")
    assert run_edgewright(*to_all) == ExitCode.OK
    assert {*fleet.current().values()} == {release}
    return release


def go_back(fleet: Fleet, former: str) -> None:
    """For the next test: where a release went through all gates, boards are still on it."""
    if {*fleet.current().values()} != {former}:
        all_boards = (f"--fleet={fleet.file}", "--select=all", "--parallel=2")
        assert run_edgewright("rollback", *all_boards) == ExitCode.OK
        assert {*fleet.current().values()} == {former}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A rollout that is over."""

    exit_code: int
    status: dict[str, Any]
    report: str  # HTML

    @property
    def words(self) -> dict[str, str]:
        """What each gate said of the first wave."""
        return {
            g["gate"].partition("<=")[0]: g["word"] for g in self.status["verdicts"][0]["gates"]
        }


@pytest.fixture
def rollout(
    fleet: Fleet, former: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], Ended]]:
    def start(release: str) -> Ended:
        ledger = f"--ledger={tmp_path / 'ledger'}"
        began = time.monotonic()
        code = run_edgewright(
            "rollout.start", f"--fleet={fleet.file}", "--select=all", f"--release={release}",
            f"--waves={CANARIES},100%", "--soak=0s", f"--gate={GATES}", "--parallel=2",
            ledger, "--name=canary", "--json",
        )  # fmt: skip
        shown = capsys.readouterr()
        require_valid("rollout.start", shown.out)
        print(f"{time.monotonic() - began:.0f} s\n{shown.err}")
        page = tmp_path / "report.html"
        assert run_edgewright("rollout.report", ledger, f"--out={page}") == ExitCode.OK
        return Ended(exit_code=code, status=json.loads(shown.out), report=page.read_text())

    yield start
    go_back(fleet, former)


def require_taken_back(ended: Ended, gate: str, fleet: Fleet, former: str) -> None:
    """This gate alone said no; its boards are back, the others were never touched."""
    assert ended.exit_code == ExitCode.CHECK
    assert ended.status["reason"] == "wave 1: a gate said no"
    expected = dict.fromkeys(("failures", "instructions", "leak", "accuracy"), "yes")
    assert ended.words == expected | {gate: "no"}
    (no,) = (each for each in ended.status["verdicts"][0]["gates"] if each["word"] == "no")
    assert (no["pairs"], len(no["boards"])) == (CANARIES, CANARIES)
    assert {*fleet.current().values()} == {former}
    states = [board["state"] for board in ended.status["boards"]]
    assert (states.count("done"), states.count("skipped")) == (CANARIES, BOARDS - CANARIES)
    assert no["gate"].replace("<=", "&lt;=") in ended.report
    assert no["found"] in ended.report
    assert all(board in ended.report for board in no["boards"])


def test_a_release_that_costs_more_is_stopped_by_counted_instructions(
    rollout: Callable[[str], Ended], build: Build, fleet: Fleet, former: str
) -> None:
    ended = rollout(build("wide", channels=64))

    require_taken_back(ended, "instructions", fleet, former)
    assert "counted in an emulator, not timed" in ended.report


def test_a_release_with_wrong_answers_is_stopped_by_the_golden_set_of_the_former(
    rollout: Callable[[str], Ended], build: Build, fleet: Fleet, former: str
) -> None:
    """Its labels are in the wrong order, in its own golden set as well, which it passes."""
    ended = rollout(build("swapped", labels=(LABELS[1], LABELS[0])))

    require_taken_back(ended, "accuracy", fleet, former)


def test_a_release_that_leaks_is_stopped_by_what_its_inferences_leave_on_the_heap(
    rollout: Callable[[str], Ended], build: Build, leaking: Resources, fleet: Fleet, former: str
) -> None:
    ended = rollout(build("leaks", resources=leaking))

    require_taken_back(ended, "leak", fleet, former)


def test_a_sound_release_goes_through_all_gates(
    rollout: Callable[[str], Ended], build: Build, fleet: Fleet, former: str
) -> None:
    release = build("sound", card_name="brightness-2")

    ended = rollout(release)

    assert release != former
    assert (ended.exit_code, ended.status["state"]) == (ExitCode.OK, "done")
    gates = ("failures", "instructions", "leak", "accuracy")
    for verdict in ended.status["verdicts"]:  # three boards are judged together with the canaries
        words = {gate["gate"].partition("<=")[0]: gate["word"] for gate in verdict["gates"]}
        assert words == dict.fromkeys(gates, "yes")
    assert len(ended.status["verdicts"]) == 2
    assert {*fleet.current().values()} == {release}
