"""A login that cannot work below the deploy root is told why, and what helps."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy import access
from edgewright.deploy.access import Access
from edgewright.deploy.edgectl import AbsentError, Edgectl, install_edgectl
from edgewright.deploy.remote import CommandError, Result
from edgewright.deploy.target import Target
from tests.boards import LocalBoard

NOBODY = 65534
ROOT = "/opt/edgewright"
SOUND = Access(
    user="op",
    is_root=False,
    folder=ROOT,
    owner="op",
    is_writable=True,
    sudo_needs_no_password=False,
    mount_point="/",
    mount_options=frozenset({"rw", "relatime"}),
    free_bytes=1 << 30,
)


class StrangerBoard(LocalBoard):
    """This machine, logged in as one who owns nothing."""

    def _run(self, argv: Sequence[str], data: bytes, *, kill: bool) -> Result:
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        login = ["setpriv", *user, "sh", "-c", '"$@"', "_"]  # a shell, as an SSH server starts it
        child = subprocess.run([*login, *argv], input=data, capture_output=True, check=False)
        return Result(
            argv=tuple(argv),
            returncode=child.returncode,
            stdout=child.stdout.decode(),
            stderr=child.stderr.decode(),
        )


@pytest.fixture
def opt() -> Iterator[Path]:
    """A folder of root's that everybody may look into, unlike pytest's own."""
    if os.getuid() != 0:
        pytest.skip("only root can log in as somebody else")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "opt").mkdir()
        yield Path(folder) / "opt"


def test_a_login_that_is_not_root_is_told_the_command_and_sees_no_script(opt: Path) -> None:
    with pytest.raises(TargetError) as refused:
        install_edgectl(StrangerBoard(), f"{opt}/edgewright", b"program", "0" * 64)

    assert str(refused.value) == (
        f"root@board.test: 'nobody' may not write to {opt}, which belongs to 'root'\n"
        f"next: as root on the board: install -d -o nobody {opt}/edgewright, "
        "then run the same command again"
    )


def test_the_command_that_is_advised_helps(opt: Path) -> None:
    root = opt / "edgewright"
    subprocess.run(["install", "-d", "-o", "nobody", str(root)], check=True)

    assert access.explain(StrangerBoard(), str(root)) is None


def test_a_root_that_another_login_made_is_not_taken_for_an_empty_board(opt: Path) -> None:
    root = opt / "edgewright"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "edgectl").write_text("#!/bin/sh\n")
    (root / "bin" / "edgectl").chmod(0o755)
    root.chmod(0o700)

    with pytest.raises(TargetError, match="may not write to") as refused:
        Edgectl(board=StrangerBoard(), root=str(root)).status()

    assert not isinstance(refused.value, AbsentError)
    assert f"chown -R nobody {root}, then" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"is_writable": False, "owner": "root"}, "'op' may not write to", "chown -R op"),
        (
            {"is_writable": False, "folder": "/opt", "sudo_needs_no_password": True},
            "'op' may not write to /opt",
            f"the same command with --sudo; or, as root on the board: install -d -o op {ROOT},",
        ),
        (
            {"is_writable": False, "mount_options": frozenset({"ro"}), "mount_point": "/opt"},
            f"{ROOT} is on a read-only file system",
            "mount -o remount,rw /opt",
        ),
        (
            {"mount_options": frozenset({"rw", "noexec"})},
            f"programs may not run from {ROOT}",
            "mount -o remount,exec /,",
        ),
        ({"free_bytes": 5}, f"no space below {ROOT}\n  expected: 1,000 bytes", "make room"),
    ],
)
def test_each_obstacle_has_its_sentence_and_its_command(
    changes: dict[str, object], problem: str, remedy: str
) -> None:
    fault = access.judge(replace(SOUND, **changes), "op@b", ROOT, 1000)  # type: ignore[arg-type]

    assert fault is not None
    assert str(fault).startswith(f"op@b: {problem}")
    assert remedy in (fault.next or "")


def test_where_nothing_stands_in_the_way_nothing_is_claimed() -> None:
    assert access.judge(SOUND, "op@b", ROOT, 1000) is None
    assert access.parse_access("sh: id: not found") is None


def test_the_deepest_mount_counts_and_of_two_the_later() -> None:
    lines = ["folder /opt", "uid 7", "user op", "owner op", "space d 9 8 7 1% /opt"]
    mounts = ["mount / rw", "mount /opt rw", "mount /opt ro,noexec"]

    looked = access.parse_access("\n".join([*lines, *mounts]))

    assert looked is not None
    assert (looked.mount_point, looked.mount_options) == ("/opt", frozenset({"ro", "noexec"}))
    assert looked.free_bytes == 7 * 1024


def test_a_board_without_edgectl_says_so_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AbsentError) as absent:
        Edgectl(board=LocalBoard(), root=str(tmp_path)).status()

    assert str(absent.value) == (
        f"root@board.test: {tmp_path}/bin/edgectl: is not there: nothing was deployed yet\n"
        "next: invoke deploy"
    )


def test_an_error_shows_no_script() -> None:
    with pytest.raises(CommandError) as failed:
        LocalBoard().script("echo no >&2\nexit 3", "/opt")

    assert str(failed.value) == ("root@board.test: exit code 3\n  command: sh -c … _ /opt\n  | no")


def test_sudo_stands_before_every_command_and_is_tried_first() -> None:
    board = LocalBoard()
    board.target = Target(address="board.test", user="op", sudo=True)

    assert board._as_user(["ls"]) == ["sudo", "-n", "--", "ls"]
