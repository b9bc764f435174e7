"""Cut a board's power in the middle of deploys, again and again, and examine what is left.

Each round: a deploy of a release that is not current begins, the power goes at a random
moment, the board is switched on again, and `current` has to be a release whose every file is
sound and whose self-test passes. Then the same deploy, run again, has to succeed and to leave
nothing behind that no release needs.
"""

import contextlib
import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from edgewright.base import process
from edgewright.base.errors import CheckError, EdgewrightError
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.deploy import install, one_board
from edgewright.deploy.remote import Board, connect
from edgewright.lab import machine as lab
from edgewright.lab.machine import Lab
from edgewright.lab.proof import writelog
from edgewright.release.manifest import MANIFEST, SIGNATURE, Release

LATER = 1.1  # cuts fall into this many times the length of a deploy that was not cut
ABANDONED_SECONDS = 180.0  # a deploy notices within that time that its board is gone

Deploy = Callable[[Board, Release, Progress], None]


class Cache(StrEnum):
    """What the disk keeps when its power is cut."""

    KEPT = "kept"  # every write that it has answered
    VOLATILE = "volatile"  # what came before the last flush; of the rest, any part


class Cut(Part):
    """One round."""

    number: int
    seconds: float  # from the start of the deploy to the cut
    during: str  # the deploy's step
    cache: Cache
    lost_writes: int  # blocks of 4 KiB that the disk had answered and did not keep
    before: str  # release that was current
    wanted: str  # release that was being deployed
    after: str  # release that was current when the board was back
    problems: tuple[str, ...] = ()
    kept: str | None = None  # folder with disk and console, if there were problems


class Campaign(Document):
    """The report of `invoke lab.powercut`."""

    version: Literal[1] = 1
    board: str
    seed: int
    seconds: float
    cuts: tuple[Cut, ...]

    @property
    def violations(self) -> tuple[Cut, ...]:
        return tuple(cut for cut in self.cuts if cut.problems)


