"""Run one network through several runtimes on the same input, and count: the table of peers."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from edgewright.base import digest, process
from edgewright.base.files import write_file
from edgewright.base.layout import user_cache
from edgewright.base.schema import Document, Part, read_record
from edgewright.base.workspace import Workspace
from edgewright.board.profile import Arch
from edgewright.model.contract.card import read_card
from edgewright.model.contract.session import class_probabilities
from edgewright.model.convert.signed_bytes import make_signed
from edgewright.observe.count import counts
from edgewright.observe.count.instructions import STEADY, InstructionReport, Program
from edgewright.observe.peers import peers
from edgewright.observe.peers.contestant import (
    Contestant,
    Precision,
    Setup,
    count_runs,
    ncnn,
    ort,
)
from edgewright.observe.peers.fp32 import take_out_quantizers
from edgewright.observe.peers.peers import Peer

PRECISIONS: tuple[Precision, ...] = ("INT8", "FP32")
# XNNPACK has no convolution of unsigned bytes with a scale for each channel. Of the network as it
# is its provider takes the softmaxes alone, whose scale XNNPACK then refuses: no session at all.
XNNPACK_PRECISIONS: tuple[Precision, ...] = ("S8S8", "FP32")
Answer = TypeVar("Answer")


class Row(Part):
    """One runtime and one precision."""

    runtime: str
    library: str  # its file
    precision: Precision
    load: int  # instructions
    inference: int  # instructions
    bytes: int  # of the runtime, stripped
    dependency_bytes: int  # of what it needs beside libc
    peak_kb: int  # resident, under the emulator and its own included
    probabilities: tuple[float, ...]
    difference: float  # of the probabilities from the first row's, at most
    nodes: int | None = None  # that the provider before the CPU's took; None without one


class Comparison(Document):
    version: Literal[1] = 1
    board: str
    cpu: str = ""  # QEMU's model of the core that all rows were counted on
    model: str
    rows: tuple[Row, ...]  # ours first


@dataclass(frozen=True, kw_only=True)
class CountedProgram:
    """A build of edge-infer, and its counted cost."""

    program: Program
    report: InstructionReport
    precision: Precision = "INT8"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The model, and what the rows of the table are made of."""

    workspace: Workspace
    program: CountedProgram
    other_boards: Sequence[CountedProgram] = ()  # the same model, built for other boards
    onnx: Path  # the quantized model
    log: Path

    @property
    def arch(self) -> Arch:
        return self.program.program.arch

    @property
    def cpu(self) -> str:
        """QEMU's model of the core, for all rows."""
        return self.program.program.cpu

    def setup(self, values: Path) -> Setup:
        """For all rows; `values` is the input's file."""
        return Setup(
            workspace=self.workspace,
            arch=self.arch,
            cpu=self.cpu,
            log=self.log,
            shape=read_card(self.onnx.parent / "card.json").input.shape,
            values=values,
        )


def compare(contest: Contest, names: Sequence[str]) -> Comparison:
    """Run the named peers, in INT8 and FP32. Fetches those that are not in the cache."""
    with tempfile.TemporaryDirectory(prefix="edgewright-peers-") as scratch:
        folder = Path(scratch)
        first = _our_row(contest.program, "edge-infer", folder / "input")
        other_rows = [
            _our_row(program, program.report.board, folder / "same")
            for program in contest.other_boards
        ]
        models: Mapping[Precision, Path] = {
            "INT8": contest.onnx,
            "S8S8": folder / "signed.onnx",
            "FP32": folder / "fp32.onnx",
        }
        write_changed(contest.onnx, make_signed, models["S8S8"])
        limits = write_changed(contest.onnx, take_out_quantizers, models["FP32"])
        setup = contest.setup(folder / "input")
        peer_rows = [
            _cached_row(contest, setup, contestant)
            for name in names
            for contestant in _contestants(setup, name, models, limits)
        ]
        rows = [first, *other_rows, *peer_rows]
    return _compared(contest, rows)


def compare_libraries(
    contest: Contest, libraries: Mapping[str, Path], names: Sequence[str]
) -> Comparison:
    """Shared libraries of ours, by name, and then the named peers, on the network in INT8 alone."""
    with tempfile.TemporaryDirectory(prefix="edgewright-peers-") as scratch:
        setup = contest.setup(Path(scratch) / "input")
        rows = [_our_row(contest.program, "edge-infer", setup.values)]
        sysroot = peers.sysroot_of_peers(contest.arch, contest.log)
        for name, library in libraries.items():
            ours = Peer(name=name, arch=contest.arch, library=library, sysroot=sysroot)
            model = contest.program.program.model
            rows.append(_cached_row(contest, setup, ort(setup, ours, "INT8", model)))
        for name in names:
            peer = peers.ORT_PEERS[name](contest.arch, contest.log)
            rows.append(_cached_row(contest, setup, ort(setup, peer, "INT8", contest.onnx)))
    return _compared(contest, rows)


