"""Configuration, host keys and everything that can go wrong before a login."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from fabric.util import get_local_user

from edgewright.base.errors import TargetError, UserError
from edgewright.deploy import remote
from edgewright.deploy.known_hosts import fingerprint
from edgewright.deploy.remote import HostKey, Timeouts, connect, pin, scan_host_key
from edgewright.deploy.target import Target, parse_host
from tests.hostile import HOST_KEY, end, hostile_board

QUICK = Timeouts(connect=1, banner=0.5, login=1, idle=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, agent or configuration."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv(remote.PASSWORD, raising=False)
    return tmp_path


def key_of(blob: bytes, *pinned: bytes, host: str = "pi@10.0.0.7") -> HostKey:
    target = parse_host(host)
    name = f"[{target.address}]:{target.port}" if target.port else target.address
    fingerprints = tuple(map(fingerprint, pinned))
    return HostKey(target=target, name=name, kind="ssh-ed25519", blob=blob, pinned=fingerprints)


# Host keys


def test_fingerprint_is_openssh_s() -> None:
    assert fingerprint(b"hello") == "SHA256:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"


def test_new_key_is_pinned_once() -> None:
    assert pin(key_of(b"one"))
    assert remote.pins().read_text() == "10.0.0.7 ssh-ed25519 b25l\n"
    assert not pin(key_of(b"one", b"one"))


def test_pins_of_other_hosts_and_ports_stay() -> None:
    pin(key_of(b"one"))
    pin(key_of(b"two", host="pi@10.0.0.7:2222"))
    pin(key_of(b"new", b"one"), expected=fingerprint(b"new"))
    assert remote.pins().read_text() == (
        "[10.0.0.7]:2222 ssh-ed25519 dHdv\n10.0.0.7 ssh-ed25519 bmV3\n"
    )


def test_changed_key_is_not_pinned_by_the_way() -> None:
    with pytest.raises(UserError) as refused:
        pin(key_of(b"new", b"one"))
    assert str(refused.value) == (
        "pi@10.0.0.7: OFFERS ANOTHER HOST KEY THAN THE ONE THAT IS PINNED\n"
        f"  pinned: {fingerprint(b'one')}\n"
        f"  offered: {fingerprint(b'new')}\n"
        "  either the board was set up anew, or somebody answers in its place\n"
        "next: read the fingerprint at the board itself; if it is the offered one, "
        "invoke trust --host=pi@10.0.0.7 --fingerprint=SHA256:…"
    )
    assert not remote.pins().exists()


def test_key_with_another_fingerprint_than_expected_is_not_pinned() -> None:
    with pytest.raises(TargetError) as refused:
        pin(key_of(b"one"), expected="SHA256:abc")
    assert str(refused.value) == (
        "pi@10.0.0.7: offers another host key\n"
        "  expected: SHA256:abc\n"
        f"  found: {fingerprint(b'one')}"
    )
    assert not remote.pins().exists()


def test_a_damaged_line_of_the_host_is_the_user_s_mistake(home: Path) -> None:
    line = "host ssh-ed25519 AAAA=B\n"
    (home / ".ssh" / "known_hosts").write_text(line + line.replace("host", "[127.0.0.1]:1"))
    with (
        pytest.raises(UserError, match="known_hosts:2: not a line of a known_hosts file"),
        connect(parse_host("pi@127.0.0.1:1"), timeouts=QUICK),
    ):
        pass


# Configuration: what Fabric is told


def test_every_hop_refuses_unknown_keys(home: Path) -> None:
    """Fabric accepts them: it sets AutoAddPolicy on each connection it makes."""
    (home / ".ssh" / "config").write_text(
        "Host board\n  HostName 10.0.0.7\n  User pi\n  Port 2222\n  ProxyJump a@gate1,b@gate2:23\n"
    )
    connection = remote._connection(parse_host("board"), QUICK)
    hops = remote._hops(connection)
    assert [str(remote._address(hop)) for hop in hops] == [
        "a@gate1",
        "b@gate2:23",
        "pi@10.0.0.7:2222",
    ]
    for hop in hops:
        assert isinstance(hop.client._policy, remote._Pinned)


def test_our_pins_count_more_than_the_user_s_known_hosts(home: Path) -> None:
    ours, theirs = (paramiko.ECDSAKey.generate() for _ in range(2))
    remote.pins().parent.mkdir()
    remote.pins().write_text(f"10.0.0.7 {ours.get_name()} {ours.get_base64()}\n")
    (home / ".ssh" / "known_hosts").write_text(
        f"10.0.0.7 {theirs.get_name()} {theirs.get_base64()}\n"
    )
    connection = remote._connection(parse_host("pi@10.0.0.7"), QUICK)
    host_keys = remote._host_keys_of(connection, remote.user_known_hosts())
    assert host_keys.own.fingerprints == (fingerprint(ours.asbytes()),)


def test_identity_files_that_do_not_exist_are_left_out(home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        "Host *\n  IdentityFile ~/.ssh/there\n  IdentityFile ~/.ssh/not\n  IdentitiesOnly yes\n"
    )
    (home / ".ssh" / "there").write_text("")
    wanted = remote._connection(parse_host("pi@10.0.0.7"), QUICK).connect_kwargs
    assert wanted["key_filename"] == [str(home / ".ssh" / "there")]
    assert not wanted["allow_agent"]
    assert not wanted["look_for_keys"]


def test_proxy_jump_none_means_none(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host gate\n  ProxyJump none\nHost *\n  ProxyJump gate\n")
    assert len(remote._hops(remote._connection(parse_host("pi@gate"), QUICK))) == 1
    assert len(remote._hops(remote._connection(parse_host("pi@board"), QUICK))) == 2


def test_target_with_its_own_key_ignores_the_user_s_files(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host *\n  ProxyJump gate\n  User nobody\n")
    pins = home / "pins"
    pins.write_text("")
    target = Target(
        address="127.0.0.1", user="root", port=2222, identity=home / "key", known_hosts=pins
    )
    connection = remote._connection(target, QUICK)
    assert connection.gateway is None
    assert connection.user == "root"
    assert connection.connect_kwargs["key_filename"] == [str(home / "key")]
    assert not connection.connect_kwargs["allow_agent"]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (b"HostName", "Unparsable line HostName"),
        (b"Port ssh", "Port ssh: expected a number from 1 to 65535"),
        (b"Port 99999", "Port 99999: expected a number from 1 to 65535"),
        (b"ConnectTimeout 0", "ConnectTimeout 0: expected a number from 1 to"),
        (b"ConnectTimeout soon", "ConnectTimeout soon: expected a number from 1 to"),
        (b"User \xff", "'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(home: Path, line: bytes, fact: str) -> None:
    (home / ".ssh" / "config").write_bytes(b"Host board\n  " + line + b"\n")

    for log_in in (
        lambda: remote._connection(parse_host("board"), QUICK),
        lambda: remote._direct(parse_host("board"), None, ()),
    ):
        with pytest.raises(UserError, match=r"~/\.ssh/config: not usable") as refused:
            log_in()
        assert fact in str(refused.value)
        assert str(refused.value).endswith("\nnext: ssh -G HOST, which names the line")


def test_an_agent_is_never_forwarded(home: Path) -> None:
    """So that a word that Fabric does not know there ends nothing."""
    (home / ".ssh" / "config").write_text("Host *\n  ForwardAgent maybe\n  ProxyJump gate\n")

    hops = remote._hops(remote._connection(parse_host("board"), QUICK))

    assert [hop.forward_agent for hop in hops] == [False, False]


CONFIGURATIONS = (
    "",
    "Host board\n  HostName 10.0.0.7\n  User pi\n  Port 2222\n  ConnectTimeout 3\n",
    "Host *\n  IdentityFile ~/.ssh/there\n  IdentityFile ~/.ssh/not\n  IdentitiesOnly yes\n",
    "Host *\n  ProxyJump none\n",
)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["board", "root@board:22", "10.0.0.8"])
def test_a_login_by_libssh2_is_the_one_that_fabric_would_make(
    home: Path, name: str, configuration: str
) -> None:
    (home / ".ssh" / "config").write_text(configuration)
    for key in ("there", "id_ed25519"):
        (home / ".ssh" / key).write_text("")

    direct = remote._direct(parse_host(name), None, ())

    hop = remote._connection(parse_host(name), QUICK)
    options = hop.connect_kwargs
    assert direct is not None
    assert (direct.host, direct.user, direct.port) == (hop.host, hop.user, int(hop.port))
    assert direct.key_files == options["key_filename"]
    assert (direct.asks_agent, bool(direct.own_keys)) == (
        options["allow_agent"],
        options["look_for_keys"],
    )
    assert remote._tcp_limit(direct, QUICK) == remote._tcp_limit(hop, QUICK)


def test_fabric_s_own_files_say_nothing_of_logins(home: Path) -> None:
    plain = remote._direct(parse_host("board"), None, ())
    (home / ".fabric.yml").write_text("user: bob\nport: 2200\nconnect_kwargs: {key_filename: k}\n")

    hop = remote._connection(parse_host("board"), QUICK)

    assert remote._direct(parse_host("board"), None, ()) == plain
    assert (hop.user, hop.port, hop.connect_kwargs["key_filename"]) == (get_local_user(), 22, [])
    (home / ".fabric.yml").write_text("user: [\n")
    remote._connection(parse_host("board"), QUICK)


@pytest.mark.parametrize("line", ["ProxyJump gate", "ProxyCommand nc %h %p"])
def test_a_board_behind_another_host_is_not_libssh2_s(home: Path, line: str) -> None:
    (home / ".ssh" / "config").write_text(f"Host board\n  {line}\n")

    assert remote._direct(parse_host("board"), None, ()) is None
    assert remote._direct(parse_host("10.0.0.8"), None, ()) is not None


def test_logins_that_share_what_files_say_read_them_once(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host board\n  Port 2222\n")
    ssh = remote.user_ssh()
    (home / ".ssh" / "config").unlink()

    direct = remote._direct(parse_host("board"), ssh, ())

    assert direct is not None
    assert direct.port == 2222


# What can go wrong before a login


@contextlib.contextmanager
def listening(says: bytes) -> Iterator[int]:
    """A server on 127.0.0.1 that writes one thing and waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        links: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = server.accept()
                    links.append(link)
                    link.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for link in links:
            link.close()


