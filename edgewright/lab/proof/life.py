"""A board's life in commands: installs, trials, rollbacks, a bad release, new keys."""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgewright.lab.proof.orders import (
    COMPATIBLE,
    RUN,
    Answer,
    Helper,
    RefusedError,
    SignedOrder,
    floor_of,
    keys_input,
    leaks,
    linked,
    release_problem,
    small_release,
    state,
)
from edgewright.release.manifest import SIGNATURE
from edgewright.release.minisign import SecretKey

NOTHING_TO_START = 17
RENAMED = ("acme,renamed", COMPATIBLE)  # its kind, once the second key is trusted
MEMORY = Path("/dev/shm")

Promise = Callable[[Path], str | None]  # board's folder → what is broken


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of `edgectl`, and the promise that holds for ever after it has answered."""

    name: str
    argv: tuple[str, ...]
    input: bytes = b""
    order: SignedOrder | None = None  # of the deploy that the command belongs to
    keeps: Promise = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Life:
    """All steps, in order, and who signs."""

    steps: tuple[Command, ...]
    keys: tuple[SecretKey, ...]
    first_contact: bytes  # the keys document with the first key
    rotation: bytes  # the keys document with the second key, signed by the first
    final: SignedOrder  # of the highest sequence


def life(folder: Path, root: Path) -> Life:
    """The life that every proof plays; release A goes in, B is tried, C proves bad."""
    first, second = SecretKey.generate(), SecretKey.generate()
    a, b, c = (
        small_release(folder / name, root, f"model {name}".encode() * 9000) for name in "abc"
    )
    first_contact = keys_input([first], first)
    rotation = keys_input([second], first, sequence=2, after=first_contact, names=RENAMED)
    at = {
        sequence: SignedOrder(release=release, sequence=sequence, key=key)
        for release, sequence, key in (
            *((a, 10, first), (b, 20, first), (b, 30, first), (a, 40, first)),
            *((c, 50, first), (c, 60, second), (b, 70, second)),
        )
    }
    steps = (
        Command(name="identify", argv=("identify",), keeps=_identified),
        Command(
            name="keys",
            argv=("keys", f"--compatible={COMPATIBLE}"),
            input=first_contact,
            keeps=_trusts(first, second),
        ),
        *_deploy(1, at[10], "commit", "gc"),
        *_deploy(2, at[20], "start", "rollback"),
        *_deploy(3, at[30], "start", "commit", "gc"),
        *_deploy(4, at[40], "commit", "gc"),
        *_deploy(5, at[50], "start", "bad"),
        Command(
            name="new keys",
            argv=("keys", f"--compatible={COMPATIBLE}"),
            input=rotation,
            keeps=_trusts(second, kinds=(RENAMED,)),
        ),
        *_deploy(6, at[60], "start", "start", tries=1),
        *_deploy(7, at[70], "recover", "commit", "gc"),
    )
    final = SignedOrder(release=a, sequence=1000, key=second)
    return Life(
        steps=steps,
        keys=(first, second),
        first_contact=first_contact,
        rotation=rotation,
        final=final,
    )


def _deploy(fence: int, order: SignedOrder, *ends: str, tries: int = 3) -> Iterator[Command]:
    token = f"--fence={fence}"
    inputs = {"begin": order.input, "receive": order.stream(order.objects)}
    argvs = {
        "begin": ("begin", "--holder=prover"),
        "switch": ("switch", token, f"--tries={tries}", "--deadline=0"),
        "start": ("start", *RUN),
        "rollback": ("rollback", token),
        "bad": ("rollback", token, "--bad=it proved bad"),
        "recover": ("recover",),
    }
    keeps = {
        "begin": _fenced(fence),
        "start": _counts_tries(order, tries),
        "commit": _committed(order),
        "bad": _quarantined(order),
    }
    for index, name in enumerate(("begin", "receive", "seal", "selftest", "switch", *ends)):
        again = ends[: index - 5].count(name) if index > 5 else 0
        yield Command(
            name=f"{fence}: {name}{' again' if again else ''}",
            argv=argvs.get(name, (name, token)),
            input=inputs.get(name, b""),
            order=order,
            keeps=_quarantined(order) if again else keeps.get(name, lambda _: None),
        )


# Promises: what an answer of `edgectl` means for every later state of the board


def _identified(root: Path) -> str | None:
    return None if len(state(root, "id")) == 33 else "the board has forgotten which one it is"


def _trusts(
    *keys: SecretKey, kinds: Sequence[tuple[str, ...]] = ((COMPATIBLE,), RENAMED)
) -> Promise:
    def broken(root: Path) -> str | None:
        if tuple(state(root, "board").splitlines()) not in kinds:
            return "the board has forgotten what it is"
        text = state(root, "keys.json")
        return (
            None
            if any(key.public.line in text for key in keys)
            else "keys are not what was accepted"
        )

    return broken


def _fenced(fence: int) -> Promise:
    def broken(root: Path) -> str | None:
        value = int(state(root, "fence") or 0)
        return None if value >= fence else f"fence {fence} would be given out twice"

    return broken


def _committed(order: SignedOrder) -> Promise:
    def broken(root: Path) -> str | None:
        floor = floor_of(root)
        if floor < order.sequence:
            return f"floor is {floor} after {order.sequence} was committed"
        signature = _text(root / "releases" / order.release.id / SIGNATURE)
        if floor == order.sequence and f"sequence={floor} " not in signature:
            return f"the signature with sequence {floor} is not on the board"
        return None

    return broken


def _counts_tries(order: SignedOrder, tries: int) -> Promise:
    def broken(root: Path) -> str | None:
        words = state(root, "txn").split()
        on_trial = len(words) == 10 and words[:2] == ["trial", order.release.id]
        if on_trial and int(words[3]) == order.sequence and int(words[4]) >= tries:
            return "a try was not counted"
        return None

    return broken


def _quarantined(order: SignedOrder) -> Promise:
    def broken(root: Path) -> str | None:
        words = _text(root / "quarantine" / order.release.id).split()
        floor = floor_of(root)
        # A note whose write was lost may be zeros.
        noted = bool(words) and words[0].isdigit() and int(words[0]) >= order.sequence
        return None if noted or floor > order.sequence else "a bad release is not quarantined"

    return broken


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


# Recovery


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for boards that are thrown away, in memory if possible: thousands are made.

    A memory file system may forbid to execute programs, which releases are.
    """
    usable = MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    with tempfile.TemporaryDirectory(
        prefix="edgewright-", dir=MEMORY if usable else None
    ) as folder:
        yield Path(folder)


