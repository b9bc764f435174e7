"""The user's repository: their boards and models, and what is built from them."""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from string import Template
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

import edgewright
from edgewright.base import files
from edgewright.base.errors import UserError, near_miss
from edgewright.base.layout import BoardBuild, Resources
from edgewright.base.schema import Part
from edgewright.base.settings_file import read_table, settings_of

SETTINGS = "edgewright.toml"
NIGHTLY = "nightly.toml"
DEMO_MODEL = "mobilevit-s-elpv"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
IMAGE_NAME = r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+$"
RELEASE = r"^[0-9]{1,9}(\.[0-9]{1,9})*$"


def _inside(path: str) -> str:
    if not path.isprintable():  # a NUL ends a program with a traceback wherever a file is opened
        raise ValueError(f"expected a path without control characters, found {path!r}")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"expected a path inside the workspace, found '{path}'")
    return path


Name = Annotated[str, Field(pattern=NAME)]
Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


class SharedStores(Part):
    """What machines that build the same have from each other; each may be left out."""

    conan: Annotated[str, Field(pattern=r"^https?://[^\s|]+$")] | None = None  # a Conan remote
    ccache: Annotated[str, Field(pattern=r"^(https?|redis)://[^\s|]+$")] | None = None
    builder: Annotated[str, Field(pattern=IMAGE_NAME)] | None = None  # of a registry, without a tag


MOST_PROGRAMS = 16  # of a release
# Of a program in a release: its file in bin/, and what it is called with.
ProgramName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Argument = Annotated[str, Field(pattern=r"^[ -~]{1,256}$")]
Arguments = Annotated[tuple[Argument, ...], Field(max_length=32)]
Selftest = Annotated[Arguments, Field(min_length=1)]


class OwnProgram(Part):
    """A program of the user's, for releases (docs/programs.md)."""

    source: Inside  # folder with CMakeLists.txt or Makefile
    selftest: Selftest  # arguments by which it tests itself, in the folder of the release
    golden: Inside | None = None  # folder that the release has as share/NAME/golden
    service: Arguments | None = None  # arguments by which it is the board's service
    linkage: Literal["static", "shared"] = "static"


