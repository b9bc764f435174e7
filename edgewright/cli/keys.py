"""Signing keys."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.base.progress import Progress
from edgewright.board.profile import BoardProfile
from edgewright.cli import many
from edgewright.cli.common import (
    Json,
    Reach,
    ask_line,
    ask_secret,
    latest_release,
    print_uncut,
    say,
    task,
    task_named,
    write_document,
)
from edgewright.cli.documents import BoardFloor, ForgottenBoard, TrustedKeys
from edgewright.cli.many import BoardEnds, Boards, Member
from edgewright.deploy import first_contact, install, keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Board
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.release import evidence, keys, minisign, order, sdk
from edgewright.release.documents import key_list
from edgewright.release.keys import Signer
from edgewright.release.minisign import PublicKey
from edgewright.release.sdk import Sdk
from edgewright.release.wheel import sign_wheel as sign_provenance
from edgewright.release.wheel import wheel_evidence

KeyName = Annotated[str, "name of the key, 'default' unless given"]
Authority = Annotated[
    str, "name of the key that authorises it; default: one of yours that the board trusts"
]
After = Annotated[int, "a sequence number to go beyond, on a board of protocol 1"]
Confirm = Annotated[
    tuple[str, ...],
    "a key that the board may go on trusting: its fingerprint, or line 2 of its .pub file",
]
PUBLIC_BYTES = 4096  # of a .pub file
FINGERPRINT = "SHA256:"


def ask(name: str) -> str | None:
    """The passphrase of a key: from the environment, else typed, if somebody is there to type."""
    passphrase = os.environ.get(keys.PASSPHRASE)
    if passphrase is None and sys.stdin.isatty():
        return ask_secret(f"passphrase of key '{name}'", keys.PASSPHRASE)
    return passphrase


def signing_policy(key: str = "") -> SigningPolicy:
    """This user's keys; `key` is the name of the one to sign with, if one was named."""
    return SigningPolicy(keys=keys.user_keys(), ask=ask, key=key)


def sign_build(board: str) -> None:
    """Sign the last build if there is a default key that opens without anybody's help."""
    release = latest_release(board)
    behind = evidence.beside(release)
    is_signed = order.read_signature(release) is not None
    if is_signed and not evidence.is_unsigned(behind):
        return
    signer = _ready_signer("deploy and release.sign run it")
    if signer and is_signed:  # what was built before, from other inputs: the order stays
        evidence.sign_release(release, signer)
        say("signed its provenance")
    elif signer:
        signed = order.sign_release(release, signer)
        say(f"signed with sequence {signed.sequence}")


def sign_sdk(built: Sdk) -> None:
    """Sign an SDK, likewise."""
    is_signed = built.signature.exists()
    if is_signed and not evidence.is_unsigned(sdk.sdk_evidence(built)):
        return
    signer = _ready_signer("sdk.sign runs it")
    if signer and is_signed:  # perhaps by another key, whose signature stays
        sdk.sign_provenance(built, signer)
        say("signed its provenance")
    elif signer:
        sdk.sign_sdk(built, signer)
        say(f"signed by key {signer.public.id}")


def sign_wheel(wheel: Path) -> None:
    """Sign the provenance of a wheel, likewise."""
    is_signed = not evidence.is_unsigned(wheel_evidence(wheel))
    if not is_signed and (signer := _ready_signer("sdk.sign runs it")):
        sign_provenance(wheel, signer)
        say(f"signed by key {signer.public.id}")


def _ready_signer(by_command: str) -> Signer | None:
    """The default key, if it opens by itself; `by_command` says who runs one that is a command."""
    folder = keys.user_keys()
    if not folder.exists(keys.DEFAULT):
        return None
    if folder.stored(keys.DEFAULT).command is not None:
        say(f"not signed: the default key signs by a command; {by_command}")
        return None
    if folder.stored(keys.DEFAULT).locked and ask(keys.DEFAULT) is None:
        say("not signed: the default key is locked, and nobody is there to unlock it")
        return None
    return folder.open_signer(keys.DEFAULT, ask)


