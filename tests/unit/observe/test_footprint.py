"""What `lab.bench` does on a board that fails."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Result
from edgewright.deploy.smoke import Subject
from edgewright.observe import footprint, frame_cost
from edgewright.observe.bench.measure import DirectRelease
from tests.boards import StandIn, make_release


class FullBoard(StandIn):
    """Has no room for a picture, and then its line is lost."""

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        if argv[0] == "rm":
            raise self._lost("connection lost", ())
        full = argv[0] != "mktemp"
        errors = "sh: write error: No space left on device" if full else ""
        return Result(argv=tuple(argv), returncode=int(full), stdout="/tmp/p\n", stderr=errors)


def test_what_ended_a_benchmark_is_the_error_and_not_that_its_picture_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = frame_cost.Kind(name="small", width=8, height=8, write=frame_cost.KINDS[0].write)
    monkeypatch.setattr(frame_cost, "KINDS", (small,))
    release = make_release(tmp_path, root="/opt/edgewright")
    edgectl = Edgectl(board=FullBoard(), root="/opt/edgewright")
    direct = DirectRelease(edgectl=edgectl, release=release.id, right="--holder=test")

    with pytest.raises(TargetError, match="No space left on device"):
        footprint.frames(Subject(release=direct, manifest=release.manifest))
