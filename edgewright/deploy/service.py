"""The release as a service of the board, by `edgectl start`: its own program, if it has one that
is a service, else the default program.

The board profile's `[service]` says what starts it. Under busybox init and runit a script of ours
keeps it running, judges its heartbeat and bounds its log; systemd does that by itself.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import parse_json
from edgewright.base.text import LINE, last_lines, visible
from edgewright.board.profile import BoardProfile, Manager, ServiceCommand
from edgewright.deploy.edge_infer import Heartbeat, Thermal
from edgewright.deploy.remote import Board
from edgewright.release.programs import DEFAULT_PROGRAM, SERVICE_FILE
from edgewright.release.run_file import launcher

STATE = "/run/edgewright"
SOCKETS = f"{STATE}/serve"
SCRIPT = "/etc/edgewright/service"
PROGRAM = "/etc/edgewright/run"  # becomes the program of the release that is current
RUNIT = "/etc/service/edgewright"
UNIT_FILE = "/etc/systemd/system/edgewright.service"
INITTAB = "/etc/inittab"
INITTAB_LINE = f"::respawn:{SCRIPT}"

# Times are since power-on: a board's wall clock may be wrong, and may jump.
SUPERVISE = r"""
uptime() { cut -d . -f 1 /proc/uptime; }
say() { echo "$(uptime) $*" >> "$state/log"; }
beat() { sed -n 's/.*"uptime_s":\([0-9]*\).*/\1/p' "$state/heartbeat" 2>/dev/null; }
limit_memory() {
    group=/sys/fs/cgroup/edgewright
    grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null || return 0
    mkdir -p "$group" &&
        echo +memory > /sys/fs/cgroup/cgroup.subtree_control &&
        echo $((memory_mb * 1048576)) > "$group/memory.max" &&
        echo 0 > "$group/cgroup.procs"
}
run() {
    limit_memory 2>/dev/null || say "memory_mb=$memory_mb cannot be set: no limit"
    ulimit -c 0
    ulimit -n 256
    exec $affinity "$@"
}
start() {
    began=$(uptime)
    echo "$began" > "$state/since.new"
    mv -f "$state/since.new" "$state/since"
    echo $(($(cat "$state/starts" 2>/dev/null || echo 0) + 1)) > "$state/starts"
    run "$@" >> "$state/log" 2>&1 < /dev/null &
    child=$!
    renice "$nice" -p "$child" >/dev/null 2>&1
}
shorten_log() {
    [ "$(wc -c < "$state/log")" -le $((log_kb * 512)) ] && return
    cat "$state/log" > "$state/log.old"
    : > "$state/log"
}
watch_over() {
    while kill -0 "$child" 2>/dev/null; do
        sleep 2
        shorten_log
        last=$(beat)
        late=$(($(uptime) - ${last:-$began}))  # on a full disk there may be no file of either
        [ "$late" -le "$watchdog_s" ] && continue
        say "no heartbeat for $late s: killed"
        kill -KILL "$child" 2>/dev/null
        return
    done
}
mkdir -p "$state" $folders
echo $$ > "$state/supervisor"
touch "$state/log"
# A heartbeat of a program that has ended would pass for the next one's, which still loads.
rm -f "$state/heartbeat"
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; rm -f "$state/heartbeat"; exit 0' TERM INT
while :; do
    start "$@"
    watch_over
    wait "$child"
    code=$?
    rm -f "$state/heartbeat"
    say "ended with exit code $code"
    sleep "$restart_s"
