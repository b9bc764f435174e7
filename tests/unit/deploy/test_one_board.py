"""What the deploy of one board takes from its settings, and in which order."""

import ast
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.deploy import one_board
from edgewright.deploy.install import Deployer, Order, Sign
from edgewright.deploy.one_board import DeploySettings, RollbackSettings
from edgewright.deploy.remote import Board, ConnectionLostError, Timeouts, UserSsh
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.deploy.target import parse_host
from edgewright.release import order
from edgewright.release.keys import KeyFolder
from tests.boards import LocalBoard, make_release
from tests.checkout import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> DeploySettings:
    return DeploySettings(
        target=parse_host("root@board.test"),
        release=make_release(tmp_path, root="/opt/edgewright"),
        signing=SigningPolicy(keys=KeyFolder(tmp_path / "keys"), ask=lambda _: None),
        deployer=Deployer(holder="tester@here", locks=tmp_path / "locks"),
        known_hosts=(tmp_path / "known_hosts",),
        ssh=UserSsh(user="tester"),
        password="hunter2",
        timeouts=Timeouts(idle=5.0),
    )


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What each attempt to log in was given; the board is never reached."""
    attempts: list[dict[str, object]] = []

    @contextmanager
    def connect(target: object, **options: object) -> Iterator[Board]:
        attempts.append({"target": target, **options})
        raise ConnectionLostError(str(target), "connection lost")
        yield

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    return attempts


@pytest.mark.parametrize("function", [one_board.deploy, one_board.plan])
def test_the_login_is_what_the_settings_say(
    settings: DeploySettings, logins: list[dict[str, object]], function: object
) -> None:
    settings.signing.keys.generate()
    assert callable(function)

    with pytest.raises(ConnectionLostError):
        function(settings)

    assert logins == [
        {
            "target": settings.target,
            "password": "hunter2",
            "known_hosts": settings.known_hosts,
            "timeouts": Timeouts(idle=5.0),
            "brief": True,
            "ssh": settings.ssh,
        }
    ]


def test_a_release_is_signed_before_a_board_is_asked_for_anything(
    settings: DeploySettings, logins: list[dict[str, object]]
) -> None:
    with pytest.raises(UserError, match="key 'default': not there"):
        one_board.deploy(settings)
    assert logins == []

    settings.signing.keys.generate()
    with pytest.raises(ConnectionLostError):
        one_board.deploy(settings)

    assert order.read_signature(settings.release) is not None


def test_settings_that_are_printed_do_not_show_the_password(settings: DeploySettings) -> None:
    assert "hunter2" not in repr(settings)


def rollback_settings(settings: DeploySettings, releases: Path) -> RollbackSettings:
    return RollbackSettings(
        root=settings.release.manifest.deploy_root,
        kinds=(settings.release.manifest.compatible,),
        releases=releases,
        signing=settings.signing,
        deployer=settings.deployer,
    )


@pytest.fixture
def hands_over(settings: DeploySettings, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A board that has the release as its previous one, with no signature of ours; new orders."""
    orders: list[bytes] = []

    def rollback(board: Board, root: str, sign: Sign, **options: object) -> tuple[str, str]:
        manifest = settings.release.manifest
        orders.append(sign(Order(manifest=manifest, signature=b""), 1000))
        return "current", manifest.id

    monkeypatch.setattr("edgewright.deploy.install.rollback", rollback)
    return orders


def test_a_rollback_orders_what_was_built_here_anew(
    settings: DeploySettings, hands_over: list[bytes]
) -> None:
    key = settings.signing.keys.generate().public
    release = settings.release

    ids = one_board.rollback(LocalBoard(), rollback_settings(settings, release.folder.parent))

    assert ids == ("current", release.id)
    assert order.check(release.manifest, hands_over[0], [key], "order").order.sequence > 1000


def test_a_rollback_to_what_nobody_here_built_or_signed_is_refused(
    settings: DeploySettings, hands_over: list[bytes], tmp_path: Path
) -> None:
    settings.signing.keys.generate()

    with pytest.raises(UserError):
        one_board.rollback(LocalBoard(), rollback_settings(settings, tmp_path / "elsewhere"))

    assert hands_over == []


def test_the_example_in_the_documentation_names_what_there_is() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    example = ast.parse(text.partition("```python\n")[2].partition("```")[0])
    names = [
        (node.module, alias.name)
        for node in ast.walk(example)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]

    assert len(names) > 5
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
    fields = {
        keyword.arg for node in ast.walk(example) for keyword in getattr(node, "keywords", [])
    }
    assert {*DeploySettings.__dataclass_fields__} >= fields - {"keys", "ask"}
