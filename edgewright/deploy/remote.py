"""SSH to a board: the only module that speaks through Fabric or Paramiko.

Checks of many boards go by libssh2 instead where that will do (`libssh2`); what it cannot, such as
jump hosts and passwords, and whatever it fails at, is Paramiko's.

Only an SSH server and a POSIX shell are assumed on the board: files go through the standard
input of an exec channel, never SFTP. Unknown and changed host keys are refused.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import select
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fabric
import paramiko
from fabric.util import get_local_user
from paramiko.ssh_exception import BadAuthenticationType

from edgewright.base.errors import TargetError, UserError
from edgewright.base.layout import expanded, user_config
from edgewright.base.text import last_lines
from edgewright.deploy import openssh
from edgewright.deploy.known_hosts import (
    KnownKey,
    KnownKeys,
    Pin,
    fingerprint,
    kind_of,
    known_keys,
    write_pins,
)
from edgewright.deploy.line import (
    ANSWER_BYTES,
    NO_SERVER,
    Budget,
    EndlessAnswerError,
    Line,
    SilenceError,
    Watch,
    WatchedLine,
    patience,
)
from edgewright.deploy.openssh import is_ready
from edgewright.deploy.target import Target, parse_host

__all__ = ["Board", "HostKey", "Result", "Target", "connect", "parse_host", "pin", "scan_host_key"]

PASSWORD = "EDGEWRIGHT_PASSWORD"
PORT = 22
CHUNK = 32 * 1024
KEEPALIVE_SECONDS = 15
DEAD_SECONDS = 60.0  # what the board's side of TCP may leave unanswered
TAIL_LINES = 20
SUDO = ("sudo", "-n", "--")
SUSPECT = "look at what runs on this board: edgewright's own commands end by themselves"
AGAIN = "check power and network, then run the same command again"

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # our errors tell what it logs

ByteCount = Callable[[int], None]  # is told the bytes that were sent since its last call


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds without an answer after which a board counts as gone."""

    connect: float = 10.0  # TCP; `ConnectTimeout` of ~/.ssh/config overrides it
    banner: float = 15.0
    login: float = 30.0  # key exchange, and then the login itself
    idle: float = 60.0

    @property
    def handshake(self) -> float:
        """Banner and key exchange together."""
        return self.banner + self.login

    @property
    def all(self) -> float:
        """From the first byte to the end of the login, whichever keys are tried."""
        return self.handshake + 3 * self.login


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command on the board left behind."""

    argv: tuple[str, ...]
    returncode: int  # -1: ended by a signal
    stdout: str
    stderr: str
    raw: bytes = b""  # standard output, byte for byte


class CommandError(TargetError):
    """A command on the board ended with a non-zero exit code."""

    def __init__(self, target: Target, result: Result) -> None:
        self.result = result
        tail = last_lines(result.stdout + result.stderr, TAIL_LINES)
        code = result.returncode
        problem = f"exit code {code}" if code >= 0 else "ended by a signal"
        facts = [f"command: {_shown(result.argv)}", *(f"| {line}" for line in tail)]
        super().__init__(str(target), problem, facts=facts)


def _shown(argv: Sequence[str]) -> str:
    """A command as an error shows it: of a script, its arguments say more than its text."""
    return " ".join("…" if "\n" in word else shlex.quote(word) for word in argv)


class ConnectionLostError(TargetError):
    """The connection ended, or the board fell silent, in the middle of the work."""


class Session(Protocol):
    """A login; by Paramiko here, by libssh2 in `libssh2`."""

    @property
    def line(self) -> Line | WatchedLine:
        """What it runs over."""

    @property
    def host_key(self) -> bytes:
        """The key that the board has proved to hold, as SSH has it on the wire."""

    def run(
        self,
        command: str,
        source: BinaryIO,
        on_bytes: ByteCount | None,
        idle: float,
        budget: Budget,
    ) -> tuple[int, bytes, bytes]:
        """Exit code (-1: ended by a signal), output and errors of a command."""

    def attended(self) -> contextlib.AbstractContextManager[None]:
        """The board's questions, whether anybody is there, are answered meanwhile."""


