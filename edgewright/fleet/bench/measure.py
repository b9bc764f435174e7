"""What deploys to many boards cost the machine that conducts them, beside pyinfra and Ansible.

Each board is a real SSH server of this machine with an /opt of its own and the real `edgectl`, of
this machine's kind. Each tool is a process of its own; the servers' work is not counted.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import edgewright
from edgewright.base.errors import CheckError
from edgewright.base.files import make_folder
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.base.text import last_lines
from edgewright.board.profile import BoardProfile
from edgewright.deploy import install, keyring
from edgewright.deploy.remote import connect
from edgewright.fleet.bench import count, peers, stand_in
from edgewright.fleet.bench.servers import Kind, Server, programs, running
from edgewright.lab import board_keys
from edgewright.release.keys import DEFAULT, KeyFolder
from edgewright.release.manifest import Release

MODEL_BYTES = 200_000
UNSET = (  # variables of who runs the bench that change what a tool does
    "SSH_AUTH_SOCK",
    "EDGEWRIGHT_LEDGER",
    "EDGEWRIGHT_PASSWORD",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
)
OPENSSH_EACH = 5  # one board in five runs OpenSSH, the others dropbear
Task = Literal["no-op", "model-only"]


class Cost(Part):
    """What one tool took for one task on all boards."""

    task: Task
    tool: str
    cpu_ms: float  # of the conductor's processor, for each board
    seconds: float  # from its start to its end
    ratio: float  # of its processor time to edgewright's


class FleetCosts(Document):
    """What `bench.fleet` measured."""

    version: Literal[1] = 1
    boards: int
    openssh: int  # of them; the others run dropbear
    parallel: int
    login: str  # what edgewright logs in by
    costs: tuple[Cost, ...]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a run is made of."""

    folder: Path  # for all of its files
    cache: Path
    edgectl: Path  # of this machine's kind
    profile: BoardProfile  # whose name, kind and deploy root the boards have
    boards: int
    parallel: int


def run(bench: Bench, progress: Progress) -> FleetCosts:
    """Raises UserError where servers cannot run, CheckError where a tool's work fails."""
    log = bench.folder / "bench.log"
    progress.start("fetch servers and peers")
    unpacked = programs(bench.cache / "bench" / "ssh-servers")
    python = peers.venv(bench.cache, log)
    identity = bench.folder / "home" / ".ssh" / board_keys.USER
    login = board_keys.public(board_keys.key(identity))
    kinds: list[Kind] = [
        "openssh" if n % OPENSSH_EACH == 0 else "dropbear" for n in range(bench.boards)
    ]
    progress.start(f"start {bench.boards} SSH servers")
    with running(bench.folder / "boards", kinds, unpacked, login) as servers:
        costs = _Conductor(bench, servers, identity, python, progress).measure()
    return FleetCosts(
        boards=bench.boards,
        openssh=kinds.count("openssh"),
        parallel=bench.parallel,
        login=f"ssh2-python {version('ssh2-python')}",
        costs=tuple(_with_ratios(costs)),
    )


