"""docker/fleet/compose.yaml as Docker Compose runs it: PostgreSQL, and `fleet.serve` over it.

The registry's image of PostgreSQL is not to be had everywhere: Debian's takes its place.
"""

import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.base.files import unique_name
from edgewright.base.ports import reserved_port
from edgewright.build.container import DockerBuilder
from edgewright.build.supply import SUITE
from tests.checkout import ROOT
from tests.integration.conftest import image_of, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.nightly]
BASE = f"edgewright/base:{SUITE}"  # made with the builder image
LEDGER_IMAGE = ROOT / "tests/integration/ledger_image"
SERVE_USER = os.getuid() or 61234  # root, too, has another user serve


class Fleet:
    """The services of the file, as a project of their own."""

    def __init__(
        self, folder: Path, image: str, ledger_image: str, port: int, ledger_port: int
    ) -> None:
        shutil.copy(ROOT / "docker/fleet/compose.yaml", folder)
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text("a password of this test\n")
        os.chown(password, SERVE_USER, -1)
        (folder / ".env").write_text(f"SERVE_USER={SERVE_USER}:{SERVE_USER}\n")
        (folder / "workspace" / "build").mkdir(parents=True)
        (folder / "workspace" / "build").chmod(0o777)
        (folder / "workspace" / "edgewright.toml").write_text('name = "fleet"\n')
        (folder / "workspace" / "fleet.sqlite").touch()
        self.port = port
        self._project = unique_name("edgewright-fleet")
        self._file = folder / "compose.yaml"
        self._environment = os.environ | {
            "EDGEWRIGHT_IMAGE": image,
            "LEDGER_IMAGE": ledger_image,
            "LEDGER_PORT": str(ledger_port),
            "SERVE_PORT": str(self.port),
            "WORKSPACE": "./workspace",
        }

    def compose(self, *argv: str) -> str:
        command = ["docker-compose", "--project-name", self._project, "--file", str(self._file)]
        return subprocess.run(
            [*command, *argv],
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
        ).stdout

    def sh(self, command: str) -> str:
        """What a shell prints in the container that serves."""
        return self.compose("exec", "-T", "serve", "sh", "-c", command)

    def restarts(self) -> int:
        """How often Docker started what serves once more."""
        container = self.compose("ps", "--quiet", "serve").strip()
        command = ["docker", "inspect", "--format={{.RestartCount}}", container]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def get(self, path: str, token: str = "") -> bytes:
        """What the page's server answers, whose certificate its own authority signed."""
        url = f"https://localhost:{self.port}{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        trusted = ssl.create_default_context(cadata=self.sh("cat /config/authority/authority.pem"))
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def serves(self) -> bool:
        try:
            return bool(self.get("/"))
        except (OSError, subprocess.SubprocessError):
            return False


@pytest.fixture(scope="module")
def ledger_image(builder: DockerBuilder) -> Iterator[str]:
    """PostgreSQL on the base of the builder image."""
    tag = unique_name("ledger-of-test")
    command = ["docker", "build", "--force-rm", "--network=host", f"--build-arg=BASE={BASE}"]
    with image_of([*command, f"--tag={tag}", str(LEDGER_IMAGE)], tag) as image:
        yield image


@pytest.fixture(scope="module")
def fleet(
    own_image: str, ledger_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with reserved_port() as port, reserved_port() as ledger_port:
        fleet = Fleet(folder, own_image, ledger_image, port, ledger_port)
        try:
            fleet.compose("up", "--detach")
            wait_until(fleet.serves, seconds=120)
            yield fleet
        finally:
            fleet.compose("down", "--volumes")


def test_what_serves_waits_for_the_ledger_and_not_for_its_initialisation(fleet: Fleet) -> None:
    assert fleet.restarts() == 0


def test_what_serves_may_write_its_configuration_and_no_more(fleet: Fleet) -> None:
    assert fleet.sh("id -u").strip() == str(SERVE_USER)
    rights = dict(line.split(":") for line in fleet.sh("cat /proc/1/status").splitlines())
    assert {int(rights[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert rights["NoNewPrivs"].strip() == "1"
    assert fleet.sh("ls /workspace").split() == ["build", "edgewright.toml"]
    for folder in ("/workspace", "/workspace/build", "/opt/edgewright/bin", "/cache"):
        refused = f"touch {folder}/mark 2>/dev/null || echo refused"
        assert fleet.sh(refused).strip() == "refused", folder
    assert fleet.sh("touch /config/mark && rm /config/mark && echo written").strip() == "written"


def test_the_page_is_served_over_a_ledger_that_outlives_its_containers(fleet: Fleet) -> None:
    add = "edgewright fleet.people --add=anna --role=operator --json"
    token = json.loads(fleet.sh(f"PGPASSWORD=$(cat /run/secrets/password) {add}"))["token"]
    assert b"<html" in fleet.get("/")
    assert json.loads(fleet.get("/v1/login", token))["name"] == "anna"

    fleet.compose("down")  # and not its volumes
    fleet.compose("up", "--detach")
    wait_until(fleet.serves, seconds=120)

    assert json.loads(fleet.get("/v1/login", token))["name"] == "anna"
    assert json.loads(fleet.get("/v1/rollouts", token))["rollouts"] == []
