"""Run a child process: quoted echo, output kept in a log, one error that shows its tail."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.base.layout import user_cache
from edgewright.base.progress import LineSink

TAIL_LINES = 20
FIRST_ERRORS = 5
# How compilers, linkers and apt begin what went wrong.
ERROR = r"(?:^|[\s:])(?:fatal )?error: |: undefined reference to |(?:^|\s)E: "
DISK_FULL = r"no space left on device|disk quota exceeded|not enough free space"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished child left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


@dataclass
class _Output:
    """What an error shows of a child's output."""

    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    # Of these the first: what follows them, a build tool's own lines, may fill the tail.
    errors: list[str] = field(default_factory=list)
    disk_full: str | None = None

    @property
    def lines(self) -> list[str]:
        """The first errors, and the end."""
        return [*(line for line in self.errors if line not in self.tail), *self.tail]

    def add(self, line: str) -> None:
        self.tail.append(line)
        if len(self.errors) < FIRST_ERRORS and re.search(ERROR, line):
            self.errors.append(line)
        if self.disk_full is None and re.search(DISK_FULL, line, re.IGNORECASE):
            self.disk_full = line.strip()


class ChildFailed(UserError):  # noqa: N818
    """A child ended with a non-zero exit code."""


def which(program: str) -> str | None:
    """Where a program is; Debian's users do not have the folders of its system tools in PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def quote(argv: Sequence[str]) -> str:
    return shlex.join(argv)


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> Result:
    """Run a short child and keep its output; the caller judges the exit code.

    Raises UserError if the program does not exist.
    """
    try:
        with subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",  # a child may print any bytes
        ) as child:
            try:
                stdout, stderr = child.communicate(input, timeout=timeout)
            except BaseException:
                # At Ctrl-C, too: `subprocess.run` kills a child that ends later than a quarter of
                # a second after it, and waits for it no more.
                child.kill()
                child.wait()
                raise
    except (FileNotFoundError, PermissionError) as error:
        raise _not_started(argv[0], cwd, error) from error
    except subprocess.TimeoutExpired as late:
        raise UserError(quote(argv), f"no end after {timeout:g} s") from late
    return Result(
        argv=tuple(argv),
        returncode=child.returncode,
        stdout=stdout,
        stderr=stderr,
    )


def check(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> Result:
    """`capture`, and raise ChildFailed unless the exit code is 0."""
    result = capture(argv, cwd=cwd, env=env, input=input, timeout=timeout)
    if result.returncode != 0:
        output = (result.stdout + result.stderr).splitlines()[-TAIL_LINES:]
        raise child_failed(argv, result.returncode, output)
    return result


def run_logged(
    argv: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: LineSink | None = None,
    next: str | None = None,
) -> None:
    """Run a long child; every line goes to `log` (and `on_line`); raise with its tail.

    On Ctrl-C the child's whole process group is ended before the interrupt goes on.
    """
    make_folder(log.parent)
    output = _Output()
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {quote(argv)}\n")
        child = _start(argv, cwd, env)
        try:
            _pump(child, sink, output, on_line)
        except BaseException:
            end_group(child)
            raise
    if child.returncode != 0 and output.disk_full:
        raise _out_of_space(argv, output.disk_full, log)
    if child.returncode != 0:
        raise child_failed(argv, child.returncode, output.lines, log=log, next=next)


def _start(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None
) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=subprocess.DEVNULL,  # a child that asks a question ends instead of waiting
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a process group of its own, for `end_group`
        )
    except (FileNotFoundError, PermissionError) as error:
        raise _not_started(argv[0], cwd, error) from error


def _pump(
    child: "subprocess.Popen[str]", sink: IO[str], output: "_Output", on_line: LineSink | None
) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        sink.write(line)
        sink.flush()  # whoever follows the log sees the line now
        output.add(line.rstrip("\n"))
        if on_line:
            on_line(line.rstrip("\n"))
    child.wait()


def end_group(child: "subprocess.Popen[Any]", *, grace: float = 10.0) -> None:
    """Ask a child's process group to end; kill what is left of it after `grace` seconds."""
    try:
        _signal_group(child.pid, signal.SIGTERM)
        late = time.monotonic() + grace
        while _group_lives(child) and time.monotonic() < late:
            time.sleep(0.02)
    finally:
        # A second Ctrl-C ends the grace, and leaves nobody behind.
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()


def _group_lives(child: "subprocess.Popen[Any]") -> bool:
    child.poll()  # a leader that ended counts as alive until it is reaped
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def child_failed(
    argv: Sequence[str],
    code: int,
    tail: Sequence[str],
    *,
    log: Path | None = None,
    next: str | None = None,
) -> ChildFailed:
    facts = [f"command: {quote(argv)}", *(f"| {line}" for line in tail)]
    if log:
        facts.append(f"log: {log}")
    problem = f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
    return ChildFailed(Path(argv[0]).name, problem, facts=facts, next=next)


def _out_of_space(argv: Sequence[str], line: str, log: Path) -> ChildFailed:
    """A child's own words, and how much is free where it may have written."""
    candidates = (Path(tempfile.gettempdir()), user_cache(), log.parent)
    folders = {path.stat().st_dev: path for path in candidates if path.is_dir()}
    free = [f"free at {at}: {shutil.disk_usage(at).free:,} bytes" for at in folders.values()]
    facts = [f"command: {quote(argv)}", f"| {line}", *free, f"log: {log}"]
    next = "make room, then run the same command again"
    return ChildFailed(Path(argv[0]).name, "no space left on device", facts=facts, next=next)


def _not_started(program: str, cwd: Path | None, error: OSError) -> UserError:
    if cwd and str(error.filename) == str(cwd):
        return UserError(str(cwd), "no such folder to run in", facts=[f"program: {program}"])
    if isinstance(error, PermissionError):
        return UserError(program, "not executable")
    return program_missing(program)


def program_missing(program: str) -> UserError:
    return UserError(program, "program not found", next="invoke setup")
