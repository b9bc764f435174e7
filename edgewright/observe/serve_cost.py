"""What `edge-infer serve` adds to an inference, and whether its memory stays as it is.

The board's program serves a network of three nodes under QEMU's user-mode emulation: what is
counted is everything but the network. What the governor and the histograms add is counted with the
release's own network, of whose inference it is a share.
"""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import CheckError
from edgewright.base.layout import Resources
from edgewright.base.schema import Document, Part
from edgewright.board.symbols import read_symbols
from edgewright.client import ConnectionEndedError, Frame
from edgewright.model.contract.card import (
    Card,
    Input,
    ModelFile,
    Output,
    PerImage,
    Preprocess,
    write_card,
)
from edgewright.model.convert.to_ort import convert
from edgewright.observe import observing_cost
from edgewright.observe.count.counts import EMULATORS, Guest, count
from edgewright.observe.count.instructions import RUN, Program
from edgewright.observe.observing_cost import ObservingCost
from edgewright.observe.served_program import ANSWER, connected

SIDE = 8  # pixels of an image
MARKS = 8
INPUT = {  # kind of request → where its input begins to be made
    "frame": "_ZN4edge10make_input",
    "image": "_ZN4edge5ApartC",
}
LIMIT = 120_000  # instructions of our own
WARM_UP = 10  # the first of so many parts of the requests
GROWTH_LIMIT_KB = 256
IMAGE_EVERY = 100  # requests: one is an encoded image, which takes a process of its own
LEAST_REQUESTS = 1000


class OwnPart(Part):
    """Of one kind of request."""

    kind: str
    instructions: int  # from one answer's first byte to the next input: socket, queue, JSON


class Memory(Part):
    """What the process holds after so many requests; the emulator's own is in it."""

    requests: int
    resident_kb: int
    descriptors: int


class ServeCost(Document):
    """`bench.serve`."""

    version: Literal[1] = 1
    board: str
    own: tuple[OwnPart, ...]
    observing: ObservingCost
    memory: tuple[Memory, ...]  # after the warm-up, and at the end

    @property
    def growth_kb(self) -> int:
        return self.memory[-1].resident_kb - self.memory[0].resident_kb


def measure(program: Program, board: str, resources: Resources, requests: int) -> ServeCost:
    """Count and flood a service. Raises UserError and ChildFailed as `count` does."""
    with tempfile.TemporaryDirectory(prefix="edgewright-serve-") as scratch:
        # Beside its release's run.json it would want a golden set of this network.
        binary = shutil.copy(program.binary, scratch)
        argv = [binary, "serve", "--model", str(small_network(Path(scratch)))]
        argv += ["--threads", "1", "--folder", scratch]
        own = tuple(
            OwnPart(
                kind=kind, instructions=_own_part(program, argv, kind, Path(scratch), resources)
            )
            for kind in INPUT
        )
        return ServeCost(
            board=board,
            own=own,
            observing=observing_cost.measure(program, resources),
            memory=tuple(_flood(program, argv, Path(scratch), requests)),
        )


def require_bounds(cost: ServeCost) -> None:
    """Raises CheckError where a request costs too much, or memory grows."""
    dear = [f"{part.kind}: {part.instructions:,}" for part in cost.own if part.instructions > LIMIT]
    if dear:
        raise CheckError("edge-infer serve", f"more than {LIMIT:,} instructions", facts=dear)
    if cost.observing.share > observing_cost.LIMIT:
        expected = f"at most {observing_cost.LIMIT:.1%} of an inference"
        facts = [f"expected: {expected}", f"found: {cost.observing.share:.2%}"]
        raise CheckError("governor and histograms", "cost too much", facts=facts)
    first, last = cost.memory
    if cost.growth_kb > GROWTH_LIMIT_KB or last.descriptors > first.descriptors:
        raise CheckError(
            "edge-infer serve",
            f"holds more after {last.requests:,} requests than after {first.requests:,}",
            facts=[
                f"resident: {first.resident_kb:,} KiB, then {last.resident_kb:,} KiB",
                f"descriptors: {first.descriptors}, then {last.descriptors}",
            ],
        )


def small_network(
    folder: Path,
    preprocess: Preprocess | None = None,
    shape: tuple[int, int, int] = (1, SIDE, SIDE),
) -> Path:
    """Means of the two halves of an input of (C, H, W), by operators that the demo model has too.

    Without `preprocess` it takes grey.
    """
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
    shapes = {"halves": [1, 2, prod(shape) // 2], "pair": [1, 2]}
    nodes = [
        helper.make_node("Reshape", ["image", "halves"], ["split"]),
        helper.make_node("ReduceMean", ["split"], ["means"], axes=[2], keepdims=1),
        helper.make_node("Reshape", ["means", "pair"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "halves", [image], [logits], constants)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx")
    model = convert(folder / "model.onnx", folder).ort
    card = Card(
        name="halves",
        labels=("upper", "lower"),
        input=Input(shape=(1, *shape)),
        output=Output(shape=(1, 2)),
        preprocess=preprocess or Preprocess(color="gray", normalize=PerImage()),
        file=ModelFile.of(model),
    )
    write_card(card, folder / "card.json")
    return model


def _image() -> bytes:
    return b"P5\n%d %d\n255\n" % (SIDE, SIDE) + bytes(range(SIDE * SIDE))


def _own_part(
    program: Program, argv: Sequence[str], kind: str, folder: Path, resources: Resources
) -> int:
    symbols = read_symbols(program.symbols)
    starts = {name: {f.address for f in symbols.named(name)} for name in (ANSWER, INPUT[kind])}
    guest = Guest(
        arch=program.arch,
        cpu=program.cpu,
        argv=argv,
        mark=symbols.named(RUN)[0].address,
        marks=MARKS,
        spans=sorted(set().union(*starts.values())),
    )
    client = threading.Thread(target=_ask_until_it_ends, args=(folder, kind), daemon=True)
    client.start()
    spans = count(guest, resources).spans
    client.join()
    # The first request of a connection also has the connection made.
    own = [span.instructions for span in spans if span.address in starts[ANSWER]][1:-1]
    return round(statistics.median(own))


def _ask_until_it_ends(folder: Path, kind: str) -> None:
    with connected(folder) as client, Frame(SIDE, SIDE) as frame:
        frame.pixels[:] = bytes(range(SIDE * SIDE))
        with contextlib.suppress(ConnectionEndedError):
            while True:
                if kind == "frame":
                    client.frame(frame)
                else:
                    client.image(_image())


def _flood(program: Program, argv: Sequence[str], folder: Path, requests: int) -> Iterator[Memory]:
    emulator = [EMULATORS[program.arch], "-cpu", program.cpu]
    with subprocess.Popen(
        [*emulator, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as service:
        try:
            with connected(folder) as client, Frame(SIDE, SIDE) as frame:
                for number in range(1, requests + 1):
                    if number % IMAGE_EVERY:
                        client.frame(frame)
                    else:
                        client.image(_image())
                    if number in (requests // WARM_UP, requests):
                        yield _memory(service.pid, number)
        finally:
            service.terminate()


def _memory(pid: int, requests: int) -> Memory:
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return Memory(
        requests=requests,
        resident_kb=int(resident.split()[1]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )
