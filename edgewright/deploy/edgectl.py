"""`edgectl`, the helper on a board: arguments and standard input in, one JSON answer out.

docs/protocol.md is the contract. What it refuses comes back as `Refused`, with its own word.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, BinaryIO, TypeVar

from pydantic import Field

from edgewright.base.errors import TargetError
from edgewright.base.schema import Foreign, Many, parse_json
from edgewright.base.text import last_lines
from edgewright.deploy import access
from edgewright.deploy.edge_infer import selftest_failures
from edgewright.deploy.remote import Board, ByteCount, CommandError, Result
from edgewright.release.manifest import Sha256
from edgewright.release.programs import DEFAULT_PROGRAM, ReleasedProgram

PROGRAM = "bin/edgectl"  # below the deploy root, and in a release
PROTOCOL = 3
# The first protocols whose `commit` waits for the service, that have `infer`, that take first
# contact by document, and that run a release beside the one in charge.
AWAITS_SERVICE, ATTENDS, FIRST_CONTACT, SHADOWS = 2, 2, 2, 3
# The last line of the program's usage text. Programs before protocol 2 have none.
PROTOCOL_LINE = re.compile(rb"edgectl protocol ([0-9]{1,3})\n")
ZSTD = "zstd"  # an encoding
PATIENCE = 1200.0  # seconds without output: a self-test on an emulated board takes its time
INFER_SECONDS = 900  # that one command of a program may take, within PATIENCE
DAMAGED, NEWER = 65, 66  # exit codes of INSTALL: not the bytes sent; a newer one is there
NOT_RUN = 126  # what a shell says of a program that it may not or cannot run
ABSENT = 127  # and of one that is not there

AGAIN = "run the same command again"
STORAGE = f"{AGAIN}; if it happens again, look at the board's storage"
NEXT: Mapping[str, str] = {
    "no_keys": "invoke keys.provision",
    "keys_older": "invoke keys.provision --after=N with N the number that the board holds",
    "keys_conflict": f"somebody else changed the keys meanwhile: invoke status, then {AGAIN}",
    "keys_lost": "look at the board's storage; then, on the board, by root: edgectl identify and "
    "edgectl reset-keys; and from here: invoke keys.provision",
    "board_lost": "look at the board's storage; then invoke keys.provision",
    "floor_lost": "look at the board's storage; then invoke keys.floor",
    "signature_unknown_key": "sign with a key that the board trusts: invoke release.sign --key=…; "
    "or invoke keys.provision",
    "older": "if it is to go back: invoke release.sign, then deploy again; if the board's number "
    "is ahead of the clock: invoke keys.floor",
    "quarantined": "mend it; or, to try it once more: invoke release.sign, then deploy again",
    "wrong_board": "invoke boards; deploy the release that was built for this board",
    "no_space": "make room on the board, or lower deploy.reserve_mb in its profile",
    "owned": "update it by what its releases belong to, or remove them there first: docs/export.md",
    "busy": f"wait for the other deploy to end, then {AGAIN}",
    "txn_pending": f"wait until its trial is over, then {AGAIN}",
    "fence_lost": f"somebody else deployed meanwhile: invoke status, then {AGAIN}",
    "object_damaged": STORAGE,
    "release_damaged": STORAGE,
}


# It goes into what is signed: whatever else a board says there could be read as a word of ours.
BoardId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class HelperFacts(Foreign):
    version: str
    protocol: int
    sha256: str
    encodings: Many[str] = ()  # that `receive` takes; older helpers take none


class Floor(Foreign):
    """The last order that was committed: nothing older is taken."""

    sequence: int
    release: str


class Trial(Foreign):
    """A switch that is not decided yet, or whose end a power cut interrupted."""

    new: str
    old: str | None = None
    sequence: int
    state: str
    tries: int
    fence: int
    remaining_s: float | None = None


class Lease(Foreign):
    holder: str
    fence: int
    idle_s: float


class PartHeld(Foreign):
    """What an earlier upload left: 32 hex digits of SHA-256 for each 64 KiB."""

    bytes: int
    chunks: Many[str]


class Base(Foreign):
    """An object that the board holds, at the same path in its current release."""

    sha256: Sha256
    bytes: int


class Missing(Foreign):
    """An object that the board lacks."""

    sha256: Sha256
    bytes: int
    path: str
    part: PartHeld | None = None
    base: Base | None = None


class Clock(Foreign):
    """The board's wall clock: Unix seconds, and whether its kernel says that NTP steers it."""

    unix_s: int
    synchronised: bool