class Settings(Part):
    """`edgewright.toml`. Paths are relative to its folder, and stay inside it."""

    name: Name
    minimum_version: Annotated[str, Field(pattern=RELEASE)] | None = None
    default_board: Name | None = None
    default_model: str | None = None  # a name of `models`, or of a model of the demo
    releases: Inside | None = None  # folder of a folder for each board; None: in build/<board>/
    models: Mapping[Name, Inside] = {}
    default_program: bool = True  # whether releases have edgewright's own
    programs: Mapping[ProgramName, OwnProgram] = {}
    shared: SharedStores = SharedStores()

    @model_validator(mode="after")
    def _releases_have_a_program(self) -> Self:
        services = [name for name, program in self.programs.items() if program.service is not None]
        if not self.default_program and not self.programs:
            raise ValueError("default_program is false, and there is no other program")
        count = len(self.programs) + self.default_program
        if count > MOST_PROGRAMS:
            raise ValueError(f"a release has at most {MOST_PROGRAMS} programs, these are {count}")
        if len(services) > 1:
            raise ValueError(f"a board has one service, these are several: {', '.join(services)}")
        return self


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Paths in the folder of `edgewright.toml`, and the resources that serve it."""

    root: Path
    resources: Resources
    settings: Settings

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
        """Raises UserError where neither the settings nor the extra [demo] name one."""
        return self.model(self.settings.default_model or DEMO_MODEL)

    def model(self, name: str) -> Path:
        """The ONNX file of a model of the settings, or of the demo. Raises UserError."""
        if name in self.settings.models:
            return self.root / self.settings.models[name]
        demo = self.resources.demo_models
        if demo and (demo / name / "model.onnx").is_file():
            return demo / name / "model.onnx"
        names = list(self.settings.models)
        names += sorted(path.parent.name for path in demo.glob("*/model.onnx")) if demo else []
        raise UserError(
            f"model '{name}'",
            f"unknown{near_miss(name, names)}",
            facts=[f"models: {', '.join(names) or 'none'}"],
            next=f"name it under [models] in {self.root / SETTINGS}"
            + ("" if demo else ", or pip install 'edgewright[demo]'"),
        )

    def without_shared_stores(self) -> "Workspace":
        alone = self.settings.model_copy(update={"shared": SharedStores()})
        return replace(self, settings=alone)

    def for_measuring(self, root: Path) -> "Workspace":
        """Another one, in `root`, for builds that are no user's: nothing of it is shared.

        Releases have edgewright's own program alone, since the user's sources are not in there.
        """
        return replace(self, root=root, settings=Settings(name=self.settings.name))

    @property
    def own_baseline(self) -> Path:
        """What inferences were accepted to cost here."""
        return self.root / "bench" / "baseline.json"

    @property
    def baseline(self) -> Path:
        """The user's own baseline; the tool's where there is none."""
        return self.own_baseline if self.own_baseline.is_file() else self.resources.baseline

    def build(self, board: str) -> BoardBuild:
        releases = self.settings.releases
        return BoardBuild(
            root=self.root / "build" / board,
            releases=self.root / releases / board if releases else None,
        )


def workspace_root(start: Path) -> Path | None:
    """The folder of `edgewright.toml`, sought as git seeks a repository: from `start` upward."""
    start = start.resolve()
    # os.path tells of no file where a folder cannot be searched; Path.is_file raises.
    return next(
        (folder for folder in (start, *start.parents) if os.path.isfile(folder / SETTINGS)),  # noqa: PTH113
        None,
    )


def find_workspace(start: Path, resources: Resources) -> Workspace:
    """The workspace that a folder lies in.

    Raises UserError if there is none, or its settings are not valid or ask for a newer edgewright.
    """
    root = workspace_root(start)
    if root is None:
        raise UserError(
            str(start),
            "not in a workspace",
            facts=[f"expected: {SETTINGS} there or in a folder above"],
            next="edgewright init",
        )
    return Workspace(root=root, resources=resources, settings=read_settings(root / SETTINGS))


def read_settings(path: Path) -> Settings:
    """Raises UserError with every problem; first of all if edgewright is too old to judge them."""
    table = read_table(path)
    required = table.get("minimum_version")
    installed = edgewright.__version__ if required else ""
    is_release = isinstance(required, str) and re.fullmatch(RELEASE, required) is not None
    if is_release and _numbers(str(required)) > _numbers(installed):
        raise UserError(
            str(path),
            "needs a newer edgewright",
            facts=[f"expected: {required} or newer", f"found: {installed}"],
            next=f"pip install 'edgewright>={required}'",
        )
    return settings_of(Settings, table, path)


def _numbers(release: str) -> tuple[int, ...]:
    """`(0, 10)` of `0.10.0.dev3`: what orders releases; trailing zeros do not count."""
    numbers = re.match(r"\d+(\.\d+)*", release)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


CI_FILES = {"github": ".github/workflows/edgewright.yml", "gitlab": ".gitlab-ci.yml"}
TEMPLATES = Path(__file__).parent / "new_workspace"
EXAMPLE_PROGRAM = "inspect"
IMAGE_BUILDS = ("yocto", "buildroot")  # folders of TEMPLATES, and of a workspace


def create_workspace(
    root: Path, resources: Resources, *, board: str, ci: str = "", boards: Sequence[str] = ()
) -> list[Path]:
    """Make a folder a workspace; returns the files that were written, the settings last.

    An existing repository keeps what it has: a `.gitignore` gets a line, folders of boards or
    models stay as they are. `boards` are those of the pipeline; if none is given, `board` is.
    Raises UserError, before anything is written, for an unknown `ci` and for files that are there
    already. After any other error nothing is left of what was written.
    """
    texts = _new_files(root, resources, board)
    if ci:
        pipeline = _pipeline_files(root, ci, boards or (board,), DEMO_MODEL)
        texts = {**pipeline, **texts}
    return _write_new(root, texts, changed=_with_ignored(root / ".gitignore"))


def add_pipeline(root: Path, ci: str, boards: Sequence[str], model: str) -> list[Path]:
    """Write the pipeline of a workspace that is there. Raises UserError as `create_workspace`."""
    return _write_new(root, _pipeline_files(root, ci, boards, model), changed={})


def add_image_build(root: Path, name: str) -> list[Path]:
    """Write what installs a release in an image that Yocto or Buildroot builds.

    `name` is one of `IMAGE_BUILDS`. Raises UserError as `create_workspace`.
    """
    sources = [path for path in (TEMPLATES / name).rglob("*") if path.is_file()]
    texts = {root / path.relative_to(TEMPLATES): path.read_text() for path in sorted(sources)}
    written = _write_new(root, texts, changed={})
    for path, text in texts.items():
        if text.startswith("#!"):
            path.chmod(0o755)
    return written


def add_program(root: Path) -> list[Path]:
    """Write an example of a program, and name it in the settings, which end with it then.

    Raises UserError as `create_workspace`, and for settings that have a program of that name.
    """
    folder = TEMPLATES / "program"
    sources = [path for path in folder.rglob("*") if path.is_file()]
    texts = {root / path.relative_to(folder): path.read_text() for path in sorted(sources)}
    settings = root / SETTINGS
    if EXAMPLE_PROGRAM in read_settings(settings).programs:
        raise UserError(
            str(settings),
            f"has a program '{EXAMPLE_PROGRAM}' already",
            next="invoke build",
        )
    text = settings.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + _filled("program.toml")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:  # `programs` is a table on one line
        raise UserError(
            str(settings),
            f"cannot be given [programs.{EXAMPLE_PROGRAM}] at its end",
            next="write programs as tables of their own: [programs.NAME]",
        ) from broken
    return _write_new(root, texts, changed={settings: text.encode()})


def _write_new(
    root: Path, texts: Mapping[Path, str], *, changed: Mapping[Path, bytes]
) -> list[Path]:
    # A link counts, too, wherever it leads: writing would put a file in its place.
    existing = [str(path) for path in texts if path.exists() or path.is_symlink()]
    if existing:
        raise UserError(
            str(root), "would be overwritten", facts=existing, next="move them, or work with them"
        )
    places = [folder for path in texts for folder in path.parents if folder.is_relative_to(root)]
    files_there = [str(place) for place in dict.fromkeys(places) if place.is_file()]
    if files_there:
        raise UserError(
            str(root), "has files where folders go", facts=files_there, next="move them"
        )
    before = {path: path.read_bytes() for path in changed if path.exists()}
    content: dict[Path, str | bytes] = {**changed, **texts}
    written: list[Path] = []
    try:
        for path, text in content.items():
            written.append(path)
            files.write_file(path, text)
    except BaseException:
        _undo(root, written, before)
        raise
    return written


def _new_files(root: Path, resources: Resources, board: str) -> dict[Path, str]:
    """The text of each new file; the settings last, so that what has them is complete."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._") or "workspace"
    texts = {}
    if not (root / "board_profiles").is_dir():
        texts[root / "board_profiles" / "README.md"] = _filled("boards.md")
        texts[root / "board_profiles" / "schema.json"] = resources.board_schema.read_text()
    if not (root / "models").is_dir():
        texts[root / "models" / "README.md"] = _filled("models.md")
    return {**texts, root / SETTINGS: _filled(SETTINGS, name=name, board=board)}


