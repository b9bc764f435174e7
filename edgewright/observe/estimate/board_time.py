"""Estimate the time of an inference on a Cortex-A53: count, model, calibrate.

Calibration: ncnn publishes times of MobileNets on two boards with four Cortex-A53 each, on one
thread and on four (benchmark/README.md of its repository). The same networks go through the same
counter and the same model here; what the boards took above the model is the scale, and how much
that differs from network to network is the error.
"""

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.base.layout import Resources, user_cache
from edgewright.base.progress import Stages
from edgewright.base.schema import Document, Part, parse_json, read_record
from edgewright.base.workspace import Workspace
from edgewright.board.profile import Arch, BoardProfile
from edgewright.observe.count import counts
from edgewright.observe.count.counts import Guest
from edgewright.observe.count.instructions import STEADY, Program, guest_of, program_of_release
from edgewright.observe.estimate import a53, mobilenet
from edgewright.observe.peers import peers

CORE = "cortex-a53"
MARGIN = 2  # the range, in errors of the calibration: our networks have other operators
NETWORKS = {
    "mobilenet": mobilenet.mobilenet_v1,
    "mobilenet_int8": lambda: mobilenet.mobilenet_v1(int8=True),
    "mobilenet_v2": mobilenet.mobilenet_v2,
}


class Published(Part):
    """A row of ncnn's table: the shortest of a few runs, on one thread and on four."""

    board: str
    mhz: int
    network: str
    ms: float
    ms_of_four: float

    @property
    def megacycles(self) -> float:
        return self.ms * self.mhz / 1e3


PI, DRAGON = ("Raspberry Pi 3B+", 1400), ("Snapdragon 410", 1200)
PUBLISHED = tuple(
    Published(board=board, mhz=mhz, network=network, ms=ms, ms_of_four=four)
    for (board, mhz), network, ms, four in (
        (PI, "mobilenet", 204.62, 107.84),
        (PI, "mobilenet_int8", 181.34, 66.91),
        (PI, "mobilenet_v2", 158.69, 110.64),
        (DRAGON, "mobilenet", 243.78, 86.69),
        (DRAGON, "mobilenet_int8", 206.23, 62.22),
        (DRAGON, "mobilenet_v2", 168.04, 77.98),
    )
)


class Modelled(Part):
    """One inference in the model, in millions."""

    instructions: float
    compute: float  # cycles of the pipeline
    memory: float  # cycles that it waits for the caches

    @property
    def megacycles(self) -> float:
        return self.compute + self.memory


class Calibration(Document):
    """`bench/calibration.json`: the model's own figures for the published networks."""

    version: Literal[1] = 1
    networks: dict[str, Modelled]

    def ratios(self) -> dict[tuple[str, str], float]:
        """(board, network) → published cycles divided by modelled cycles."""
        return {
            (p.board, p.network): p.megacycles / self.networks[p.network].megacycles
            for p in PUBLISHED
        }

    @property
    def scale(self) -> float:
        """The factor from modelled to real cycles: the geometric mean of the ratios."""
        # In logarithms: twice as fast and half as fast are equally wrong.
        logs = [math.log(ratio) for ratio in self.ratios().values()]
        return math.exp(sum(logs) / len(logs))

    @property
    def error(self) -> float:
        """The largest relative difference of a published time from its calibrated estimate."""
        return max(max(r / self.scale, self.scale / r) - 1 for r in self.ratios().values())


class Range(Part):
    """An estimate in milliseconds, never a measurement."""

    low: float
    likely: float
    high: float

    def over(self, low: float, high: float) -> "Range":
        """This range divided by a gain that lies somewhere between `low` and `high`."""
        middle = math.sqrt(low * high)
        return Range(low=self.low / high, likely=self.likely / middle, high=self.high / low)


Judgement = Literal["within", "undecided", "above"]


class TimeEstimate(Document):
    """How long one inference takes on one board; also `build/<board>/reports/estimate.json`."""

    version: Literal[1] = 1
    board: str
    mhz: int
    threads: int
    modelled: Modelled
    error: float  # of the calibration
    one_thread_ms: Range
    ms: Range  # on the profile's threads
    budget_ms: float
    judgement: Judgement


def estimate(program: Program, profile: BoardProfile, resources: Resources) -> TimeEstimate:
    """Count a program with its caches and estimate. Raises UserError for another core."""
    mhz = require_modelled(profile)
    calibration = read_calibration(resources.calibration)
    return judge(modelled(program, resources), calibration, profile, mhz)


def estimate_release(
    folder: Path, profile: BoardProfile, workspace: Workspace, stages: Stages
) -> TimeEstimate | None:
    """Estimate the release in `folder` as a stage of its own, and write its report.

    None, and a note that says why, where this machine cannot estimate for the board.
    """
    reason = lacks(profile)
    if reason:
        stages.progress.note(f"no estimate of the board's time: {reason}")
        return None
    out = workspace.build(profile.name)
    with stages.stage("estimate") as stage:
        program = program_of_release(folder, profile, out)
        stage.cached = is_counted(program, workspace.resources)
        estimated = estimate(program, profile, workspace.resources)
        write_file(out.estimate, estimated.to_json())
    return estimated


def modelled(program: Program, resources: Resources) -> Modelled:
    """Count a program with its caches; figures of the same program, model and image are cached."""
    path = _cache_file(program, resources)
    if recorded := read_record(Modelled, path):
        return recorded
    figures = model_of(counts.count(guest_of(program, caches=True), resources))
    write_file(path, figures.model_dump_json(indent=2) + "\n")
    return figures