class _Answer(Foreign):
    version: int
    command: str
    helper: HelperFacts


class PlanAnswer(_Answer):
    """`plan` and `begin`; `fence` is there after `begin`."""

    release: str
    sequence: int
    key: str
    state: str
    sound: bool
    noop: bool
    missing: Many[Missing]
    missing_bytes: int
    needed_bytes: int
    free_bytes: int
    current: str | None
    previous: str | None
    floor: Floor | None
    txn: Trial | None
    lease: Lease | None
    fence: int | None = None
    clock: Clock | None = None  # helpers of protocol 1 do not tell


class ChunksAnswer(_Answer):
    bytes: int
    chunk_bytes: int
    chunks: Many[str]


class Received(Foreign):
    """Bytes of an object by where they came from."""

    sha256: str
    bytes: int
    sent: int
    copied: int
    kept: int


class ReceiveAnswer(_Answer):
    objects: Many[Received]


class SealAnswer(_Answer):
    release: str
    made: bool
    mended: Many[str]
    read_back_bytes: int


class TestedProgram(Foreign):
    verbatim = frozenset({"report"})

    program: str
    exit: int
    report: str


class SelftestAnswer(_Answer):
    verbatim = frozenset({"report"})

    exit: int  # of the last program that was run
    report: str
    programs: Many[TestedProgram] = ()  # none: the default program alone


class InferAnswer(_Answer):
    verbatim = frozenset({"report"})

    release: str
    exit: int
    report: str


class SwitchAnswer(_Answer):
    switched: bool  # False: the release was current already


class CommitAnswer(_Answer):
    committed: bool


class RevertAnswer(_Answer):
    reverted: str | None
    current: str | None


class Removed(Foreign):
    releases: Many[str]
    objects: int
    bytes: int


class GcAnswer(_Answer):
    removed: Removed


class _OfAKind(Foreign):
    """What a board calls its kind; nothing before first contact."""

    compatible: str | None
    aliases: Many[str] = ()  # helpers of protocol 1 have none

    @property
    def names(self) -> tuple[str, ...]:
        return (self.compatible, *self.aliases) if self.compatible is not None else ()


class KeysAnswer(_Answer, _OfAKind):
    changed: bool
    keys: Many[str]
    sequence: int


class IdentifyAnswer(_Answer, _OfAKind):
    """The board's id, made at first contact, and `keys.json` as it is in force."""

    verbatim = frozenset({"document"})  # what it says is hashed; its reader is as strict

    board_id: BoardId
    document: str | None


class ForgetAnswer(_Answer):
    removed: Removed
    remains: Many[str]  # names below the deploy root


class ResetAnswer(_Answer):
    board_id: str  # that the board had


class Service(Foreign):
    pid: int
    release: str | None = None  # that it runs; protocol 1 does not tell
    ready: bool = False  # it has inferred a golden image of that release as it should


class StatusAnswer(_Answer, _OfAKind):
    board_id: str | None = None  # helpers of protocol 1 do not tell
    keys: Many[str]
    current: str | None
    previous: str | None
    floor: Floor | None
    txn: Trial | None
    lease: Lease | None
    releases: Many[str]
    quarantine: Many[str]
    objects: int
    object_bytes: int
    service: Service | None
    free_bytes: int
    sound: bool | None
    clock: Clock | None = None  # helpers of protocol 1 do not tell


class ProbeAnswer(_Answer):
    """`probe`: the machine and the storage of the deploy root."""

    root: str
    machine: str
    kernel: str
    boot_id: str
    uptime_s: int
    filesystem: str  # its magic number, in hexadecimal
    free_bytes: int
    free_files: int
    memory_bytes: int


