"""`nightly.toml`: the boards and models of a night, and where its releases go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import UserError, near_miss
from edgewright.base.schema import Document, Part
from edgewright.base.settings_file import read_table, settings_of
from edgewright.base.workspace import NIGHTLY, Inside, Name, Workspace
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile
from edgewright.release.keys import DEFAULT

Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class Publishing(Part):
    """Where the releases of a night go that passed all else."""

    store: Annotated[
        str, Field(min_length=1)
    ]  # a folder, a URL of WebDAV, or oci://host/repository
    channel: Literal["nightly", "beta", "stable"] | None = None  # to be pointed to them, too


class LabelledImages(Part):
    """What a classifier is judged on, on this machine."""

    images: Inside  # a folder with a folder for each label
    least: Share = 0.0  # accuracy below it is a failed check


class NightSettings(Document):
    """`nightly.toml`."""

    version: Literal[1] = 1
    boards: Names
    models: Names  # of `edgewright.toml`, or of the demo
    key: Name = DEFAULT  # that signs the releases
    nights: Annotated[int, Field(ge=1, le=1000)] = 30  # whose results are kept
    publish: Publishing | None = None
    accuracy: Mapping[Name, LabelledImages] = Field(default_factory=dict)  # by model

    def place(self, root: Path) -> str:
        """The store; a folder is below `root` unless its path is absolute."""
        assert self.publish is not None
        return self.publish.store if "://" in self.publish.store else str(root / self.publish.store)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One board and one model."""

    profile: BoardProfile
    model: str  # its name in the settings
    network: Path

    @property
    def board(self) -> str:
        return self.profile.name

    @property
    def name(self) -> str:
        return f"{self.board}, {self.model}"


def load(workspace: Workspace) -> NightSettings:
    """The settings of a workspace. Raises UserError with every problem."""
    path = workspace.root / NIGHTLY
    settings = settings_of(NightSettings, read_table(path), path)
    for model in settings.accuracy:
        if model not in settings.models:
            raise UserError(
                str(path),
                f"accuracy.{model}: no model of a night{near_miss(model, settings.models)}",
                facts=[f"models: {', '.join(settings.models)}"],
                next=f"mend {path}",
            )
    return settings


def cells(
    settings: NightSettings,
    workspace: Workspace,
    *,
    boards: Sequence[str] = (),
    models: Sequence[str] = (),
) -> tuple[Cell, ...]:
    """The matrix, or the part of it that is named; a board's cells follow each other.

    Raises UserError for a name that the settings do not have, and for a board or model that
    nobody knows.
    """
    chosen_boards = _chosen("boards", boards, settings.boards)
    networks = {name: workspace.model(name) for name in _chosen("models", models, settings.models)}
    profiles = [load_board(name, *workspace.board_folders) for name in chosen_boards]
    return tuple(
        Cell(profile=profile, model=name, network=network)
        for profile in profiles
        for name, network in networks.items()
    )


def _chosen(option: str, names: Sequence[str], listed: Sequence[str]) -> list[str]:
    """Each once, in the order of the settings."""
    for name in names:
        if name not in listed:
            raise UserError(
                f"--{option}={name}",
                f"not in {NIGHTLY}{near_miss(name, listed)}",
                facts=[f"{option}: {', '.join(listed)}"],
                next="the same command with one of them",
            )
    return [name for name in dict.fromkeys(listed) if not names or name in names]
