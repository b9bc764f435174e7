"""The workspace that tests work in: this checkout."""

from pathlib import Path

from edgewright.base.layout import Resources, installed_resources
from edgewright.base.workspace import Settings, Workspace, find_workspace

ROOT = Path(__file__).resolve().parents[1]


def checkout() -> Workspace:
    return find_workspace(ROOT, installed_resources())


def workspace_at(root: Path) -> Workspace:
    """A workspace that is its own resources, as a checkout is."""
    return Workspace(root=root, resources=Resources(root=root), settings=Settings(name="tests"))
