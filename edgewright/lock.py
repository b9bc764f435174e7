"""One deployer at a time: a lock on the board that ends with the connection."""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator

from edgewright.errors import TargetError
from edgewright.remote import Board, CommandError

BUSY = 75  # exit code of our scripts: somebody else has the lock
LOCK_SECONDS = 30  # without a sign of life the board takes the lock back

# A light busybox has no flock. The lock is a symbolic link, made in one step and naming its
# holder; a shell on the board holds it while lines keep coming, and takes it away when they
# stop. One that a dead shell or a power cut left behind is known by process and boot.
HOLD = r"""
umask 022
mkdir -p "$1" && cd "$1" || exit 1
boot=$(cat /proc/sys/kernel/random/boot_id)
started() { [ -r "/proc/$1/stat" ] && cut -d ' ' -f 22 "/proc/$1/stat"; }
me="$2/$boot/$$/$(started $$)"
take() { ln -s "$me" lock 2>/dev/null; }
refuse() { readlink lock >&2; exit 75; }
dead() {
    start=${1##*/}; rest=${1%/*}; pid=${rest##*/}; rest=${rest%/*}
    [ "${rest##*/}" != "$boot" ] || [ "$(started "$pid")" != "$start" ]
}
if ! take; then
    holder=$(readlink lock)
    dead "$holder" || refuse
    mv lock "lock.$$"
    [ "$(readlink "lock.$$")" = "$holder" ] || { mv "lock.$$" lock; refuse; }
    rm "lock.$$"
    take || refuse
fi
trap '[ "$(readlink lock)" != "$me" ] || rm -f lock' EXIT
trap 'exit 1' HUP INT TERM
echo "held $me"
limit=
(read -t 1 line </dev/null) 2>/dev/null
[ $? -gt 1 ] || limit="-t $3"
while read $limit line; do :; done
"""


@contextlib.contextmanager
def locked(board: Board, root: str) -> Iterator[str]:
    """Be the only one who changes the board; yields the token that a switch must show.

    Raises TargetError if somebody else is at work.
    """
    who = f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()}/{secrets.token_hex(4)}"
    argv = ["sh", "-c", HOLD, "_", root, who, str(LOCK_SECONDS)]
    try:
        with board.hold(argv) as line:
            yield line.removeprefix("held ")
    except CommandError as refused:
        if refused.result.argv != tuple(argv) or refused.result.returncode != BUSY:
            raise
        raise TargetError(
            str(board.target),
            "somebody else is deploying",
            facts=[f"holder: {holder_of(refused.result.stderr.strip())}"],
            next="wait for it to end, then run the same command again",
        ) from refused


def holder_of(token: str) -> str:
    """`user@host` of a lock's text."""
    return token.partition("/")[0]