def is_counted(program: Program, resources: Resources) -> bool:
    """Whether the figures of a program are in the cache, so that an estimate takes no counting."""
    return _cache_file(program, resources).is_file()


def _cache_file(program: Program, resources: Resources) -> Path:
    # The pipeline model is part of the key: a better one must not find the old one's cycles. The
    # folder of the release is not: boards that share a program and a network share its cycles.
    options = [
        option.replace(str(program.model.parent.parent), "RELEASE") for option in program.options
    ]
    files = (
        program.binary,
        program.model,
        *program.inputs,
        resources.counts_plugin,
        Path(a53.__file__),
    )
    hashes = [digest.file_sha256(path) for path in files]
    key = digest.text_sha256(*hashes, program.cpu, *options)
    return user_cache() / "bench" / "modelled" / f"{key[:32]}.json"


def lacks(profile: BoardProfile) -> str | None:
    """Why this machine cannot estimate for a board, or None if it can."""
    try:
        require_modelled(profile)
    except UserError as fault:
        return f"{fault.subject}: {fault.problem}"
    missing = [tool for tool in counts.tools(profile.abi.arch) if not shutil.which(tool)]
    return f"{missing[0]} is not installed: invoke setup" if missing else None


def is_modelled(profile: BoardProfile) -> bool:
    """Whether the model of the pipeline covers a board's programs."""
    return profile.cpu.core == CORE and profile.abi.arch is Arch.ARMHF


def require_modelled(profile: BoardProfile) -> int:
    """The clock in MHz of a board that the model covers. Raises UserError for another board."""
    mhz = profile.cpu.clock_mhz
    if not is_modelled(profile):
        facts = [f"expected: {CORE}, {Arch.ARMHF}", f"found: {profile.cpu.core}"]
        facts[-1] += f", {profile.abi.arch}"
        raise UserError(f"board '{profile.name}'", "no model of its core", facts=facts)
    if mhz is None:
        raise UserError(
            f"board '{profile.name}'",
            "its clock is not known",
            next=f"set cpu.clock_mhz in board_profiles/{profile.name}.toml",
        )
    return mhz


def judge(
    modelled: Modelled, calibration: Calibration, profile: BoardProfile, mhz: int
) -> TimeEstimate:
    """Convert cycles into time, and judge the time by the board's budget."""
    likely = modelled.megacycles * calibration.scale / mhz * 1e3
    widest = 1 + MARGIN * calibration.error
    single = Range(low=likely / widest, likely=likely, high=likely * widest)
    threads = profile.runtime.threads
    ms = single.over(*gains(threads)) if threads > 1 else single
    budget = profile.budgets.latency_ms
    return TimeEstimate(
        board=profile.name,
        mhz=mhz,
        threads=threads,
        modelled=modelled,
        error=calibration.error,
        one_thread_ms=single,
        ms=ms,
        budget_ms=budget,
        # A range around the budget decides nothing, and says so.
        judgement="within" if ms.high <= budget else "above" if ms.low > budget else "undecided",
    )


def gains(threads: int) -> tuple[float, float]:
    """The least and the most that the published networks gain by `threads` threads.

    Their gains are published for four; Amdahl's law gives those for two and three.
    """
    of_four = [p.ms / p.ms_of_four for p in PUBLISHED]
    return _amdahl(min(of_four), threads), _amdahl(max(of_four), threads)


def _amdahl(gain_of_four: float, threads: int) -> float:
    # The parallel share, solved from 1 / ((1 - p) + p / 4) = gain.
    parallel = (1 - 1 / gain_of_four) * 4 / 3
    return 1 / (1 - parallel + parallel / threads)


def model_of(counted: counts.Counts) -> Modelled:
    """The model's figures for the steady inference of a run with caches."""
    cycles = a53.cycles(counted, STEADY)
    return Modelled(
        instructions=round(counted.total(STEADY) / 1e6, 3),
        compute=round(cycles.compute / 1e6, 3),
        memory=round(cycles.memory / 1e6, 3),
    )


def calibrate(resources: Resources, scratch: Path, log: Path) -> Calibration:
    """Count and model the published networks. Fetches ncnn if it is not in the cache."""
    peer = peers.ncnn(Arch.ARMHF, log)
    networks = {}
    for name, text in NETWORKS.items():
        param = scratch / f"{name}.param"
        param.write_text(text())
        networks[name] = model_of(counts.count(_ncnn_guest(resources, peer, param), resources))
    return Calibration(networks=networks)


def _ncnn_guest(resources: Resources, peer: peers.Peer, param: Path) -> Guest:
    """ncnn without weights and with a constant image: neither changes what is executed."""
    argv = peers.ncnn_argv(peer, resources.peer_programs / "ncnn_peer.py", param)
    return Guest(
        arch=Arch.ARMHF,
        argv=[*argv, "-", "-", "3x224x224", "2"],
        mark_syscall=peers.PLATFORMS[Arch.ARMHF].getppid,
        marks=3,
        caches=True,
    )


def read_calibration(path: Path) -> Calibration:
    if not path.is_file():
        raise UserError(str(path), "is missing", next="invoke bench.calibrate")
    return parse_json(Calibration, path.read_bytes(), str(path), "is not a calibration")


def residuals(calibration: Calibration) -> Iterable[tuple[Published, float]]:
    """Each published time with its calibrated estimate, in milliseconds."""
    networks: Mapping[str, Modelled] = calibration.networks
    for published in PUBLISHED:
        cycles = networks[published.network].megacycles * calibration.scale
        yield published, cycles / published.mhz * 1e3
