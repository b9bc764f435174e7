"""Signed deploys as tests need them: keys in the user's folder, first contact, install."""

from typing import Any

from edgewright.deploy import install as deploy
from edgewright.deploy import keyring
from edgewright.deploy.install import Installed, Order
from edgewright.deploy.remote import Board
from edgewright.release import keys
from edgewright.release import order as orders
from edgewright.release.keys import Signer
from edgewright.release.manifest import Release


def signer(name: str = "default") -> Signer:
    """A key of this user, made first if there is none."""
    if not keys.user_keys().exists(name):
        keys.user_keys().generate(name)
    return keys.user_keys().open_signer(name, lambda _: None)


def sign(release: Release, name: str = "default") -> bytes:
    return orders.sign(release.manifest, signer(name))


def sign_anew(former: Order, floor: int) -> bytes:
    """What a rollback signs with."""
    return orders.sign(former.manifest, signer(), at_least=floor + 1)


def trust(board: Board, release: Release) -> None:
    """First contact: the release's helper on the board, and the default key."""
    manifest, key = release.manifest, signer()
    helper = deploy.ensure_edgectl(board, manifest.deploy_root, release)
    if not keyring.read(helper).public:
        keyring.provision(helper, (manifest.compatible,), key.public, key)


def install(
    board: Board, release: Release, signature: bytes | None = None, **options: Any
) -> Installed:
    """Deploy with a fresh signature, to a board that trusts the default key."""
    trust(board, release)
    options = {"reserve_bytes": 0} | options
    return deploy.deploy(board, release, signature or sign(release), **options)
