"""The release that was built last for a board."""

from edgewright.base.errors import UserError
from edgewright.base.layout import BoardBuild
from edgewright.release.manifest import Release, load_release


def release_of(build: BoardBuild) -> Release:
    """The release that the last build of a board made. Raises UserError if there is none."""
    if not build.latest.is_file():
        raise UserError(
            f"board '{build.root.name}'",
            "nothing has been built for it",
            next=f"invoke build --board={build.root.name}",
        )
    return load_release(build.release / build.latest.read_text().strip())
