"""What OpenSSH is asked for; tests/integration/test_remote.py runs it."""

import os
from io import BytesIO
from pathlib import Path

import pytest

from edgewright.deploy import openssh
from edgewright.deploy.line import Budget
from edgewright.deploy.target import Target


def test_target_is_asked_for_as_it_is() -> None:
    target = Target(
        address="127.0.0.1", user="root", port=2222, identity=Path("/k"), known_hosts=Path("/h")
    )
    argv = openssh.argv(target, command="cat > /x")
    assert argv[-3:] == ["--", "root@127.0.0.1", "cat > /x"]
    assert argv[argv.index("-p") + 1] == "2222"
    assert argv[argv.index("-F") + 1] == "none"
    assert {"UserKnownHostsFile=/h", "IdentityFile=/k"} <= set(argv)


def test_alias_of_the_user_s_configuration_stays_one() -> None:
    argv = openssh.argv(Target(address="board"), command="x")
    assert argv[-3:] == ["--", "board", "x"]
    assert not {"-F", "-p"} & set(argv)
    assert not any(word.startswith("IdentityFile=") for word in argv)


def test_settings_of_a_login_go_before_the_target_s_files() -> None:
    """OpenSSH takes the first value that it meets."""
    target = Target(address="board", known_hosts=Path("/h"))
    argv = openssh.argv(target, ("UserKnownHostsFile=/one-key",))
    assert argv.index("UserKnownHostsFile=/one-key") < argv.index("UserKnownHostsFile=/h")


def test_an_upload_does_not_end_by_ctrl_c_at_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal tells all processes of its group; whoever called decides what ends."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\ncut -d ' ' -f 5 /proc/$$/stat\n")
    program.chmod(0o755)
    monkeypatch.setattr(openssh, "PROGRAM", str(program))
    login = openssh.Login(Target(address="board"), "ssh-ed25519", b"key")
    try:
        _, output, _ = login.run(["true"], BytesIO(), None, 10, Budget(1000, 10))
    finally:
        login.close()

    assert int(output) != os.getpgid(0)
