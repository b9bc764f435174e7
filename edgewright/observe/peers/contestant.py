"""A runtime with a network, ready to run and be counted on an emulated core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base.workspace import Workspace
from edgewright.board.profile import Arch
from edgewright.board.symbols import read_symbols
from edgewright.observe.count import counts
from edgewright.observe.count.counts import Counts, Guest
from edgewright.observe.count.instructions import MARKS
from edgewright.observe.peers import peers
from edgewright.observe.peers.ncnn_model import write_ncnn
from edgewright.observe.peers.peers import Peer

Precision = Literal["INT8", "S8S8", "FP32"]
MARK = "edge_mark"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The core that all are counted on, and the input that all get."""

    workspace: Workspace
    arch: Arch
    cpu: str  # QEMU's model of it
    log: Path
    shape: Sequence[int]  # of the input, with a batch of 1
    values: Path  # of the input: float32 in C order


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A runtime with a model, ready to run."""

    runtime: str
    library: Path
    precision: Precision
    argv: Sequence[str]  # the number of runs is put after it
    files: Sequence[Path]  # that the counts depend on
    bytes: int
    dependency_bytes: int
    mark: int = 0
    mark_syscall: int | None = None
    counts_nodes: bool = False  # with 0 runs


def ort(setup: Setup, peer: Peer, precision: Precision, model: Path) -> Contestant:
    """A library of ONNX Runtime, called by a program that calls each alike."""
    driver = peers.driver(setup.workspace, setup.arch, setup.log)
    shape = "x".join(map(str, setup.shape))
    argv = ["-L", str(peer.sysroot), str(driver), str(peer.library), str(model)]
    argv += [str(setup.values), shape, peer.provider]
    return Contestant(
        runtime=peer.name,
        counts_nodes=peer.provider != "CPU",
        library=peer.library,
        precision=precision,
        argv=argv,
        files=(driver, peer.library, model, setup.values),
        bytes=peer.bytes,
        dependency_bytes=peer.dependency_bytes,
        mark=read_symbols(driver).named(MARK)[0].address,
    )


def ncnn(setup: Setup, fp32: Path, precision: Precision, limits: Mapping[str, float]) -> Contestant:
    """The FP32 network, whose layers with limits are INT8: by the ranges of our quantizers."""
    param, weights = (fp32.with_name(f"{precision}.{suffix}") for suffix in ("param", "bin"))
    write_ncnn(fp32, param, weights, limits)
    python = peers.ncnn(setup.arch, setup.log)
    shape = "x".join(map(str, setup.shape[1:]))
    script = setup.workspace.resources.peer_programs / "ncnn_peer.py"
    argv = peers.ncnn_argv(python, script, param)
    return Contestant(
        runtime="ncnn",
        library=python.library,
        precision=precision,
        argv=[*argv, str(weights), str(setup.values), shape],
        files=(script, python.library, param, weights, setup.values),
        bytes=python.bytes,
        dependency_bytes=python.dependency_bytes,
        mark_syscall=peers.PLATFORMS[setup.arch].getppid,
    )


def count_runs(setup: Setup, contestant: Contestant) -> Counts:
    """Of the load, the first inference and a steady one, on one thread."""
    guest = Guest(
        arch=setup.arch,
        cpu=setup.cpu,
        argv=[*contestant.argv, str(MARKS)],
        mark=contestant.mark,
        mark_syscall=contestant.mark_syscall,
        marks=MARKS,
    )
    return counts.count(guest, setup.workspace.resources)
