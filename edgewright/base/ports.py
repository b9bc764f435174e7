"""Ports of this machine for servers that are about to start."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def reserve_port() -> socket.socket:
    """A socket whose port of 127.0.0.1 the kernel gives to nobody else until it is closed.

    A port that is looked up and let go may be an outgoing connection's a moment later. A server
    that sets SO_REUSEADDR, as servers do, listens on the port all the same, for this socket does
    not listen.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


@contextmanager
def reserved_port() -> Iterator[int]:
    """The port of such a socket, until the end of the block."""
    with reserve_port() as reservation:
        yield port_of(reservation)


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])