class Soundness(Foreign):
    """A release on the board, every file of it read again."""

    release: str
    sound: bool
    problems: Many[str]


class VerifyAnswer(_Answer):
    current: Soundness | None
    previous: Soundness | None


class Problem(Foreign):
    code: str
    message: str
    next: str | None = None


class Refusal(Foreign):
    """What every command answers when it refuses."""

    verbatim = frozenset({"report"})

    version: int
    error: Problem
    report: str = ""  # of a self-test that did not pass: what the program wrote


Answer = TypeVar("Answer", bound=_Answer)


class RefusedError(TargetError):
    """The helper refused; `code` is its word for it (docs/protocol.md)."""

    def __init__(self, subject: str, problem: Problem, facts: Sequence[str] = ()) -> None:
        self.code, self.refusal = problem.code, problem
        next = NEXT.get(problem.code, problem.next)
        super().__init__(subject, problem.message, facts=facts, next=next)


class AbsentError(TargetError):
    """There is no helper on the board, or none that answers."""


@dataclass(frozen=True, kw_only=True)
class Edgectl:
    """The helper of one deploy root."""

    board: Board
    root: str
    protocol: int = PROTOCOL  # that the helper speaks at least

    def plan(self, order: bytes, *, reserve_bytes: int = 0) -> PlanAnswer:
        """What a deploy of this order would do; `order` is `signed_input`."""
        return self._ask_order("plan", order, reserve_bytes)

    def begin(
        self,
        order: bytes,
        *,
        holder: str,
        reserve_bytes: int,
        take_over: bool = False,
        fence: int | None = None,
    ) -> PlanAnswer:
        """`fence`: the number to begin with, above the board's last; else one more than that."""
        more = ["--take-over"] if take_over else []
        more += [f"--fence={fence}"] if fence is not None else []
        return self._ask_order("begin", order, reserve_bytes, f"--holder={holder}", *more)

    def chunks(self, sha256: str, size: int) -> ChunksAnswer:
        return self._ask(ChunksAnswer, "chunks", f"--object={sha256}", f"--chunk={size}")

    def receive(self, fence: int, stream: BinaryIO, on_bytes: ByteCount | None) -> ReceiveAnswer:
        argv = self._argv("receive", f"--fence={fence}")
        result = self.board.send(argv, stream, on_bytes=on_bytes, timeout=PATIENCE)
        return self._read(ReceiveAnswer, result)

    def seal(self, fence: int) -> SealAnswer:
        return self._ask(SealAnswer, "seal", f"--fence={fence}")

    def selftest(self, fence: int, *, timeout_s: int) -> dict[str, Result]:
        """What each program's self-test left behind; one that did not pass is refused."""
        options = f"--fence={fence}", f"--timeout={timeout_s}"
        answer = self._ask(SelftestAnswer, "selftest", *options)
        tested = answer.programs or (
            TestedProgram(program=DEFAULT_PROGRAM.name, exit=answer.exit, report=answer.report),
        )
        return {
            run.program: Result(
                argv=(run.program, "selftest"), returncode=run.exit, stdout=run.report, stderr=""
            )
            for run in tested
        }

    def infer(
        self,
        right: str,
        arguments: Sequence[str],
        program: str | None = None,
        *,
        memory_mb: int = 0,
        timeout_s: int = INFER_SECONDS,
    ) -> Result:
        """What a command of the default program left behind. It ends with us, as `selftest` does.

        `right` is a deploy's `--fence=N`, or `--holder=WHO` for the release that is current. Of
        another `program`, which that release has, the only command is `selftest`.
        `memory_mb`: it is ended, and refused, where it holds more than that many MiB; 0: any.
        So is one that does not end by itself within `timeout_s`.
        """
        options = [right, f"--timeout={timeout_s}"]
        options += [f"--program={program}"] if program else []
        options += [f"--memory={memory_mb}"] if memory_mb else []
        result = self.board.run(self._argv("infer", *options, *arguments), timeout=PATIENCE)
        answer = self._read(InferAnswer, result)
        return Result(
            argv=(program or DEFAULT_PROGRAM.name, *arguments),
            returncode=answer.exit,
            stdout=answer.report,
            stderr=result.stderr,
        )

    def switch(self, fence: int, *, deadline_s: int, awaits_service: bool = False) -> SwitchAnswer:
        """Begin the trial; with `awaits_service` it is won only once the service is ready."""
        options = [f"--fence={fence}", f"--deadline={deadline_s}"]
        return self._ask(SwitchAnswer, "switch", *options, *["--service"] * awaits_service)

    def commit(self, fence: int) -> CommitAnswer:
        """End the trial well; waits for the service where the switch said so."""
        return self._ask(CommitAnswer, "commit", f"--fence={fence}")

    def revert(self, fence: int, *, bad: str | None = None) -> RevertAnswer:
        """End the trial badly: `current` is what it was. `bad` quarantines the release."""
        reason = [f"--bad={bad}"] if bad else []
        return self._ask(RevertAnswer, "rollback", f"--fence={fence}", *reason)

    def gc(self, fence: int) -> GcAnswer:
        return self._ask(GcAnswer, "gc", f"--fence={fence}")

    def status(self, *, verify: bool = False) -> StatusAnswer:
        return self._ask(StatusAnswer, "status", *(["--verify"] if verify else []))

    def identify(self) -> IdentifyAnswer:
        return self._ask(IdentifyAnswer, "identify")

    def forget(self, order: bytes) -> ForgetAnswer:
        """Wipe the board: releases, objects and keys; `order` is `signed_input`."""
        return self._ask(ForgetAnswer, "forget", input=order)

    def keys(self, order: bytes, *, compatible: str) -> KeysAnswer:
        return self._ask(KeysAnswer, "keys", f"--compatible={compatible}", input=order)

    def _ask_order(
        self, command: str, order: bytes, reserve_bytes: int, *options: str
    ) -> PlanAnswer:
        try:
            return self._ask(
                PlanAnswer, command, f"--reserve={reserve_bytes}", *options, input=order
            )
        except RefusedError as refused:
            if refused.code != "no_space" or not reserve_bytes:
                raise
            # The board counts the reserve among what it needs, and does not tell it apart.
            facts = [f"reserve: {reserve_bytes:,} bytes of what is needed stay free"]
            raise RefusedError(refused.subject, refused.refusal, facts) from refused

    def _argv(self, command: str, *options: str) -> list[str]:
        return [f"{self.root}/{PROGRAM}", command, f"--root={self.root}", *options]

    def _ask(self, kind: type[Answer], command: str, *options: str, input: bytes = b"") -> Answer:
        argv = self._argv(command, *options)
        return self._read(kind, self.board.run(argv, input=input, timeout=PATIENCE))

    def _read(self, kind: type[Answer], result: Result) -> Answer:
        """Raises RefusedError, or AbsentError for what is no answer of a helper.

        Where the login or the file system is at fault, TargetError says so instead.
        """
        try:
            if result.returncode == 0:
                return parse_json(kind, result.stdout, PROGRAM, "no answer", blame=TargetError)
            refusal = parse_json(Refusal, result.stdout, PROGRAM, "no answer", blame=TargetError)
        except TargetError as broken:
            raise self._absent(result) from broken
        fault = None
        if refusal.error.code == "io":
            fault = access.explain(self.board, self.root)
        facts = selftest_failures(refusal.report) if refusal.report else []
        raise fault or RefusedError(str(self.board.target), refusal.error, facts)

    def _absent(self, result: Result) -> TargetError:
        if result.returncode == NOT_RUN and (fault := access.explain(self.board, self.root)):
            return fault
        is_absent = result.returncode == ABSENT
        tail = [f"| {line}" for line in last_lines(result.stdout + result.stderr, 5)]
        return AbsentError(
            f"{self.board.target}: {self.root}/{PROGRAM}",
            "is not there: nothing was deployed yet" if is_absent else "does not answer",
            facts=[] if is_absent else [f"exit code {result.returncode}", *tail],
            next="invoke deploy",
        )