done
"""


@dataclass(frozen=True, kw_only=True)
class ServiceFile:
    """One file that makes the service, outside of the deploy root."""

    path: str
    text: str
    mode: str = "0644"


def command(profile: BoardProfile) -> tuple[str, ...]:
    """What init runs. `edgectl start` works in the folder of the release that it decides for.

    How the release is to run stands in the release, not here: a service that is installed once
    runs whatever is deployed after it.
    """
    service = profile.service
    argv = [f"{profile.deploy.root}/bin/edgectl", "start", PROGRAM, service.command]
    match service.command:
        case ServiceCommand.WATCH:
            argv += ["--in", service.input, "--out", service.output, "--keep", str(service.keep)]
        case ServiceCommand.SERVE:
            argv += ["--folder", SOCKETS]
    return (*argv, "--heartbeat", _heartbeat())


def _heartbeat() -> str:
    return f"{STATE}/heartbeat"


def _folders(profile: BoardProfile) -> tuple[str, ...]:
    """What must be there before the program starts, which hands them over to its user."""
    service = profile.service
    if service.command is ServiceCommand.SERVE:
        return (SOCKETS,)
    return service.input, service.output


def render(profile: BoardProfile) -> tuple[ServiceFile, ...]:
    """The files for the profile's init, in the order in which they are placed; none without one.

    What is started comes before what starts it: runit looks for new services by itself.
    """
    program = ServiceFile(
        path=PROGRAM, text=launcher(profile.service.user, _heartbeat()), mode="0755"
    )
    match profile.service.manager:
        case Manager.NONE:
            return ()
        case Manager.SYSTEMD:
            return (
                program,
                ServiceFile(path="/etc/systemd/journald@edgewright.conf", text=_journal(profile)),
                ServiceFile(path=UNIT_FILE, text=_unit(profile)),
            )
        case Manager.INITTAB:
            return (program, ServiceFile(path=SCRIPT, text=_script(profile), mode="0755"))
        case Manager.RUNIT:
            return (program, ServiceFile(path=f"{RUNIT}/run", text=_script(profile), mode="0755"))


def _script(profile: BoardProfile) -> str:
    service = profile.service
    cores = ",".join(map(str, service.cpus))
    settings = {
        "state": STATE,
        "folders": " ".join(_folders(profile)),
        "restart_s": service.restart_s,
        "watchdog_s": service.watchdog_s,
        "memory_mb": service.memory_mb,
        "nice": service.nice,
        "affinity": f"taskset -c {cores}" if cores else "",
        "log_kb": service.log_kb,
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in settings.items()]
    head = f"#!/bin/sh\n# Made by invoke service.install for {profile.name}.\n"
    words = f"set -- {shlex.join(command(profile))}\n"
    return head + "\n".join(lines) + "\n" + words + SUPERVISE.lstrip("\n")


def _unit(profile: BoardProfile) -> str:
    service = profile.service
    cores = " ".join(map(str, service.cpus))
    writable = (profile.deploy.root, *_folders(profile))
    return "\n".join(
        [
            f"# Made by invoke service.install for {profile.name}.",
            "[Unit]",
            "Description=edgewright: images in, classes out",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStartPre=/bin/mkdir -p {' '.join(_folders(profile))}",
            f"ExecStart={shlex.join(command(profile))}",
            # Goes, with its heartbeat, when the program ends: the next one's is its own.
            "RuntimeDirectory=edgewright",
            "Restart=always",
            f"RestartSec={service.restart_s}",
            f"WatchdogSec={service.watchdog_s}",
            "WatchdogSignal=SIGKILL",  # one that hangs may leave SIGABRT unanswered, for 90 s
            f"MemoryMax={service.memory_mb}M",
            "OOMPolicy=continue",  # an image's process may be killed, the service goes on
            "TasksMax=128",
            "LimitCORE=0",
            "NoNewPrivileges=yes",
            *_devices(service.devices),
            "ProtectSystem=full",
            f"ReadWritePaths={' '.join(f'-{path}' for path in writable)}",
            "ProtectControlGroups=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelTunables=yes",
            "RestrictAddressFamilies=AF_UNIX",
            f"Nice={service.nice}",
            *([f"CPUAffinity={cores}"] if cores else []),
            "LogNamespace=edgewright",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _devices(devices: Sequence[str]) -> list[str]:
    """Those that a program of the user's opens, such as its camera; others are not there for it."""
    if not devices:
        return ["PrivateDevices=yes"]
    return ["DevicePolicy=closed", *(f"DeviceAllow={path} rw" for path in devices)]


def _journal(profile: BoardProfile) -> str:
    size = f"{profile.service.log_kb}K"
    return f"[Journal]\nStorage=volatile\nRuntimeMaxUse={size}\nSystemMaxUse={size}\n"


# On the board

