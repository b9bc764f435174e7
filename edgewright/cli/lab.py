"""Full-system boards: QEMU, a real kernel, a disk that can lose its power."""

import random
import secrets
from collections import Counter
from dataclasses import replace
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.progress import Progress
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    lab_of,
    profile_of,
    say,
    task,
    task_named,
    workspace,
    write_document,
)
from edgewright.cli.keys import signing_policy
from edgewright.deploy import install, one_board, remote
from edgewright.deploy.remote import Board
from edgewright.lab import machine as lab
from edgewright.lab.documents import LabStatus
from edgewright.lab.proof import powercut
from edgewright.lab.proof.powercut import Cut
from edgewright.observe import footprint as lab_bench
from edgewright.release import latest, order
from edgewright.release.manifest import Release

CORES = 1  # more only make the emulator wait for itself
RELEASES = 3  # the board keeps two, so one is always to be sent


@task
def up(
    c: Context,
    board: BoardName,
    packages: Annotated[str, "of Debian, on a new disk, with commas"] = "",
    json: Json = False,
) -> None:
    """Switch a full-system board on. Example: invoke lab.up --board=a53-som"""
    with screens.deploy_progress(ERR) as progress:
        names = tuple(filter(None, map(str.strip, packages.split(","))))
        on = lab.up(replace(lab_of(board), packages=names), progress)
    say(f"{board} answers at {on.target}")
    if json:
        write_document(LabStatus(board=board, state=lab.Power.ON, target=str(on.target)))
    else:  # alone on standard output, for scripts
        OUT.print(on.ssh_command, markup=False, soft_wrap=True)


@task
def down(c: Context, board: BoardName, json: Json = False) -> None:
    """Remove a full-system board. Example: invoke lab.down --board=a53-som"""
    with screens.waiting(ERR, f"remove full-system board '{board}'"):
        removed = lab.down(lab_of(board))
    say(f"{board}: {'removed' if removed else 'was not there'}")
    if json:
        write_document(LabStatus(board=board, state=lab.Power.ABSENT, target=None))


@task
def status(c: Context, board: BoardName, json: Json = False) -> None:
    """Tell whether a full-system board is on. Example: invoke lab.status --board=a53-som"""
    state = lab.power(lab_of(board))
    address = str(lab.running(lab_of(board)).target) if state is lab.Power.ON else None
    if json:
        write_document(LabStatus(board=board, state=state, target=address))
    else:
        OUT.print(f"{board}: {state}{f', {address}' if address else ''}")


@task
def bench(
    c: Context,
    board: BoardName,
    frames: Annotated[bool, "pictures of a camera too, up to 64 MP"] = False,
    json: Json = False,
) -> None:
    """Memory and threads on a full-system board. Example: invoke lab.bench --board=a53-som

    The last build is deployed to it first.
    """
    release = latest.release_of(workspace().build(board))
    threads = sorted({1, profile_of(board).cpu.cores})
    with screens.deploy_progress(ERR) as progress:
        on = lab.up(lab_of(board), progress)
        with remote.connect(on.target) as connected:
            _deploy(connected, release, progress)
            root, deployer = release.manifest.deploy_root, install.this_user()
            with one_board.current_release(connected, root, deployer) as subject:
                footprint = lab_bench.run(subject, threads, progress)
                if frames:
                    loads = lab_bench.frames(subject, progress)
                    footprint = footprint.model_copy(update={"frames": loads})
    if json:
        write_document(footprint)
        return
    table = Table("threads", "peak memory", "times as fast, on this emulator", box=None)
    for load in footprint.loads:
        memory = f"{load.peak_rss_kb / 1024:.1f} MiB"
        table.add_row(str(load.threads), memory, f"{footprint.speedup(load):.2f}")
    OUT.print(table)
    if footprint.frames:
        pictures = Table("frame, 1 thread", "peak memory", box=None)
        for picture in footprint.frames:
            pictures.add_row(picture.frame, f"{picture.peak_rss_kb / 1024:.1f} MiB")
        OUT.print(pictures)


@task_named("powercut")
def power_cut(
    c: Context,
    board: BoardName,
    cuts: Annotated[int, "how many times the power is cut"] = 10,
    seed: Annotated[int, "the moments and the writes that are lost; default: random, and told"] = 0,
    json: Json = False,
) -> None:
    """Cut the power in the middle of deploys. Example: invoke lab.powercut --board=a53-som"""
    campaign = powercut.run(_settings(board, seed or secrets.randbelow(2**31)), cuts)
    if json:
        write_document(campaign)
    else:
        table = Table("cut during", "cuts", "old after", "new after", "broken", box=None)
        for step, count in Counter(cut.during for cut in campaign.cuts).items():
            cuts_of_step = [cut for cut in campaign.cuts if cut.during == step]
            new = sum(cut.after == cut.wanted for cut in cuts_of_step)
            old = sum(cut.after == cut.before for cut in cuts_of_step)
            broken = sum(bool(cut.problems) for cut in cuts_of_step)
            table.add_row(step, str(count), str(old), str(new), str(broken))
        OUT.print(table)
    # Only now: a campaign with a broken promise has its table, too.
    powercut.require_sound(campaign)
    say(f"{cuts} power cuts in {campaign.seconds:.0f} s, seed {campaign.seed}: every promise held")


def _settings(board: str, seed: int) -> powercut.Settings:
    from edgewright.lab.proof import small_releases as lab_release  # loads ONNX Runtime

    out = workspace().build(board).powercut
    built = latest.release_of(workspace().build(board))
    rng = random.Random(seed)
    return powercut.Settings(
        lab=replace(lab_of(board), folder=out, cores=CORES),
        releases=lab_release.small_releases(built, out / "releases", RELEASES, rng),
        deploy=_deploy,
        seed=seed,
        counterexamples=out / "counterexamples",
        on_cut=_say_cut,
    )


def _deploy(board: Board, release: Release, progress: Progress) -> None:
    """A deploy without the smoke test, whose time would count as the deploy's own."""
    policy = signing_policy()
    signature = order.sign(release.manifest, policy.signer(emulated=True))
    edgectl = install.ensure_edgectl(board, release.manifest.deploy_root, release)
    policy.trust_emulated(edgectl, release, signature)
    install.deploy(board, release, signature, reserve_bytes=0, progress=progress)


def _say_cut(cut: Cut) -> None:
    current = "new" if cut.after == cut.wanted else "old"
    lost = f", {cut.lost_writes} blocks lost" if cut.cache is powercut.Cache.VOLATILE else ""
    verdict = "; ".join(cut.problems) or f"{current} release sound"
    say(f"cut {cut.number} after {cut.seconds:.1f} s, at '{cut.during}'{lost}: {verdict}")
