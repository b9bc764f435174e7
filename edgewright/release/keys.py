"""Signing keys of this user: `<name>.key`, `<name>.pub` and the last sequence number used.

The files are minisign's. A secret key never leaves this module but as a signature.
"""

import contextlib
import functools
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder, read_file, write_file, write_new_file
from edgewright.base.layout import user_config
from edgewright.release import external, minisign
from edgewright.release.minisign import PublicKey, SecretKey, Signature

DEFAULT = "default"
PASSPHRASE = "EDGEWRIGHT_KEY_PASSPHRASE"
NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
GENERATE = "invoke keys.generate"
DAY = 86400  # seconds; how far another's clock may be ahead of ours
CENTURY = 36525  # days
RECORD_BYTES = 4096

Ask = Callable[[str], str | None]  # key's name → passphrase; None: nobody to ask


@dataclass(frozen=True, kw_only=True)
class StoredKey:
    """A key in the user's folder; of a colleague's there may be the public half alone."""

    name: str
    public: PublicKey
    has_secret: bool
    command: str | None = None  # that signs instead of a secret key in the folder
    locked: bool = False
    last_sequence: int = 0

    @property
    def can_sign(self) -> bool:
        return self.has_secret or self.command is not None


@dataclass(frozen=True)
class KeyFolder:
    """The keys of one user: `<name>.key`, `<name>.pub`, and the last number that each signed.

    Threads and processes may use one folder at the same time.
    """

    path: Path

    def secret_path(self, name: str) -> Path:
        return self.path / f"{_checked(name)}.key"

    def public_path(self, name: str) -> Path:
        return self.path / f"{_checked(name)}.pub"

    def generate(self, name: str = DEFAULT, passphrase: str | None = None) -> StoredKey:
        """Make a key pair. Raises UserError if there is one of that name already."""
        secret_path, public_path = self.secret_path(name), self.public_path(name)
        for path in (secret_path, public_path):
            if path.exists():
                raise _exists_already(name, path)
        key = SecretKey.generate()
        make_folder(self.path, mode=0o700)
        _write_new(name, public_path, minisign.public_key_text(key.public), 0o644)
        _write_new(name, secret_path, minisign.secret_key_text(key, passphrase), 0o600)
        return self.stored(name)

    def add_external(self, name: str, public: PublicKey, command: str) -> StoredKey:
        """A key that a shell command signs with (`release.external`).

        Raises UserError if there is one of that name already.
        """
        command_path, public_path = self._command_path(name), self.public_path(name)
        for path in (self.secret_path(name), command_path, public_path):
            if path.exists():
                raise _exists_already(name, path)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(name, public_path, minisign.public_key_text(public), 0o644)
        _write_new(name, command_path, f"{command}\n", 0o600)
        return self.stored(name)

    def listed(self) -> tuple[StoredKey, ...]:
        """Every key in the folder, by name. Raises UserError for a file that is none."""
        return tuple(self.stored(path.stem) for path in sorted(self.path.glob("*.pub")))

    def exists(self, name: str) -> bool:
        """Whether there is a key of that name to sign with."""
        return self.secret_path(name).is_file() or self._command_path(name).is_file()

    def stored(self, name: str) -> StoredKey:
        """One key of the folder. Raises UserError."""
        secret_path, public_path = self.secret_path(name), self.public_path(name)
        public = minisign.parse_public_key(_read(public_path, name), str(public_path))
        has_secret = secret_path.is_file()
        return StoredKey(
            name=name,
            public=public,
            has_secret=has_secret,
            command=self._command(name),
            locked=has_secret and minisign.is_locked(_read(secret_path, name), str(secret_path)),
            last_sequence=self._last_sequence(name),
        )

    def open_signer(self, name: str, ask: Ask) -> "Signer":
        """Open a secret key, or take the command that signs in its place.

        Raises UserError if it is not there, open to others or not unlocked.
        """
        command = self._command(name)
        if command is not None:
            _require_private(self._command_path(name), "a signing command")
            public = self.stored(name).public
            subject = f"key '{name}'"
            sign = functools.partial(external.sign, command, public, subject=subject)
            return Signer(self, name, public, sign)
        path = self.secret_path(name)
        raw = _read(path, name)
        _require_private(path, "a secret key")
        locked = minisign.is_locked(raw, str(path))
        passphrase = ask(name) if locked else None
        if locked and passphrase is None:
            raise UserError(f"key '{name}'", "locked by a passphrase", next=f"set {PASSPHRASE}")
        key = minisign.parse_secret_key(raw, passphrase, f"key '{name}'")
        return Signer(self, name, key.public, key.sign)

    def next_sequence(self, name: str, *, at_least: int = 0) -> int:
        """The Unix time, or one more than the last number if that is higher; never one twice.

        The number is on disk before it is used. Raises UserError where it would be more than a day
        ahead of the clock: a board that takes one from the future takes no other until then.
        """
        path = self._sequence_path(name)
        with locked(path.with_suffix(".lock")):
            last = self._last_sequence(name)
            if is_ahead(at_least):
                raise UserError(
                    f"key '{name}'",
                    f"would sign with a number {ahead(at_least)} ahead of this machine's clock",
                    facts=[number_text(at_least)],
                    next="set the clock, if it is wrong; if the number is, which a board has "
                    "taken: invoke keys.floor",
                )
            if is_ahead(last + 1):
                raise UserError(
                    f"key '{name}'",
                    f"its last number is {ahead(last)} ahead of this machine's clock",
                    facts=[number_text(last)],
                    next="set the clock, if it is wrong; if it was when that was signed: "
                    f"rm {path}, and invoke keys.floor for each board that has taken it",
                )
            number = max(int(time.time()), last + 1, at_least)
            write_file(path, f"{number}\n", mode=0o644, durable=True)
        return number

    def board_record(self, board_id: str) -> "BoardRecord":
        return BoardRecord(path=self.path / "boards" / board_id)

    def _command_path(self, name: str) -> Path:
        return self.path / f"{_checked(name)}.command"

    def _command(self, name: str) -> str | None:
        path = self._command_path(name)
        return _read(path, name).decode(errors="replace").strip() if path.is_file() else None

    def _sequence_path(self, name: str) -> Path:
        return self.path / f"{_checked(name)}.sequence"

    def _last_sequence(self, name: str) -> int:
        path = self._sequence_path(name)
        try:
            text = path.read_text().strip()
        except FileNotFoundError:
            return 0
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise UserError(
                str(path),
                "not a sequence number",
                facts=[f"found: {text[:40]!r}"],
                next="write the highest number that was used with this key into it",
            )
        return int(text)