PLACE = r"""
set -e
umask 022
mkdir -p "${1%/*}"
trap 'rm -f "$1.new"' EXIT
cat > "$1.new"
chmod "$2" "$1.new"
sync
if [ ! -f "$1" ]; then answer=new
elif [ "$(sha256sum < "$1.new")" = "$(sha256sum < "$1")" ]; then answer=same
else answer=changed; fi
if [ "$answer" = same ]; then rm "$1.new"; else mv -f "$1.new" "$1"; fi
echo "$answer"
"""
# A board without its inittab does not start again, and on a full disk a shell writes a part of a
# file and may still say 0: what was written is compared before it takes the file's place.
EDIT_INITTAB = r"""
set -e
edit() {
    file=$1 line=$2 new=$1.new
    trap 'rm -f "$new"' EXIT
    cp -p "$file" "$new" 2>/dev/null || true  # for owner and mode, where the board has cp
    { wanted > "$new"; } 2>/dev/null || true
    if [ ! -f "$new" ] || [ "$(wanted | sha256sum)" != "$(sha256sum < "$new")" ]; then
        echo "$file: cannot be written, and stays as it is: is the disk full or read-only?" >&2
        exit 1
    fi
    sync
    mv -f "$new" "$file"
}
"""
# The user that the service is. With a tool of the board's where it has one, else in the files that
# every Linux has; nothing is done where the user exists.
MAKE_USER = (
    EDIT_INITTAB
    + r"""
wanted() { cat "$file"; [ -z "$(tail -c 1 "$file")" ] || echo; echo "$line"; }
grep -q "^$1:" /etc/passwd && exit 0
{ addgroup -S "$1" && adduser -S -D -H -h / -s /bin/false -G "$1" "$1"; } >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir / --shell /bin/false "$1" \
        >/dev/null 2>&1 || {
    id=999
    while grep -q ":$id:" /etc/passwd /etc/group; do id=$((id - 1)); done
    edit /etc/group "$1:x:$id:"
    edit /etc/passwd "$1:x:$id:$id::/:/bin/false"
}
"""
)
WAIT_FOR = r"""
fail() { echo "$1" >&2; exit 1; }
wait_for() {
    seconds=$1
    shift
    until "$@"; do
        [ "$seconds" -gt 0 ] || return 1
        seconds=$((seconds - 1))
        sleep 1
    done
}
is_running() { kill -0 "$(cat "$1" 2>/dev/null)" 2>/dev/null; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }
is_taken_up() { answer=$(sv status "$1" 2>&1); }
"""
# Each ends what runs where something has changed, so that init starts it anew, and fails where init
# takes no notice of it.
ENABLE = {
    Manager.INITTAB: EDIT_INITTAB
    + WAIT_FOR
    + r"""
wanted() { cat "$file"; [ -z "$(tail -c 1 "$file")" ] || echo; echo "$line"; }
if ! grep -qxF "$2" "$4"; then
    edit "$4" "$2"
    kill -HUP 1
elif [ "$1" = changed ]; then
    # One that has ended meanwhile is started anew anyway.
    kill -TERM "$(cat "$3" 2>/dev/null)" 2>/dev/null || true
fi
wait_for 60 is_running "$3" || fail "$2 in $4: not started within 60 s: is process 1 busybox init?"
""",
    Manager.RUNIT: WAIT_FOR
    + r"""
set -e
verb=start
[ "$1" != changed ] || verb=restart
if ! is_taken_up "$2"; then
    verb=start
    wait_for 60 is_taken_up "$2" || fail "$answer: does runsvdir run on ${2%/*}?"  # looks every 5 s
fi
sv -w 60 "$verb" "$2" >&2
""",
    Manager.SYSTEMD: r"""
set -e
verb=start
[ "$1" != changed ] || verb=restart
systemctl daemon-reload
systemctl enable --quiet edgewright.service
systemctl "$verb" edgewright.service
""",
}
# Each waits for the service's end: it may be at work on an image. One that was never started, or
# is removed already, has ended.
DISABLE = {
    Manager.INITTAB: EDIT_INITTAB
    + WAIT_FOR
    + r"""
wanted() { grep -vxF "$line" "$file" || [ $? = 1 ]; }  # 1: no other line is left
edit "$3" "$1"
kill -HUP 1
supervisor=$(cat "$2" 2>/dev/null) || exit 0
kill -TERM "$supervisor" 2>/dev/null || exit 0
wait_for 60 has_ended "$supervisor" ||
    fail "the service (process $supervisor) has not ended within 60 s"
""",
    Manager.RUNIT: r"""
set -e
! sv status "$1" >/dev/null 2>&1 || sv -w 60 down "$1" >&2
rm -rf "$1"  # runsvdir ends the runsv of a folder that is gone; one without `run` it tries for ever
""",
    Manager.SYSTEMD: r"""
[ -f "$1" ] || exit 0
systemctl disable --quiet --now edgewright.service
""",
}
MAX_CHARACTERS = 100_000  # of the script's answer
QUOTED_LINES = 5
LOG_LINES = 3
COUNTS = {"uptime", "since", "starts"}
NUMBER = re.compile(r"[0-9]{1,15}")
# Seconds of silence: systemd reads all units anew (half a minute on a slow board), then gives a
# start 90 s. Whoever gives up before it does never sees its reason.
MANAGER_SECONDS = 180.0
READ = r"""
cd "$1" 2>/dev/null || exit 0
for name in since starts; do [ -f "$name" ] && echo "$name $(cat "$name")"; done
[ -f heartbeat ] && echo "heartbeat $(cat heartbeat)"
echo "uptime $(cut -d . -f 1 /proc/uptime)"
[ -f log ] && tail -n 3 log | sed 's/^/log /'
exit 0
"""


