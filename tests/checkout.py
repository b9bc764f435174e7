"""The workspace that tests work in: this checkout."""

from dataclasses import replace
from pathlib import Path

from edgewright.base.layout import installed_resources
from edgewright.base.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


def checkout() -> Workspace:
    return Workspace(root=ROOT, resources=installed_resources())


def workspace_at(root: Path) -> Workspace:
    """A workspace that is its own resources, as a checkout is."""
    return Workspace(root=root, resources=replace(installed_resources(), root=root))