@dataclass(frozen=True, kw_only=True)
class BoardKeys:
    """Who may change the keys of boards, and how they are reached."""

    boards: Boards
    by: str
    confirm: tuple[str, ...]
    # Shared by all boards: a key is opened once, so a passphrase is asked for once.
    policy: SigningPolicy = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", signing_policy(self.by))
        self._named()  # what is no key is refused before a board is reached

    def edgectl(self, board: Board, member: Member) -> Edgectl:
        """`edgectl` of the last build for a board, which may have none yet."""
        release = latest_release(member.profile.name)
        return install.ensure_edgectl(board, release.manifest.deploy_root, release)

    def signer(
        self, edgectl: Edgectl, *, new: str = keys.DEFAULT, leaving: Sequence[str] = ()
    ) -> Signer:
        if self.by:
            return self.policy.signer(emulated=False)
        trusted = keyring.read(edgectl).public
        return self.policy.authority(trusted, new=new, leaving=leaving)

    def _named(self) -> tuple[PublicKey, ...]:
        lines = [typed for typed in self.confirm if not typed.startswith(FINGERPRINT)]
        return self.policy.confirmed(lines)

    def confirmed(self, edgectl: Edgectl, leaving: Sequence[str] = ()) -> tuple[PublicKey, ...]:
        """The keys of others that may stay: named by the option, or typed at a terminal."""
        named = self._named()
        strange = [
            key
            for key in keyring.read(edgectl).public
            if key not in named and key.id not in leaving
        ]
        return (*named, *(key for key in strange if self._is_confirmed(key, edgectl)))

    def _is_confirmed(self, key: PublicKey, edgectl: Edgectl) -> bool:
        if key.fingerprint in self.confirm:
            return True
        if not (self.boards.is_one and sys.stdin.isatty()):  # several would ask at once
            return False
        say(f"{edgectl.board.target} trusts key {key.id}, which is not in your key folder:")
        say(f"  {key.fingerprint}")
        say("  its owner sees the same fingerprint in invoke keys.list")
        return ask_line("to let it stay, type its fingerprint: ") == key.fingerprint

    def change_trusted(
        self,
        command: str,
        change: Callable[[Edgectl, BoardProfile], Sequence[str]],
        *,
        json: bool,
    ) -> None:
        """Change which keys each board trusts; `change` returns their ids."""

        def work(board: Board, member: Member, progress: Progress) -> TrustedKeys:
            ids = change(self.edgectl(board, member), member.profile)
            return TrustedKeys(target=str(board.target), keys=tuple(ids))

        many.run_connected(
            command,
            self.boards,
            work,
            line=_trusts,
            document=BoardEnds[TrustedKeys],
            json=json,
        )


def _trusts(report: TrustedKeys) -> str:
    return f"trusts {', '.join(report.keys)}"


@task
def provision(
    c: Context,
    boards: Boards,
    key: KeyName = keys.DEFAULT,
    by: Authority = "",
    confirm: Confirm = (),
    after: After = 0,
    other_kind: Annotated[bool, "although the board's device tree names another kind"] = False,
    scope: Annotated[
        str, "'compatible': for every board of the kind with these keys, not this one alone"
    ] = "board",
    json: Json = False,
) -> None:
    """Make a board trust a key. Example: invoke keys.provision --board=rpi2 --host=root@10.0.0.7"""
    board_keys, new = BoardKeys(boards=boards, by=by, confirm=confirm), keys.user_keys().stored(key)
    for_kind = scope != "board"
    if for_kind:
        _require_kind_confirmed(_only_board(boards, "--scope").profile, scope)

    def change(edgectl: Edgectl, profile: BoardProfile) -> Sequence[str]:
        if not other_kind:
            _require_kind(edgectl, profile)
        return keyring.provision(
            edgectl,
            profile.names,
            new.public,
            board_keys.signer(edgectl, new=key),
            confirmed=board_keys.confirmed(edgectl),
            after=after,
            for_kind=for_kind,
        )

    board_keys.change_trusted("keys.provision", change, json=json)


def _only_board(boards: Boards, option: str) -> Reach:
    if not boards.is_one:
        raise UserError(option, "is for one board", next="the same command with one --host")
    return boards.only_reach()


def _require_kind_confirmed(profile: BoardProfile, scope: str) -> None:
    """Say what a document for a whole kind can do; who names the kind has read it."""
    name = profile.compatible
    if scope not in ("compatible", name):
        raise UserError(
            f"--scope={scope}",
            "not a scope",
            facts=[f"expected: board, compatible or {name}"],
            next="the same command without --scope: the keys count on this board alone",
        )
    say(
        f"these keys will count on every board of {name} that has the same keys document in "
        "force as this one, or none as this one: whoever gets hold of the document can send it "
        "there, now and later"
    )
    if name not in (scope, ask_line(f"if that is meant, type {name}: ")):
        raise UserError(
            f"board '{profile.name}'",
            "keys for a whole kind were not confirmed",
            next=f"the same command with --scope={name}, or without --scope",
        )


def _require_kind(edgectl: Edgectl, profile: BoardProfile) -> None:
    """At first contact, ask the device tree. Raises TargetError for another kind of board."""
    board = edgectl.board
    if board.target.emulated or edgectl.status().compatible:
        return
    if remark := first_contact.require_kind(board, profile):
        say(f"{board.target}: {remark}")


@task
def revoke(
    c: Context,
    boards: Boards,
    key: Annotated[str, "name of the key, if you have its public half"] = "",
    id: Annotated[tuple[str, ...], "or its id, as invoke status tells it"] = (),
    by: Authority = "",
    confirm: Confirm = (),
    after: After = 0,
    json: Json = False,
) -> None:
    """Make a board forget a key. Example: invoke keys.revoke --board=rpi2 --emulated --key=old"""
    if bool(key) == bool(id):
        raise UserError("key", "expected one of --key and --id", next="invoke keys.list")
    board_keys = BoardKeys(boards=boards, by=by, confirm=confirm)
    # Ids are written in capitals; a person may type them otherwise.
    revoked = [typed.upper() for typed in id] or [keys.user_keys().stored(key).public.id]

    def change(edgectl: Edgectl, profile: BoardProfile) -> Sequence[str]:
        return keyring.revoke(
            edgectl,
            profile.names,
            revoked,
            board_keys.signer(edgectl, leaving=revoked),
            confirmed=board_keys.confirmed(edgectl, revoked),
            after=after,
        )

    board_keys.change_trusted("keys.revoke", change, json=json)


