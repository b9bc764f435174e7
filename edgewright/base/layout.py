"""Every path that edgewright reads or writes."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgewright.base.errors import UserError


def user_cache() -> Path:
    """The user's cache folder for edgewright (`EDGEWRIGHT_CACHE` overrides it)."""
    override = os.environ.get("EDGEWRIGHT_CACHE")
    if override:
        return expanded(override).resolve()
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache").resolve() / "edgewright"


def user_config() -> Path:
    """The user's configuration folder: pinned host keys live here."""
    override = os.environ.get("EDGEWRIGHT_CONFIG")
    if override:
        return expanded(override).resolve()
    return expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config").resolve() / "edgewright"


def docker_config() -> Path:
    """Docker's own configuration, where `docker login` writes."""
    return expanded(os.environ.get("DOCKER_CONFIG") or "~/.docker") / "config.json"


def expanded(path: str) -> Path:
    """A path with `~` for the user's home. Raises UserError for a user who has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as homeless:  # as a container's whose user is a bare number
        raise UserError(path, "this user has no home folder", next="set HOME") from homeless


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What edgewright brings beside its Python code. Never written: pip may have put it there."""

    root: Path

    @property
    def boards(self) -> Path:
        """The catalogue of boards."""
        return self.root / "board_profiles"

    @property
    def board_schema(self) -> Path:
        return self.boards / "schema.json"

    @property
    def toolchains(self) -> Path:
        return self.root / "toolchains"

    @property
    def recipes(self) -> Path:
        return self.root / "recipes"

    @property
    def lockfile(self) -> Path:
        return self.recipes / "conan.lock"

    @property
    def runtime_cpp(self) -> Path:
        return self.root / "runtime_cpp"

    @property
    def runtime_py(self) -> Path:
        """The Python package that wheels for boards carry."""
        return self.root / "runtime_py" / "edgewright_runtime"

    @property
    def docker(self) -> Path:
        return self.root / "docker"

    @property
    def docs(self) -> Path:
        return self.root / "docs"

    @property
    def counts_plugin(self) -> Path:
        """Source of the emulator's plugin that counts instructions."""
        return self.root / "bench" / "plugin" / "counts.c"

    @property
    def peer_programs(self) -> Path:
        """Programs that run other runtimes on the same network."""
        return self.root / "bench" / "peer"

    @property
    def baseline(self) -> Path:
        """What an inference of the demo model may cost: instruction counts that were accepted."""
        return self.root / "bench" / "baseline.json"

    @property
    def calibration(self) -> Path:
        """The model of a Cortex-A53 for networks whose times are published."""
        return self.root / "bench" / "calibration.json"

    @property
    def demo_models(self) -> Path | None:
        """Model folders of the demo: in a checkout, else where the extra [demo] put them."""
        folder = self.root / "models"
        if folder.is_dir():
            return folder
        package = find_spec("edgewright_demo_models")
        folders = package.submodule_search_locations if package else None
        return Path(next(iter(folders))).resolve() if folders else None

    @property
    def is_checkout(self) -> bool:
        """Whether edgewright's own sources, with their tests, are at hand."""
        return (self.root / "tests").is_dir()


def installed_resources() -> Resources:
    """Those of this installation: inside the package of a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packed = package / "resources"
    return Resources(root=packed if packed.is_dir() else package.parent)


@dataclass(frozen=True, kw_only=True)
class BoardBuild:
    """Paths under `build/<board>/`: one file per arrow of the data flow."""

    root: Path
    releases: Path | None = None  # where a workspace keeps releases; None: in `root`

    @property
    def toolchain(self) -> Path:
        return self.root / "toolchain.cmake"

    @property
    def conan_profile(self) -> Path:
        return self.root / "conan.profile"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def ort_model(self) -> Path:
        return self.model / "model.ort"

    @property
    def ops_config(self) -> Path:
        return self.model / "ops.config"

    @property
    def links(self) -> Path:
        """What a linker takes of the runtime; a build with all sources finds it out."""
        return self.root / "links.txt"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def symbols(self) -> Path:
        return self.root / "symbols"

    @property
    def audit(self) -> Path:
        return self.root / "audit.json"

    @property
    def release(self) -> Path:
        return self.releases or self.root / "release"

    @property
    def latest(self) -> Path:
        """Names the release that the last build made."""
        return self.root / "release.id"

    @property
    def sdks(self) -> Path:
        return self.root / "sdk"

    @property
    def programs(self) -> Path:
        """The user's own programs, a folder each."""
        return self.root / "programs"

    @property
    def wheels(self) -> Path:
        return self.root / "wheel"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def estimate(self) -> Path:
        """What the last build's release takes on the board, if that was estimated."""
        return self.reports / "estimate.json"

    @property
    def crashes(self) -> Path:
        """Crash files that were fetched from boards of this kind."""
        return self.root / "crashes"

    @property
    def emulator(self) -> Path:
        return self.root / "emulator"

    @property
    def lab(self) -> Path:
        return self.root / "lab"

    @property
    def powercut(self) -> Path:
        return self.root / "powercut"
