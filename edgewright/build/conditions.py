"""Another user, day, time zone, locale and umask: nothing of them may be seen in what is built.

They are laid around a build from outside, so that the build itself knows nothing of it. The builder
image is a build's own `docker run`: a program of that name, first in PATH, has it begin by a script
that sets them in the container too.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder, write_file
from edgewright.base.schema import Part

_USER = 47_110
_DAYS = 400  # a leap day is among them, and the year is another one
_ZONE = "Pacific/Chatham"  # 12 hours and 45 minutes from Greenwich
_LOCALE = "POSIX"  # the builder image and most machines have C.UTF-8
_UMASK = "000"  # others' files stay readable: the container's user is another one than this one
_CLOCK = "libfaketime.so.1"
_MOUNT = "/conditions"

_DOCKER = """\
#!/bin/sh
[ "$1" = run ] || exec {docker} "$@"
shift
exec {docker} run --volume {folder}:{mount}:ro --entrypoint {mount}/enter "$@"
"""
_ENTER = """\
#!/bin/sh
umask {umask}
export TZ={zone} LC_ALL={locale} LD_PRELOAD={mount}/{clock} FAKETIME=+{days}d
exec "$@"
"""


class Condition(Part):
    """What was otherwise than in the build before."""

    name: str
    value: str | None  # None: it was the same
    reason: str | None = None  # why it was


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a command is begun under them, and which they are."""

    argv: tuple[str, ...]  # goes before the command
    path: Path  # goes before the folders of PATH
    listed: tuple[Condition, ...]


def prepare(folder: Path) -> Conditions:
    """Write what is laid around a build into an empty folder. Raises UserError without faketime."""
    clock = _clock_library()
    make_folder(folder / "inside")
    values = {
        "docker": shlex.quote(_docker()),
        "folder": shlex.quote(str(folder / "inside")),
        "mount": _MOUNT,
        "umask": _UMASK,
        "zone": _ZONE,
        "locale": _LOCALE,
        "clock": _CLOCK,
        "days": _DAYS,
    }
    write_file(folder / "bin" / "docker", _DOCKER.format(**values), mode=0o755)
    write_file(folder / "inside" / "enter", _ENTER.format(**values), mode=0o755)
    write_file(folder / "inside" / _CLOCK, clock.read_bytes(), mode=0o644)
    user, problem = _other_user()
    surroundings = ["env", f"TZ={_ZONE}", f"LC_ALL={_LOCALE}"]
    return Conditions(
        argv=(
            *user,
            *("sh", "-c", f'umask {_UMASK}; exec "$@"', "sh"),
            *surroundings,
            *("faketime", "-f", f"+{_DAYS}d"),
        ),
        path=folder / "bin",
        listed=(
            Condition(name="folder", value=str(folder.parent)),
            Condition(name="cache", value="empty, but for sources, which recipes check by hash"),
            Condition(name="user", value=str(_USER) if user else None, reason=problem),
            Condition(name="host name", value="of each container, by Docker"),
            Condition(name="day", value=f"{_DAYS} days later"),
            Condition(name="time zone", value=_ZONE),
            Condition(name="locale", value=_LOCALE),
            Condition(name="umask", value=_UMASK),
        ),
    )


def _docker() -> str:
    docker = process.which("docker")
    if docker is None:
        raise UserError("docker", "program not found", next="invoke setup --yes")
    return docker


def _clock_library() -> Path:
    """The library by which `faketime` works; a container gets this machine's."""
    program = process.which("faketime")
    libraries = sorted(Path("/usr/lib").glob(f"*/faketime/{_CLOCK}"))
    if program is None or not libraries:
        raise UserError("faketime", "program not found", next="apt-get install faketime")
    return libraries[0]


def _other_user() -> tuple[tuple[str, ...], str | None]:
    """How a command becomes another user's in its own eyes and Docker's; else why it cannot.

    By a name space of users: files stay this user's, who can remove them afterwards.
    """
    argv = ("unshare", "--user", f"--map-user={_USER}", f"--map-group={_USER}")
    answer = process.capture([*argv, "true"])
    if answer.returncode == 0:
        return argv, None
    return (), (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
