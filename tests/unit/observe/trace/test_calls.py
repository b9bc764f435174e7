"""What strace writes, read line by line."""

from hypothesis import given
from hypothesis import strategies as st

from edgewright.observe.trace.calls import MOST_CALLS, Tally

TRACE = r"""
812   1700000000.123456 execve("bin/edge-infer", ["bin/edge-infer"], 0xbe8 /* 9 vars */) = 0 <0.002500>
812   1700000000.223456 openat(AT_FDCWD, "a = 1 <9.0>", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000100>
812   1700000000.323456 openat(AT_FDCWD, "model.ort", O_RDONLY) = 3 <0.000300>
812   1700000000.423456 read(3,  <unfinished ...>
813   1700000000.523456 futex(0xb6f0, FUTEX_WAIT_PRIVATE, 0, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set) <0.250000>
812   1700000000.623456 <... read resumed>"\177ORTM"..., 4096) = 4096 <0.100000>
812   1700000000.723456 mmap2(NULL, 8192, PROT_READ, MAP_PRIVATE, 3, 0) = 0xb6f00000 <0.000050>
812   1700000000.823456 --- SIGCHLD {si_signo=SIGCHLD} ---
812   1700000000.923456 exit_group(0) = ?
812   1700000000.923456 +++ exited with 0 +++
""".strip()  # noqa: E501


def test_calls_are_added_up_by_name_with_errors_and_time() -> None:
    tally = Tally()
    for line in TRACE.splitlines():
        tally.add(line)

    calls = {call.name: (call.calls, call.errors, round(call.seconds, 9)) for call in tally.calls()}
    assert calls == {
        "futex": (1, 1, 0.25),
        "read": (1, 0, 0.1),
        "execve": (1, 0, 0.0025),
        "openat": (2, 1, 0.0004),
        "mmap2": (1, 0, 0.00005),
    }
    assert [call.name for call in tally.calls()][:2] == ["futex", "read"]
    assert tally.lines == 10


def test_names_without_end_take_no_memory() -> None:
    tally = Tally()
    for number in range(5 * MOST_CALLS):
        tally.add(f"1 1.0 call_{number}() = 0 <0.1>")

    assert len(tally.calls()) == MOST_CALLS


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_a_line(begin: str, end: str) -> None:
    tally = Tally()
    tally.add(f"{begin}1 1.0 read({end}) = 0 <0.1>")

    assert tally.lines == 1
