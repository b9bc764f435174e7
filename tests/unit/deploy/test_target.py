import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.base.text import visible
from edgewright.deploy.target import Target, parse_host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi@10.0.0.7", Target(user="pi", address="10.0.0.7")),
        ("pi@10.0.0.7:2222", Target(user="pi", address="10.0.0.7", port=2222)),
        ("board-7.lan", Target(address="board-7.lan")),
        ("root@[fe80::1%eth0]", Target(user="root", address="fe80::1%eth0")),
        ("root@[fe80::1]:22", Target(user="root", address="fe80::1", port=22)),
    ],
)
def test_hosts(text: str, expected: Target) -> None:
    assert parse_host(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["", "@", "pi@", "@host", "host:", "host:0", "host:65536", "fe80::1", "-oProxyCommand=x"]
    + ["a b", "pi@host/x", "host:22:22", "[::1", "user@host\n", "$(id)@host"],
)
def test_not_hosts(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_host(text)
    assert str(refused.value) == (
        f"--host={visible(text)}: not a host\n"
        "  expected: user@addr[:port], or user@[v6-addr][:port]\n"
        "next: the same command with e.g. --host=root@192.0.2.7"
    )


@given(
    user=st.none() | st.from_regex(r"[a-z_][a-z0-9_-]{0,20}", fullmatch=True),
    address=st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True),
    port=st.none() | st.integers(min_value=1, max_value=65535),
)
def test_what_is_written_is_what_was_parsed(
    user: str | None, address: str, port: int | None
) -> None:
    target = Target(user=user, address=address, port=port)
    assert parse_host(str(target)) == target
