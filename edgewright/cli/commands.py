"""The index of all commands: which module a task lies in, known without importing any.

A task's module imports what the task needs, which may be ONNX Runtime, Conan or Fabric: seconds.
So the command line reads names from here and imports only the modules of the tasks that were
asked for. A test compares the index with the modules.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

from edgewright.base.errors import UserError, near_miss


@dataclass(frozen=True, kw_only=True)
class Group:
    """Commands that belong together: a line of the first list.

    `modules` maps a module of `edgewright.cli` to the names of its tasks. The tasks of a
    namespace are called `NAME.TASK`, and the name alone runs `default`; those of a group that is
    none (`default` is empty) are called by their own names.
    """

    name: str
    about: str
    modules: Mapping[str, tuple[str, ...]]
    default: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Full names of the tasks."""
        prefix = f"{self.name}." if self.default else ""
        return tuple(prefix + task for tasks in self.modules.values() for task in tasks)

    def has(self, word: str) -> bool:
        return word in self.tasks or (bool(self.default) and word == self.name)


GROUPS = (
    Group(
        name="start",
        about="set-up, and the whole way once",
        modules={
            "host": ("setup",),
            "workspace": ("init",),
            "develop": ("demo",),
            "help": ("help",),
        },
    ),
    Group(
        name="build",
        about="a board and a model become a release",
        modules={
            "profiles": ("boards", "schema"),
            "build": ("render", "build"),
            "wheel": ("wheel",),
        },
    ),
    Group(
        name="deploy",
        about="one board over SSH",
        modules={
            "board": ("trust", "deploy", "smoke", "status", "rollback"),
            "shadow": ("shadow",),
        },
    ),
    Group(
        name="watch",
        about="what a board does",
        modules={
            "doctor": ("doctor",),
            "crash": ("crash",),
            "debug": ("debug",),
            "profile": ("profile",),
            "report": ("report",),
            "trace": ("trace",),
            "soak": ("soak",),
        },
    ),
    Group(
        name="drift",
        about="images that change",
        modules={"drift": ("drift", "collect")},
    ),
    Group(
        name="nightly",
        about="all boards, each night",
        modules={"nightly": ("nightly",)},
    ),
    Group(
        name="develop",
        about="edgewright itself",
        modules={"develop": ("test", "lint"), "build": ("lock",), "runtime": ("outdated",)},
    ),
    Group(
        name="bench",
        about="what an inference costs: counted, estimated, compared, measured",
        modules={
            "bench": (
                *("instructions", "time", "check", "accept", "calibrate", "build", "startup"),
                *("transfer", "serve", "frames", "sdk", "all", "growth"),
            ),
            "board_bench": ("board",),
            "drift_bench": ("drift",),
            "fleet_bench": ("fleet",),
            "gallery": ("networks",),
            "rollout_bench": ("rollout",),
        },
        default="instructions",
    ),
    Group(
        name="board",
        about="what a live board is",
        modules={"probe": ("probe",)},
        default="probe",
    ),
    Group(
        name="emulate",
        about="emulated boards: processes under QEMU, reached by SSH",
        modules={"emulate": ("up", "down", "status")},
        default="status",
    ),
    Group(
        name="fleet",
        about="many boards: which there are, and which are meant",
        modules={
            "fleet": ("list", "check", "import", "trust"),
            "serving": ("serve", "people"),
        },
        default="list",
    ),
    Group(
        name="keys",
        about="signing keys, and which of them a board trusts",
        modules={
            "keys": ("list", "generate", "external", "provision", "revoke", "floor", "forget")
        },
        default="list",
    ),
    Group(
        name="lab",
        about="full-system boards, and proofs about edgectl",
        modules={
            "lab": ("up", "down", "status", "bench", "powercut"),
            "proof": ("crashpoints", "lostwrites", "fuzz"),
        },
        default="status",
    ),
    Group(
        name="mirror",
        about="all that builds take from elsewhere, in one folder",
        modules={"mirror": ("verify", "create")},
        default="verify",
    ),
    Group(
        name="model",
        about="train, quantize, judge, convert and look into a model",
        modules={
            "training": ("train", "export", "prune", "pack", "curve"),
            "planes": ("anomaly", "segment"),
            "gallery": ("gallery",),
            "detectors": ("mosaic", "detect"),
            "quality": (
                "card",
                "import",
                "quantize",
                "evaluate",
                "convert",
                "inspect",
                "diff",
                "golden",
            ),
            "reference": ("reference",),
        },
        default="inspect",
    ),
    Group(
        name="release",
        about="releases: signed, looked into, published, exported",
        modules={
            "release": ("list", "sign", "verify", "sbom", "vulnerabilities", "reproduce"),
            "published": ("publish", "promote", "pull", "retain"),
            "export": ("export",),
        },
        default="list",
    ),
    Group(
        name="rollout",
        about="a release to many boards, in waves that stop by themselves",
        modules={
            "rollout": (
                *("status", "list", "start", "pause", "resume", "abort", "approve", "retry"),
                *("join", "quarantine", "report", "simulate"),
            )
        },
        default="status",
    ),
    Group(
        name="sdk",
        about="the runtime as a library for programs of your own",
        modules={"sdk": ("build", "check", "sign", "verify")},
        default="build",
    ),
    Group(
        name="site",
        about="sites that only dial out, and their worker",
        modules={"site": ("run", "enrol", "invite", "dismiss")},
        default="run",
    ),
    Group(
        name="service",
        about="the release as a service of a board",
        modules={"service": ("status", "install", "remove")},
        default="status",
    ),
)


