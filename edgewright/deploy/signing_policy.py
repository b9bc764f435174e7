"""Which of a user's keys signs: a release, a rollback, a change of the keys that a board trusts."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.release import minisign, order
from edgewright.release.keys import DEFAULT, Ask, KeyFolder, Signer, ahead, is_ahead, number_text
from edgewright.release.manifest import Manifest, Release
from edgewright.release.minisign import PublicKey

EMULATED = "emulated"  # key that emulated boards trust where there is no default key


@dataclass(frozen=True, kw_only=True)
class FormerOrder:
    """A release that a board had before, as the board hands it over: not to be believed."""

    manifest: Manifest
    signature: bytes  # that it was installed with
    subject: str  # board and file, for messages
    kinds: tuple[str, ...]  # of the board, by its profile on this machine
    is_built_here: bool  # the same manifest lies in a build folder of this machine


@dataclass(frozen=True, kw_only=True)
class SigningPolicy:
    """A user's keys, who tells their passphrases, and the key to sign with, if one was named.

    Several deploys may share one: it signs a release once, and opens a key once, so a passphrase
    is asked for once.
    """

    keys: KeyFolder
    ask: Ask  # is called in a thread that deploys, never in two at once
    key: str = ""  # name of the key to sign with; empty: the default key
    _opened: dict[str, Signer] = field(default_factory=dict, init=False, repr=False, compare=False)
    _signatures: dict[tuple[Path, int], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # by the file, and when it was written

    def signer(self, *, emulated: bool) -> Signer:
        """The key to sign with; emulated boards get one of their own if there is no default key.

        Raises UserError for a key that is not there or does not open.
        """
        with self._alone():
            return self._signer(emulated=emulated)

    def signature_of(self, release: Release, *, emulated: bool) -> bytes:
        """The signature file of a release; one that has none, or not by `key`, is signed first.

        Raises UserError for a key that is not there or does not open, and for a signature from
        the future: a board that takes one takes no other until then.
        """
        path = release.signature
        written = _written(path)
        if (path, written) in self._signatures:
            return self._signatures[path, written]
        with self._alone():
            signature = order.read_signature(release)
            if signature is None or (self.key and not self._is_by_key(signature, release)):
                order.sign_release(release, self._signer(emulated=emulated))
                written, signature = _written(path), path.read_bytes()
            _require_present(signature, str(path))
            self._signatures[path, written] = signature
            return signature

    def sign_anew(self, former: FormerOrder, floor: int, *, emulated: bool) -> bytes:
        """A signature file whose sequence number is above `floor`, the highest a board has seen.

        Raises UserError for a key that is not there or does not open, and for an order that is
        for another kind of board, or that was neither built on this machine nor signed by a key
        of this user's folder: a hostile board could have any manifest signed, and install it on
        other boards.
        """
        manifest = former.manifest
        if manifest.compatible not in former.kinds:
            raise UserError(
                former.subject,
                "is for another kind of board",
                facts=[f"expected: {' or '.join(former.kinds)}", f"found: {manifest.compatible}"],
                next="invoke deploy",
            )
        if not former.is_built_here:
            trusted = [key.public for key in self.keys.listed()]
            order.check(manifest, former.signature, trusted, former.subject)
        return order.sign(manifest, self.signer(emulated=emulated), at_least=floor + 1)

    def trust_emulated(self, edgectl: Edgectl, release: Release, signature: bytes) -> None:
        """Make an emulated board trust the key that signed: it trusts whoever started it."""
        trusted = keyring.read(edgectl).public
        key_id = minisign.parse_signature(signature, str(release.signature)).key_id
        if any(key.key_id == key_id for key in trusted):
            return
        new = next((key for key in self.keys.listed() if key.public.key_id == key_id), None)
        if new is not None:
            signer = self.authority(trusted, new=new.name)
            keyring.provision(
                edgectl,
                (release.manifest.compatible,),
                new.public,
                signer,
                confirmed=self.confirmed(),
            )

    def confirmed(self, lines: Sequence[str] = ()) -> tuple[PublicKey, ...]:
        """The keys that a board may go on trusting: those in the folder, and `lines`.

        Each line is a key as the second line of a `.pub` file has it. Raises UserError for one
        that is none.
        """
        typed = [minisign.public_key_of(line, "--confirm") for line in lines]
        return (*(key.public for key in self.keys.listed()), *typed)

    def authority(
        self, trusted: Sequence[PublicKey], *, new: str = DEFAULT, leaving: Sequence[str] = ()
    ) -> Signer:
        """A key of this user that may change what the board trusts.

        At first contact that is the `new` key itself. Where there is a choice, it is none of
        those with the ids `leaving`. Raises UserError if the board trusts none of this user's keys.
        """
        name = self._trusted_name(trusted, leaving) if trusted else new
        with self._alone():
            return self._open(name)

    def _trusted_name(self, trusted: Sequence[PublicKey], leaving: Sequence[str]) -> str:
        secrets = [key for key in self.keys.listed() if key.can_sign]
        usable = [key for key in secrets if key.public in trusted]
        if not usable:
            raise UserError(
                "keys",
                "none of yours is trusted by the board",
                facts=[f"trusted: {key.id}" for key in trusted],
                next="ask an owner of one of these keys to provision yours",
            )
        return min(usable, key=lambda key: key.public.id in leaving).name

    def _is_by_key(self, signature: bytes, release: Release) -> bool:
        key_id = minisign.parse_signature(signature, str(release.signature)).key_id
        return key_id == self.keys.stored(self.key).public.key_id

    def _signer(self, *, emulated: bool) -> Signer:
        name = self.key or DEFAULT
        if emulated and not self.key and not self.keys.exists(name):
            name = EMULATED
            if not self.keys.exists(name):
                self.keys.generate(name)
        return self._open(name)

    def _open(self, name: str) -> Signer:
        if name not in self._opened:
            self._opened[name] = self.keys.open_signer(name, self.ask)
        return self._opened[name]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread or process at a time makes, opens or chooses a key of this folder."""
        make_folder(self.keys.path, mode=0o700)
        with locked(self.keys.path / "signing.lock"):
            yield


def _written(path: Path) -> int:
    """When a file was written, in ns; 0 for none: `release.sign` may write it at any time."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _require_present(raw: bytes, subject: str) -> None:
    comment = minisign.parse_signature(raw, subject).trusted_comment
    sequence = order.parse_order(comment, subject).sequence
    if is_ahead(sequence):
        raise UserError(
            subject,
            f"was signed with a number {ahead(sequence)} ahead of this machine's clock",
            facts=[number_text(sequence)],
            next="set the clock, if it is wrong; else invoke release.sign",
        )