# Whatever init it is: a deploy does not know the board's profile.
IS_INSTALLED = r"""
for file in "$@"; do [ ! -f "$file" ] || { echo installed; exit 0; }; done
"""
STARTS_OWN = r"""
[ ! -f "$1" ] || grep -qF "$2" "$1" || echo no
"""
RECENT_LOG = r"""
if [ -f "$1/log" ]; then tail -n 5 "$1/log"
else  # a board without either has no log, and the deploy has a fault of its own to tell
    journalctl --namespace=edgewright --quiet --output=cat --lines=5 2>/dev/null || true
fi
"""

READ_SYSTEMD = r"""
[ -f "$2" ] || exit 0
show() { systemctl show --value --property="$1" edgewright.service; }
echo "starts $(($(show NRestarts) + 1))"
echo "since $(($(show ExecMainStartTimestampMonotonic) / 1000000))"
[ -f "$1/heartbeat" ] && echo "heartbeat $(cat "$1/heartbeat")"
echo "uptime $(cut -d . -f 1 /proc/uptime)"
journalctl --namespace=edgewright --quiet --output=cat --lines=3 | sed 's/^/log /'
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """What `invoke status` tells of the service."""

    installed: bool
    since_s: int | None = None  # seconds that it has been running
    restarts: int = 0  # since the board was switched on
    silent_s: int | None = None  # seconds since its last heartbeat
    images: int = 0
    failed: int = 0
    heap_bytes: int | None = None  # allocated and not freed
    thermal: Thermal | None = None  # none: no limit is given
    healthy: bool = False
    log: tuple[str, ...] = ()


def install(board: Board, profile: BoardProfile) -> bool:
    """Make the release a service; False if it was one already, just so.

    Raises UserError for a profile without a service, TargetError for a board that refuses.
    """
    manager = profile.service.manager
    if manager is Manager.NONE:
        raise UserError(
            f"board '{profile.name}'",
            "has no service",
            facts=["expected: service.manager = 'inittab', 'runit' or 'systemd'"],
            next=f"set it in board_profiles/{profile.name}.toml",
        )
    board.script(MAKE_USER, profile.service.user)
    placed = [_place(board, file) for file in render(profile)]
    # What runs of a file that is new was started from it.
    state = Placed.CHANGED if Placed.CHANGED in placed else Placed.SAME
    subject = _subject(manager)
    supervisor = f"{STATE}/supervisor"
    board.script(ENABLE[manager], state, subject, supervisor, INITTAB, timeout=MANAGER_SECONDS)
    return any(answer is not Placed.SAME for answer in placed)


def remove(board: Board, profile: BoardProfile) -> None:
    """End the service and remove its files; the release stays. Raises TargetError."""
    manager = profile.service.manager
    if manager is not Manager.NONE:
        subject = _subject(manager)
        supervisor = f"{STATE}/supervisor"
        board.script(DISABLE[manager], subject, supervisor, INITTAB, timeout=MANAGER_SECONDS)
        board.check(["rm", "-rf", STATE, *(file.path for file in render(profile))])


def is_installed(board: Board) -> bool:
    """Whether something starts the release on this board. Raises TargetError."""
    files = (SCRIPT, f"{RUNIT}/run", UNIT_FILE)
    return board.script(IS_INSTALLED, *files).stdout.strip() == "installed"


def require_own_programs(board: Board, release: str) -> None:
    """Raise TargetError where an older edgewright installed the service.

    It starts the default program whatever the release says.
    """
    if board.script(STARTS_OWN, PROGRAM, SERVICE_FILE).stdout.strip() == "no":
        raise TargetError(
            str(board.target),
            "its service is of an edgewright that knows no programs of yours",
            facts=[
                f"expected: {PROGRAM} starts {SERVICE_FILE} of release {release}",
                f"found: it starts {DEFAULT_PROGRAM.path}",
            ],
            next="invoke service.install, then repeat the command",
        )


def recent_log(board: Board) -> list[str]:
    """The end of the service's log. Raises TargetError."""
    return last_lines(board.script(RECENT_LOG, STATE).stdout, QUOTED_LINES)


