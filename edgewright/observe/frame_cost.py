"""What a camera's frames cost before the network: instructions, and memory at its peak.

The board's program reads pictures of cameras' sizes under QEMU's user-mode emulation.
"""

import itertools
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.base.layout import Resources
from edgewright.base.process import quote
from edgewright.base.schema import Document, Part
from edgewright.board.profile import Arch
from edgewright.board.symbols import read_symbols
from edgewright.observe import goals
from edgewright.observe.count.counts import EMULATORS, Guest, count
from edgewright.observe.count.instructions import INPUT, RUN, Program
from edgewright.observe.goals import Goal

SAMPLE_SECONDS = 0.005
PATIENCE = 600.0  # seconds: a picture takes a few
# The emulator runs a program at its own addresses, and is above them: at 0x55…, 0x7f….
GUEST_END = {Arch.ARMHF: 1 << 32, Arch.ARM64: 1 << 46}
MAPPING = re.compile(r"([0-9a-f]+)-[0-9a-f]+ ")
FRAME_PEAK_GOAL_KB = 20 << 10
OCTAVES = 8
NOISE = 3.0  # standard deviation of a pixel: a JPEG of quality 90 has 1.1 bits a pixel then


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A picture as a camera gives it."""

    name: str
    width: int
    height: int
    write: Callable[[Image.Image, BinaryIO], None]
    color: Literal["L", "RGB"] = "RGB"
    goal: int | None = None  # instructions, on 32-bit boards

    def write_to(self, file: BinaryIO) -> None:
        """The picture as a camera's file; the same each time."""
        pixels = picture(self.width, self.height, len(self.color))
        self.write(Image.fromarray(pixels), file)


class FrameCost(Part):
    """Of one picture, from its file to the network's input."""

    frame: str
    file_bytes: int
    instructions: int
    goal: int | None  # null: there is none for this picture, or this board
    peak_kb: int | None  # of the whole program, network and inference too; null on 64-bit boards
    peak_goal_kb: int | None


class FrameCosts(Document):
    """`bench.frames`."""

    version: Literal[1] = 1
    board: str
    cpu: str  # QEMU's model of it
    frames: tuple[FrameCost, ...]


def _jpeg(image: Image.Image, file: BinaryIO) -> None:
    image.save(file, "JPEG", quality=90, subsampling="4:2:0")


def _png(image: Image.Image, file: BinaryIO) -> None:
    image.save(file, "PNG", compress_level=6)


KINDS = (
    Kind(name="JPEG 4:2:0 1080p", width=1920, height=1080, write=_jpeg, goal=75_000_000),
    Kind(name="JPEG gray 1080p", width=1920, height=1080, write=_jpeg, color="L"),
    Kind(name="PNG RGB 1080p", width=1920, height=1080, write=_png, goal=200_000_000),
    Kind(name="JPEG 4:2:0 5 MP", width=2592, height=1944, write=_jpeg, goal=180_000_000),
    Kind(name="PNG RGB 5 MP", width=2592, height=1944, write=_png),
    Kind(name="JPEG 4:2:0 64 MP", width=8192, height=8192, write=_jpeg),
)


def measure(program: Program, board: str, resources: Resources) -> FrameCosts:
    """Count and watch the program. Raises UserError and ChildFailed as `count` does."""
    costs = tuple(_cost(program, kind, resources) for kind in KINDS)
    return FrameCosts(board=board, cpu=program.cpu, frames=costs)


def require_goals(costs: FrameCosts) -> None:
    """Raises CheckError where a frame costs more than it may."""
    goals.require(
        f"{costs.board}: frames",
        itertools.chain.from_iterable(
            (
                Goal(name=cost.frame, value=cost.instructions, most=cost.goal, unit="instructions"),
                Goal(
                    name=cost.frame,
                    value=cost.peak_kb or 0,
                    most=cost.peak_goal_kb,
                    unit="KiB at its peak",
                ),
            )
            for cost in costs.frames
        ),
        next=f"invoke bench.frames --board={costs.board} --program=FILE counts another edge-infer",
    )