def require_sound(campaign: Campaign) -> None:
    """Raise CheckError with every broken promise."""
    if not campaign.violations:
        return
    facts = [f"cut {c.number}: {p}" for c in campaign.violations for p in c.problems]
    raise CheckError(
        f"board '{campaign.board}'",
        f"{len(campaign.violations)} of {len(campaign.cuts)} power cuts broke a promise",
        facts=[*facts, *(f"kept: {cut.kept}" for cut in campaign.violations if cut.kept)],
        next=f"invoke lab.powercut --board={campaign.board} --seed={campaign.seed}",
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The board, releases and deploys of a campaign."""

    lab: Lab
    releases: Sequence[Release]  # at least three, so that one is always absent from the board
    deploy: Deploy
    seed: int
    counterexamples: Path
    on_cut: Callable[[Cut], None]


def run(settings: Settings, cuts: int) -> Campaign:
    """Cut the power `cuts` times, on a fresh board that is removed at the end.

    Raises TargetError if a deploy does not work even without a cut.
    """
    started, rng, completed = time.monotonic(), random.Random(settings.seed), list[Cut]()
    try:
        span = _start_over(settings, settings.releases[0])
        for number in range(1, cuts + 1):
            cut, lasted = _round(settings, rng, number, span)
            span = lasted or _start_over(settings, _release_of_round(settings, number))
            settings.on_cut(cut)
            completed.append(cut)
    finally:
        lab.down(settings.lab)
        _disk_before(settings.lab).unlink(missing_ok=True)
    return Campaign(
        board=settings.lab.profile.name,
        seed=settings.seed,
        seconds=round(time.monotonic() - started, 1),
        cuts=tuple(completed),
    )


def _release_of_round(settings: Settings, number: int) -> Release:
    return settings.releases[number % len(settings.releases)]


def _start_over(settings: Settings, release: Release) -> float:
    """Deploy a release on a fresh board; the seconds that it took."""
    lab.down(settings.lab)
    with _on(settings.lab) as board:
        started = time.monotonic()
        settings.deploy(board, release, Progress())
        return time.monotonic() - started


def _round(
    settings: Settings, rng: random.Random, number: int, span: float
) -> tuple[Cut, float | None]:
    """One cut and the redeploy after it; its seconds, or None if it failed."""
    before, release = _release_of_round(settings, number - 1), _release_of_round(settings, number)
    seconds, cache = rng.uniform(0, span * LATER), rng.choice(list(Cache))
    during = _cut_deploy(settings, release, seconds)
    lost = _lose_writes(settings.lab, rng) if cache is Cache.VOLATILE else 0
    examination = _examine_and_redeploy(settings, before, release)
    cut = Cut(
        number=number,
        seconds=round(seconds, 2),
        during=during,
        cache=cache,
        lost_writes=lost,
        before=before.id,
        wanted=release.id,
        after=examination.current,
        problems=tuple(examination.problems),
    )
    return (
        _keep_counterexample(settings, cut) if examination.problems else cut
    ), examination.redeploy_seconds


# Power


@contextlib.contextmanager
def _on(board: Lab) -> Iterator[Board]:
    """A connection to the board, which is switched on; a copy of its disk is put aside first."""
    if lab.power(board) is not lab.Power.ON:
        lab.insert_disk(board, Progress())
        copy_sparse(board.disk, _disk_before(board))
        lab.up(board, log_writes=True)
    with connect(lab.running(board).target) as connected:
        yield connected


def _disk_before(board: Lab) -> Path:
    """A copy of the disk from before the board was switched on."""
    return board.folder / "found.img"


def copy_sparse(source: Path, target: Path) -> None:
    process.check(["cp", "--sparse=always", str(source), str(target)])


class _LastStage(Progress):
    """Remembers the stage that a deploy is at."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def start(self, stage: str) -> None:
        self.stage = stage


def _cut_deploy(settings: Settings, release: Release, seconds: float) -> str:
    """Cut the power `seconds` after a deploy began; return the stage that it was at."""
    progress, broken = _LastStage("connect"), list[BaseException]()

    def deploy() -> None:
        try:
            with _on(settings.lab) as board:
                settings.deploy(board, release, progress)
                progress.start("done")
        except EdgewrightError:
            return  # the connection went with the power
        except BaseException as bug:
            broken.append(bug)  # an exception of a thread is lost unless it is handed over

    # A thread, since a deploy knows nothing of cuts; a daemon, since it may hang on its dead board.
    worker = threading.Thread(target=deploy, daemon=True)
    worker.start()
    time.sleep(seconds)
    lab.cut(settings.lab)
    during = progress.stage
    worker.join(ABANDONED_SECONDS)
    if broken or worker.is_alive():
        raise broken[0] if broken else TimeoutError("a deploy outlived its board")
    return during


def _lose_writes(board: Lab, rng: random.Random) -> int:
    """Change the disk as if its own cache had been lost too; return the number of lost blocks.

    A log that ends in the middle does not say what came before a flush: nothing is lost then.
    """
    log = writelog.read(board.writes)
    if not log.complete:
        return 0
    # From the disk before: the image holds all that QEMU wrote, also what the cut takes away.
    alive = writelog.survivors(log, rng)
    copy_sparse(_disk_before(board), board.disk)
    writelog.apply(alive, board.writes, board.disk)
    return len(writelog.blocks(log)) - len(alive)


# Examination


@dataclass(kw_only=True)
class _Examination:
    """The state of a board after a cut."""

    current: str = "none"
    problems: list[str] = field(default_factory=list)
    redeploy_seconds: float | None = None  # None: it failed


def _examine_and_redeploy(settings: Settings, before: Release, release: Release) -> _Examination:
    """Switch the board on, examine it, deploy again, examine it again."""
    examination = _Examination()
    try:
        with _on(settings.lab) as board:
            examination.current, examination.problems = examine(
                board, {before.id: before, release.id: release}
            )
            started = time.monotonic()
            settings.deploy(board, release, Progress())
            lasted = time.monotonic() - started
            _, problems = examine(board, {release.id: release})
            examination.problems += [f"after another deploy: {problem}" for problem in problems]
            examination.problems += leaks(board, release.manifest.deploy_root)
            examination.redeploy_seconds = None if examination.problems else lasted
    except EdgewrightError as fault:
        examination.problems.append(str(fault))
    return examination


EXAMINE = r"""
cd "$1" || exit 0
echo "current $(readlink current)"
cd current/. || exit 0
find . -type f -exec sha256sum {} +
"""


def examine(board: Board, allowed: Mapping[str, Release]) -> tuple[str, list[str]]:
    """The id of the current release, and what is wrong with it."""
    root = next(iter(allowed.values())).manifest.deploy_root
    lines = board.script(EXAMINE, root).stdout.splitlines()
    current = lines[0].rpartition("/")[2] if lines else "none"
    if current not in allowed:
        return current, [f"current is {current}, expected one of {', '.join(allowed)}"]
    problems = compare(allowed[current], lines[1:])
    with one_board.current_release(board, root, install.this_user()) as subject:
        selftest = subject.infer("selftest")
    if selftest.returncode != 0:
        problems.append(f"self-test: exit code {selftest.returncode}: {selftest.stderr[-200:]}")
    return current, problems


def compare(release: Release, lines: Sequence[str]) -> list[str]:
    """Compare the lines of `sha256sum` in a release's folder with its manifest."""
    hashes = {path.removeprefix("./"): digest for digest, path in map(str.split, lines)}
    expected = {file.path: file.sha256 for file in release.manifest.files}
    # The manifest does not list itself, and the signature differs from order to order.
    expected[MANIFEST] = hashlib.sha256(release.manifest.canonical()).hexdigest()
    hashes.pop(SIGNATURE, None)
    wrong = sorted(p for p in expected.keys() | hashes.keys() if expected.get(p) != hashes.get(p))
    return [f"{release.id}/{path}: {_difference(path, expected, hashes)}" for path in wrong]


def _difference(path: str, expected: Mapping[str, str], hashes: Mapping[str, str]) -> str:
    if path not in hashes:
        return "missing"
    return "damaged" if path in expected else "not of this release"


LEAKS = r"""
cd "$1"
for name in releases/*; do
    case " $(readlink current) $(readlink previous) " in *" $name "*) ;; *) echo "$name" ;; esac
done
find store -type f -links 1
find tmp -mindepth 1
"""


def leaks(board: Board, root: str) -> list[str]:
    """Files that a deploy left on the board and no release needs."""
    paths = board.script(LEAKS, root).stdout.splitlines()
    return [f"left behind: {path}" for path in paths]


def _keep_counterexample(settings: Settings, cut: Cut) -> Cut:
    """Keep the disk from before the switch-on, the console and the cut, for a post-mortem."""
    folder = settings.counterexamples / f"{settings.seed}-{cut.number}"
    folder.mkdir(parents=True, exist_ok=True)
    board, recorded = settings.lab, cut.model_copy(update={"kept": str(folder)})
    copy_sparse(_disk_before(board), folder / "disk.img")
    shutil.copy(board.console, folder / "console.log")
    (folder / "cut.json").write_text(recorded.model_dump_json(indent=2) + "\n")
    return recorded
