"""docker/fleet/compose.yaml as Docker Compose runs it: PostgreSQL, and `fleet.serve` over it.

The registry's image of PostgreSQL is not to be had everywhere: Debian's takes its place.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.base.files import unique_name
from edgewright.build.supply import SUITE
from tests.checkout import ROOT
from tests.integration.conftest import free_port, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.nightly]
BASE = f"edgewright/base:{SUITE}"  # made with the builder image
LEDGER_IMAGE = ROOT / "tests/integration/ledger_image"


class Fleet:
    """The services of the file, as a project of their own."""

    def __init__(self, folder: Path, image: str, ledger_image: str) -> None:
        shutil.copy(ROOT / "docker/fleet/compose.yaml", folder)
        password = folder / "password"
        password.write_text("a password of this test\n")
        (folder / "workspace").mkdir()
        (folder / "workspace" / "edgewright.toml").write_text('name = "fleet"\n')
        self.port = free_port()
        self._project = unique_name("edgewright-fleet")
        self._folder = folder
        self._environment = os.environ | {
            "EDGEWRIGHT_IMAGE": image,
            "LEDGER_IMAGE": ledger_image,
            "LEDGER_PORT": str(free_port()),
            "SERVE_PORT": str(self.port),
            "WORKSPACE": "./workspace",
        }

    def compose(self, *argv: str) -> str:
        command = ["docker-compose", "--project-name", self._project, *argv]
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
        ).stdout

    def run(self, *argv: str) -> str:
        """What a command of edgewright prints in the container that serves."""
        command = 'PGPASSWORD=$(cat /run/secrets/password) exec edgewright "$@"'
        return self.compose("exec", "-T", "serve", "sh", "-c", command, "edgewright", *argv)

    def get(self, path: str, token: str = "") -> bytes:
        """What the page's server answers, whose certificate its own authority signed."""
        url = f"https://localhost:{self.port}{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        authority = self.compose("exec", "-T", "serve", "cat", "/config/authority/authority.pem")
        trusted = ssl.create_default_context(cadata=authority)
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def serves(self) -> bool:
        try:
            return bool(self.get("/"))
        except (OSError, subprocess.CalledProcessError):
            return False


@pytest.fixture(scope="module")
def images() -> Iterator[tuple[str, str]]:
    """That of edgewright, and that of PostgreSQL."""
    own, ledger = unique_name("edgewright-of-test"), unique_name("ledger-of-test")
    subprocess.run(
        [sys.executable, str(ROOT / "docker/edgewright/build.py"), own],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=1800,
    )  # fmt: skip
    subprocess.run(
        ["docker", "build", "--force-rm", "--network", "host", "--build-arg", f"BASE={BASE}"]
        + ["--tag", ledger, str(LEDGER_IMAGE)],
        check=True, stdout=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    yield own, ledger
    subprocess.run(["docker", "image", "rm", own, ledger], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def fleet(images: tuple[str, str], tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, *images)
    try:
        fleet.compose("up", "--detach")
        wait_until(fleet.serves, seconds=120)
        yield fleet
    finally:
        fleet.compose("down", "--volumes")


def test_the_page_is_served_over_a_ledger_that_outlives_its_containers(fleet: Fleet) -> None:
    added = json.loads(fleet.run("fleet.people", "--add=anna", "--role=operator", "--json"))
    token = added["token"]
    assert b"<html" in fleet.get("/")
    assert json.loads(fleet.get("/v1/login", token))["name"] == "anna"

    fleet.compose("down")  # and not its volumes
    fleet.compose("up", "--detach")
    wait_until(fleet.serves, seconds=120)

    assert json.loads(fleet.get("/v1/login", token))["name"] == "anna"
    assert json.loads(fleet.get("/v1/rollouts", token))["rollouts"] == []
