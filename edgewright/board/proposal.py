"""A profile for a board that was surveyed, and the boards of the catalogue that it resembles.

What the board did not say is not guessed: the key stays a comment, and the profile is not valid
until a person fills it in.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from edgewright.base.errors import TargetError
from edgewright.base.schema import Document, Part
from edgewright.board.profile import COMPATIBLE, NAME, Arch, BoardProfile
from edgewright.board.refused import NEEDS_NEON, PARTS, core_refusal
from edgewright.board.survey import Survey

MOST_ALIKE = 3
MEMORY_SHARE = (0.7, 1.0)  # of the RAM as sold, what a kernel leaves: firmware and GPU take some
BASES = {Arch.ARMHF: "_armhf-linux", Arch.ARM64: "_arm64-linux"}
BITS = {Arch.ARMHF: "32-bit userland", Arch.ARM64: "64-bit userland"}
LEAST_MB = 64  # that a profile may state
DEPLOY_SERVICES = ("systemd", "runit", "inittab")  # that `service.manager` knows
Fact = Literal["compatible", "core", "userland", "cores", "memory"]
DECISIVE = frozenset({"compatible", "core", "userland"})


class Resemblance(Part):
    """A board of the catalogue, what it has in common with the one surveyed, and what not."""

    board: str
    alike: tuple[str, ...]
    differs: tuple[str, ...]

    def __str__(self) -> str:
        apart = f"; differs: {', '.join(self.differs)}" if self.differs else ""
        return f"{self.board}: {', '.join(self.alike)}{apart}"


class Unknown(Part):
    """A key of the profile that the survey could not fill in."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


class Proposal(Part):
    """What came of a survey."""

    name: str
    resembles: tuple[Resemblance, ...]
    unknown: tuple[Unknown, ...]
    remarks: tuple[str, ...]  # what a person should know before the first deploy
    toml: str


class ProbeReport(Document):
    """`board.probe --json`."""

    version: Literal[1] = 1
    kind: Literal["probe"] = "probe"
    target: str
    survey: Survey
    proposal: Proposal
    file: str | None  # that the profile was written to


def propose(
    survey: Survey, subject: str, catalogue: Sequence[BoardProfile], name: str = ""
) -> Proposal:
    """A profile of the board.

    `subject` says in errors which board it is; without `name`, the board's `compatible` gives it.
    Raises TargetError for a board that cannot run, or that has no name.
    """
    _require_runnable(survey, subject)
    resembles = resemblances(survey, catalogue)
    compatible = _compatible(survey, catalogue)
    unknown, remarks = list(_unknown(survey, compatible)), list(_remarks(survey, compatible))
    header = [f"Surveyed on a board with kernel {survey.kernel or 'unknown'}, {survey.machine}."]
    header += [f"Resembles {resemblance}." for resemblance in resembles]
    header += [] if resembles else ["Resembles no board of the catalogue."]
    header += [f"{remark}." for remark in remarks]
    return Proposal(
        name=name or _name_of(survey, subject),
        resembles=tuple(resembles),
        unknown=tuple(unknown),
        remarks=tuple(remarks),
        toml=_toml(survey, compatible, unknown, header),
    )


def _require_runnable(survey: Survey, subject: str) -> None:
    """Raises TargetError for a machine that is not Arm, or whose cores have no NEON."""
    facts = (
        f"machine: {survey.machine}",
        f"CPU parts: {' '.join(part.part for part in survey.parts) or 'not shown'}",
        f"features: {' '.join(survey.features) or 'not shown'}",
    )
    if not survey.machine.startswith(("arm", "aarch64")):
        raise TargetError(subject, "is not an Arm board", facts=facts, next="invoke boards")
    old = next((PARTS[part.part] for part in survey.parts if part.part in PARTS), None)
    if old or (survey.features and survey.fpu is None):
        problem = (core_refusal(old) if old else None) or f"has no NEON; {NEEDS_NEON}"
        raise TargetError(subject, problem, facts=facts, next="invoke boards")