@dataclass(frozen=True, kw_only=True)
class BoardRecord:
    """Which host key a board had when a key of this folder first signed for it."""

    path: Path

    def host_key(self, current: str) -> str:
        """The fingerprint in the record; `current`, which is recorded, where there is none."""
        make_folder(self.path.parent, mode=0o700)
        with contextlib.suppress(FileExistsError):
            write_new_file(self.path, f"{current}\n", mode=0o644)
        return read_file(self.path, limit=RECORD_BYTES).decode(errors="replace").strip()


def user_keys() -> KeyFolder:
    """The keys of whoever runs this program."""
    return KeyFolder(user_config() / "keys")


class Signer:
    """A secret key that was opened once, or a command, to sign with."""

    def __init__(
        self,
        folder: KeyFolder,
        name: str,
        public: PublicKey,
        sign: Callable[[bytes, str], Signature],
    ) -> None:
        self.name = name
        self.public = public
        self._folder = folder
        self._sign = sign

    def next_sequence(self, *, at_least: int = 0) -> int:
        """A number that this key has not signed with before."""
        return self._folder.next_sequence(self.name, at_least=at_least)

    def board_record(self, board_id: str) -> BoardRecord:
        return self._folder.board_record(board_id)

    def sign(self, data: bytes, trusted_comment: str) -> Signature:
        return self._sign(data, trusted_comment)


def believable(sequence: int) -> int:
    """A number that a board reports, or 0: one far ahead of our clock must not use up a key."""
    return 0 if is_ahead(sequence) else sequence


def is_ahead(sequence: int) -> bool:
    """Whether a number is of a time to come; clocks differ by a day at most."""
    return sequence > time.time() + DAY


def ahead(sequence: int) -> str:
    """How far a number is ahead of the clock, in words."""
    days = (sequence - time.time()) / DAY
    return f"{days:,.1f} days" if days < CENTURY else "centuries"


def number_text(sequence: int) -> str:
    """A number, and the time that it stands for, to the second."""
    if not 0 <= sequence < time.time() + CENTURY * DAY:
        return f"number {sequence}"
    return f"number {sequence}: {datetime.fromtimestamp(sequence, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        facts = ["expected: small letters, digits, _ and -", f"found: {name[:64]!r}"]
        example = "the same command with a name such as line-3"
        raise UserError("key's name", "not a name for a file", facts=facts, next=example)
    return name


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        subject = f"key '{name}'"
        facts = [f"{path}: {os.strerror(error.errno or 0).lower()}"]
        generate = GENERATE if name == DEFAULT else f"{GENERATE} --name={name}"
        raise UserError(subject, "not there", facts=facts, next=generate) from error


def _require_private(path: Path, what: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UserError(
            str(path),
            f"{what} that others can read",
            facts=["expected: mode 0600", f"found: mode {mode:04o}"],
            next=f"chmod 600 {path}; if others use this machine, make a new key",
        )


def _exists_already(name: str, path: Path) -> UserError:
    return UserError(
        f"key '{name}'",
        "is there already",
        facts=[f"file: {path}"],
        next="invoke keys.generate --name=OTHER; keys.provision puts it on the boards",
    )


def _write_new(name: str, path: Path, text: str, mode: int) -> None:
    try:
        write_new_file(path, text, mode=mode)
    except FileExistsError as error:
        raise _exists_already(name, path) from error
