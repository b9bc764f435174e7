"""A reserved port is its server's, and nobody else's."""

import socket
import struct

import pytest

from edgewright.base.ports import port_of, reserve_port, reserved_port

IP_LOCAL_PORT_RANGE = 51


def test_a_server_listens_on_its_reserved_port_and_starts_again_there() -> None:
    with reserved_port() as port:
        for _ in range(2):
            with (
                socket.create_server(("127.0.0.1", port)) as server,
                socket.create_connection(("127.0.0.1", port)) as client,
            ):
                assert server.accept()[1] == client.getsockname()


def test_nobody_answers_on_a_port_that_is_only_reserved() -> None:
    with reserved_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_reserved_port_is_no_outgoing_connection_s() -> None:
    with (
        reserved_port() as port,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket() as outgoing,
    ):
        try:
            ports = struct.pack("I", port << 16 | port)
            outgoing.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, ports)
        except OSError:
            pytest.skip("needs Linux 6.3, which lets a socket choose among some ports alone")
        with pytest.raises(OSError, match="Cannot assign requested address"):
            outgoing.connect(server.getsockname())


def test_reserved_ports_differ() -> None:
    reservations = [reserve_port() for _ in range(500)]
    try:
        assert len({port_of(reservation) for reservation in reservations}) == 500
    finally:
        for reservation in reservations:
            reservation.close()
