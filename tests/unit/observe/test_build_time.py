"""What the log of a build tells."""

from edgewright.observe.build_time import BuildTimes, Compilation, compilation

LOG = """\
onnxruntime-minimal/1.21.0: 215 sources are not needed for these operators
[1/252] Building CXX object a.o
[252/252] Linking CXX shared library
onnxruntime-minimal/1.21.0: compiled in 480 s, 912 core-seconds
[1/2] Building CXX object test_package.o
[2/2] Linking CXX executable test_package
"""


def read(board: str = "a53-som", program: str = "a", log: str = LOG) -> Compilation:
    return compilation(board, "everything", 500.04, log.splitlines(), program, whole_seconds=520.06)


def test_steps_are_those_of_the_runtime_and_not_of_its_test() -> None:
    times = read()

    assert (times.steps, times.seconds, times.core_seconds) == (252, 500.0, 912.0)


def test_a_package_that_was_there_took_no_steps() -> None:
    times = read(log="".join(LOG.splitlines(keepends=True)[-2:]))

    assert (times.steps, times.core_seconds) == (0, 0.0)


def test_a_build_that_compiled_twice_took_both() -> None:
    assert read(log=LOG + LOG).core_seconds == 2 * 912


def test_only_programs_of_one_board_are_compared() -> None:
    assert BuildTimes(builds=(read(), read(), read("rpi2", "b"))).identical
    assert not BuildTimes(builds=(read(), read(program="b"))).identical