def _name_of(survey: Survey, subject: str) -> str:
    """The board's part of its `compatible`, as a file may be called."""
    for compatible in survey.compatible[:1]:
        name = re.sub(r"[^a-z0-9]+", "-", compatible.rpartition(",")[2].lower()).strip("-")
        if NAME.fullmatch(name):
            return name
    raise TargetError(
        subject, "does not say what it is called", next="invoke board.probe with --name=NAME"
    )


def resemblances(survey: Survey, catalogue: Sequence[BoardProfile]) -> list[Resemblance]:
    """At most MOST_ALIKE boards, the most alike first.

    Each has the board's `compatible`, or both its core and its userland.
    """
    ranked = []
    for profile in catalogue:
        same, words = _compare(survey, profile)
        if "compatible" in same or {"core", "userland"} <= same:
            alike = [word for fact, word in words.items() if fact in same]
            differs = [word for fact, word in words.items() if fact not in same]
            # Lists compare item by item: the weightiest fact in which two boards differ decides.
            rank = [fact not in same for fact in words]
            resemblance = Resemblance(
                board=profile.name, alike=tuple(alike), differs=tuple(differs)
            )
            ranked.append((rank, resemblance))
    return [resemblance for _, resemblance in sorted(ranked, key=lambda pair: pair[0])][:MOST_ALIKE]


def _compare(survey: Survey, profile: BoardProfile) -> tuple[set[Fact], dict[Fact, str]]:
    """Which facts of a profile are the board's, and each fact in words, the weightiest first."""
    low, high = (share * profile.memory.total_mb for share in MEMORY_SHARE)
    same: dict[Fact, bool] = {
        "compatible": not {profile.compatible, *profile.aliases}.isdisjoint(survey.compatible),
        "userland": profile.abi.arch is survey.arch,
        "core": profile.cpu.core == survey.core,
        "cores": profile.cpu.cores == survey.cores,
        "memory": survey.memory_mb is not None and low <= survey.memory_mb <= high,
    }
    words: dict[Fact, str] = {
        "compatible": profile.compatible,
        "userland": BITS[profile.abi.arch],
        "core": profile.cpu.core,
        "cores": f"{profile.cpu.cores} cores",
        "memory": f"{profile.memory.total_mb} MiB",
    }
    return {fact for fact, is_same in same.items() if is_same}, words


def _unknown(survey: Survey, compatible: str | None) -> Iterator[Unknown]:
    if survey.arch is None:
        yield Unknown(key="extends", reason="/bin/sh does not show whether userland has 32 bits")
    if compatible is None:
        first = ", ".join(survey.compatible[:1]) or "none"
        yield Unknown(key="compatible", reason=f"no vendor,board in the device tree: {first}")
    if survey.core is None:
        parts = " ".join(f"{part.implementer}:{part.part}" for part in survey.parts)
        reason = f"no core or pair of cores that GCC can name has implementer:part {parts}"
        if not parts:
            reason = "/proc/cpuinfo shows no CPU part; an emulator shows its host's"
        yield Unknown(key="cpu.core", reason=reason)
    if survey.cores is None:
        yield Unknown(key="cpu.cores", reason="/proc/cpuinfo lists no processors")
    if survey.arch is Arch.ARMHF and survey.fpu is None:
        yield Unknown(key="cpu.fpu", reason="/proc/cpuinfo shows no Features")
    if survey.libc is None:
        yield Unknown(key="libc.floor", reason="no C library introduced itself")
    elif survey.libc.family == "musl" and survey.libc.version is None:
        yield Unknown(key="libc.floor", reason="the board's musl tells no version")
    if _memory_mb(survey) is None:
        yield Unknown(key="memory.total_mb", reason="/proc/meminfo shows no sound MemTotal")