@task
def floor(
    c: Context,
    boards: Boards,
    by: Authority = "",
    confirm: Confirm = (),
    json: Json = False,
) -> None:
    """Set a board's last sequence number to the present time, where a wrong clock raised it.

    Example: invoke keys.floor --board=rpi2 --host=root@10.0.0.7
    """
    board_keys, number = BoardKeys(boards=boards, by=by, confirm=confirm), int(time.time())

    def set_floor(board: Board, member: Member, progress: Progress) -> BoardFloor:
        edgectl = board_keys.edgectl(board, member)
        signer, confirmed = board_keys.signer(edgectl), board_keys.confirmed(edgectl)
        keyring.set_floor(edgectl, member.profile.names, number, signer, confirmed=confirmed)
        return BoardFloor(target=str(board.target), floor=number)

    many.run_connected(
        "keys.floor",
        boards,
        set_floor,
        line=lambda report: f"takes orders above {report.floor}",
        document=BoardEnds[BoardFloor],
        json=json,
    )


@task
def forget(c: Context, boards: Boards, by: Authority = "", json: Json = False) -> None:
    """Wipe a board's releases and keys. Example: invoke keys.forget --board=rpi2 --host=pi@rpi2"""
    board_keys = BoardKeys(boards=boards, by=by, confirm=())

    def wipe(board: Board, member: Member, progress: Progress) -> ForgottenBoard:
        edgectl, target = board_keys.edgectl(board, member), str(board.target)
        if edgectl.status().service is not None:
            raise UserError(
                target,
                "its service runs",
                next="invoke service.remove, then the same command again",
            )
        answer = keyring.forget(edgectl, board_keys.signer(edgectl))
        return ForgottenBoard(
            target=target,
            releases=answer.removed.releases,
            objects=answer.removed.objects,
            bytes=answer.removed.bytes,
            remains=answer.remains,
        )

    many.run_connected(
        "keys.forget",
        boards,
        wipe,
        line=_forgot,
        document=BoardEnds[ForgottenBoard],
        json=json,
    )


def _forgot(report: ForgottenBoard) -> str:
    return (
        f"removed {len(report.releases)} releases, {report.objects} objects, "
        f"{report.bytes:,} bytes, and all keys; what remains below its deploy root: "
        f"{', '.join(report.remains)}"
    )


@task
def generate(
    c: Context,
    name: KeyName = keys.DEFAULT,
    passphrase: Annotated[bool, "lock it: typed twice, or from EDGEWRIGHT_KEY_PASSPHRASE"] = False,
    json: Json = False,
) -> None:
    """Make a signing key. Example: invoke keys.generate --passphrase"""
    folder = keys.user_keys()
    key = folder.generate(name, _new_passphrase() if passphrase else None)
    say(f"key {key.public.id}: {folder.secret_path(name)}")
    say("next: invoke keys.provision puts it on a board")
    if json:
        write_document(key_list([key]))


@task
def external(
    c: Context,
    name: Annotated[str, "name of the key"],
    public: Annotated[str, "its minisign .pub file"],
    command: Annotated[str, "shell command that signs what it reads"],
    json: Json = False,
) -> None:
    """Sign by a command instead of a key file.

    Example: invoke keys.external --name=token --public=token.pub --command='sign-with-token'
    """
    key = keys.user_keys().add_external(
        name,
        minisign.parse_public_key(read_file(Path(public), limit=PUBLIC_BYTES), public),
        command,
    )
    say(f"key {key.public.id}: signed by {command}")
    say("next: invoke keys.provision puts it on a board")
    if json:
        write_document(key_list([key]))


def _new_passphrase() -> str:
    preset = os.environ.get(keys.PASSPHRASE)
    passphrase = preset if preset is not None else ask_secret("new passphrase", keys.PASSPHRASE)
    if not passphrase:
        raise UserError("passphrase", "empty", next="leave out --passphrase, or type one")
    # What is typed unseen is typed twice; a script's text has no slip of the finger.
    if preset is None and ask_secret("again", keys.PASSPHRASE) != passphrase:
        raise UserError("passphrase", "typed differently the second time", next="try again")
    return passphrase


@task_named("list")
def list_(c: Context, json: Json = False) -> None:
    """List your keys. Example: invoke keys.list"""
    listed = keys.user_keys().listed()
    if json:
        write_document(key_list(listed))
        return
    header = ("key", "id", "secret half", "last sequence", "fingerprint")
    table = Table(*header, box=None, pad_edge=False)
    for key in listed:
        secret = ("locked" if key.locked else "open") if key.has_secret else "not here"
        secret = "by a command" if key.command is not None else secret
        table.add_row(
            key.name,
            key.public.id,
            secret,
            str(key.last_sequence or "none"),
            key.public.fingerprint,
        )
    print_uncut(table)
