"""Orders from the future, by the clocks that there are."""

import time

from edgewright.base.errors import UserError
from edgewright.deploy.edgectl import Clock, Edgectl
from edgewright.release.keys import DAY, number_text


def require_present(edgectl: Edgectl, sequence: int, clock: Clock | None) -> None:
    """Refuse a number from the future, by a board's clock that NTP steers.

    A signer's own clock that is ahead would lock everybody else out. Other boards' clocks prove
    nothing: many have none that runs while they are off. Raises UserError.
    """
    if clock and clock.synchronised and sequence > clock.unix_s + DAY:
        raise UserError(
            str(edgectl.board.target),
            f"the order is {(sequence - clock.unix_s) / DAY:,.1f} days ahead of its clock",
            facts=[
                f"order: {number_text(sequence)}",
                f"board: {number_text(clock.unix_s)}, by NTP",
                f"this machine: {number_text(int(time.time()))}",
            ],
            next="set the clock that is wrong, then invoke release.sign",
        )
