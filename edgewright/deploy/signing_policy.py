"""Which of a user's keys signs: a release, a rollback, a change of the keys that a board trusts."""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass

from edgewright.base.errors import UserError
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.keyring import KeySet
from edgewright.release import minisign, order
from edgewright.release.keys import DEFAULT, Ask, KeyFolder, Signer, believable
from edgewright.release.manifest import Manifest, Release

EMULATED = "emulated"  # key that emulated boards trust where there is no default key


@dataclass(frozen=True, kw_only=True)
class SigningPolicy:
    """A user's keys, who tells their passphrases, and the key to sign with, if one was named.

    Several deploys may share one: a release is signed once, so a passphrase is asked for once.
    """

    keys: KeyFolder
    ask: Ask  # may be called from any thread that deploys, never from two at once
    key: str = ""  # name of the key to sign with; empty: the default key

    def signer(self, *, emulated: bool) -> Signer:
        """The key to sign with; emulated boards get one of their own if there is no default key.

        Raises UserError for a key that is not there or does not open.
        """
        name = self.key or DEFAULT
        if emulated and not self.key and not self.keys.exists(name):
            name = EMULATED
            self.keys.ensure(name)
        return self.keys.open_signer(name, self.ask)

    def signature_of(self, release: Release, *, emulated: bool) -> bytes:
        """The signature file of a release; one that has none, or not by `key`, is signed first.

        Raises UserError for a key that is not there or does not open.
        """
        signature = self._usable_signature(release)
        if signature is None:
            with self._alone():
                signature = self._usable_signature(release)  # of another thread, meanwhile
                if signature is None:
                    order.sign_release(release, self.signer(emulated=emulated))
                    signature = release.signature.read_bytes()
        return signature

    def _usable_signature(self, release: Release) -> bytes | None:
        signature = order.read_signature(release)
        if signature is None or not self.key:
            return signature
        signed_by = minisign.parse_signature(signature, str(release.signature)).key_id
        return signature if signed_by == self.keys.stored(self.key).public.key_id else None

    def sign_anew(self, manifest: Manifest, floor: int, *, emulated: bool) -> bytes:
        """A signature file with a sequence number above `floor`, the last that a board has seen."""
        with self._alone():
            signer = self.signer(emulated=emulated)
        return order.sign(manifest, signer, at_least=believable(floor) + 1)

    def trust_emulated(self, edgectl: Edgectl, release: Release, signature: bytes) -> None:
        """Make an emulated board trust the key that signed: it trusts whoever started it."""
        trusted = keyring.read(edgectl)
        key_id = minisign.parse_signature(signature, str(release.signature)).key_id
        if trusted and any(key.key_id == key_id for key in trusted.public):
            return
        new = next((key for key in self.keys.listed() if key.public.key_id == key_id), None)
        if new is not None:
            signer = self.authority(trusted, new=new.name)
            keyring.provision(edgectl, release.manifest.compatible, new.public, signer)

    def authority(self, trusted: KeySet | None, *, new: str = DEFAULT, leaving: str = "") -> Signer:
        """A key of this user that may change what the board trusts.

        At first contact that is the `new` key itself. Where there is a choice, it is not the one
        with the id `leaving`. Raises UserError if the board trusts none of this user's keys.
        """
        if trusted is None:
            name = new
        else:
            mine = [
                key for key in self.keys.listed() if key.has_secret and key.public in trusted.public
            ]
            if not mine:
                raise UserError(
                    "keys",
                    "none of yours is trusted by the board",
                    facts=[f"trusted: {key.id}" for key in trusted.public],
                    next="ask an owner of one of these keys to provision yours",
                )
            name = min(mine, key=lambda key: key.public.id == leaving).name
        with self._alone():
            return self.keys.open_signer(name, self.ask)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread or process at a time opens keys of this folder."""
        self.keys.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.keys.path / "signing.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
