"""A second login to a board, by this machine's OpenSSH client: for what is large.

Dropbear takes 24 KiB before it has to be asked again, and Paramiko asks in Python; it also
lacks the cipher that costs a board least. OpenSSH has neither limit.
"""

import base64
import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from edgewright.deploy.line import Budget
from edgewright.deploy.target import Target

PROGRAM = "ssh"
CHUNK = 64 * 1024
ALIAS = "board"  # its name in the known_hosts file of one login
IDLE_SECONDS = 60  # after which a login that nobody ended ends itself
CONTROL_SECONDS = 15
FAILED = 255  # exit code of OpenSSH where it fails, and for a command that a signal ended

QUIET = ("BatchMode=yes", "ClearAllForwardings=yes", "ForwardAgent=no", "RemoteCommand=none")
ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=4")


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


def path_setting(name: str, path: Path) -> str:
    """A setting whose value is a path: OpenSSH takes a blank for its end, and expands `%`."""
    value = str(path).replace("%", "%%")
    if re.search(r"[\s\"'\\]", value):
        value = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    return f"{name}={value}"


def argv(
    target: Target, settings: Sequence[str] = (), *, flags: Sequence[str] = (), command: str = ""
) -> list[str]:
    """OpenSSH's command line for a target; it asks nothing. `settings` go before all others."""
    options = [part for setting in (*settings, *QUIET, *ALIVE) for part in ("-o", setting)]
    if target.known_hosts:
        options += ["-o", path_setting("UserKnownHostsFile", target.known_hosts)]
    if target.identity:
        options += ["-F", "none", "-o", path_setting("IdentityFile", target.identity)]
        options += ["-o", "IdentitiesOnly=yes"]
    if target.port:
        options += ["-p", str(target.port)]
    who = f"{target.user}@{target.address}" if target.user else target.address
    return [PROGRAM, "-T", *flags, *options, "--", who, *([command] if command else [])]


class Login:
    """A login that takes place in the background; commands then go over it.

    It accepts the one host key given, whatever any file or setting of the user says.
    """

    def __init__(self, target: Target, key_kind: str, key: bytes) -> None:
        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="edgewright-")
        folder = Path(self._folder.name)
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"{ALIAS} {key_kind} {base64.b64encode(key).decode()}\n")
        self._settings = (
            path_setting("ControlPath", folder / "line"),
            f"HostKeyAlias={ALIAS}",
            path_setting("UserKnownHostsFile", known_hosts),
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
        )
        self._login = self._begin()

    def _begin(self) -> "subprocess.Popen[bytes]":
        """The child ends as soon as the login has succeeded or failed; a master goes on."""
        master = ("ControlMaster=yes", f"ControlPersist={IDLE_SECONDS}")
        return subprocess.Popen(
            argv(self._target, (*self._settings, *master), flags=("-N", "-f")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def succeeds(self, seconds: float) -> bool:
        """Wait for the login; False if it was refused, or took longer."""
        try:
            return self._login.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def line(self, command: Sequence[str]) -> list[str]:
        """The command line of this machine that runs a command over the login."""
        return argv(self._target, self._settings, command=shlex.join(command))

    def run(
        self,
        command: Sequence[str],
        source: BinaryIO,
        on_bytes: Callable[[int], None] | None,
        idle: float,
        budget: Budget,
    ) -> tuple[int, bytes, bytes]:
        """Exit code (-1: ended by a signal), output and errors of a command.

        Raises TimeoutError after `idle` seconds in which the board neither read nor wrote,
        EOFError for a connection that ended, and EndlessAnswerError.
        """
        with self._started(command) as child:
            assert child.stdin
            _feed(child.stdin.fileno(), source, on_bytes, idle, budget)
            child.stdin.close()
            budget.end_sending()
            stdout, stderr = _read_answer(child, idle, budget)
            try:
                child.wait(idle)
            except subprocess.TimeoutExpired as silent:
                raise TimeoutError from silent
        if child.returncode != FAILED:
            return child.returncode, stdout, stderr
        # 255 is ambiguous, and OpenSSH's messages change with version and language: whether the
        # login still lives tells a lost connection from a command that a signal ended.
        if self._control("check") != 0:
            raise EOFError(stderr.decode(errors="replace"))
        return -1, stdout, stderr

    @contextlib.contextmanager
    def _started(self, command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
        pipe = subprocess.PIPE
        line = self.line(command)
        # Ctrl-C at a terminal is for whoever called us: of many boards, each may end its upload.
        child = subprocess.Popen(
            line, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    def _control(self, word: str) -> int:
        line = argv(self._target, self._settings, flags=("-O", word))
        try:  # the answer is the master's, a process of this machine
            child = subprocess.run(line, capture_output=True, check=False, timeout=CONTROL_SECONDS)
        except subprocess.TimeoutExpired:
            return FAILED
        return child.returncode

    def close(self) -> None:
        self._login.kill()
        self._login.wait()
        self._control("exit")
        self._folder.cleanup()


def _feed(
    pipe: int,
    source: BinaryIO,
    on_bytes: Callable[[int], None] | None,
    idle: float,
    budget: Budget,
) -> None:
    """Stop early where the command ends early: its exit code says why."""
    os.set_blocking(pipe, False)
    while chunk := source.read(CHUNK):
        while chunk:
            if not is_ready(pipe, select.POLLOUT, idle):
                raise TimeoutError
            try:
                count = os.write(pipe, chunk)
            except BrokenPipeError:
                return
            chunk = chunk[count:]
            budget.take(0)
            budget.add_sent(count)
            if on_bytes:
                on_bytes(count)


def _read_answer(
    child: "subprocess.Popen[bytes]", idle: float, budget: Budget
) -> tuple[bytes, bytes]:
    assert child.stdout
    assert child.stderr
    output, errors = bytearray(), bytearray()
    files = {child.stdout.fileno(): output, child.stderr.fileno(): errors}
    waiting = select.poll()
    for file in files:
        waiting.register(file, select.POLLIN)
    while files:
        ready = waiting.poll(idle * 1000)
        if not ready:
            raise TimeoutError
        for file, _ in ready:
            data = os.read(file, CHUNK)
            budget.take(len(data))
            files[file] += data
            if not data:
                waiting.unregister(file)
                del files[file]
    return bytes(output), bytes(errors)


def is_ready(file: int, event: int, seconds: float) -> bool:
    """Wait until a file can be read or written (`select.POLLIN`, `POLLOUT`), or has ended.

    `select()` refuses file numbers from 1024 on, which some hundred connections of one process
    reach.
    """
    waiting = select.poll()
    waiting.register(file, event)
    return bool(waiting.poll(seconds * 1000))