def _pipeline_files(root: Path, ci: str, boards: Sequence[str], model: str) -> dict[Path, str]:
    """A pipeline, and the nights that it runs unless they are described already."""
    if ci not in CI_FILES:
        raise UserError(
            f"--ci={ci}",
            f"unknown{near_miss(ci, list(CI_FILES))}",
            facts=[f"expected: {' or '.join(CI_FILES)}"],
            next=f"edgewright init --ci={next(iter(CI_FILES))}",
        )
    # JSON's lists of such names are YAML's and TOML's, too.
    words = {"boards": json.dumps([*boards]), "model": model}
    texts = {root / CI_FILES[ci]: _filled(f"{ci}.yml", **words)}
    if not (root / NIGHTLY).exists():
        texts[root / NIGHTLY] = _filled(NIGHTLY, **words)
    return texts


def _filled(template: str, **words: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return Template(text).substitute(words, version=edgewright.__version__)


def _with_ignored(path: Path) -> dict[Path, bytes]:
    """The user's `.gitignore` with our lines; nothing to write where it has them.

    It is bytes: patterns are names of files, which need not be UTF-8.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(str(path), "is no plain file, git reads no other", next="move it")
    template = (TEMPLATES / "gitignore").read_bytes()
    theirs = path.read_bytes() if path.exists() else b""
    if {b"build", b"build/", b"/build", b"/build/"} & set(theirs.split()):
        return {}
    if theirs and not theirs.endswith(b"\n"):
        theirs += b"\n"
    return {path: theirs + b"\n" + template if theirs else template}


def _undo(root: Path, written: Iterable[Path], before: Mapping[Path, bytes]) -> None:
    """Take away files, and the folders that are empty without them; give back the `.gitignore`."""
    for path in written:
        if path in before:
            path.write_bytes(before[path])
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == root or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
