"""What OpenSSH is asked for; tests/integration/test_remote.py runs it."""

from pathlib import Path

from edgewright.deploy import openssh
from edgewright.deploy.target import Target


def test_target_is_asked_for_as_it_is() -> None:
    target = Target(
        address="127.0.0.1", user="root", port=2222, identity=Path("/k"), known_hosts=Path("/h")
    )
    argv = openssh.argv(target, command="cat > /x")
    assert argv[-3:] == ["--", "root@127.0.0.1", "cat > /x"]
    assert argv[argv.index("-p") + 1] == "2222"
    assert argv[argv.index("-F") + 1] == "none"
    assert "UserKnownHostsFile=/h" in argv


def test_alias_of_the_user_s_configuration_stays_one() -> None:
    argv = openssh.argv(Target(address="board"), command="x")
    assert argv[-3:] == ["--", "board", "x"]
    assert not {"-F", "-i", "-p"} & set(argv)


def test_settings_of_a_login_go_before_the_target_s_files() -> None:
    """OpenSSH takes the first value that it meets."""
    target = Target(address="board", known_hosts=Path("/h"))
    argv = openssh.argv(target, ("UserKnownHostsFile=/one-key",))
    assert argv.index("UserKnownHostsFile=/one-key") < argv.index("UserKnownHostsFile=/h")