def names() -> Iterator[str]:
    """Every word that starts a command: tasks, and namespaces for their default tasks."""
    for group in GROUPS:
        if group.default:
            yield group.name
        yield from group.tasks


def task_named(word: str) -> str | None:
    """The full name of the task that a word starts, if it starts one."""
    for group in GROUPS:
        if group.has(word):
            return word if word in group.tasks else f"{group.name}.{group.default}"
    return None


def command_of(module: str, task: str) -> str:
    """The full name of a task, by the module that it is defined in."""
    for group in GROUPS:
        if task in group.modules.get(module.rpartition(".")[2], ()):
            return f"{group.name}.{task}" if group.default else task
    return task


def collection(words: Iterable[str] | None = None) -> Collection:
    """The tasks that are among `words`, with their neighbours; all tasks by default."""
    chosen = None if words is None else frozenset(words)
    root = Collection()
    for group in GROUPS:
        if group.default and (chosen is None or any(map(group.has, chosen))):
            root.add_collection(_namespace(group))
        elif not group.default:
            for module, tasks in group.modules.items():
                if chosen is None or chosen & {*tasks}:
                    _add_tasks(root, module, tasks)
    return root


def group_named(name: str) -> Group:
    """Raises UserError for a name that no group has."""
    for group in GROUPS:
        if group.name == name:
            return group
    groups = [group.name for group in GROUPS]
    raise UserError(
        f"group '{name}'",
        f"unknown{near_miss(name, groups)}",
        facts=[f"groups: {', '.join(groups)}"],
        next="edgewright --list",
    )


def tasks_of(group: Group) -> Collection:
    """The tasks of one group, under their full names."""
    if group.default:
        return collection([group.name])
    root = Collection()
    for module, tasks in group.modules.items():
        _add_tasks(root, module, tasks)
    return root


def summary(task: Task[Any]) -> str:
    """The first line of a task's docstring without its example."""
    return (task.__doc__ or "").splitlines()[0].partition(" Example: ")[0].removesuffix(".")


def _namespace(group: Group) -> Collection:
    namespace = Collection(group.name)
    namespace.__doc__ = group.about
    for module, tasks in group.modules.items():
        _add_tasks(namespace, module, tasks)
    namespace.default = group.default
    return namespace


def _add_tasks(to: Collection, module: str, names: tuple[str, ...]) -> None:
    tasks = Collection.from_module(import_module(f"edgewright.cli.{module}")).tasks
    for name in names:
        to.add_task(tasks[name], name)
