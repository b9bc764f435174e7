"""Deploys to a board with a service: the release has to work there too before it is committed."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import TargetError
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Manager
from edgewright.deploy import install as deploy
from edgewright.deploy import service
from edgewright.deploy.edgectl import Edgectl
from edgewright.fleet.bench.stand_in import program
from edgewright.release.manifest import Release, ReleaseInputs, build_release
from tests.boards import LocalBoard, documents, make_release
from tests.checkout import checkout
from tests.signing import sign, sign_anew, trust

pytestmark = pytest.mark.docker

Deploy = Callable[..., Release]
SERVES = 'echo ready >&"$EDGECTL_READY_FD"; exec sleep 600'


def edge_infer(watch: str) -> bytes:
    """A program that passes its self-test, and does this as a service."""
    shell = program(documents()).decode()
    return shell.replace('case "$1" in', f'case "$1" in\nwatch) {watch} ;;').encode()


def with_service(release: Release, folder: Path, text: str) -> Release:
    """The same release with a program of the user's as its service."""
    script = folder / "service"
    script.write_text(text)
    inputs = ReleaseInputs(
        board=release.manifest.board,
        compatible=release.manifest.compatible,
        deploy_root=release.manifest.deploy_root,
        binaries=(script, *sorted((release.folder / "bin").iterdir())),
        ort_model=release.folder / "model" / "model.ort",
        onnx_sha256=release.manifest.model.onnx_sha256,
        card=release.folder / "model" / "card.json",
        golden=release.folder / "model" / "golden",
        runtime=release.manifest.runtime,
        budgets=release.manifest.budgets,
        source=release.manifest.source,
    )
    return build_release(inputs, folder / "with-service")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "board" / "edgewright"


@pytest.fixture
def install(
    tmp_path: Path, root: Path, host_edgectl: Path, monkeypatch: pytest.MonkeyPatch
) -> Deploy:
    """Deploys a release whose service runs a shell script."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy, "judge_target", lambda facts, target: [])
    monkeypatch.setattr(deploy, "TRIAL_SECONDS", 20)
    for name in ("SCRIPT", "PROGRAM", "STATE"):
        monkeypatch.setattr(service, name, str(tmp_path / name.lower()))

    def make(name: str, watch: str, service_file: str = "") -> Release:
        options: dict[str, Any] = {"model": name.encode(), "edgectl": host_edgectl}
        folder = tmp_path / "built" / name
        release = make_release(folder, root=str(root), edge_infer=edge_infer(watch), **options)
        if service_file:
            release = with_service(release, folder, f"#!/bin/sh\n{service_file}\n")
        trust(LocalBoard(), release)
        deploy.deploy(LocalBoard(), release, sign(release), reserve_bytes=0)
        return release

    return make


@pytest.fixture
def supervisor(tmp_path: Path, root: Path, install: Deploy) -> Iterator[Callable[[], None]]:
    """Runs the board's own supervisor script, as its init would."""
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        profile = load_board("a53-som", checkout().boards)
        folders = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
        settings = folders | {"manager": Manager.INITTAB, "restart_s": 1}
        changed = profile.model_copy(
            update={
                "service": profile.service.model_copy(update=settings),
                "deploy": profile.deploy.model_copy(update={"root": str(root)}),
            }
        )
        for file in service.render(changed):
            Path(file.path).write_text(file.text)
            Path(file.path).chmod(int(file.mode, 8))
        running.append(subprocess.Popen([service.SCRIPT], start_new_session=True))

    yield start
    for child in running:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def test_a_release_is_committed_once_its_service_is_ready(
    install: Deploy, supervisor: Callable[[], None], root: Path
) -> None:
    install("one", SERVES)
    supervisor()

    release = install("two", f"sleep 2; {SERVES}")

    state = Edgectl(board=LocalBoard(), root=str(root)).status()
    assert (state.current, state.txn) == (release.id, None)
    assert state.service is not None
    assert (state.service.release, state.service.ready) == (release.id, True)


def test_a_program_of_the_users_is_the_service_and_goes_back_with_its_release(
    install: Deploy, supervisor: Callable[[], None], root: Path, tmp_path: Path
) -> None:
    former = install("one", SERVES)
    supervisor()
    environment = tmp_path / "environment"

    says = f'echo "$EDGEWRIGHT_USER $EDGEWRIGHT_HEARTBEAT" > {environment}'
    release = install("two", "exit 1", f"{says}; {SERVES}")

    state = Edgectl(board=LocalBoard(), root=str(root)).status()
    assert (state.current, state.txn) == (release.id, None)
    assert state.service is not None
    assert (state.service.release, state.service.ready) == (release.id, True)
    assert environment.read_text() == f"edgewright {service.STATE}/heartbeat\n"

    assert deploy.rollback(LocalBoard(), str(root), sign_anew) == (release.id, former.id)
    state = Edgectl(board=LocalBoard(), root=str(root)).status()
    assert state.service is not None
    assert (state.service.release, state.service.ready) == (former.id, True)


def test_a_release_whose_service_ends_at_once_is_not_committed(
    install: Deploy, supervisor: Callable[[], None], root: Path
) -> None:
    former = install("one", SERVES)
    supervisor()

    with pytest.raises(TargetError) as refused:
        install("two", "echo it is broken; exit 1")

    assert "did not hold after the switch: the former one is current again" in str(refused.value)
    assert "it did not stay up" in str(refused.value)
    assert "| it is broken" in str(refused.value)
    state = Edgectl(board=LocalBoard(), root=str(root)).status()
    assert (state.current, state.txn) == (former.id, None)


def test_a_release_whose_service_hangs_is_not_committed(
    install: Deploy, supervisor: Callable[[], None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = install("one", SERVES)
    supervisor()
    monkeypatch.setattr(deploy, "TRIAL_SECONDS", 5)

    with pytest.raises(TargetError, match="did not hold after the switch"):
        install("two", "exec sleep 600")

    state = Edgectl(board=LocalBoard(), root=str(root)).status()
    assert (state.current, state.txn) == (former.id, None)