def message(host: str) -> str:
    return refused(parse_host(host), timeouts=QUICK)


def test_port_that_nobody_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert message(f"pi@127.0.0.1:{port}") == (
        f"pi@127.0.0.1:{port}: connection refused\n"
        f"  port: {port}\n"
        "next: check power and network, then run the same command again"
    )


def test_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert message("pi@nosuch") == (
        "pi@nosuch: name not found\n  name: nosuch\n"
        "next: the same command with its address, or a name of ~/.ssh/config"
    )


def test_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket.socket, "connect", silent)
    assert message("pi@127.0.0.1").startswith("pi@127.0.0.1: no answer within 1 s\n  port: 22\n")


def test_server_that_stays_silent() -> None:
    with listening(b"") as port:
        assert message(f"pi@127.0.0.1:{port}").startswith(
            f"pi@127.0.0.1:{port}: does not answer as an SSH server\n  port: {port}\n"
        )


def test_server_that_stops_after_its_banner() -> None:
    with listening(b"SSH-2.0-dropbear\r\n") as port:
        assert message(f"pi@127.0.0.1:{port}").startswith(
            f"pi@127.0.0.1:{port}: no key exchange within 1.5 s\n  port: {port}\n"
        )


def test_connect_timeout_of_the_user_s_configuration(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ssh" / "config").write_text("Host board\n  ConnectTimeout 3\n")
    waited: list[float] = []

    def silent(address: object, timeout: float) -> None:
        waited.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    assert message("pi@board").startswith("pi@board: no answer within 3 s\n")
    assert waited == [3.0, 3.0]


def test_server_that_speaks_something_else() -> None:
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200) as port:
        assert "does not answer as an SSH server" in message(f"pi@127.0.0.1:{port}")


