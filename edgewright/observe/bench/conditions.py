"""Under what a measurement was made: clocks, heat, throttling, power and other load.

A board is read between processes and, over a login of its own, once a second while one runs. What
it has no sensor for is None, which is "not measured" and never zero.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

from edgewright.base.errors import EdgewrightError
from edgewright.base.schema import Part, Shown
from edgewright.deploy.remote import Board
from edgewright.observe import heat
from edgewright.observe.board_files import BoardFiles, read_files

SYSTEM = ("proc/loadavg", "proc/sys/kernel/osrelease", "proc/sys/kernel/random/boot_id")
HWMON = (
    "sys/class/hwmon/hwmon*/power[0-9]*_input",
    "sys/class/hwmon/hwmon*/power[0-9]*_average",
    "sys/class/hwmon/hwmon*/power[0-9]*_label",
)
SENSORS = (*heat.PATTERNS, *HWMON)
MOST_MICROWATTS = 1_000_000_000  # 1 kW: beyond it a sensor lies
MOST_SENSORS = 16
INTERVAL_S = 1.0


class PowerReading(Part):
    """Of one sensor, W."""

    sensor: str
    watts: float


class Reading(Shown, Part):
    """A board at one moment; null: not measured."""

    at_s: float  # since the measurement began
    mhz: int | None  # of the slowest core
    temperature_c: float | None  # of the hottest zone
    cooling_state: int | None  # the highest of what holds the CPU's clock down; 0: nothing does
    load: float | None  # of the last minute, this measurement's own included
    power: tuple[PowerReading, ...]
    throttled: tuple[str, ...]  # each sign of it
    firmware_bits: int | None = None  # of a Raspberry Pi


class Power(Part):
    """Of one sensor while processes ran; what else hangs on its rail is in the figure."""

    sensor: str
    samples: int
    mean_w: float
    peak_w: float
    mj_per_inference: float | None  # null where the time of an inference is not a board's


@dataclass(frozen=True, kw_only=True)
class System:
    """What stays while a board is on."""

    kernel: str | None
    boot_id: str | None
    governor: str | None


def system_of(files: BoardFiles) -> System:
    governors = sorted({clock.governor for clock in heat.clocks(files)})
    return System(
        kernel=files.text("proc/sys/kernel/osrelease"),
        boot_id=files.text("proc/sys/kernel/random/boot_id"),
        governor=", ".join(governors) or None,
    )


def reading_of(files: BoardFiles, at_s: float) -> Reading:
    """What the files of one moment say."""
    clocks, cooling = heat.clocks(files), heat.cpu_cooling(files)
    currents = [clock.current for clock in clocks if clock.current]
    load = (files.text("proc/loadavg") or "").partition(" ")[0]
    return Reading(
        at_s=round(at_s, 3),
        mhz=min(currents) // 1000 if currents else None,
        temperature_c=heat.hottest(files),
        cooling_state=max(cooling.values(), default=None),
        load=float(load) if re.fullmatch(r"[0-9]{1,6}\.[0-9]{2}", load) else None,
        power=tuple(_power(files))[:MOST_SENSORS],
        throttled=tuple(_signs(files)),
        firmware_bits=heat.firmware_bits(files),
    )


def _signs(files: BoardFiles) -> Iterator[str]:
    """Whatever says that the board is slower now than it could be."""
    for clock in heat.clocks(files):
        if clock.is_capped and clock.allowed and clock.highest:
            yield f"clock capped at {clock.allowed // 1000} of {clock.highest // 1000} MHz"
            break
    yield from (f"{kind}: state {n}" for kind, n in heat.cpu_cooling(files).items() if n)
    for zone in heat.zones(files):
        if zone.celsius is not None and zone.passive and zone.celsius >= zone.passive:
            yield f"{zone.name} at {zone.celsius:.1f} °C, its trip point is {zone.passive:g} °C"
    bits = heat.firmware_bits(files)
    if bits is not None:
        yield from (f"firmware: {limit}" for limit in heat.firmware_limits(bits)[0])


def _power(files: BoardFiles) -> Iterator[PowerReading]:
    """Each sensor once: the mean that it makes itself where it has one, else its last value."""
    pattern = r"(sys/class/hwmon/hwmon[0-9]+)/power([0-9]+)_(input|average)"
    matches = {(match[1], match[2]): match[0] for match in files.matches(pattern)}
    for (folder, number), path in matches.items():
        microwatts = files.number(path, most=MOST_MICROWATTS)
        if microwatts is not None:
            name = files.text(f"{folder}/name") or folder.rpartition("/")[2]
            label = files.text(f"{folder}/power{number}_label") or f"power{number}"
            yield PowerReading(sensor=f"{name} {label}", watts=microwatts / 1e6)


def firmware_events(before: Reading, after: Reading) -> list[str]:
    """Limits that the firmware of a Raspberry Pi reached between two readings."""
    if before.firmware_bits is None or after.firmware_bits is None:
        return []
    new = after.firmware_bits & ~before.firmware_bits
    return [f"firmware, meanwhile: {limit}" for limit in heat.firmware_limits(new)[1]]


def power_of(readings: Sequence[Reading], inference_ms: float | None) -> tuple[Power, ...]:
    """Of each sensor over all readings; W times ms is mJ."""
    sensors = dict.fromkeys(power.sensor for reading in readings for power in reading.power)
    figures = []
    for sensor in sensors:
        watts = [p.watts for reading in readings for p in reading.power if p.sensor == sensor]
        mean = fmean(watts)
        figures.append(
            Power(
                sensor=sensor,
                samples=len(watts),
                mean_w=mean,
                peak_w=max(watts),
                mj_per_inference=None if inference_ms is None else mean * inference_ms,
            )
        )
    return tuple(figures)


@dataclass(kw_only=True)
class Gauge:
    """Reads a board's sensors; `tree` stands for the `/` above its `sys`."""

    board: Board
    tree: str = "/"
    interval_s: float = INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def files(self, board: Board | None = None) -> BoardFiles:
        """Raises TargetError for a board that is gone."""
        board = board or self.board
        if self.tree == "/":
            return read_files(board, (*SYSTEM, *SENSORS))
        system, sensors = read_files(board, SYSTEM), read_files(board, SENSORS, self.tree)
        return BoardFiles({**system.lines, **sensors.lines})

    def has_sensors(self) -> bool:
        """Whether there is anything to read while a process runs."""
        reading = self.read()
        return bool(reading.power or reading.temperature_c or reading.mhz)

    def read(self, board: Board | None = None) -> Reading:
        files = self.files(board)
        return reading_of(files, self.clock() - self._began)


@contextmanager
def sampled(gauge: Gauge, board: Board | None) -> Iterator[list[Reading]]:
    """Readings over a second login, one a second until the block ends; none without `board`."""
    readings: list[Reading] = []
    if board is None:
        yield readings
        return
    ended = threading.Event()

    def sample() -> None:
        try:
            while not ended.wait(gauge.interval_s):
                readings.append(gauge.read(board))
        except EdgewrightError:  # a lost line is told by the one that measures
            return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        ended.set()
        thread.join()
