"""A builder of tests: this machine, without a container."""

from edgewright.build.container import LocalBuilder


class Host(LocalBuilder):
    """This host, whichever compilers it has."""

    @property
    def id(self) -> str:
        return "host" + (f"-{self.toolchain.identity}" if self.toolchain else "")