def test_scan_of_a_server_that_stays_silent() -> None:
    with listening(b"") as port, pytest.raises(TargetError, match="does not answer as an SSH"):
        scan_host_key(parse_host(f"pi@127.0.0.1:{port}"), timeouts=QUICK)


# Host keys that a server shows


def honest(channel: paramiko.Channel, _: str) -> None:
    time.sleep(0.01)  # or the channel would be closed before the command is said to run
    end(channel, b"done")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Target]:
    with hostile_board(tmp_path / "server", honest) as target:
        yield target


def pins_of(target: Target) -> Path:
    assert target.known_hosts is not None
    return target.known_hosts


def refused(target: Target, **options: Any) -> str:
    """What Paramiko's login and libssh2's both say."""
    texts = set()
    for brief in (False, True):
        with pytest.raises(TargetError) as failed, connect(target, brief=brief, **options):
            pass
        texts.add(str(failed.value))
    (text,) = texts
    return text


def test_a_login_reads_no_other_host_s_pins(server: Target) -> None:
    own = pins_of(server).read_text()
    others = (f"10.0.{n // 250}.{n % 250} ssh-ed25519 AAAA=\n" for n in range(10_000))
    pins_of(server).write_text("".join(others) + own)
    started = time.process_time()

    with connect(server) as board:
        assert board.run(["true"]).stdout == "done"

    assert time.process_time() - started < 2  # both ends of the line; it was 43 s