def boot(proc: Path) -> None:
    """Boot the board again: edgectl knows boots apart by the kernel's random id in `proc`."""
    path = proc / "sys/kernel/random/boot_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{uuid.uuid4()}\n")


def unsound(root: Path, keys: tuple[SecretKey, ...]) -> str | None:
    """What is wrong with the release that `current` names, or None."""
    current = linked(root, "current")
    if current is None:
        return None
    problem = release_problem(root, current, keys)
    return f"current: {problem}" if problem else None


def untried(root: Path) -> str | None:
    """A release that was never committed is current, and nothing would ever undo it."""
    current, committed = linked(root, "current"), state(root, "floor").split()[1:]
    # A trial is undone by the board itself, if nobody commits it.
    trial = state(root, "txn").split()[1:2]
    if current is None or current in (*committed, *trial):
        return None
    return f"{current} is current, neither committed nor on trial"


def does_not_start(helper: Helper, *, may_be_empty: bool) -> str | None:
    code = helper.starts()
    if code == 0 or (code == NOTHING_TO_START and may_be_empty):
        return None
    return f"start ended with exit code {code}"


def does_not_converge(helper: Helper, life: Life, step: Command) -> str | None:
    """Repeat the interrupted deploy, then make another one; None if both succeed and clean up."""
    try:
        _repeat(helper, life, step)
        helper.deploy(life.final)
    except RefusedError as refused:
        return f"a redeploy is refused: {refused}"
    leftovers = leaks(helper.root)
    if leftovers:
        return f"left over: {', '.join(leftovers)}"
    if helper.deploy(life.final):
        return "deploying once more is not a no-op"
    return unsound(helper.root, life.keys)


def _repeat(helper: Helper, life: Life, step: Command) -> None:
    # Orders of the first key come before the rotation, which withdraws that key.
    keys = ("keys", f"--compatible={COMPATIBLE}")
    if step.name in ("identify", "keys"):
        helper.run("identify")
        helper.run(*keys, input=life.first_contact)
    elif step.name == "new keys":
        helper.run(*keys, input=life.rotation)
    elif (step.order and step.order.key is life.keys[0]) or step.order is None:
        _deploy_again(helper, step.order)
    if step.name != "new keys":
        helper.run(*keys, input=life.rotation)
    if step.order and step.order.key is life.keys[1]:
        _deploy_again(helper, step.order)


def _deploy_again(helper: Helper, order: SignedOrder | None) -> Answer | None:
    """The same deploy again; a release that proved bad meanwhile may be refused for that."""
    if order is None:
        return None
    try:
        helper.deploy(order)
    except RefusedError as refused:
        if refused.args[0] not in ("quarantined", "older"):
            raise
    return None
