"""What an SDK costs a program of others: bytes of its libraries, and instructions of an image.

The SDK's C++ example is built as a user builds it, with both archives inside, and counted beside
`edge-infer` on the same image and network.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from edgewright.base.layout import Resources
from edgewright.base.schema import Document, Part
from edgewright.board.profile import Arch, BoardProfile
from edgewright.board.toolchain import compiler_flags
from edgewright.build.container import Builder
from edgewright.observe import goals
from edgewright.observe.count.counts import Guest, count
from edgewright.observe.count.instructions import Program
from edgewright.observe.goals import Goal
from edgewright.observe.peers import peers
from edgewright.observe.peers.compare import Row
from edgewright.release.run_file import CARD
from edgewright.release.sdk import Sdk

EXAMPLE = "infer"
ALL = "all"  # an SDK of all operators, among what stands beside one of a model's
# XNNPACK's provider makes no session of the network in INT8, the only one that is compared here.
LIBRARIES = (ALL, *(name for name in peers.ORT_PEERS if name != "xnnpack"))
MOST_BYTES = {"libonnxruntime": 1_300_000, "libedge": 400_000}  # of 32-bit boards
MOST_SHARE = 0.001  # of edge-infer's instructions


class LibraryBytes(Part):
    """A shared library of the SDK."""

    file: str
    bytes: int
    goal: int | None  # null: none, as for all of 64-bit boards


class SdkCost(Document):
    """`bench.sdk`."""

    version: Literal[1] = 1
    board: str
    cpu: str  # QEMU's model of it
    sdk: str
    libraries: tuple[LibraryBytes, ...]
    edge_infer: int  # instructions of an image: from its file to the line of JSON, one thread
    example: int  # the same of the SDK's C++ example
    goal: int
    runtimes: tuple[Row, ...] = ()  # edge-infer, this SDK's library, and those that were named

    @property
    def share(self) -> float:
        """What the example takes more than `edge-infer`, of that."""
        return self.example / self.edge_infer - 1


def parse_libraries(text: str) -> tuple[str, ...]:
    """Names from a list with commas. Raises UserError for one that is no library's."""
    return peers.parse_names(text, LIBRARIES, "library")


def measure(
    sdk: Sdk, program: Program, profile: BoardProfile, builder: Builder, resources: Resources
) -> SdkCost:
    """Build the example and count both. Raises UserError and ChildFailed as `count` does."""
    # Below the cache: the builder sees no other folder of this machine.
    with tempfile.TemporaryDirectory(dir=builder.cache, prefix="edgewright-sdk-") as scratch:
        binary = _build_example(sdk, profile, builder, Path(scratch))
        folder = program.model.parent.parent  # of the release
        example = [str(binary), str(program.model), str(folder / CARD)]
        ours = [str(program.binary), "run", *program.options, "--threads", "1"]
        edge_infer = _an_image(program, ours, resources)
        return SdkCost(
            board=profile.name,
            cpu=program.cpu,
            sdk=sdk.id,
            libraries=tuple(_libraries(sdk, profile)),
            edge_infer=edge_infer,
            example=_an_image(program, example, resources),
            goal=round(edge_infer * (1 + MOST_SHARE)),
        )


def require_goals(cost: SdkCost) -> None:
    """Raises CheckError where a library is too large, or the example too dear."""
    sizes = [
        Goal(name=library.file, value=library.bytes, most=library.goal, unit="bytes")
        for library in cost.libraries
    ]
    unit = "instructions an image"
    example = Goal(name=EXAMPLE, value=cost.example, most=cost.goal, unit=unit)
    goals.require(
        f"{cost.board}: libraries and example of the SDK",
        [*sizes, example],
        next=f"invoke bench.instructions --board={cost.board}",
    )


def _libraries(sdk: Sdk, profile: BoardProfile) -> Iterator[LibraryBytes]:
    for file in sdk.manifest.files:
        name, is_shared, _ = Path(file.path).name.partition(".so.")
        if is_shared:
            goal = MOST_BYTES.get(name) if profile.abi.arch is Arch.ARMHF else None
            yield LibraryBytes(file=file.path, bytes=file.bytes, goal=goal)


def _build_example(sdk: Sdk, profile: BoardProfile, builder: Builder, scratch: Path) -> Path:
    """By the SDK's own Makefile, with the board's flags; static, as `edge-infer` is."""
    copy = scratch / "sdk"
    shutil.copytree(sdk.folder, copy, symlinks=True)
    flags = " ".join([*compiler_flags(profile), "-O2", "-static"])
    compiler = f"CXX={profile.abi.triplet}-g++"
    folder = builder.path(copy / "examples")
    argv = ["make", "-C", str(folder), EXAMPLE, compiler, f"CXXFLAGS={flags}"]
    builder.run(argv, scratch / "log")
    return copy / "examples" / EXAMPLE


def _an_image(program: Program, argv: Sequence[str], resources: Resources) -> int:
    """What a second image costs: all that is done once is in the run with a single one, too."""
    images = [str(program.inputs[0])] * 2
    single, pair = (
        count(
            Guest(arch=program.arch, cpu=program.cpu, argv=[*argv, *images[:number]]), resources
        ).total(0)
        for number in (1, 2)
    )
    return pair - single