class Board:
    """A board with an open connection; made by `connect`."""

    def __init__(self, target: Target, session: Session, limits: Timeouts) -> None:
        self.target = target
        self.commands = 0  # run so far, a round trip each
        self._session = session
        self._limits = limits
        self._second: openssh.Login | None = None

    @property
    def host_key(self) -> str:
        """SHA-256 fingerprint of the key that the board has proved to hold."""
        return fingerprint(self._session.host_key)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | BinaryIO = b"",
        on_bytes: ByteCount | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Run a command to its end; the caller judges the exit code.

        `timeout` is in seconds without output; the answer has limits in all, too (`line`).
        Raises ConnectionLostError, and TargetError for an answer beyond its limits.
        """
        source = BytesIO(input) if isinstance(input, bytes) else input
        return self._exchange(argv, source, timeout, on_bytes)

    def check(
        self,
        argv: Sequence[str],
        *,
        input: bytes | BinaryIO = b"",
        on_bytes: ByteCount | None = None,
        timeout: float | None = None,
    ) -> Result:
        """`run`, and raise CommandError unless the exit code is 0."""
        result = self.run(argv, input=input, on_bytes=on_bytes, timeout=timeout)
        if result.returncode != 0:
            raise CommandError(self.target, result)
        return result

    def script(self, text: str, *arguments: str, timeout: float | None = None) -> Result:
        """Run a constant shell script; arguments are its `$1`, `$2`, …; exit code 0 or raise."""
        return self.check(["sh", "-c", text, "_", *arguments], timeout=timeout)

    def put(self, source: BinaryIO, path: str, *, on_bytes: ByteCount | None = None) -> None:
        """Write `source` to `path` on the board. Raises CommandError, ConnectionLostError."""
        self.check(["sh", "-c", 'cat > "$1"', "_", path], input=source, on_bytes=on_bytes)

    def prepare(self) -> None:
        """Log in by OpenSSH too, in the background: `send` is then several times as fast."""
        # OpenSSH would need the pins of the hosts on the way, too.
        is_direct = self.target.jump is None
        if self._second is None and is_direct and openssh.is_installed():
            key = self._session.host_key
            self._second = openssh.Login(self.target, kind_of(key), key)

    def send(
        self,
        argv: Sequence[str],
        source: BinaryIO,
        *,
        on_bytes: ByteCount | None = None,
        timeout: float | None = None,
    ) -> Result:
        """`run` with a large input; over OpenSSH if `prepare` was called and the board let it in.

        `timeout` is in seconds in which nothing moves. Raises ConnectionLostError.
        """
        if self._second is None or not self._second.succeeds(self._limits.handshake):
            return self.run(argv, input=source, on_bytes=on_bytes, timeout=timeout)
        idle = timeout or self._limits.idle
        self.commands += 1
        budget = Budget(ANSWER_BYTES, patience(idle))
        with self._lost_connections(idle), self._session.attended():
            outcome = self._second.run(self._as_user(argv), source, on_bytes, idle, budget)
            return _result(argv, *outcome)

    def pipe(self, argv: Sequence[str]) -> list[str]:
        """A command line of this machine whose standard input and output are a command's there.

        It goes over the login that `prepare` began. Raises TargetError if that one was refused.
        """
        if self._second is None or not self._second.succeeds(self._limits.handshake):
            raise TargetError(
                str(self.target),
                "OpenSSH does not log in by itself",
                facts=["expected: ssh of this machine, a key that needs no typing, no --jump"],
                next="ssh-copy-id, or ssh-add, then the same command again",
            )
        return self._second.line(self._as_user(argv))

    def close(self) -> None:
        """End what `prepare` began."""
        if self._second is not None:
            self._second.close()

    def _exchange(
        self,
        argv: Sequence[str],
        source: BinaryIO,
        timeout: float | None,
        on_bytes: ByteCount | None,
    ) -> Result:
        idle = timeout or self._limits.idle
        budget = Budget(ANSWER_BYTES, patience(idle))
        self.commands += 1
        command = shlex.join(self._as_user(argv))
        with self._lost_connections(idle):
            self._session.line.begin(budget)
            try:
                outcome = self._session.run(command, source, on_bytes, idle, budget)
                return _result(argv, *outcome)
            finally:
                self._session.line.pause()

    def _as_user(self, argv: Sequence[str]) -> Sequence[str]:
        return [*SUDO, *argv] if self.target.sudo else argv

    @contextlib.contextmanager
    def _lost_connections(self, idle: float) -> Iterator[None]:
        """Turn the exceptions of a dead line into ConnectionLostError.

        Sockets raise OSError, Paramiko EOFError or SSHException, whichever thread notices first;
        TimeoutError is an OSError, too, so it is caught before them.
        """
        try:
            yield
        except EndlessAnswerError as endless:
            raise TargetError(str(self.target), str(endless), next=SUSPECT) from endless
        except TimeoutError as silent:
            raise self._lost(f"no answer for {idle:g} s", ()) from silent
        except (EOFError, OSError, paramiko.SSHException) as lost:
            if excess := self._session.line.excess:
                raise TargetError(str(self.target), excess, next=SUSPECT) from lost
            raise self._lost("connection lost", _error_lines(lost)) from lost

    def _lost(self, problem: str, facts: Sequence[str]) -> ConnectionLostError:
        return ConnectionLostError(str(self.target), problem, facts=facts, next=AGAIN)


@dataclass(frozen=True, kw_only=True)
class _ParamikoSession:
    """A login by Paramiko, whose thread answers the board between commands, too."""

    transport: paramiko.Transport
    line: Line

    @property
    def host_key(self) -> bytes:
        return self.transport.get_remote_server_key().asbytes()

    def run(
        self,
        command: str,
        source: BinaryIO,
        on_bytes: ByteCount | None,
        idle: float,
        budget: Budget,
    ) -> tuple[int, bytes, bytes]:
        channel = self.transport.open_session(timeout=idle)
        try:
            channel.settimeout(idle)
            channel.exec_command(command)
            _send_all(channel, source, on_bytes, budget)
            budget.end_sending()
            stdout, stderr = _drain(channel, idle)
            return self._exit_code(channel, idle), stdout, stderr
        finally:
            channel.close()

    def attended(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _exit_code(self, channel: paramiko.Channel, idle: float) -> int:
        if not channel.status_event.wait(idle):
            raise TimeoutError
        code = channel.recv_exit_status()
        if code == -1 and not self.transport.is_active():
            raise EOFError
        return code


def _send_all(
    channel: paramiko.Channel, source: BinaryIO, on_bytes: ByteCount | None, budget: Budget
) -> None:
    """Feed standard input; stop early if the command ends early, its exit code says why."""
    while chunk := source.read(CHUNK):
        try:
            channel.sendall(chunk)
        except TimeoutError:
            raise
        except OSError:
            transport = channel.get_transport()
            if transport is None or not transport.is_active():
                raise
            return
        budget.add_sent(len(chunk))
        if on_bytes:
            on_bytes(len(chunk))
    channel.shutdown_write()


def _drain(channel: paramiko.Channel, idle: float) -> tuple[bytes, bytes]:
    """Read both streams to their end. Raises TimeoutError after `idle` seconds of silence."""
    output, errors = bytearray(), bytearray()
    while True:
        ended = channel.eof_received or channel.closed
        if channel.recv_ready():
            output += channel.recv(CHUNK)
        elif channel.recv_stderr_ready():
            errors += channel.recv_stderr(CHUNK)
        elif ended:
            return bytes(output), bytes(errors)
        elif not is_ready(channel.fileno(), select.POLLIN, idle):
            raise TimeoutError


def _result(argv: Sequence[str], code: int, stdout: bytes, stderr: bytes) -> Result:
    return Result(
        argv=tuple(argv),
        returncode=code,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        raw=stdout,
    )


# Connecting


@contextlib.contextmanager
def connect(
    target: Target,
    *,
    password: str | None = None,
    known_hosts: Sequence[Path] | None = None,
    timeouts: Timeouts | None = None,
    brief: bool = False,
    ssh: "UserSsh | None" = None,
) -> Iterator[Board]:
    """Log in to a board, through the jump hosts of `~/.ssh/config`; log out at the end.

    A login that is `brief` has no long pauses between its commands: it goes by libssh2 where that
    is installed and will do. Many of them share one `ssh`, which is read for each otherwise.
    `password` is for the board alone, never for a jump host. `known_hosts` are the files of host
    keys, of which the first that knows the host decides; the default is `user_known_hosts`, and
    a target's own file replaces them. Raises TargetError, and UserError for files of the user
    that cannot be used.
    """
    limits = timeouts or Timeouts()
    with contextlib.ExitStack() as logins:
        session: Session | None = None
        if brief and password is None and importlib.util.find_spec("ssh2"):
            direct = _direct(target, ssh, _known_hosts(target, known_hosts))
            watch = ssh.watch if ssh else Watch()
            session = _log_in_briefly(direct, target, limits, watch, logins) if direct else None
        if session is None:
            final = _connection(target, limits, known_hosts)
            session = _log_in_along(_hops(final), target, limits, password, logins)
        board = logins.enter_context(contextlib.closing(Board(target, session, limits)))
        if target.sudo:
            _require_sudo(board)
        yield board


def _log_in_along(
    chain: Sequence[Any],
    target: Target,
    limits: Timeouts,
    password: str | None,
    logins: contextlib.ExitStack,
) -> Session:
    """Log in by Paramiko to each hop, the last of which is the board. Raises TargetError."""
    final = chain[-1]
    if password:
        final.connect_kwargs["password"] = password
    logins.callback(_close, chain)
    for hop in chain:
        _log_in(hop, target if hop is final else _address(hop), limits)
        if hop is not final:
            _live(hop).line.carry()
    return _live(final)


def _log_in_briefly(
    direct: "_Direct",
    subject: Target,
    limits: Timeouts,
    watch: Watch,
    logins: contextlib.ExitStack,
) -> Session | None:
    """Log in by libssh2; None where it did not get in, for whatever reason: Paramiko may.

    Raises TargetError for a board that is not reached, or whose key is not trusted.
    """
    from edgewright.deploy import libssh2  # of an extra

    with contextlib.ExitStack() as closing:
        try:
            line = WatchedLine(_tcp(direct, limits), limits.all)
            closing.callback(line.close)
            closing.enter_context(watch.over(line))
            session = libssh2.Session(line, direct.policy.in_order(libssh2.HOST_KEYS))
            closing.callback(session.close)
            session.exchange_keys(banner_seconds=limits.banner, seconds=limits.handshake)
            direct.policy.require_trusted(session.host_key)
            is_in = session.log_in(
                direct.user,
                direct.key_files,
                direct.own_keys,
                agent=direct.asks_agent,
                seconds=limits.login,
            )
        except libssh2.NoSessionError:
            return None
        except _UntrustedKeyError as untrusted:
            raise _untrusted_key(subject, untrusted.offered, untrusted.host_keys) from untrusted
        except (OSError, EOFError) as failed:
            raise _unreachable(direct, subject, limits, failed) from failed
        if not is_in:
            return None
        line.pause()
        logins.push(closing.pop_all())
        return session


def _require_sudo(board: Board) -> None:
    """Raises TargetError unless the login may run any program as root without a password."""
    result = board.run(["true"])
    if result.returncode != 0:
        raise TargetError(
            str(board.target),
            "sudo does not let this login in without a password",
            facts=[f"| {line}" for line in last_lines(result.stderr, TAIL_LINES)],
            next="as root on the board: allow it in sudoers (NOPASSWD: ALL); or leave out --sudo",
        )


def _close(chain: Sequence[Any]) -> None:
    """Fabric closes what it logged in to; Paramiko's client also what got less far."""
    for hop in reversed(chain):
        hop.close()
        hop.client.close()