def test_a_revoked_key_is_refused_though_it_is_pinned(server: Target) -> None:
    _, *key = pins_of(server).read_text().split()
    with pins_of(server).open("a") as file:
        file.write(f"@revoked * {' '.join(key)}\n")

    assert refused(server).startswith(
        f"{server}: HOST KEY IS REVOKED\n"
        f"  offered: {fingerprint(HOST_KEY.asbytes())}\n"
        f"  revoked by: {pins_of(server)}:2\n"
    )


def test_each_of_two_keys_of_one_kind_lets_the_host_in(server: Target) -> None:
    own = pins_of(server).read_text()
    former = paramiko.ECDSAKey.generate()
    pins_of(server).write_text(f"{own.split()[0]} {former.get_name()} {former.get_base64()}\n{own}")

    for brief in (False, True):
        with connect(server, brief=brief) as board:
            assert board.run(["true"]).stdout == "done"


def test_an_authority_is_no_pin_and_the_error_says_so(server: Target) -> None:
    pins_of(server).write_text(f"@cert-authority {pins_of(server).read_text()}")

    assert (
        f"{pins_of(server)}:1 trusts keys that an authority signed: "
        "host certificates are not used here\n" in refused(server)
    )


def test_the_kind_of_key_that_is_pinned_is_asked_for(home: Path, server: Target) -> None:
    """A server has keys of several kinds, and offers the one that is asked for first."""
    key = paramiko.RSAKey.generate(2048)
    pins_of(server).write_text(
        f"{pins_of(server).read_text().split()[0]} ssh-rsa {key.get_base64()}\n"
    )
    connection = remote._connection(server, QUICK)
    with socket.create_connection(("127.0.0.1", server.port or 0)) as link:
        transport = connection.connect_kwargs["transport_factory"](link)
        kinds = transport.get_security_options().key_types

    assert kinds[:2] == ("rsa-sha2-512", "rsa-sha2-256")
