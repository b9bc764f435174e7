"""A night as a user runs it: a model that is built, proven and published, beside one that is not.

The model is the demo's small one, whose operators are the demo's: no runtime is built for it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from defusedxml import ElementTree

from edgewright.build.pipeline import BuildReport
from edgewright.fleet.rollout.database import Database
from edgewright.observe.count import baseline
from edgewright.observe.count.baseline import Accepted, AcceptedBuild, Baseline
from edgewright.release.keys import KeyFolder
from tests.checkout import checkout
from tests.integration.conftest import wait_until
from tests.schemas import require_valid

pytestmark = [pytest.mark.docker, pytest.mark.board, pytest.mark.nightly]

SMALL = "mobilevit-xxs-elpv"
SETTINGS = f"""
boards = ["a53-som"]
models = ["broken", "{SMALL}"]

[publish]
store = "STORE"
channel = "nightly"
"""


@dataclass(frozen=True, kw_only=True)
class Night:
    """A workspace with a night's settings."""

    root: Path
    env: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.root / "build" / "nightly"

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "edgewright.cli", "nightly", "--json", *options]

    def run(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and document."""
        ended = subprocess.run(
            self.command(*options),
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        require_valid("nightly", ended.stdout)
        return ended.returncode, json.loads(ended.stdout)

    def steps(self, report: dict[str, Any], model: str) -> dict[str, tuple[str, bool]]:
        """Outcome of each step of a model, and whether it is from its record."""
        (cell,) = (cell for cell in report["cells"] if cell["model"] == model)
        return {step["step"]: (step["outcome"], step["from_record"]) for step in cell["steps"]}


@pytest.fixture(scope="module")
def night(built: BuildReport, scratch: Path) -> Night:
    root = scratch / "nights"
    broken = root / "models" / "broken"
    shutil.copytree(checkout().model(SMALL).parent, broken)
    shutil.copyfile(checkout().default_model.parent / "card.json", broken / "card.json")
    (root / "edgewright.toml").write_text(
        'name = "nights"\n[models]\nbroken = "models/broken/model.onnx"\n'
    )
    (root / "nightly.toml").write_text(SETTINGS.replace("STORE", str(root / "store")))
    much = Accepted(inference=10**12, load=10**12, functions={})
    baseline.write_baseline(
        root / "bench" / "baseline.json",
        Baseline().accepting("a53-som", SMALL, AcceptedBuild(cpus={"max": much})),
    )
    KeyFolder(scratch / "config" / "keys").generate()
    env = {
        **os.environ,
        "EDGEWRIGHT_CONFIG": str(scratch / "config"),
        "PYTHONPATH": str(checkout().root),
    }
    return Night(root=root, env=env)


def test_a_night_that_is_interrupted_goes_on_and_the_next_one_does_nothing(night: Night) -> None:
    child = subprocess.Popen(
        night.command(),
        cwd=night.root,
        env=night.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    built_record = night.folder / "records" / SMALL / "a53-som" / "build.json"
    wait_until(built_record.is_file, seconds=300)
    second_code, second = night_beside(night)
    os.killpg(child.pid, signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    containers = containers_of(night)
    code, resumed = night.run("--resume")

    assert (second_code, second) == (2, "another night is at work in this workspace")
    assert child.returncode == 130
    assert "nightly --resume" in json.loads(output)["error"]["next"]
    assert containers == ""
    # The worst: a model with another one's card is in the user's hands.
    assert code == resumed["exit_code"] == 2
    assert night.steps(resumed, "broken") == {
        "build": ("failed", True),
        **dict.fromkeys(("sign", "smoke", "cost", "publish"), ("skipped", False)),
    }
    steps = night.steps(resumed, SMALL)
    assert steps["build"] == ("passed", True)
    assert {outcome for outcome, _ in steps.values()} == {"passed"}
    published = json.loads((night.root / "store/channels/a53-som/nightly.json").read_text())
    assert published["payload"]
    assert [*(night.root / "store" / "releases" / "a53-som").glob("*.json")]

    begun = time.monotonic()
    code, unchanged = night.run(f"--models={SMALL}")

    assert (code, {*night.steps(unchanged, SMALL).values()}) == (0, {("passed", True)})
    assert time.monotonic() - begun < 60
    assert unchanged["cells"][0]["figures"] == resumed["cells"][1]["figures"]
    root = ElementTree.parse(night.folder / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("5", "0")
    assert "All 1 cells are green" in (night.folder / "index.html").read_text()


def night_beside(night: Night) -> tuple[int, str]:
    """What a second night is told while one is at work."""
    ended = subprocess.run(
        night.command(), cwd=night.root, env=night.env, capture_output=True, text=True, check=False
    )
    message = json.loads(ended.stdout)["error"]["message"]
    return ended.returncode, message.splitlines()[0].partition(": ")[2]


def containers_of(night: Night) -> str:
    """Those that have the night's workspace mounted."""
    argv = ["docker", "ps", "--quiet", "--filter", f"volume={night.root}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_another_machine_has_what_this_one_built_without_building_it(
    night: Night, database: Database, scratch: Path
) -> None:
    """In a folder of its own: the release comes from the store, all else from the ledger."""
    root = scratch / "other-machine"
    shutil.copytree(
        night.root,
        root,
        ignore=lambda folder, _: ["build", "store"] if folder == str(night.root) else [],
    )
    other = Night(root=root, env=night.env)
    url = database.engine.url.render_as_string(hide_password=False)
    options = f"--ledger={url.replace('+psycopg', '')}", f"--models={SMALL}"

    first_code, first = night.run(*options)
    code, second = other.run(*options)

    assert (first_code, code) == (0, 0)
    assert {*night.steps(second, SMALL).values()} == {("passed", True)}
    (cell,) = second["cells"]
    assert cell["figures"] == first["cells"][0]["figures"]
    assert (root / "build" / "a53-som" / "release" / cell["release"] / "manifest.json").is_file()
    assert not (root / "build" / "a53-som" / "logs").exists()
    nights = sorted(path.stem for path in (other.folder / "nights").glob("*.json"))
    assert nights == [first["night"], second["night"]]
