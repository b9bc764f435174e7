"""Why a login cannot work below a board's deploy root: who it is, how the folder is mounted."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from edgewright.base.errors import TargetError
from edgewright.deploy.remote import Board

MAX_CHARACTERS = 100_000

# Lines "key value"; `read` instead of `cat`, and no `stat`, which busybox may lack.
LOOK = r"""
at=$1
while [ ! -d "$at" ]; do at=${at%/*}; at=${at:-/}; done
echo "folder $at"
echo "uid $(id -u)"
echo "user $(id -un)"
set -- $(ls -ld "$at")
echo "owner $3"
[ -w "$at" ] && echo "writable yes"
sudo -n true 2>/dev/null && echo "sudo yes"
echo "space $(df -P -k "$at" | tail -n 1)"
while read -r device point kind options rest; do
    case $at/ in "${point%/}"/*) echo "mount $point $options" ;; esac
done 2>/dev/null </proc/mounts
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a login may do in a folder of the board, the nearest to the deploy root that exists."""

    user: str
    is_root: bool
    folder: str
    owner: str
    is_writable: bool
    sudo_needs_no_password: bool
    mount_point: str
    mount_options: frozenset[str]
    free_bytes: int | None


def parse_access(text: str) -> Access | None:
    """The output of `LOOK`; None where the board said too little to judge by."""
    lines = [line.partition(" ") for line in text[:MAX_CHARACTERS].splitlines()]
    answers: Mapping[str, str] = {key: value for key, _, value in lines}
    if not {"folder", "uid", "user", "owner"} <= set(answers):
        return None
    mounts = [value.rpartition(" ") for key, _, value in lines if key == "mount"]
    # The deepest counts, and of two on one folder the later.
    point, _, options = max(mounts, key=lambda mount: len(mount[0]), default=("/", "", ""))
    same_point = [options for at, _, options in mounts if at == point]
    space = re.search(r"\s[0-9]+\s+[0-9]+\s+([0-9]{1,15})\s+[0-9]+%\s", answers.get("space", ""))
    return Access(
        user=answers["user"],
        is_root=answers["uid"] == "0",
        folder=answers["folder"],
        owner=answers["owner"],
        is_writable="writable" in answers,
        sudo_needs_no_password="sudo" in answers,
        mount_point=point,
        mount_options=frozenset((same_point or [options])[-1].split(",")),
        free_bytes=int(space[1]) * 1024 if space else None,
    )


def explain(board: Board, root: str, needed_bytes: int = 0) -> TargetError | None:
    """Ask the board why nothing could be written or run below `root`.

    `needed_bytes` is what was to be written. None if all that could be wrong is right.
    """
    access = parse_access(board.run(["sh", "-c", LOOK, "_", root]).stdout)
    if access is None:
        return None
    return judge(access, str(board.target), root, needed_bytes)


def judge(access: Access, subject: str, root: str, needed_bytes: int) -> TargetError | None:
    """The first of what stands in the way, with the command that helps."""
    again = "then run the same command again"
    if "ro" in access.mount_options:
        return _misplaced(access, subject, f"{root} is on a read-only file system", "rw", again)
    if not access.is_writable and not access.is_root:
        return TargetError(
            subject,
            f"'{access.user}' may not write to {access.folder}, which belongs to '{access.owner}'",
            facts=["sudo asks for no password"] if access.sudo_needs_no_password else (),
            next=_way_in(access, root, again),
        )
    if "noexec" in access.mount_options:
        return _misplaced(access, subject, f"programs may not run from {root}", "exec", again)
    if access.free_bytes is not None and access.free_bytes < needed_bytes:
        return TargetError(
            subject,
            f"no space below {root}",
            facts=[f"expected: {needed_bytes:,} bytes", f"found: {access.free_bytes:,} bytes free"],
            next=f"make room on the board, {again}",
        )
    return None


def _misplaced(access: Access, subject: str, problem: str, option: str, again: str) -> TargetError:
    """A file system that is mounted without what a deploy root needs: `option`."""
    point = shlex.quote(access.mount_point)
    return TargetError(
        subject,
        problem,
        facts=[f"{access.mount_point} is mounted {','.join(sorted(access.mount_options))}"],
        next=f"on the board: mount -o remount,{option} {point}, {again}; "
        "or set deploy.root in the board profile",
    )


def _way_in(access: Access, root: str, again: str) -> str:
    user, folder = shlex.quote(access.user), shlex.quote(root)
    # A root folder that is there already may hold what another login installed.
    is_new = access.folder != root
    command = f"install -d -o {user} {folder}" if is_new else f"chown -R {user} {folder}"
    by_hand = f"as root on the board: {command}, {again}"
    if access.sudo_needs_no_password:
        return f"the same command with --sudo; or, {by_hand}"
    return by_hand