def _cost(program: Program, kind: Kind, resources: Resources) -> FrameCost:
    is_32_bit = program.arch is Arch.ARMHF
    with tempfile.TemporaryDirectory(prefix="edgewright-frames-") as scratch:
        path = Path(scratch) / "frame"
        with path.open("wb") as file:
            kind.write_to(file)
        argv = [str(program.binary), "run", *program.options, "--threads", "1", str(path)]
        return FrameCost(
            frame=kind.name,
            file_bytes=path.stat().st_size,
            instructions=_instructions(program, argv, resources),
            goal=kind.goal if is_32_bit else None,
            peak_kb=peak(program, argv).resident_kb if is_32_bit else None,
            peak_goal_kb=FRAME_PEAK_GOAL_KB if is_32_bit else None,
        )


def picture(width: int, height: int, channels: int) -> NDArray[np.uint8]:
    """Shades and edges of all scales, and a sensor's noise; the same each time."""
    random = np.random.default_rng(1)
    pixels = np.empty((height, width, channels), np.uint8)
    for channel in range(channels):
        plane = np.full((height, width), 128, np.float32)
        for octave in range(1, OCTAVES):
            side = 2 + (1 << octave)
            coarse = Image.fromarray(random.normal(0, 36 / octave, (side, side)).astype(np.float32))
            plane += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        plane += random.normal(0, NOISE, plane.shape).astype(np.float32)
        pixels[..., channel] = plane.clip(0, 255).astype(np.uint8)
    return pixels if channels > 1 else pixels[..., 0]


def _instructions(program: Program, argv: list[str], resources: Resources) -> int:
    """From where the file is opened to where the network begins to run."""
    symbols = read_symbols(program.symbols)
    starts = {function.address for name in INPUT for function in symbols.named(name)}
    guest = Guest(
        arch=program.arch,
        cpu=program.cpu,
        argv=argv,
        mark=symbols.named(RUN)[0].address,
        marks=1,
        spans=sorted(starts),
    )
    spans = count(guest, resources).spans
    return sum(span.instructions for span in spans if span.address in starts and span.column == 0)


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most that a program held at once, of all its pages and of those that no file backs."""

    resident_kb: int
    anonymous_kb: int


def peak(program: Program, argv: list[str]) -> Peak:
    """What a program holds at its peak; looked at every few milliseconds.

    Raises UserError for a program that fails, or runs on for `PATIENCE`; it is killed then.
    """
    emulator = [EMULATORS[program.arch], "-cpu", program.cpu]
    resident, anonymous, deadline = 0, 0, time.monotonic() + PATIENCE
    with subprocess.Popen(
        [*emulator, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as guest:
        try:
            while guest.poll() is None:
                if time.monotonic() > deadline:
                    raise UserError(quote(argv), f"no end after {PATIENCE:g} s")
                smaps = Path(f"/proc/{guest.pid}/smaps").read_text()
                resident = max(resident, guest_kb(smaps, program.arch, "Rss"))
                anonymous = max(anonymous, guest_kb(smaps, program.arch, "Anonymous"))
                time.sleep(SAMPLE_SECONDS)
        finally:
            guest.kill()
    if guest.returncode != 0:
        raise UserError(quote(argv), f"exit code {guest.returncode} instead of 0")
    return Peak(resident_kb=resident, anonymous_kb=anonymous)


def guest_kb(smaps: str, arch: Arch, field: Literal["Rss", "Anonymous"]) -> int:
    """A sum over a program's mappings, by the /proc/<pid>/smaps of its emulator."""
    total, is_guest = 0, False
    for line in smaps.splitlines():
        if mapping := MAPPING.match(line):
            is_guest = int(mapping[1], 16) < GUEST_END[arch]
        elif is_guest and line.startswith(f"{field}:"):
            total += int(line.split()[1])
    return total
