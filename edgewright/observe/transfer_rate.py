"""Measure a deploy's transfer: its rate against plain SSH, an update's bytes, round trips.

It works in a deploy root of its own, with a program that does nothing, so that only the
transfer counts. The rate is kept as a ratio within one run, the two ways taking turns.
"""

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgewright.base.errors import TargetError
from edgewright.base.progress import Progress
from edgewright.base.schema import Document
from edgewright.deploy import edgectl, keyring, openssh
from edgewright.deploy import install as deploy
from edgewright.deploy.install import Installed
from edgewright.deploy.remote import Board, ConnectionLostError
from edgewright.deploy.target import Target
from edgewright.release import order as orders
from edgewright.release.keys import Signer
from edgewright.release.manifest import Release, build_release, inputs_of
from edgewright.release.programs import DEFAULT_PROGRAM

ROOT = "/opt/edgewright-transfer"
STUB = "#!/bin/sh\necho '{}'\n"
LAYERS = 5  # of a model update, spread over the file
SHARE = 50  # one byte in so many is changed


class TransferReport(Document):
    """The report of `invoke bench.transfer`. On an emulated board, rates are the emulator's."""

    version: Literal[1] = 1
    target: str
    emulated: bool
    model_bytes: int
    rate_ratio: float  # deploy / ssh host 'cat > file'; median of the rounds
    rate_ratios: tuple[float, ...]
    changed_bytes: int  # of a model update
    sent_bytes: int  # for that update
    noop_round_trips: int

    @property
    def update_ratio(self) -> float:
        return self.sent_bytes / self.changed_bytes


class _Clock(Progress):
    """Notes when each stage of a deploy began."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def start(self, stage: str) -> None:
        self._began[stage.split(" ")[0]] = time.monotonic()

    @property
    def sending_seconds(self) -> float:
        """0 for a deploy that sent nothing."""
        return self._began.get("read", 0) - self._began.get(deploy.SEND, 0)


@dataclass(frozen=True, kw_only=True)
class _Bench:
    board: Board
    built: Release
    signer: Signer
    folder: Path

    def release(self, model: bytes) -> Release:
        """The built release with `model`, a program that does nothing, and a root of its own."""
        program, weights = self.folder / DEFAULT_PROGRAM.name, self.folder / "model.ort"
        program.write_text(STUB)
        weights.write_bytes(model)
        inputs = replace(
            inputs_of(self.built),
            deploy_root=ROOT,
            binaries=(program, self.built.folder / edgectl.PROGRAM),
            ort_model=weights,
        )
        return build_release(inputs, self.folder / "release")

    def deploy(self, release: Release, signature: bytes) -> tuple[Installed, float]:
        """The result, and the seconds from the first byte sent until the store holds all."""
        clock = _Clock()
        installed = deploy.deploy(self.board, release, signature, reserve_bytes=0, progress=clock)
        return installed, clock.sending_seconds

    def sign(self, release: Release) -> bytes:
        return orders.sign(release.manifest, self.signer)


def run(
    board: Board, built: Release, signer: Signer, *, megabytes: int, rounds: int
) -> TransferReport:
    """Measure, and leave the board as it was. Raises TargetError."""
    with tempfile.TemporaryDirectory() as folder, _cleaned(board):
        bench = _Bench(board=board, built=built, signer=signer, folder=Path(folder))
        size = megabytes << 20
        first = bench.release(os.urandom(size))
        edgectl_on_board = deploy.ensure_edgectl(board, ROOT, first)
        keyring.provision(edgectl_on_board, (first.manifest.compatible,), signer.public, signer)
        # The first deploy brings the small files, so that the later ones send the model alone.
        bench.deploy(first, bench.sign(first))
        ratios = [_rate_ratio(bench, size) for _ in range(rounds)]
        changed, sent = _deploy_update(bench, size)
        return TransferReport(
            target=str(board.target),
            emulated=board.target.emulated,
            model_bytes=size,
            rate_ratio=round(statistics.median(ratios), 3),
            rate_ratios=tuple(round(ratio, 3) for ratio in ratios),
            changed_bytes=changed,
            sent_bytes=sent,
            noop_round_trips=_noop_round_trips(bench, size),
        )


def _rate_ratio(bench: _Bench, size: int) -> float:
    """Time of plain SSH over that of a deploy's stream, for as many new bytes."""
    # Random bytes: neither compression nor the store's chunks may save any.
    model = os.urandom(size)
    plain = _plain_seconds(bench.board.target, model)
    release = bench.release(model)
    installed, seconds = bench.deploy(release, bench.sign(release))
    return (installed.bytes_sent / seconds) / (size / plain)


def _plain_seconds(target: Target, data: bytes) -> float:
    """Seconds of OpenSSH's own client and `cat`, from when the board's side runs."""
    pipe = subprocess.PIPE
    argv = openssh.argv(target, command=f"echo && cat > {ROOT}/plain")
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdout
        child.stdout.readline()
        start = time.monotonic()
        _, errors = child.communicate(data)
        seconds = time.monotonic() - start
    if child.returncode != 0:
        last_lines = errors.decode(errors="replace").splitlines()[-5:]
        raise TargetError(f"{target}: ssh", f"exit code {child.returncode}", facts=last_lines)
    return seconds


def _deploy_update(bench: _Bench, size: int) -> tuple[int, int]:
    """Changed bytes of a model update, and the bytes that its deploy sent."""
    model = bytearray(os.urandom(size))
    before = bench.release(bytes(model))
    bench.deploy(before, bench.sign(before))
    layer, rng = size // SHARE // LAYERS, random.Random(size)
    for index in range(LAYERS):
        start = index * size // LAYERS + rng.randrange(size // LAYERS - layer)
        model[start : start + layer] = os.urandom(layer)
    after = bench.release(bytes(model))
    installed, _ = bench.deploy(after, bench.sign(after))
    return LAYERS * layer, installed.bytes_sent


def _noop_round_trips(bench: _Bench, size: int) -> int:
    """The number of commands that a deploy with nothing to do runs on the board."""
    release = bench.release(bytes(size))
    order = bench.sign(release)
    bench.deploy(release, order)
    before = bench.board.commands
    bench.deploy(release, order)
    return bench.board.commands - before


@contextmanager
def _cleaned(board: Board) -> Iterator[None]:
    """Remove what this or an earlier benchmark left on the board."""
    try:
        board.check(["rm", "-rf", ROOT])
        yield
    finally:
        with suppress(ConnectionLostError):  # what ended the line is told already
            board.run(["rm", "-rf", ROOT])
