"""Cross-build, audit, deploy and prove inference releases for ARM boards."""

from importlib.metadata import version

__version__ = version("edgewright")
