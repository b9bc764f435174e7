"""The user's repository: their boards and models, and what is built from them."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.layout import BoardBuild, Resources

FILE = "edgewright.toml"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Paths in the folder of `edgewright.toml`, and the resources that serve it."""

    root: Path
    resources: Resources

    @property
    def boards(self) -> Path:
        return self.root / "board_profiles"

    @property
    def board_folders(self) -> tuple[Path, ...]:
        """Where boards are looked up: the user's own, then the catalogue."""
        # One folder in a checkout of edgewright, which is a workspace too.
        return tuple(dict.fromkeys((self.boards, self.resources.boards)))

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def default_model(self) -> Path:
        return self.models / "mobilevit-s-elpv" / "model.onnx"

    @property
    def own_baseline(self) -> Path:
        """What inferences were accepted to cost here."""
        return self.root / "bench" / "baseline.json"

    @property
    def baseline(self) -> Path:
        """The user's own baseline; the tool's where there is none."""
        return self.own_baseline if self.own_baseline.is_file() else self.resources.baseline

    def build(self, board: str) -> BoardBuild:
        return BoardBuild(root=self.root / "build" / board)


def find_workspace(start: Path, resources: Resources) -> Workspace:
    """The workspace that a folder lies in, as git finds a repository: from the folder upward.

    Raises UserError if there is none.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return Workspace(root=folder, resources=resources)
    raise UserError(
        str(start),
        "not in a workspace",
        facts=[f"expected: {FILE} there or in a folder above"],
        next="edgewright init",
    )