def _connection(target: Target, limits: Timeouts, known_hosts: Sequence[Path] | None = None) -> Any:
    """A Fabric connection that is not open yet; one with its own key ignores the user's files."""
    is_self_contained = target.identity is not None
    settings = {
        "load_ssh_configs": not is_self_contained,
        "connect_kwargs": {
            "banner_timeout": limits.banner,
            "auth_timeout": limits.login,
            "channel_timeout": limits.connect,
            "allow_agent": not is_self_contained,
            "look_for_keys": not is_self_contained,
        },
    }
    with _usable_configuration():
        final = _hop(target, _configuration(settings))
    for hop in _hops(final):
        _prepare(hop, _known_hosts(target, known_hosts), limits)
    if target.identity is not None:
        final.connect_kwargs["key_filename"] = [str(target.identity)]
    return final


def _configuration(settings: Mapping[str, Any]) -> fabric.Config:
    """What OpenSSH's files say. Fabric's own, such as ~/.fabric.yml, are not read."""
    config = fabric.Config(overrides=settings, lazy=True)
    config.load_ssh_config()
    return config


@contextlib.contextmanager
def _usable_configuration() -> Iterator[None]:
    try:
        yield
    # ValueError: ours, Fabric's of a jump host's port, and that of bytes that are no UTF-8.
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, ValueError) as broken:
        raise UserError(
            "~/.ssh/config",
            "not usable",
            facts=_error_lines(broken),
            next="ssh -G HOST, which names the line",
        ) from broken


