"""edgewright's tasks for `invoke`, in a checkout: `invoke build` is `edgewright build`."""

from edgewright.cli import commands
from edgewright.cli.program import main, take_over_invoke

__all__ = ["main", "namespace"]

take_over_invoke()

namespace = commands.collection()
