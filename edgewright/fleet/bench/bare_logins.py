"""The least that any tool pays libssh2: `python bare_logins.py IDENTITY PARALLEL COMMAND PORT…`.

A login and a command on each server of this machine, and nothing of what a deploy has besides: no
pins, no limits, no answer that is parsed. Whatever logs in by libssh2 takes more than this.
"""

import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ssh2.session import Session


def main(identity: str, parallel: int, command: str, ports: Sequence[int]) -> int:
    with ThreadPoolExecutor(parallel) as pool:
        answers = [*pool.map(partial(_run, identity, command), ports)]
    return 0 if all(answers) else 1


def _run(identity: str, command: str, port: int) -> bytes:
    # libssh2 writes to a line when it frees its session, which is therefore gone when this closes:
    # by then the number could be another thread's line.
    with socket.create_connection(("127.0.0.1", port)) as line:
        return _answer(line, identity, command)


def _answer(line: socket.socket, identity: str, command: str) -> bytes:
    session = Session()
    session.handshake(line)
    session.userauth_publickey_fromfile("root", identity)
    channel = session.open_session()
    channel.execute(command)
    answer = b""
    while chunk := channel.read()[1]:
        answer += chunk
    session.disconnect()
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], [*map(int, sys.argv[4:])]))
