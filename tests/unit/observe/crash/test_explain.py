"""Crashes are one cause where signal and place are the same."""

from pathlib import Path

from edgewright.observe.crash.explain import group, signal_name
from edgewright.observe.crash.report import Crash, CrashedThread
from edgewright.observe.stacks.program import Frame

Place = tuple[str | None, str | None, int | None]


def crash(name: str, *places: Place, signal: str = "SIGABRT") -> Crash:
    frames = tuple(
        Frame(address="0x1000", origin="unwound", function=function, file=file, line=line)
        for function, file, line in places
    )
    return Crash(
        name=name,
        file=Path(name),
        release="0" * 16,
        build_id="5d41ed0a75776f31",
        command="watch",
        signal=signal,
        address=None,
        unix_s=0,
        uptime_s=0,
        threads=(CrashedThread(id=1, frames=frames),),
        log=(),
        symbols=None,
    )


RESIZE = ("edge::resize", "runtime_cpp/src/preprocess.cpp", 120)
RUN = ("edge::Session::run", "runtime_cpp/src/session.cpp", 41)
HEADER = ("std::string::at", "/usr/include/c++/14/string", 7)
KERNEL = ("onnxruntime::Conv::Compute", None, None)
RAISE, ABORT = ("raise", None, None), ("abort", None, None)


def test_who_wanted_an_abort_is_its_cause() -> None:
    (cause,) = group([crash("1", RAISE, ABORT, RESIZE, RUN), crash("2", ABORT, RESIZE)])

    assert cause.summary == "SIGABRT in edge::resize, runtime_cpp/src/preprocess.cpp:120"
    assert cause.crashes == ("1", "2")


def test_libraries_crash_below_one_of_our_own_lines() -> None:
    causes = group([crash("1", HEADER, RESIZE), crash("2", HEADER, RUN), crash("3", KERNEL, RUN)])

    ours = "runtime_cpp/src/preprocess.cpp:120", "runtime_cpp/src/session.cpp:41"
    assert [cause.summary for cause in causes] == [
        f"SIGABRT in std::string::at, /usr/include/c++/14/string:7, below edge::resize, {ours[0]}",
        f"SIGABRT in std::string::at, /usr/include/c++/14/string:7, below {RUN[0]}, {ours[1]}",
        f"SIGABRT in onnxruntime::Conv::Compute, below {RUN[0]}, {ours[1]}",
    ]


def test_signals_differ_and_the_most_frequent_comes_first() -> None:
    crashes = [crash("1", RESIZE)]
    crashes += [crash(name, RESIZE, signal="SIGBUS") for name in "23"]

    causes = group(crashes)

    assert [cause.crashes for cause in causes] == [("2", "3"), ("1",)]


def test_without_names_the_address_of_the_build_is_the_place() -> None:
    (cause,) = group([crash("1", (None, None, None))])

    assert cause.summary == "SIGABRT at 0x1000 of build 5d41ed0a7577"
    assert (signal_name(11), signal_name(99)) == ("SIGSEGV", "signal 99")