@dataclass(frozen=True, kw_only=True)
class BoardRelease:
    """A release in its folder on a board, and the right to run its programs."""

    edgectl: Edgectl
    release: str
    right: str  # of `Edgectl.infer`

    @property
    def folder(self) -> str:
        return f"{self.edgectl.root}/releases/{self.release}"

    def infer(self, arguments: Sequence[str]) -> Result:
        """Run one command of the default program. Raises TargetError.

        Through a helper of protocol 1 it is run as it is, and runs on if we are cut off.
        """
        if self.edgectl.protocol >= ATTENDS:
            return self.edgectl.infer(self.right, arguments)
        argv = [f"{self.folder}/{DEFAULT_PROGRAM.path}", *arguments]
        return self.edgectl.board.run(argv, timeout=INFER_SECONDS)

    def selftest(self, program: ReleasedProgram) -> Result:
        """Run the self-test of a program of the user's, as the manifest says. Raises TargetError.

        No helper but one of protocol 3 has ever taken a release with such a program.
        """
        return self.edgectl.infer(self.right, ["selftest"], program.name)


def signed_input(signature: bytes, document: bytes) -> bytes:
    """Standard input of `plan`, `begin` and `keys`."""
    return signature + document


def protocol_of(program: bytes) -> int:
    """The protocol that an `edgectl` speaks, read in its bytes: it may be for another machine."""
    line = PROTOCOL_LINE.search(program)
    return int(line[1]) if line else 1


