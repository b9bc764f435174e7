"""What an inference of a release executes, counted in an emulator of this machine.

It takes the place of times where boards have none of their own, as emulated ones.
"""

from collections.abc import Mapping
from threading import Lock

from edgewright.base.errors import EdgewrightError, UserError
from edgewright.base.layout import BoardBuild, Resources
from edgewright.board.profile import BoardProfile
from edgewright.fleet.rollout.on_boards import RELEASE_ID
from edgewright.observe.count.instructions import measure, program_of_release


class CountedReleases:
    """Instructions of releases that were built here, each counted once."""

    def __init__(
        self,
        builds: Mapping[str, BoardBuild],
        profiles: Mapping[str, BoardProfile],
        resources: Resources,
    ) -> None:
        """`builds` and `profiles` of the kinds of boards that have the releases."""
        self._builds, self._profiles, self._resources = builds, profiles, resources
        self._counts: dict[str, int] = {}
        self._alone = Lock()

    def of(self, release: str) -> int:
        """Guest instructions of an inference on one thread.

        Raises UserError for a release that was not built here, or whose symbols are gone.
        """
        with self._alone:
            if release not in self._counts:
                self._counts[release] = self._count(release)
            return self._counts[release]

    def known(self, release: str) -> int | None:
        """Likewise; None for a release that cannot be counted here."""
        try:
            return self.of(release)
        except EdgewrightError:
            return None

    def _count(self, release: str) -> int:
        for kind, build in self._builds.items():
            folder = build.release / release
            # A board may name any path as what it runs.
            if RELEASE_ID.fullmatch(release) and folder.is_dir():
                program = program_of_release(folder, self._profiles[kind], build)
                return measure(program, kind, self._resources).inference
        raise UserError(
            f"release {release}",
            "was not built here, so its instructions cannot be counted",
            next="the same command without the gate on instructions",
        )
