"""What an inference of others' networks costs for each multiplication with addition.

By the runtime of an SDK with all operators, which takes any of them without a build of its own,
beside libraries of others on the same INT8 network, and on the FP32 one that it was made of.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgewright.base.progress import LineSink
from edgewright.base.workspace import Workspace
from edgewright.board.profile import Arch, BoardProfile
from edgewright.gallery import fetch
from edgewright.gallery.documents import NetworkCost, NetworkCosts, PeerCost
from edgewright.gallery.networks import IN_FULL_SIZE, Definition, Network
from edgewright.model.contract.preprocess import Floats
from edgewright.model.convert.inspect import inspect
from edgewright.model.convert.to_ort import convert
from edgewright.model.judge.pictures import draw_pictures
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.recipe import prepare, quantize_prepared
from edgewright.observe import goals
from edgewright.observe.count.instructions import STEADY
from edgewright.observe.goals import Goal
from edgewright.observe.peers import peers
from edgewright.observe.peers.contestant import (
    Contestant,
    Setup,
    count_runs,
    ncnn,
    ort,
)
from edgewright.observe.peers.peers import Peer

PICTURES = 2  # that ranges are taken from
INPUT = "image"  # of networks that are exported here
# Instructions for a hundred multiplications with addition, on 32-bit boards.
GOALS: Mapping[str, int] = {"resnet18": 36, "yolov8n-backbone": 36, "mobilenetv2": 60}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What counts, and on what."""

    profile: BoardProfile
    workspace: Workspace
    library: Path  # of an SDK with all operators for this board
    peers: Sequence[str]
    log: Path


def measure(request: Request, say: LineSink) -> NetworkCosts:
    """Export, quantize, convert and count each. Raises UserError and ChildFailed as these do."""
    costs = []
    for network in IN_FULL_SIZE:
        with TemporaryDirectory(prefix="edgewright-networks-") as scratch:
            costs.append(_cost(request, network, Path(scratch), say))
    return NetworkCosts(
        board=request.profile.name, cpu=request.profile.qemu_cpu, networks=tuple(costs)
    )


def require_goals(costs: NetworkCosts) -> None:
    """Raises CheckError where an inference takes more than it may."""
    goals.require(
        f"{costs.board}: networks of others",
        (
            Goal(name=cost.network, value=cost.instructions, most=cost.goal, unit="instructions")
            for cost in costs.networks
        ),
        next=f"invoke model.inspect --model=FILE names operators without a fast kernel, "
        f"invoke bench.instructions --board={costs.board} the functions",
    )


def _cost(request: Request, network: Network, folder: Path, say: LineSink) -> NetworkCost:
    assert isinstance(network.source, Definition), "networks in full size are exported here"
    shape = network.source.request.shapes[0]
    say(f"{network.name}: export, quantize, convert")
    images = [fetch.normalized(picture) for picture in draw_pictures(PICTURES, shape[2])]
    fp32 = prepare(fetch.fetch(network), folder / "fp32.onnx")
    calibration = calibrate(fp32, [{INPUT: image} for image in images])
    int8 = quantize_prepared(fp32, calibration, folder / "int8.onnx")
    setup = Setup(
        workspace=request.workspace,
        arch=request.profile.abi.arch,
        cpu=request.profile.qemu_cpu,
        log=request.log,
        shape=shape,
        values=_written(images[0], folder / "input"),
    )
    ours = Peer(
        name="SDK",
        arch=setup.arch,
        library=request.library,
        sysroot=peers.sysroot_of_peers(setup.arch, setup.log),
    )
    say(f"{network.name}: count")
    macs = inspect(int8).macs
    has_goal = setup.arch is Arch.ARMHF
    return NetworkCost(
        network=network.name,
        source=str(network.source),
        side=shape[2],
        macs=macs,
        instructions=_steady(setup, ort(setup, ours, "INT8", convert(int8, folder / "board").ort)),
        goal=macs * GOALS[network.name] // 100 if has_goal else None,
        peers=tuple(
            PeerCost(
                runtime=contestant.runtime,
                precision=contestant.precision,
                instructions=_steady(setup, contestant),
            )
            for contestant in _peers(setup, request.peers, int8, fp32)
        ),
    )


def _written(values: Floats, path: Path) -> Path:
    values.astype(np.float32).tofile(path)
    return path


def _steady(setup: Setup, contestant: Contestant) -> int:
    return count_runs(setup, contestant).total(STEADY)


def _peers(setup: Setup, names: Sequence[str], int8: Path, fp32: Path) -> Iterator[Contestant]:
    for name in names:
        if name == "ncnn":
            yield ncnn(setup, fp32, "FP32", {})
            continue
        # No xnnpack: it makes no session of unsigned bytes.
        peer = peers.ORT_PEERS[name](setup.arch, setup.log)
        yield ort(setup, peer, "INT8", int8)
        yield ort(setup, peer, "FP32", fp32)
