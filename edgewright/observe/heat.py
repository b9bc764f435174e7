"""Heat, clocks and what holds them down, read in the files of a board's kernel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.observe.board_files import BoardFiles

ZONES = ("sys/class/thermal/thermal_zone*/type", "sys/class/thermal/thermal_zone*/temp")
PATTERNS = (
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    *ZONES,
    "sys/class/hwmon/hwmon*/name",
    "sys/class/hwmon/hwmon*/temp[0-9]*_input",
    "sys/class/hwmon/hwmon*/temp[0-9]*_label",
    "sys/class/thermal/thermal_zone*/trip_point_*_type",
    "sys/class/thermal/thermal_zone*/trip_point_*_temp",
    "sys/class/thermal/cooling_device*/type",
    "sys/class/thermal/cooling_device*/cur_state",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
)
SENSOR_C = (-40, 150)  # outside of it a sensor lies
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Raspberry Pi's firmware: bit now, and the same 16 bits higher since power-on.
LIMITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A thermal zone, or a sensor of hwmon's, °C; None: not there, or nothing that can be true."""

    name: str
    celsius: float | None
    passive: float | None  # the lowest trip point at which the kernel slows down
    critical: float | None  # at which it switches off


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Of one core, kHz."""

    governor: str
    current: int | None
    allowed: int | None  # by scaling_max_freq, which the kernel lowers when it is hot
    highest: int | None

    @property
    def is_capped(self) -> bool:
        return bool(self.allowed and self.highest and self.allowed < self.highest)


def zones(files: BoardFiles) -> list[Zone]:
    """All thermal zones that have a sensor."""
    return [
        _zone(files, f"sys/class/thermal/{match[1]}", match[1])
        for match in files.matches(r"sys/class/thermal/(thermal_zone[0-9]+)/temp")
    ]


def sensors(files: BoardFiles) -> list[Zone]:
    """Those of hwmon that are no thermal zone: of an NVMe device, of a board's own chips."""
    of_zones = {zone.name.replace("-", "_") for zone in zones(files)}  # as hwmon calls them
    chips = [
        (files.text(f"{match[1]}/name") or "hwmon", match[2], match[1])
        for match in files.matches(r"(sys/class/hwmon/hwmon[0-9]+)/(temp[0-9]+)_input")
    ]
    return [
        Zone(
            name=f"{chip} {files.text(f'{folder}/{number}_label') or number}",
            celsius=_celsius(files, f"{folder}/{number}_input"),
            passive=None,
            critical=None,
        )
        for chip, number, folder in chips
        if chip not in of_zones
    ]


def hottest(files: BoardFiles) -> float | None:
    """Of thermal zones, °C, or of hwmon where there is none; None of a board that measures none."""
    of_zones = [zone.celsius for zone in zones(files) if zone.celsius is not None]
    others = [sensor.celsius for sensor in sensors(files) if sensor.celsius is not None]
    return max(of_zones or others, default=None)


def _celsius(files: BoardFiles, path: str) -> float | None:
    """None of what cannot be true."""
    millidegrees = files.number(path, least=-(1 << 31), most=1 << 31)
    low, high = SENSOR_C
    if millidegrees is None or not low <= millidegrees / 1000 <= high:
        return None
    return millidegrees / 1000


def _zone(files: BoardFiles, folder: str, name: str) -> Zone:
    return Zone(
        name=files.text(f"{folder}/type") or name,
        celsius=_celsius(files, f"{folder}/temp"),
        passive=_trip(files, folder, ("passive",)),
        critical=_trip(files, folder, ("critical", "hot")),
    )


def _trip(files: BoardFiles, folder: str, kinds: Sequence[str]) -> float | None:
    """The lowest trip point of these kinds; kernels write 0 and less for one that is off."""
    trips = [
        files.number(f"{match[1]}_temp")
        for match in files.matches(rf"({re.escape(folder)}/trip_point_[0-9]+)_type")
        if files.text(match[0]) in kinds
    ]
    return min((trip / 1000 for trip in trips if trip), default=None)


def clocks(files: BoardFiles) -> list[Clock]:
    """Of each core that Linux can clock."""
    return [
        Clock(
            governor=files.text(match[0]) or "unknown",
            current=files.number(f"{match[1]}/scaling_cur_freq", most=1 << 31),
            allowed=files.number(f"{match[1]}/scaling_max_freq", most=1 << 31),
            highest=files.number(f"{match[1]}/cpuinfo_max_freq", most=1 << 31),
        )
        for match in files.matches(r"(sys/devices/system/cpu/cpu[0-9]+/cpufreq)/scaling_governor")
    ]


def cpu_cooling(files: BoardFiles) -> dict[str, int]:
    """The state of each cooling device that holds the CPU's clock down; 0 is none."""
    states = {}
    for match in files.matches(r"sys/class/thermal/(cooling_device[0-9]+)/cur_state"):
        kind = files.text(f"sys/class/thermal/{match[1]}/type") or ""
        state = files.number(match[0], most=1 << 31)
        if "cpu" in kind and state is not None:
            states[kind] = state
    return states


def firmware_bits(files: BoardFiles) -> int | None:
    """What a Raspberry Pi's firmware says of itself; None of any other board."""
    text = files.text(FIRMWARE)
    return int(text, 16) if text and re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text) else None


def firmware_limits(bits: int) -> tuple[list[str], list[str]]:
    """Which limits hold now, and which did since power-on."""
    holding = [word for bit, word in enumerate(LIMITS) if bits >> bit & 1]
    before = [word for bit, word in enumerate(LIMITS) if bits >> (16 + bit) & 1]
    return holding, before
