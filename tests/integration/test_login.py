"""A login that is not root, over real SSH: what it is told, and that what it is told helps."""

import hashlib
from dataclasses import replace

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy.edgectl import AbsentError, Edgectl, install_edgectl
from edgewright.deploy.remote import connect
from edgewright.deploy.target import Target
from edgewright.lab.emulate import EmulatedBoard
from tests.integration.conftest import shell

pytestmark = pytest.mark.board

ADD_OP = """
grep -q ^op: /etc/passwd && exit
echo op:x:1000:1000:op:/home/op:/bin/sh >> /etc/passwd
echo 'op:*:19000:0:99999:7:::' >> /etc/shadow
mkdir -p /home/op/.ssh && cp /root/.ssh/authorized_keys /home/op/.ssh/ && chown -R op /home/op
"""
# It changes no user: what it shows is that every command comes through it.
SUDO = """#!/bin/sh
echo "$*" >> /tmp/sudo.log
shift 2
exec "$@"
"""
PROGRAM = b"#!/bin/sh\nexit 127\n"


@pytest.fixture
def op(own_board: EmulatedBoard) -> Target:
    """Somebody who may log in, and owns nothing."""
    shell(own_board, ADD_OP)
    return replace(own_board.target, user="op")


def install(target: Target, root: str) -> str:
    """Put a program where edgectl belongs; what went wrong, if anything did."""
    with connect(target) as board:
        try:
            install_edgectl(board, root, PROGRAM, hashlib.sha256(PROGRAM).hexdigest())
        except TargetError as refused:
            return str(refused)
    return ""


def test_the_command_that_a_login_is_told_opens_the_deploy_root_to_it(
    own_board: EmulatedBoard, op: Target
) -> None:
    message = install(op, "/opt/edgewright")

    command = "install -d -o op /opt/edgewright"
    assert message == (
        f"{op}: 'op' may not write to /opt, which belongs to 'root'\n"
        f"next: as root on the board: {command}, then run the same command again"
    )
    shell(own_board, command)
    assert install(op, "/opt/edgewright") == ""


def test_a_root_of_another_login_is_no_board_without_edgectl(
    own_board: EmulatedBoard, op: Target
) -> None:
    assert install(own_board.target, "/opt/edgewright") == ""
    shell(own_board, "chmod 700 /opt/edgewright")

    with connect(op) as board, pytest.raises(TargetError, match="may not write to") as refused:
        Edgectl(board=board, root="/opt/edgewright").status()

    assert not isinstance(refused.value, AbsentError)


def test_a_read_only_file_system_is_named(own_board: EmulatedBoard) -> None:
    failure = install(own_board.target, "/sys/edgewright")  # Docker mounts it so

    assert "/sys/edgewright is on a read-only file system\n  /sys is mounted" in failure


def test_a_file_system_without_programs_is_named(own_board: EmulatedBoard) -> None:
    root = "/dev/shm/edgewright"  # Docker mounts it noexec
    assert install(own_board.target, root) == ""  # it can be written, and shows when it is to run

    with connect(own_board.target) as board, pytest.raises(TargetError) as refused:
        Edgectl(board=board, root=root).status()

    assert f"programs may not run from {root}" in str(refused.value)


def test_sudo_that_is_not_there_is_said_at_once(op: Target) -> None:
    with (
        pytest.raises(TargetError, match="sudo does not let this login in") as refused,
        connect(replace(op, sudo=True)),
    ):
        pass

    assert "leave out --sudo" in str(refused.value)


def test_with_sudo_every_command_goes_through_it(own_board: EmulatedBoard, op: Target) -> None:
    shell(own_board, f"cat > /usr/bin/sudo <<'EOF'\n{SUDO}EOF\nchmod 755 /usr/bin/sudo")

    with connect(replace(op, sudo=True)) as board:
        assert board.check(["id", "-un"]).stdout == "op\n"

    assert shell(own_board, "cat /tmp/sudo.log") == "-n -- true\n-n -- id -un"
