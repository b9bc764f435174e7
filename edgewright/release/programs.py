"""Programs of a release: each is a file in `bin/` that proves on the board that it works.

`edge-infer` is the one that a release has unless it names others; no other room says its name.
"""

from edgewright.base.schema import Part
from edgewright.base.workspace import ProgramName, Selftest


class ReleasedProgram(Part):
    """A program, and the arguments by which it tests itself in the folder of its release.

    The self-test passes with exit code 0, and one JSON document on standard output: `passed`, and
    a case each in `cases` (docs/programs.md).
    """

    name: ProgramName
    selftest: Selftest

    @property
    def path(self) -> str:
        """Of its file, in a release."""
        return f"bin/{self.name}"


DEFAULT_PROGRAM = ReleasedProgram(name="edge-infer", selftest=("selftest",))
DEFAULT_PROGRAMS = (DEFAULT_PROGRAM,)
SERVICE_FILE = "bin/service"  # becomes the service, in a release that has it
SHARE = "share"  # folder of what programs bring beside themselves