def _require_numbers(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where a host's settings have something else, which Paramiko lets pass."""
    for name, least, most in (("Port", 1, (1 << 16) - 1), ("ConnectTimeout", 1, 1 << 31)):
        value = settings.get(name.lower(), str(least))
        if not (value.isdecimal() and least <= int(value) <= most):
            raise ValueError(f"{name} {value}: expected a number from {least} to {most}")


def _hop(target: Target, config: fabric.Config) -> "_Hop":
    gateway = _hop(target.jump, config.clone()) if target.jump else None
    hop = _Hop(target.address, user=target.user, port=target.port, config=config, gateway=gateway)
    hop._set(host_key=target.host_key)
    return hop


class _Hop(fabric.Connection):  # type: ignore[misc]
    """Fabric's connection, with OpenSSH's reading of `ProxyJump`.

    Fabric visits the hosts in reverse order and takes `none` for a host's name.
    """

    seconds: float  # that connecting may take
    policy: "_Pinned"
    host_key: KnownKey | None = None  # the one that was given with the target

    def __init__(self, host: str, *, config: fabric.Config, **options: Any) -> None:
        _require_numbers(config.base_ssh_config.lookup(self.derive_shorthand(host)["host"]))
        super().__init__(host, config=config, forward_agent=False, **options)

    def get_gateway(self) -> "_Hop | str | None":
        jumps = self.ssh_config.get("proxyjump", "none")
        if jumps.lower() == "none":
            command: str | None = self.ssh_config.get("proxycommand")
            return command
        gateway = None
        for jump in jumps.split(","):
            if self.derive_shorthand(jump)["host"] in (self.host, self.original_host):
                return None
            gateway = _Hop(jump.strip(), config=self.config.clone(), gateway=gateway)
        return gateway

    def open_gateway(self) -> Line:
        return Line(super().open_gateway(), self.seconds)


def _hops(connection: Any) -> list[Any]:
    """The connections to open, outermost jump host first."""
    chain = [connection]
    while isinstance(chain[0].gateway, fabric.Connection):
        chain.insert(0, chain[0].gateway)
    return chain


def _prepare(connection: Any, known_hosts: Sequence[Path], limits: Timeouts) -> None:
    """Refuse unknown keys (Fabric accepts them), and leave out keys that do not exist."""
    connection._set(seconds=limits.all)  # plain attributes of Fabric's are configuration
    policy = _Pinned(_host_keys_of(connection, known_hosts))
    connection._set(policy=policy)
    connection.client.set_missing_host_key_policy(policy)
    options = dict(connection.connect_kwargs)
    options["key_filename"] = _files(options.pop("key_filename", []))
    options["transport_factory"] = policy.transport
    if _wants_identities_only(connection.ssh_config):
        options |= {"allow_agent": False, "look_for_keys": False}
    connection.connect_kwargs = options
    connection.connect_timeout = limits.handshake  # the TCP connection is made by _link


def _files(names: Sequence[str]) -> list[str]:
    """Those that are there; `~` is the user's folder."""
    paths = [Path(name).expanduser() for name in names]
    return [str(path) for path in paths if path.is_file()]


def _wants_identities_only(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("identitiesonly", "no").lower() == "yes")


@dataclass(frozen=True, kw_only=True)
class UserSsh:
    """What a user has for logins: OpenSSH's files, and keys."""

    config: paramiko.SSHConfig = field(default_factory=paramiko.SSHConfig)
    user: str = field(default_factory=get_local_user)  # where nothing else names one
    key_files: tuple[str, ...] = ()
    own_keys: tuple[str, ...] = ()  # tried where no other key lets in
    asks_agent: bool = False
    watch: Watch = field(default_factory=Watch, compare=False)  # over all logins by libssh2


def user_ssh() -> UserSsh:
    """Of whoever runs this program. Raises UserError for a configuration that cannot be used."""
    with _usable_configuration():
        config = _configuration({}).base_ssh_config
    return UserSsh(
        config=config,
        # In the order in which Paramiko tries them.
        own_keys=tuple(_files([f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")])),
        asks_agent=True,
    )


@dataclass(frozen=True, kw_only=True)
class _Direct:
    """A board that no other host leads to: what `_Hop` is, for a tenth of its processor time."""

    host: str
    user: str
    port: int
    ssh_config: Mapping[str, Any]
    key_files: Sequence[str]
    own_keys: Sequence[str]
    asks_agent: bool
    host_key: KnownKey | None
    known_hosts: Sequence[Path]
    gateway: None = None

    @functools.cached_property
    def policy(self) -> "_Pinned":
        return _Pinned(_host_keys_of(self, self.known_hosts))


def _direct(target: Target, ssh: UserSsh | None, known_hosts: Sequence[Path]) -> _Direct | None:
    """None for a board that is reached through another host, or by a command.

    A target with its own key ignores the user's files. Raises UserError as `user_ssh` does.
    """
    if target.identity is not None:
        ssh = UserSsh(key_files=(str(target.identity),))
    ssh = ssh or user_ssh()
    with _usable_configuration():
        settings = ssh.config.lookup(target.address)
        _require_numbers(settings)
    jump = settings.get("proxyjump", "none")
    if target.jump or jump.lower() != "none" or "proxycommand" in settings:
        return None
    uses_own = not _wants_identities_only(settings)
    return _Direct(
        host=settings["hostname"],
        user=target.user or settings.get("user", ssh.user),
        port=target.port or int(settings.get("port", PORT)),
        ssh_config=settings,
        key_files=_files([*ssh.key_files, *settings.get("identityfile", ())]),
        own_keys=ssh.own_keys if uses_own else (),
        asks_agent=ssh.asks_agent and uses_own,
        host_key=target.host_key,
        known_hosts=known_hosts,
    )


@dataclass(frozen=True, kw_only=True)
class _HostKeys:
    """What is known of one hop's host key."""

    own: KnownKeys  # under the name that it is pinned by
    # Behind a jump host: the keys of its address. 172.17.0.4 means another board behind each jump
    # host, so a key that stands there is accepted, but another one is no changed key.
    at_address: frozenset[str] = frozenset()

    def is_trusted(self, offered: str) -> bool:
        if self.own.revocation(offered):
            return False
        return offered in self.own.fingerprints or (
            not self.own.pinned and offered in self.at_address
        )


def _host_keys_of(connection: Any, files: Sequence[Path]) -> _HostKeys:
    name, address = _pin_name(connection), _host_key_name(connection)
    own = known_keys(files, name)
    if connection.host_key is not None:
        return _HostKeys(own=replace(own, pinned=(connection.host_key,)))
    if name == address:
        return _HostKeys(own=own)
    # Each file's: here no file has the last word.
    everywhere = [known_keys([path], address) for path in files]
    revoked = tuple(key for host_keys in everywhere for key in host_keys.revoked)
    return _HostKeys(
        own=replace(own, revoked=own.revoked + revoked),
        at_address=frozenset(key for host_keys in everywhere for key in host_keys.fingerprints),
    )


def _known_hosts(target: Target, files: Sequence[Path] | None = None) -> Sequence[Path]:
    """The files that say which keys are known, the one that counts more first."""
    if target.known_hosts:
        return [target.known_hosts]
    return user_known_hosts() if files is None else files


def user_known_hosts() -> tuple[Path, ...]:
    """The files of host keys of whoever runs this program: our pins, then OpenSSH's."""
    return pins(), expanded("~/.ssh/known_hosts")


class _UntrustedKeyError(Exception):
    def __init__(self, offered: str, host_keys: KnownKeys) -> None:
        self.offered, self.host_keys = offered, host_keys
        super().__init__("host key is not trusted")


class _Pinned(paramiko.MissingHostKeyPolicy):
    """Decides on host keys alone: Paramiko is given none, so it asks here about each."""

    def __init__(self, host_keys: _HostKeys) -> None:
        self._host_keys = host_keys

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        self.require_trusted(key.asbytes())

    def require_trusted(self, key: bytes) -> None:
        """Raises _UntrustedKeyError."""
        offered = fingerprint(key)
        if not self._host_keys.is_trusted(offered):
            raise _UntrustedKeyError(offered, self._host_keys.own)

    def in_order(self, algorithms: Sequence[str]) -> list[str]:
        """First those of the kinds of keys that are pinned, as OpenSSH asks for them."""
        kinds = {key.kind for key in self._host_keys.own.pinned}
        return sorted(algorithms, key=lambda name: _kind_of(name) not in kinds)

    def transport(self, link: Any, **options: Any) -> paramiko.Transport:
        """A transport that asks first for a key of the kinds that are pinned."""
        transport = paramiko.Transport(link, **options)
        ours = transport.get_security_options()
        ours.key_types = self.in_order(ours.key_types)
        return transport


def _kind_of(algorithm: str) -> str:
    """The kind of key behind the name of a signature."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _log_in(connection: Any, subject: Target, limits: Timeouts) -> None:
    """Open one connection of the chain; every way it can go wrong has its own words."""
    try:
        if not connection.gateway:
            connection.connect_kwargs["sock"] = _link(connection, limits)
        connection.open()
    except _UntrustedKeyError as untrusted:
        raise _untrusted_key(subject, untrusted.offered, untrusted.host_keys) from untrusted
    except (OSError, EOFError, paramiko.SSHException) as failed:
        # No kind of exception means "login refused": Paramiko tries several keys and reports the
        # last failure, which may be a key file that it could not read. Where the connection stands
        # tells it for certain.
        if isinstance(failed, paramiko.SSHException) and _is_past_host_key(connection):
            raise _login_refused(connection, subject, failed) from failed
        raise _unreachable(connection, subject, limits, failed) from failed


def _link(connection: Any, limits: Timeouts) -> Line:
    """The byte stream that SSH runs over: TCP, or a channel of the jump host."""
    if connection.gateway:
        line: Line = connection.open_gateway()
        return line
    return Line(_tcp(connection, limits), limits.all)


def _tcp(connection: Any, limits: Timeouts) -> socket.socket:
    address = (connection.host, int(connection.port))
    tcp = socket.create_connection(address, _tcp_limit(connection, limits))
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a command waits for an ACK
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)
    # A pulled cable is noticed; so is a board that takes nothing.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_SECONDS * 1000))
    return tcp


def _tcp_limit(connection: Any, limits: Timeouts) -> float:
    return float(connection.ssh_config.get("connecttimeout", limits.connect))


def _is_past_host_key(connection: Any) -> bool:
    """Keys were exchanged, and the board still talks to us: what went wrong is the login."""
    transport = connection.client.get_transport()
    return transport is not None and transport.initial_kex_done and transport.is_active()


def _live(connection: Any) -> _ParamikoSession:
    """The session of an open connection."""
    transport = connection.client.get_transport()
    assert isinstance(transport, paramiko.Transport)
    assert isinstance(transport.sock, Line)
    transport.set_keepalive(KEEPALIVE_SECONDS)
    transport.sock.pause()
    return _ParamikoSession(transport=transport, line=transport.sock)


def _address(connection: Any) -> Target:
    """The hop as the user would write it."""
    port = None if int(connection.port) == PORT else int(connection.port)
    return Target(address=connection.host, user=connection.user, port=port)


def _untrusted_key(subject: Target, offered: str, host_keys: KnownKeys) -> TargetError:
    if revocation := host_keys.revocation(offered):
        return _revoked_key(subject, offered, revocation)
    if host_keys.pinned:
        return TargetError(
            str(subject),
            "host key is not the one that was pinned",
            facts=[*(f"expected: {key}" for key in host_keys.fingerprints), f"found: {offered}"],
            next=f"find out why; if the board was set up anew, invoke trust --host={subject}",
        )
    authorities = [
        f"{key.source} trusts keys that an authority signed: host certificates are not used here"
        for key in host_keys.authorities
    ]
    return TargetError(
        str(subject),
        "host key is not known",
        facts=[f"offered: {offered}", *authorities],
        next=f"compare it with the board's, then invoke trust --host={subject}",
    )


def _revoked_key(subject: Target, offered: str, revocation: KnownKey) -> TargetError:
    return TargetError(
        str(subject),
        "HOST KEY IS REVOKED",
        facts=[f"offered: {offered}", f"revoked by: {revocation.source}"],
        next="find out who answers there: somebody may hold a key that was stolen",
    )


def _login_refused(connection: Any, subject: Target, refused: Exception) -> TargetError:
    keys = connection.connect_kwargs.get("key_filename") or []
    attempts = [f"key {name}" for name in keys]
    if connection.connect_kwargs.get("look_for_keys"):
        attempts.append("keys of the agent and of ~/.ssh")
    if "password" in connection.connect_kwargs:
        attempts.append("the password")
    facts = [f"tried: {', '.join(attempts) or 'nothing'}"]
    if isinstance(refused, BadAuthenticationType):
        facts += last_lines(f"board allows: {', '.join(refused.allowed_types)}", 1)
    if isinstance(refused, paramiko.PasswordRequiredException):
        facts.append("a private key is locked by a passphrase: load it with ssh-add")
    return TargetError(
        str(subject),
        f"login as '{connection.user}' refused",
        facts=facts,
        next=f"put your public key on the board, or set {PASSWORD}",
    )


def _unreachable(
    connection: Any, subject: Target, limits: Timeouts, failed: Exception
) -> TargetError:
    problem, facts = _diagnosis(connection, limits, failed)
    if isinstance(connection.gateway, fabric.Connection):
        facts.append(f"through: {_address(connection.gateway)}")
    is_unnamed = isinstance(failed, socket.gaierror)
    next = "the same command with its address, or a name of ~/.ssh/config" if is_unnamed else AGAIN
    return TargetError(str(subject), problem, facts=facts, next=next)


def _diagnosis(connection: Any, limits: Timeouts, failed: Exception) -> tuple[str, list[str]]:
    """Problem and facts for everything that is not about keys or logins.

    Paramiko raises one class, SSHException, for most of what can go wrong: only its English text
    tells the cases apart. `test_remote.py` provokes each one with a server that behaves that way,
    so a new wording fails a test; until somebody mends it, the user reads Paramiko's own text.
    """
    text, port = str(failed), [f"port: {connection.port}"]
    if isinstance(failed, socket.gaierror):
        return "name not found", [f"name: {connection.host}"]
    if isinstance(failed, SilenceError):
        return text, port
    if isinstance(failed, TimeoutError):
        return f"no answer within {_tcp_limit(connection, limits):g} s", port
    if isinstance(failed, OSError) and failed.errno:
        return os.strerror(failed.errno).lower(), port
    if isinstance(failed, paramiko.ChannelException) or "opening channel" in text:
        return "not reached by its jump host", _error_lines(failed)
    if "protocol banner" in text or "protocol version" in text:
        return NO_SERVER, port
    if "No existing session" in text:  # it asks for the server's key after it gave up waiting
        return f"no key exchange within {limits.handshake:g} s", port
    return "no SSH connection", _error_lines(failed)


def _error_lines(error: BaseException) -> list[str]:
    return last_lines(str(error), TAIL_LINES)  # a server's words may be in it


# Host keys


@dataclass(frozen=True, kw_only=True)
class HostKey:
    """The key that a board offers now, and the ones that were pinned before."""

    target: Target
    name: str  # as in known_hosts: addr or [addr]:port; behind a jump host, an alias or addr@jump
    kind: str  # ssh-ed25519 …
    blob: bytes
    pinned: tuple[str, ...]  # fingerprints

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def is_pinned(self) -> bool:
        return self.fingerprint in self.pinned


def pins() -> Path:
    """Our own known_hosts file."""
    return user_config() / "known_hosts"


def scan_host_key(target: Target, *, timeouts: Timeouts | None = None) -> HostKey:
    """Ask a board for its host key, without logging in. Raises TargetError."""
    limits = timeouts or Timeouts()
    connection = _connection(target, limits)
    chain = _hops(connection)
    try:
        for hop in chain[:-1]:
            _log_in(hop, _address(hop), limits)
            _live(hop).line.carry()
        key = _offered_key(connection, limits)
    except (OSError, EOFError, paramiko.SSHException) as failed:
        raise _unreachable(connection, target, limits, failed) from failed
    finally:
        _close(chain)
    host_keys = _host_keys_of(connection, _known_hosts(target))
    offered = fingerprint(key.asbytes())
    if revocation := host_keys.own.revocation(offered):
        raise _revoked_key(target, offered, revocation)
    return HostKey(
        target=target,
        name=_pin_name(connection),
        kind=key.get_name(),
        blob=key.asbytes(),
        # The keys that a login goes by.
        pinned=host_keys.own.fingerprints or tuple({offered} & host_keys.at_address),
    )


def _offered_key(connection: Any, limits: Timeouts) -> paramiko.PKey:
    line: Any = _link(connection, limits)  # Paramiko takes whatever has a socket's methods
    transport = paramiko.Transport(line)
    transport.banner_timeout = limits.banner
    try:
        transport.start_client(timeout=limits.handshake)
        return transport.get_remote_server_key()
    finally:
        transport.close()


def _host_key_name(connection: Any) -> str:
    port = int(connection.port)
    return connection.host if port == PORT else f"[{connection.host}]:{port}"


def place(target: Target) -> str:
    """Where a target is, once `~/.ssh/config` was read: two names of one board have one place.

    Raises UserError for a configuration that cannot be used.
    """
    return _place(_connection(target, Timeouts()))


def _place(connection: Any) -> str:
    name = _host_key_name(connection)
    gateway = connection.gateway
    return f"{name}@{_place(gateway)}" if isinstance(gateway, fabric.Connection) else name


def pin_name(target: Target) -> str:
    """The name that a target's host key is pinned under. Raises UserError as `place` does."""
    return _pin_name(_connection(target, Timeouts()))


def _pin_name(connection: Any) -> str:
    """The name that a board is pinned under: behind a jump host its address says too little."""
    name = _host_key_name(connection)
    if not isinstance(connection.gateway, fabric.Connection):
        return name
    alias: str = connection.original_host
    return alias if alias != connection.host else f"{name}@{_pin_name(connection.gateway)}"


def pin(key: HostKey, *, expected: str | None = None) -> bool:
    """Pin a board's key in our known_hosts; False if it is pinned already.

    `expected` is a fingerprint that the key must have, and without which it replaces no other.
    Raises TargetError if it has another, UserError if it is missing where another key is pinned.
    """
    if expected is not None and expected != key.fingerprint:
        raise TargetError(
            str(key.target),
            "offers another host key",
            facts=[f"expected: {expected}", f"found: {key.fingerprint}"],
        )
    if key.is_pinned:
        return False
    if key.pinned and expected is None:
        raise other_key(key)
    write_pins(pins(), [Pin(name=key.name, kind=key.kind, blob=key.blob)])
    return True


def other_key(key: HostKey) -> UserError:
    """What there is to say of a key that is not the pinned one."""
    return UserError(
        str(key.target),
        "OFFERS ANOTHER HOST KEY THAN THE ONE THAT IS PINNED",
        facts=[
            *(f"pinned: {pinned}" for pinned in key.pinned),
            f"offered: {key.fingerprint}",
            "either the board was set up anew, or somebody answers in its place",
        ],
        next="read the fingerprint at the board itself; if it is the offered one, "
        f"invoke trust --host={key.target} --fingerprint=SHA256:…",
    )