class _Conductor:
    """Runs each tool against the servers, one after the other."""

    def __init__(
        self,
        bench: Bench,
        servers: Sequence[Server],
        identity: Path,
        python: Path,
        progress: Progress,
    ) -> None:
        self._bench, self._servers, self._identity = bench, servers, identity
        self._python, self._progress = python, progress
        self._home = bench.folder / "home"
        self._workspace = bench.folder / "workspace"
        self._environment = os.environ | {
            "HOME": str(self._home),
            "EDGEWRIGHT_CONFIG": str(self._home / "config"),
            "EDGEWRIGHT_CACHE": str(self._home / "cache"),
        }
        for name in UNSET:
            self._environment.pop(name, None)

    def measure(self) -> list[Cost]:
        draw = random.Random(0)
        first, second = (self._release(draw.randbytes(MODEL_BYTES)) for _ in range(2))
        self._write_workspace()
        self._progress.start("first deploy to each board")
        self._trust(first)
        self._build(first)
        self._deploy()
        work = peers.Work(
            status=f"{self._root}/bin/edgectl status --root={self._root}",
            model=second.folder / "model" / "model.ort",
            place="/opt/model.ort",
            parallel=self._bench.parallel,
        )
        folder = self._bench.folder / "peers"
        others = peers.commands(self._python, folder, self._servers, self._identity, work)
        environment = {**self._environment, **peers.ansible_environment(folder)}
        costs = []
        tasks: tuple[Task, ...] = ("no-op", "model-only")
        for task, release in zip(tasks, (first, second), strict=True):
            self._build(release)
            costs.append(self._cost(task, "edgewright", *self._deploy()))
            for tool, argv in others[task].items():
                figures = self._counted(f"{tool}, {task}", argv, environment)
                costs.append(self._cost(task, tool, *figures))
        return costs

    @property
    def _root(self) -> str:
        return self._bench.profile.deploy.root

    def _release(self, model: bytes) -> Release:
        profile = self._bench.profile
        return stand_in.make_release(
            self._workspace / "build" / profile.name,
            board=profile.name,
            compatible=profile.compatible,
            root=self._root,
            edgectl=self._bench.edgectl,
            model=model,
        )

    def _write_workspace(self) -> None:
        (self._workspace / "edgewright.toml").write_text('name = "bench"\n')
        lines = ["version = 1", "[[sites]]", 'name = "desk"']
        for server in self._servers:
            lines += ["[[boards]]", f'name = "{server.name}"', 'site = "desk"']
            lines += [f'kind = "{self._bench.profile.name}"']
            lines += [f'address = "root@127.0.0.1:{server.port}"']
            lines += [f'host_key = "{server.host_key}"']
        (self._workspace / "fleet.toml").write_text("\n".join(lines) + "\n")

    def _trust(self, release: Release) -> None:
        """Put `edgectl` on each board, and let it trust the key that signs."""
        keys = KeyFolder(self._home / "config" / "keys")
        keys.generate()
        signer = keys.open_signer(DEFAULT, lambda _: None)

        def provision(server: Server) -> None:
            with connect(server.target(self._identity), brief=True) as board:
                edgectl = install.ensure_edgectl(board, self._root, release)
                keyring.provision(edgectl, (self._bench.profile.compatible,), signer.public, signer)

        with ThreadPoolExecutor(self._bench.parallel) as pool:
            list(pool.map(provision, self._servers))

    def _build(self, release: Release) -> None:
        """Make a release the last build."""
        build = self._workspace / "build" / self._bench.profile.name
        make_folder(build)
        (build / "release.id").write_text(release.id + "\n")

    def _deploy(self) -> tuple[float, float]:
        argv = [sys.executable, "-m", "edgewright.cli", "deploy", "--select=all"]
        argv += [f"--parallel={self._bench.parallel}"]
        # The edgewright that measures, in a checkout as well; compiled by its first deploy, as the
        # peers were by pip.
        package = {
            "PYTHONPATH": str(Path(edgewright.__file__).parents[1]),
            "PYTHONPYCACHEPREFIX": str(self._bench.folder / "bytecode"),
        }
        return self._counted("edgewright deploy", argv, self._environment | package)

    def _counted(
        self, what: str, argv: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[float, float]:
        """Processor seconds and seconds of a command. Raises CheckError where it fails."""
        self._progress.start(what)
        out = self._bench.folder / "cost.json"
        log = self._bench.folder / f"{what.replace(', ', '-').replace(' ', '-')}.log"
        counting = [sys.executable, count.__file__, str(out), *argv]
        with log.open("wb") as file:
            ended = subprocess.run(
                counting,
                cwd=self._workspace,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if ended.returncode != 0:
            lines = [f"| {line}" for line in last_lines(log.read_text(errors="replace"), 20)]
            raise CheckError(what, f"exit code {ended.returncode}", facts=[f"log: {log}", *lines])
        cost = json.loads(out.read_text())
        return cost["cpu_seconds"], cost["seconds"]

    def _cost(self, task: Task, tool: str, cpu_seconds: float, seconds: float) -> Cost:
        cpu_ms = round(cpu_seconds * 1000 / len(self._servers), 1)
        return Cost(task=task, tool=tool, cpu_ms=cpu_ms, seconds=round(seconds, 1), ratio=1.0)


def _with_ratios(costs: Sequence[Cost]) -> Iterable[Cost]:
    ours = {cost.task: cost.cpu_ms for cost in costs if cost.tool == "edgewright"}
    for cost in costs:
        yield cost.model_copy(update={"ratio": round(cost.cpu_ms / ours[cost.task], 1)})