def _compared(contest: Contest, rows: Sequence[Row]) -> Comparison:
    first, compared = rows[0], []
    for row in rows:
        pairs = zip(row.probabilities, first.probabilities, strict=True)
        difference = round(max(abs(a - b) for a, b in pairs), 6)
        compared.append(row.model_copy(update={"difference": difference}))
    board, model = contest.program.report.board, contest.onnx.parent.name
    return Comparison(board=board, cpu=contest.cpu, model=model, rows=tuple(compared))


def write_changed(
    quantized: Path, change: Callable[[onnx.ModelProto], Answer], out: Path
) -> Answer:
    """Write a changed copy of a network; returns what the change answers."""
    model = onnx.load(str(quantized))
    answer = change(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))
    return answer


def _our_row(counted: CountedProgram, runtime: str, raw: Path) -> Row:
    """The row of a program of ours. Writes the input values that it made of the image to `raw`.

    The peers get these values, so that only the runtimes differ, not the preprocessing.
    """
    program = counted.program
    emulator = counts.EMULATORS[program.arch]
    base = [emulator, "-cpu", program.cpu, str(program.binary)]
    options = [*program.options, "--threads", "1"]
    ran = process.check([*base, "run", *options, "--dump-input", str(raw), str(program.inputs[0])])
    bench = process.check([*base, "bench", *options, "--warmup", "0", "--runs", "1"])
    return Row(
        runtime=runtime,
        library=program.binary.name,
        precision=counted.precision,
        load=counted.report.load,
        inference=counted.report.inference,
        bytes=peers.stripped_size(program.binary),
        dependency_bytes=0,
        peak_kb=json.loads(bench.stdout)["peak_rss_kb"],
        probabilities=tuple(json.loads(ran.stdout)["results"][0]["probabilities"]),
        difference=0.0,
    )


def _contestants(
    setup: Setup,
    name: str,
    models: Mapping[Precision, Path],
    limits: Mapping[str, float],
) -> Iterable[Contestant]:
    if name == "ncnn":
        if limits:
            yield ncnn(setup, models["FP32"], "INT8", limits)
        yield ncnn(setup, models["FP32"], "FP32", {})
        return
    for precision in XNNPACK_PRECISIONS if name == "xnnpack" else PRECISIONS:
        peer = peers.ORT_PEERS[name](setup.arch, setup.log)
        yield ort(setup, peer, precision, models[precision])


def _cached_row(contest: Contest, setup: Setup, contestant: Contestant) -> Row:
    """The row of a contestant; counts of the same files come from the cache."""
    key = digest.text_sha256(
        contestant.runtime, contest.cpu, *map(digest.file_sha256, contestant.files)
    )
    path = user_cache() / "bench" / "rows" / f"{key[:32]}.json"
    row = read_record(Row, path)
    if row is None:
        row = _counted_row(contest, setup, contestant)
        write_file(path, row.model_dump_json())
    return row


def _counted_row(contest: Contest, setup: Setup, contestant: Contestant) -> Row:
    counted = count_runs(setup, contestant)
    run = [counts.EMULATORS[contest.arch], "-cpu", contest.cpu, *contestant.argv]
    answer = process.check([*run, "1"]).stdout.split()
    # With 0 runs the driver prints the nodes that the provider took, and nothing if it took none.
    nodes = process.check([*run, "0"]).stdout if contestant.counts_nodes else ""
    outputs: NDArray[np.float32] = np.array([answer[:-1]], dtype=np.float32)
    card = read_card(contest.onnx.parent / "card.json")
    return Row(
        runtime=contestant.runtime,
        library=contestant.library.name,
        precision=contestant.precision,
        load=counted.total(0),
        inference=counted.total(STEADY),
        bytes=contestant.bytes,
        dependency_bytes=contestant.dependency_bytes,
        peak_kb=int(answer[-1]),
        probabilities=tuple(float(round(p, 6)) for p in class_probabilities(outputs, card)[0]),
        difference=0.0,
        nodes=int(nodes or "0") if contestant.counts_nodes else None,
    )
