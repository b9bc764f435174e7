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
MAX_CHARACTERS = 4000


def require_kind(board: Board, profile: BoardProfile) -> bool:
    """Whether the board's device tree has a name of this profile; False if there is no tree.

    A board keeps the kind that it is told first, and takes releases of that kind alone. Raises
    TargetError for a device tree of another kind.
    """
    said = board.script(READ).stdout[:MAX_CHARACTERS]
    names = [visible(line) for line in said.split("\n") if line][:MAX_NAMES]
    if not names:
        return False
    expected = (profile.compatible, *profile.aliases)
    if not {*names} & {*expected}:
        raise TargetError(
            str(board.target),
            f"is no '{profile.name}' by its device tree",
            facts=[f"expected: {' or '.join(expected)}", f"found: {', '.join(names)}"],
            next="invoke board.probe --host=… tells which board it is; if it is this one, "
            "the same command with --other-kind",
        )
    return True