def _subject(manager: Manager) -> str:
    """What a script for this init works on."""
    return {
        Manager.INITTAB: INITTAB_LINE,
        Manager.RUNIT: RUNIT,
        Manager.SYSTEMD: UNIT_FILE,
    }[manager]


class Placed(StrEnum):
    """What became of a file on the board."""

    SAME = "same"
    NEW = "new"
    CHANGED = "changed"


def _place(board: Board, file: ServiceFile) -> Placed:
    """Write a file unless the board has it already."""
    argv = ["sh", "-c", PLACE, "_", file.path, file.mode]
    answer = board.check(argv, input=file.text.encode()).stdout.strip()
    return Placed(answer) if answer in set(Placed) else Placed.CHANGED  # it may say anything


def status(board: Board, profile: BoardProfile) -> ServiceState:
    """What the service does. Raises TargetError if the board does not answer."""
    read = READ_SYSTEMD if profile.service.manager is Manager.SYSTEMD else READ
    answer = board.script(read, STATE, UNIT_FILE).stdout
    return parse_status(answer, str(board.target), profile.service.watchdog_s)


def parse_status(text: str, subject: str, watchdog_s: int) -> ServiceState:
    """State from the output of the script."""
    pairs = [line.partition(" ")[::2] for line in text[:MAX_CHARACTERS].splitlines()]
    values = dict(pairs)
    if "starts" not in values and "heartbeat" not in values:
        return ServiceState(installed=False)
    counts = {key: int(values[key]) for key in COUNTS if NUMBER.fullmatch(values.get(key, ""))}
    # Files of a disk that was full are empty.
    if not {"uptime", *(key for key in COUNTS if values.get(key))} <= counts.keys():
        facts = [f"| {line}" for line in last_lines(text, QUOTED_LINES)]
        raise TargetError(subject, "did not say how its service is", facts=facts)
    uptime = counts["uptime"]
    beat = None
    if values.get("heartbeat"):
        file = f"{subject}: {STATE}/heartbeat"
        beat = parse_json(
            Heartbeat, values["heartbeat"], file, "not a heartbeat", blame=TargetError
        )
    silent = uptime - beat.uptime_s if beat else None
    return ServiceState(
        installed=True,
        since_s=uptime - counts["since"] if "since" in counts else None,
        restarts=counts.get("starts", 1) - 1,
        silent_s=silent,
        images=beat.images if beat else 0,
        failed=beat.failed if beat else 0,
        heap_bytes=beat.heap_bytes if beat else None,
        thermal=beat.thermal if beat else None,
        healthy=silent is not None and silent <= watchdog_s,
        # Names of images are in it: whoever may bring an image wrote them.
        log=tuple(visible(value[:LINE]) for key, value in pairs if key == "log")[-LOG_LINES:],
    )
