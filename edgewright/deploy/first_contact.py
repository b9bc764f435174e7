"""Before a board is told what kind it is: what its own device tree calls it."""

from edgewright.base.errors import TargetError
from edgewright.base.text import visible
from edgewright.board.profile import BoardProfile
from edgewright.deploy.remote import Board

READ = r"""
for tree in /proc/device-tree /sys/firmware/devicetree/base; do
    [ -r "$tree/compatible" ] || continue
    tr '\000' '\n' <"$tree/compatible"
    break
done
exit 0
"""
MAX_NAMES = 16
OF_ANY_VENDOR = "edgewright,"  # the names of generic profiles are in no device tree
MAX_CHARACTERS = 4000


def require_kind(board: Board, profile: BoardProfile) -> str | None:
    """Compare the board's device tree with a profile; returns why nothing could be compared.

    A board keeps the kind that it is told first, and takes releases of that kind alone. Raises
    TargetError for a device tree of another kind.
    """
    output = board.script(READ).stdout[:MAX_CHARACTERS]
    names = [visible(line) for line in output.split("\n") if line][:MAX_NAMES]
    if not names:
        return "has no device tree to tell its kind by"
    if profile.compatible.startswith(OF_ANY_VENDOR) and not profile.aliases:
        return f"is '{names[0]}' by its device tree, '{profile.name}' is for boards of any name"
    expected = (profile.compatible, *profile.aliases)
    if not {*names} & {*expected}:
        raise TargetError(
            str(board.target),
            f"is no '{profile.name}' by its device tree",
            facts=[f"expected: {' or '.join(expected)}", f"found: {', '.join(names)}"],
            next="invoke board.probe --host=… tells which board it is; if it is this one, "
            "add its name to the profile's aliases, or the same command with --other-kind",
        )
    return None