# A helper that is not there cannot receive itself: the board's shell does. Only bytes with the
# right hash get its name, by rename; two who install at once do not write into one file, and what
# lies there in the end is read again. One that speaks a newer protocol stays: it may have written
# what an older one cannot read. A helper that does not run says so by the `id` of protocol 2. It is
# looked at twice: another may have come meanwhile.
INSTALL = r"""
set -e
umask 022
keep_newer() {
    help=$("$1/bin/edgectl" --help 2>/dev/null) || help=
    case $help in
        *'edgectl protocol '*) speaks=${help##*'edgectl protocol '} ;;
        *) speaks=1; if [ -e "$1/id" ]; then speaks=2; fi ;;
    esac
    [ "$speaks" -le "$2" ] || { echo "$speaks"; exit 66; }
}
new=$1/bin/edgectl-$2-$$
keep_newer "$1" "$3"
mkdir -p "$1/bin"
trap 'rm -f "$new"' EXIT
check() {
    found=$(sha256sum "$1")
    found=${found%% *}
    [ "$found" = "$2" ] || { echo "$found"; exit 65; }
}
cat > "$new"
check "$new" "$2"
chmod 0755 "$new"
sync "$new"
keep_newer "$1" "$3"
mv -f "$new" "$1/bin/edgectl"
sync "$1/bin" "$1"
check "$1/bin/edgectl" "$2"
"""


def install_edgectl(board: Board, root: str, program: bytes, sha256: str) -> None:
    """Put `edgectl` on a board, or replace it by one that speaks its protocol or a newer one.

    Raises TargetError.
    """
    protocol = protocol_of(program)
    argv = ["sh", "-c", INSTALL, "_", root, sha256, str(protocol)]
    result = board.run(argv, input=program)
    if result.returncode == NEWER:
        raise TargetError(
            f"{board.target}: {PROGRAM}",
            "stays as it is: the release brings one of an older protocol",
            facts=[
                *(f"expected: protocol {line}" for line in last_lines(result.stdout, 1)),
                f"found: protocol {protocol}",
            ],
            next="invoke build, which makes a release with a newer one",
        )
    if result.returncode == DAMAGED:
        raise TargetError(
            f"{board.target}: {PROGRAM}",
            "arrived damaged",
            facts=[
                f"expected: {sha256}",
                *(f"found: {line}" for line in last_lines(result.stdout, 1)),
            ],
            next=NEXT["object_damaged"],
        )
    if result.returncode != 0:
        fault = access.explain(board, root, len(program))
        raise fault or CommandError(board.target, result)