def _remarks(survey: Survey, compatible: str | None) -> Iterator[str]:
    if compatible and compatible != survey.compatible[0]:
        yield (
            f"compatible is the catalogue's: the board's own first, {survey.compatible[0]}, "
            "is no vendor,board"
        )
    mount = survey.deploy_mount
    if mount and mount.hindrance:
        yield (
            f"{survey.deploy_root} is on {mount.point} ({mount.kind}), mounted {mount.hindrance}: "
            "set deploy.root to a folder where programs can be written and run"
        )
    if mount and mount.kind in ("tmpfs", "ramfs"):
        yield f"{survey.deploy_root} is on {mount.point}, a {mount.kind}: lost at power-off"
    if survey.libc and survey.libc.family != "glibc":
        yield f'libc is {survey.libc.family}: only runtime.linkage = "static", the default, runs'
    if survey.missing_applets:
        yield f"a deploy needs applets that the board lacks: {', '.join(survey.missing_applets)}"
    if survey.init in DEPLOY_SERVICES:
        yield f'to run as a service, say so: [service] manager = "{survey.init}"'
    elif survey.init:
        yield f"process 1 is {survey.init}, which service.manager does not know"
    else:
        yield "what process 1 is could not be learnt: service.manager is left out"


def _compatible(survey: Survey, catalogue: Sequence[BoardProfile]) -> str | None:
    """The device tree's first name, which is the board's own.

    Where that is none that a profile can state (Jetson Linux has '+' in it), a later one that a
    board of the catalogue has; the others may be a whole family's.
    """
    if survey.compatible and re.fullmatch(COMPATIBLE, survey.compatible[0]):
        return survey.compatible[0]
    boards = {profile.compatible for profile in catalogue}
    return next((name for name in survey.compatible if name in boards), None)


def _memory_mb(survey: Survey) -> int | None:
    return survey.memory_mb if (survey.memory_mb or 0) >= LEAST_MB else None


def _toml(
    survey: Survey, compatible: str | None, unknown: Sequence[Unknown], header: Sequence[str]
) -> str:
    """The profile as a file, what is unknown as comments in its place."""
    missing = {item.key: item.reason for item in unknown}

    def line(key: str, value: object, remark: str = "") -> str:
        name = key.rpartition(".")[2]
        if key in missing:
            return f"# {name} = …  # not learnt: {missing[key]}"
        # JSON's strings are TOML's too, for text that can be printed.
        return f"{name} = {json.dumps(value, ensure_ascii=False)}{remark and f'  # {remark}'}"

    parts = " ".join(part.part for part in survey.parts)
    lines = [f"# {remark}" for remark in header]
    lines += [
        line("extends", BASES[survey.arch] if survey.arch else None),
        line("description", survey.model or "no model in the device tree"),
        line("compatible", compatible),
        "",
        "[cpu]",
        line("cpu.core", survey.core, f"CPU part {parts}"),
        line("cpu.cores", survey.cores),
    ]
    lines += [line("cpu.clock_mhz", survey.clock_mhz)] if survey.clock_mhz else []
    lines += [line("cpu.fpu", survey.fpu)] if survey.arch is Arch.ARMHF else []
    lines += ["", "[libc]", _libc_line(survey, missing)]
    lines += ["", "[memory]", line("memory.total_mb", _memory_mb(survey), "MemTotal")]
    if survey.cores:
        lines += ["", "[runtime]", line("runtime.threads", survey.cores)]
    return "\n".join(lines) + "\n"


def _libc_line(survey: Survey, missing: dict[str, str]) -> str:
    libc = survey.libc
    if libc is None:
        return f"# floor = …  # not learnt: {missing['libc.floor']}; that of the base counts"
    version = re.match(r"[0-9]+\.[0-9]+", libc.version or "")
    family = "" if libc.family == "glibc" else f'family = "{libc.family}"\n'
    if "libc.floor" in missing:
        return f"{family}# floor = …  # not learnt: {missing['libc.floor']}"
    if libc.family == "uclibc" or version is None:
        other = f"{libc.family} {libc.version or ''}".rstrip()
        return f"# floor: for glibc and musl only, the board has {other}"
    return f'{family}floor = "{version[0]}"'
