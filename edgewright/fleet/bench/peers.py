"""The same work by pyinfra and Ansible, as little of it as each can do: both ask no facts.

All pins stand in one file, as a user's do. Pyinfra compares each line of it with all before it, at
each login; what it takes where each board has a file of its own is measured, too.

Beside them stands what libssh2 takes alone, below which no tool that logs in by it can be.

Nothing to do: one command, `edgectl status`. Another model: the file is sent, then that command;
what `edgectl` does for a deploy (signatures, self-test, trial, the way back) they leave out.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import process
from edgewright.base.files import cached_folder, make_folder
from edgewright.fleet.bench import bare_logins
from edgewright.fleet.bench.servers import Server
from edgewright.lab import board_keys

VERSIONS = {"pyinfra": "3.10.0", "ansible-core": "2.19.14"}
ALONE = "pyinfra, a file of pins for each board"
LEAST = "libssh2 alone"
PYTHON = "/usr/bin/python3"  # that Ansible runs on the boards


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the peers do on each board."""

    status: str  # the command that asks what a board runs
    model: Path  # that is sent where there is another
    place: str  # of the model on the board
    parallel: int


def venv(cache: Path, log: Path) -> Path:
    """The Python of a virtual environment with both, made once."""
    names = [f"{name}=={version}" for name, version in VERSIONS.items()]
    folder = cache / "bench" / ("-".join(names) + f"-py{sys.version_info[0]}{sys.version_info[1]}")
    if not folder.is_dir():
        with cached_folder(folder) as aside:
            process.run_logged([sys.executable, "-m", "venv", str(aside)], log)
            python = str(aside / "bin" / "python")
            process.run_logged([python, "-m", "pip", "install", *names], log)
    return folder / "bin" / "python"


def commands(
    python: Path, folder: Path, servers: Sequence[Server], identity: Path, work: Work
) -> Mapping[str, Mapping[str, list[str]]]:
    """Command lines by the work and the peer; their files are written into `folder`."""
    make_folder(folder)
    pins = folder / board_keys.KNOWN_HOSTS
    pins.write_text("".join(map(_pin, servers)))
    pyinfra = folder / "inventory.py"
    alone = folder / "alone.py"
    pyinfra.write_text(_pyinfra_inventory(dict.fromkeys(servers, pins), identity))
    own = {server: server.folder / board_keys.KNOWN_HOSTS for server in servers}
    alone.write_text(_pyinfra_inventory(own, identity))
    (folder / "deploy.py").write_text(
        "from pyinfra.operations import files, server\n"
        f"files.put(src={str(work.model)!r}, dest={work.place!r})\n"
        f"server.shell(commands=[{work.status!r}])\n"
    )
    inventory, playbook = _ansible_files(folder, servers, identity, work, pins)
    run_pyinfra = [str(python), "-m", "pyinfra", "--yes", f"--parallel={work.parallel}"]
    run_ansible = [str(python), "-m", "ansible"]
    options = ["-i", str(inventory), f"--forks={work.parallel}"]
    status = ["exec", "--", *work.status.split()]
    ports = [str(server.port) for server in servers]
    bare = [sys.executable, bare_logins.__file__, str(identity), str(work.parallel), work.status]
    return {
        "no-op": {
            LEAST: [*bare, *ports],
            "pyinfra": [*run_pyinfra, str(pyinfra), *status],
            ALONE: [*run_pyinfra, str(alone), *status],
            "Ansible": [*run_ansible, "adhoc", "all", *options, "-m", "raw", "-a", work.status],
        },
        "model-only": {
            "pyinfra": [*run_pyinfra, str(pyinfra), str(folder / "deploy.py")],
            "Ansible": [*run_ansible, "playbook", *options, str(playbook)],
        },
    }


def ansible_environment(folder: Path) -> Mapping[str, str]:
    """Fewer logins than by default, and nothing of the user's own settings."""
    (folder / "ansible.cfg").write_text("[defaults]\n")
    return {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=5s",
        # A socket's path is short.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": tempfile.mkdtemp(prefix="ew-", dir=folder),
    }


def _pin(server: Server) -> str:
    return (server.folder / board_keys.KNOWN_HOSTS).read_text()


def _pyinfra_inventory(pins: Mapping[Server, Path], identity: Path) -> str:
    hosts = [
        (
            server.name,
            {
                "ssh_hostname": "127.0.0.1",
                "ssh_port": server.port,
                "ssh_user": "root",
                "ssh_key": str(identity),
                "ssh_file_transfer_protocol": "scp",  # dropbear has no SFTP of its own
                "ssh_known_hosts_file": str(known_hosts),
            },
        )
        for server, known_hosts in pins.items()
    ]
    return f"boards = {hosts!r}\n"


def _ansible_files(
    folder: Path, servers: Sequence[Server], identity: Path, work: Work, pins: Path
) -> tuple[Path, Path]:
    """Inventory and playbook; JSON is YAML."""
    hosts = {
        server.name: {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(identity),
            "ansible_ssh_common_args": f"-o IdentitiesOnly=yes -o UserKnownHostsFile={pins}",
            "ansible_python_interpreter": PYTHON,
        }
        for server in servers
    }
    tasks = [
        {"copy": {"src": str(work.model), "dest": work.place}},
        {"raw": work.status},
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    inventory, playbook = folder / "inventory.yml", folder / "playbook.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    playbook.write_text(json.dumps([play]))
    return inventory, playbook
