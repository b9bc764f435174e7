"""What of a board's health could hurt, and what to do about it: facts in, checks out."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from edgewright.board.profile import BoardProfile, LibcFamily, Linkage
from edgewright.board.survey import Mount
from edgewright.observe import heat
from edgewright.observe.doctor.facts import Health
from edgewright.observe.doctor.report import ORDER, Check, Grade
from edgewright.observe.heat import Zone

NOT_MEASURED = "not measured"
IN_MEMORY = frozenset({"tmpfs", "ramfs", "rootfs"})  # the last one is an initramfs
KERNEL_FLOOR = (3, 2)  # of the static glibc in `edge-infer`
DAY_S = 86_400
DRIFT_S = 10  # of a clock that nobody sets
FEW_INODES = (200, 2000)  # a release takes some 50; the rest is logs' and the service's
ROOM_C = 10  # degrees at rest below the trip point that slows the board down
KERNEL_DIED = 1 << 7  # bits of /proc/sys/kernel/tainted
SOFT_LOCKUP = 1 << 14
# JEDEC eMMC: life time in tenths that are used, 0x0b: exceeded; spare blocks that are used up.
LIFE_WORN, LIFE_EXCEEDED = 9, 11
SPARE_WARNING, SPARE_URGENT = 2, 3


def judge(health: Health, profile: BoardProfile) -> tuple[Check, ...]:
    """All checks, the worst first; equals stay in the order of what a deploy meets first."""
    checks = [
        *_architecture(health, profile),
        *_mount(health),
        *_space(health, profile),
        *_inodes(health),
        *_storage(health),
        *_applets(health),
        *_libc(health, profile),
        *_kernel(health),
        *_memory(health, profile),
        *_swap(health),
        *_thermal_zones(health),
        *_throttling(health),
        *_cores(health, profile),
        *_governor(health),
        *_load(health),
        *_clock(health),
        *_host_key(health),
        *_watchdog(health),
    ]
    return tuple(sorted(checks, key=lambda check: ORDER.index(check.grade)))


def _architecture(health: Health, profile: BoardProfile) -> Iterator[Check]:
    survey = health.survey
    userland = f"{survey.machine}, userland {survey.arch or 'unknown'}"
    if survey.arch is None:
        yield Check(name="userland", grade=Grade.UNKNOWN, found=userland)
    elif survey.arch != profile.abi.arch:
        yield Check(
            name="userland",
            grade=Grade.BROKEN,
            found=userland,
            harm=f"board '{profile.name}' is {profile.abi.arch}: its releases do not start here",
            next="invoke board.probe writes the profile that this board is of",
        )
    else:
        yield Check(name="userland", grade=Grade.WELL, found=userland)


def _mount(health: Health) -> Iterator[Check]:
    mount, root = health.survey.deploy_mount, health.survey.deploy_root
    if mount is None:
        yield Check(name="mount", grade=Grade.UNKNOWN, found=f"file system of {root} not known")
        return
    place = f"{root} on {mount.kind} at {mount.point}"
    if word := mount.hindrance:
        harm = {
            "ro": "read-only: nothing can be installed",
            "noexec": "noexec: no program of a release starts",
        }[word]
        yield Check(
            name="mount",
            grade=Grade.BROKEN,
            found=f"{place}, {word}",
            harm=harm,
            next=f"on the board: mount -o remount,{'rw' if word == 'ro' else 'exec'} "
            f"{mount.point}, and in its fstab; or another deploy.root in the profile",
        )
    elif mount.kind in IN_MEMORY:
        yield Check(
            name="mount",
            grade=Grade.RISK,
            found=place,
            harm="in memory: releases are gone after the next start",
            next="set deploy.root in the board's profile to a folder on its storage",
        )
    else:
        yield Check(name="mount", grade=Grade.WELL, found=place)


def _space(health: Health, profile: BoardProfile) -> Iterator[Check]:
    free, reserve = health.survey.free_mb, profile.deploy.reserve_mb
    release = (profile.budgets.binary_bytes + profile.budgets.model_bytes) / (1 << 20)
    space = f"{free:,} MiB free for {health.survey.deploy_root}"
    clear = "invoke status lists the board's releases; remove what else fills its storage"
    if free < reserve:
        harm = f"less than the {reserve} MiB that a deploy leaves free: it is refused"
        yield Check(name="space", grade=Grade.BROKEN, found=space, harm=harm, next=clear)
    elif free < reserve + release:
        harm = f"a release of {release:.1f} MiB beside the {reserve} MiB reserve may not fit"
        yield Check(name="space", grade=Grade.RISK, found=space, harm=harm, next=clear)
    else:
        yield Check(name="space", grade=Grade.WELL, found=space)


def _inodes(health: Health) -> Iterator[Check]:
    if health.inodes is None:
        yield Check(name="inodes", grade=Grade.UNKNOWN, found=NOT_MEASURED)
        return
    total, free = health.inodes
    if total == 0:
        yield Check(name="inodes", grade=Grade.WELL, found="a file system without a fixed number")
        return
    few, low = FEW_INODES
    grade = Grade.BROKEN if free < few else Grade.RISK if free < low else Grade.WELL
    is_well = grade is Grade.WELL
    yield Check(
        name="inodes",
        grade=grade,
        found=f"{free:,} of {total:,} free",
        harm=None if is_well else "no file can be made once they are gone, whatever space is left",
        next=None if is_well else "on the board: look for a folder with very many small files",
    )


def _storage(health: Health) -> Iterator[Check]:
    yield from _cards(health)
    yield from _ext4(health)
    yield from _ubi(health)
    if health.storage_errors:
        yield Check(
            name="kernel's log",
            grade=Grade.RISK,
            found="errors of the storage",
            facts=health.storage_errors,
            harm="storage that fails now and then loses what it acknowledged",
            next="save what is on it, check its file systems, replace card or board",
        )
    else:
        is_read = health.is_log_readable
        yield Check(
            name="kernel's log",
            grade=Grade.WELL if is_read else Grade.UNKNOWN,
            found="no error of the storage" if is_read else "may not be read by this login",
        )


def _cards(health: Health) -> Iterator[Check]:
    for match in health.files.matches(r"sys/block/(mmcblk[0-9]+)/device/type"):
        name, kind = match[1], health.files.text(match[0])
        folder = f"sys/block/{name}/device"
        life = _highest(health.files.text(f"{folder}/life_time"), LIFE_EXCEEDED)
        spare = _highest(health.files.text(f"{folder}/pre_eol_info"), SPARE_URGENT)
        if life == 0 and spare == 0:
            device = f"{kind or 'card'} that does not tell its wear"
            yield Check(name=f"storage {name}", grade=Grade.UNKNOWN, found=device)
            continue
        grade = Grade.WELL
        if life >= LIFE_WORN or spare == SPARE_WARNING:
            grade = Grade.RISK
        if life >= LIFE_EXCEEDED or spare >= SPARE_URGENT:
            grade = Grade.BROKEN
        wear = "beyond its life" if life >= LIFE_EXCEEDED else f"up to {life * 10} % of its life"
        blocks = {SPARE_WARNING: ", 80 % of its spare blocks", SPARE_URGENT: ", 90 % of them"}
        is_well = grade is Grade.WELL
        yield Check(
            name=f"storage {name}",
            grade=grade,
            found=f"{wear} used{blocks.get(spare, '')}",
            harm=None if is_well else "it becomes read-only or loses data when it is worn out",
            next=None if is_well else "plan to replace it; look for what writes so much",
        )


def _highest(text: str | None, most: int) -> int:
    """Of hexadecimal numbers; 0, which JEDEC has for "not defined", where none is up to `most`."""
    words = [word for word in (text or "").split() if re.fullmatch(r"0x[0-9a-fA-F]{1,2}", word)]
    return max((int(word, 16) for word in words if int(word, 16) <= most), default=0)


def _ext4(health: Health) -> Iterator[Check]:
    for match in health.files.matches(r"sys/fs/ext4/([^/]+)/errors_count"):
        errors = health.files.number(match[0])
        if errors is None:
            continue
        yield Check(
            name=f"ext4 {match[1]}",
            grade=Grade.RISK if errors else Grade.WELL,
            found=f"{errors:,} errors since its last check",
            harm="it is damaged, and may become read-only at any time" if errors else None,
            next="check it with e2fsck while it is not mounted" if errors else None,
        )


def _ubi(health: Health) -> Iterator[Check]:
    for match in health.files.matches(r"sys/class/ubi/(ubi[0-9]+)/bad_peb_count"):
        folder = f"sys/class/ubi/{match[1]}"
        bad = health.files.number(match[0])
        spare = health.files.number(f"{folder}/reserved_for_bad")
        is_read_only = health.files.number(f"{folder}/ro_mode") == 1
        is_used_up = spare == 0 and bool(bad)
        grade = Grade.BROKEN if is_read_only else Grade.RISK if is_used_up else Grade.WELL
        is_well = grade is Grade.WELL
        yield Check(
            name=f"flash {match[1]}",
            grade=grade,
            found=f"{_number(bad)} bad blocks, {_number(spare)} spare ones"
            + (", read-only after an error" if is_read_only else ""),
            harm=None if is_well else "the next bad block makes it read-only, or it is already",
            next=None if is_well else "replace the board, or its flash",
        )


def _number(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _applets(health: Health) -> Iterator[Check]:
    missing = health.survey.missing_applets
    yield Check(
        name="applets",
        grade=Grade.BROKEN if missing else Grade.WELL,
        found=f"missing: {', '.join(missing)}" if missing else "all that a deploy needs",
        harm="a deploy ends at the first of them" if missing else None,
        next="install busybox with them on the board" if missing else None,
    )


def _libc(health: Health, profile: BoardProfile) -> Iterator[Check]:
    libc, is_shared = health.survey.libc, profile.runtime.linkage is Linkage.SHARED
    if libc is None:
        yield Check(name="libc", grade=Grade.UNKNOWN, found="none that tells its name")
        return
    library = f"{libc.family} {libc.version or ''}".strip()
    # musl's has three numbers, of which a floor has two.
    version = re.match(r"([0-9]{1,3})\.([0-9]{1,3})(?![0-9])", libc.version or "")
    is_older = (
        version is not None
        and libc.family == profile.libc.family
        and (int(version[1]), int(version[2])) < profile.libc.version
    )
    # All programs for boards with musl are static: those run with any C library.
    is_other = profile.libc.family is LibcFamily.GLIBC and libc.family != "glibc"
    if not (is_older or is_other):
        yield Check(name="libc", grade=Grade.WELL, found=library)
        return
    expected = f"board '{profile.name}' promises {profile.libc.family} {profile.libc.floor}"
    outcome = f"{'its releases' if is_shared else 'an SDK for it'} would not start"
    if profile.libc.family is LibcFamily.MUSL:
        outcome = "its programs are static and start, but a profile is to say what is there"
    yield Check(
        name="libc",
        grade=Grade.BROKEN if is_shared else Grade.NOTE,
        found=library,
        harm=f"{expected}: {outcome}",
        next=f'set libc.floor = "{version[0]}" in the profile'
        if version and is_older
        else 'keep runtime.linkage = "static" in the profile',
    )


def _kernel(health: Health) -> Iterator[Check]:
    release = health.survey.kernel
    version = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", release or "")
    if version and (int(version[1]), int(version[2])) < KERNEL_FLOOR:
        yield Check(
            name="kernel",
            grade=Grade.BROKEN,
            found=f"Linux {release}",
            harm=f"edge-infer needs {'.'.join(map(str, KERNEL_FLOOR))}",
            next="install a newer kernel on the board",
        )
    else:
        yield Check(
            name="kernel",
            grade=Grade.WELL if version else Grade.UNKNOWN,
            found=f"Linux {release}" if release else "not known",
        )
    tainted = health.files.number("proc/sys/kernel/tainted") or 0
    if tainted & (KERNEL_DIED | SOFT_LOCKUP):
        what = "an oops" if tainted & KERNEL_DIED else "a soft lockup"
        yield Check(
            name="kernel's health",
            grade=Grade.RISK,
            found=f"{what} since power-on",
            harm="what the kernel does from here on is not to be relied on",
            next="on the board: save the output of dmesg, then start it again",
        )


def _memory(health: Health, profile: BoardProfile) -> Iterator[Check]:
    available, budget = health.available_kib, profile.budgets.peak_rss_mb
    if available is None:
        yield Check(name="memory", grade=Grade.UNKNOWN, found="what is available is not known")
    else:
        free = available / 1024
        grade = Grade.BROKEN if free < budget else Grade.RISK if free < 2 * budget else Grade.WELL
        is_well = grade is Grade.WELL
        yield Check(
            name="memory",
            grade=grade,
            found=f"{free:,.0f} MiB available of {_number(health.survey.memory_mb)}",
            harm=None
            if is_well
            else f"an inference may take {budget:g} MiB, and a deploy tests one beside the service",
            next=None if is_well else "on the board: end what else takes memory",
        )
    if health.oom_kills:
        yield Check(
            name="out of memory",
            grade=Grade.RISK,
            found=f"{health.oom_kills:,} programs killed since power-on",
            harm="the kernel may choose the service next",
            next="on the board: dmesg names them; set service.memory_mb for what is there",
        )


def _swap(health: Health) -> Iterator[Check]:
    on_storage = [swap for swap in health.swaps if "zram" not in swap.file]
    if not on_storage:
        kind = "compressed memory" if health.swaps else "none"
        yield Check(name="swap", grade=Grade.WELL, found=kind)
        return
    used = sum(swap.used_kib for swap in on_storage) >> 10
    total = sum(swap.kib for swap in on_storage) >> 10
    yield Check(
        name="swap",
        grade=Grade.RISK if used else Grade.NOTE,
        found=f"{used:,} of {total:,} MiB used in {', '.join(swap.file for swap in on_storage)}",
        harm="an inference that waits for storage is late, and swap wears flash out",
        next="on the board: swapoff -a, or swap to zram",
    )


def _thermal_zones(health: Health) -> Iterator[Check]:
    zones = heat.zones(health.files) + heat.sensors(health.files)
    yield from map(_heat, zones)
    if not zones:
        yield Check(name="heat", grade=Grade.UNKNOWN, found=NOT_MEASURED)


def _heat(zone: Zone) -> Check:
    name, degrees = f"heat {zone.name}", zone.celsius
    passive, critical = zone.passive, zone.critical
    if degrees is None:
        lie = "its sensor answers nothing that can be true"
        return Check(name=name, grade=Grade.UNKNOWN, found=lie)
    temperature = f"{degrees:.1f} °C"
    temperature += f", slows down at {passive:g} °C" if passive else ""
    temperature += f", switches off at {critical:g} °C" if critical else ""
    cool = "cool it: heat sink, air, a shadier place; or a smaller network, or fewer threads"
    if critical and degrees >= critical - ROOM_C / 2:
        harm = "the board is about to switch itself off"
        return Check(name=name, grade=Grade.BROKEN, found=temperature, harm=harm, next=cool)
    if passive and degrees >= passive:
        harm = "it runs slower than it was measured to"
        return Check(name=name, grade=Grade.RISK, found=temperature, harm=harm, next=cool)
    if passive and degrees >= passive - ROOM_C:
        harm = f"less than {ROOM_C} °C of room: it slows down under load"
        return Check(name=name, grade=Grade.RISK, found=temperature, harm=harm, next=cool)
    if critical and passive is None:
        harm = "nothing slows it down before it switches off"
        return Check(name=name, grade=Grade.NOTE, found=temperature, harm=harm, next=cool)
    return Check(name=name, grade=Grade.WELL, found=temperature)


def _throttling(health: Health) -> Iterator[Check]:
    for kind, state in heat.cpu_cooling(health.files).items():
        if state:
            yield Check(
                name=f"throttling {kind}",
                grade=Grade.RISK,
                found=f"cooling state {state}",
                harm="the clock is held down: times are longer than they were measured",
                next="cool the board, then measure again",
            )
    bits = heat.firmware_bits(health.files)
    if bits is None:
        return
    active, past = heat.firmware_limits(bits)
    events = [f"now: {', '.join(active)}"] if active else []
    events += [f"since power-on: {', '.join(past)}"] if past else []
    yield Check(
        name="firmware's limits",
        grade=Grade.RISK if events else Grade.WELL,
        found="; ".join(events) or "none was reached since power-on",
        harm="the firmware holds the clock down, and Linux does not see it" if events else None,
        next="use a stronger supply and shorter cable for under-voltage; cool it for the rest"
        if events
        else None,
    )


def _cores(health: Health, profile: BoardProfile) -> Iterator[Check]:
    cores = health.survey.cores
    if cores is None:
        yield Check(name="cores", grade=Grade.UNKNOWN, found="not known")
    elif cores < profile.runtime.threads:
        yield Check(
            name="cores",
            grade=Grade.RISK,
            found=f"{cores} at work",
            harm=f"runtime.threads is {profile.runtime.threads}: threads wait for each other",
            next="switch the others on, or set runtime.threads in the profile",
        )
    else:
        yield Check(name="cores", grade=Grade.WELL, found=f"{cores} at work")
    online, present = (
        health.files.text(f"sys/devices/system/cpu/{name}") for name in ("online", "present")
    )
    if online and present and online != present:
        yield Check(
            name="cores that are off",
            grade=Grade.NOTE,
            found=f"at work {online}, present {present}",
            harm="some boards switch cores off when they are hot",
            next="on the board: echo 1 to the core's `online` below /sys/devices/system/cpu",
        )


def _governor(health: Health) -> Iterator[Check]:
    clocks = heat.clocks(health.files)
    if not clocks:
        yield Check(name="governor", grade=Grade.UNKNOWN, found=NOT_MEASURED)
        return
    governors = {clock.governor for clock in clocks}
    is_capped = any(clock.is_capped for clock in clocks)
    harm = "the cores stay at their lowest clock" if "powersave" in governors else None
    if is_capped:
        harm = "the cores may not reach their highest clock"
    yield Check(
        name="governor",
        grade=Grade.RISK if harm else Grade.WELL,
        found=", ".join(sorted(governors)) + (", capped by scaling_max_freq" * is_capped),
        harm=harm,
        next="on the board: echo schedutil (or ondemand) to scaling_governor, and the highest "
        "clock to scaling_max_freq"
        if harm
        else None,
    )


def _load(health: Health) -> Iterator[Check]:
    text = (health.files.text("proc/loadavg") or "").partition(" ")[0]
    if not re.fullmatch(r"[0-9]{1,6}\.[0-9]{2}", text):
        yield Check(name="load", grade=Grade.UNKNOWN, found="not known")
        return
    cores = health.survey.cores or 1
    is_busy = float(text) > cores
    yield Check(
        name="load",
        grade=Grade.NOTE if is_busy else Grade.WELL,
        found=f"{text} on {cores} cores",
        harm="other programs take the cores: inferences are late" if is_busy else None,
        next="on the board: top shows which" if is_busy else None,
    )


def _clock(health: Health) -> Iterator[Check]:
    offset, error = health.clock_offset_s, health.clock_error_s
    steered = {True: "steered by NTP", False: "not steered by NTP", None: "NTP not known"}
    if offset is None:
        yield Check(name="clock", grade=Grade.UNKNOWN, found="not known")
        return
    beyond = max(abs(offset) - error, 0)
    way = "ahead of" if offset > 0 else "behind"
    difference = (
        f"{_duration(abs(offset))} {way} this machine's" if beyond >= 1 else "as this machine's"
    )
    is_far = beyond >= DAY_S
    is_off = beyond >= DRIFT_S
    yield Check(
        name="clock",
        grade=Grade.RISK if is_far else Grade.NOTE if is_off else Grade.WELL,
        found=f"{difference}, {steered[health.synchronised]}",
        harm="times in logs and results are wrong, and certificates may not be valid yet"
        if is_off
        else None,
        next="set the clock that is wrong, and run NTP on the board" if is_off else None,
    )
    if not any(health.files.matches(r"sys/class/rtc/rtc[0-9]+/name")):
        yield Check(
            name="clock without power",
            grade=Grade.NOTE,
            found="no real-time clock",
            harm="after each start the time is wrong until NTP sets it",
            next="add a real-time clock, or run NTP on the board",
        )


def _duration(seconds: float) -> str:
    if seconds >= DAY_S:
        return f"{seconds / DAY_S:,.1f} days"
    return f"{seconds:,.0f} s"


def _host_key(health: Health) -> Iterator[Check]:
    if not health.host_keys:
        yield Check(name="host key", grade=Grade.UNKNOWN, found="its file is not where it is usual")
        return
    lost = [path for path in health.host_keys if _is_in_memory(path, health.survey.mounts)]
    yield Check(
        name="host key",
        grade=Grade.RISK if lost else Grade.WELL,
        found=", ".join(lost or health.host_keys),
        harm="in memory: after the next start the board has another one, and is refused"
        if lost
        else None,
        next="keep it on the board's storage" if lost else None,
    )


def _is_in_memory(path: str, mounts: Sequence[Mount]) -> bool:
    above = [mount for mount in mounts if PurePosixPath(path).is_relative_to(mount.point)]
    # Of two that are mounted at one point, the later one is seen.
    deepest = max(enumerate(above), key=lambda at: (len(at[1].point), at[0]), default=None)
    return deepest is not None and deepest[1].kind in IN_MEMORY


def _watchdog(health: Health) -> Iterator[Check]:
    panic = health.files.number("proc/sys/kernel/panic", least=-1)
    has_watchdog = any(health.files.matches(r"sys/class/watchdog/watchdog[0-9]+/identity"))
    if panic == 0:
        yield Check(
            name="kernel panic",
            grade=Grade.NOTE,
            found="kernel.panic is 0" + ("" if has_watchdog else ", no watchdog device"),
            harm="after a panic the board stands still until somebody comes",
            next="on the board: kernel.panic = 10 in its sysctl.conf",
        )
