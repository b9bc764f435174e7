"""Programs that look for misuse of memory and for races while `edge-infer` of this machine works.

Under a checker the program is a script that starts the real one, so that whatever runs `edge-infer`
can run it checked. What is found lies in a folder of the test's, a file for each process.
"""

import shlex
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from edgewright.base import debs, digest, process
from edgewright.base.files import locked
from edgewright.build.container import DockerBuilder
from edgewright.build.supply import SUITE, image_exists

SUPPRESSIONS = Path(__file__).parent / "thread_sanitizer.supp"
# Valgrind has to know the C library's own functions: that, its symbols and Valgrind are of one day.
VALGRIND_PACKAGES = ("valgrind", "libc6", "libc6-dbg")
VALGRIND = (
    *("valgrind", "--quiet", "--trace-children=yes", "--leak-check=full"),
    *("--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"),
)


class Checker(StrEnum):
    """What watches over the program."""

    NONE = "none"
    ADDRESS = "address"  # AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
    THREAD = "thread"  # ThreadSanitizer
    VALGRIND = "valgrind"  # memcheck


# Checker → what has the compiler build it in. Both of the first sanitizers export the function that
# opens a log: the copy in UndefinedBehaviorSanitizer is hidden, else one of them had no log.
SANITIZERS = {
    Checker.ADDRESS: "-fsanitize=address,undefined -static-libubsan -Wl,--exclude-libs,libubsan.a",
    Checker.THREAD: "-fsanitize=thread",
}


def each_night(*checkers: Checker) -> list[object]:
    """Parameters of a test that takes long under these."""
    return [pytest.param(checker, marks=pytest.mark.nightly) for checker in checkers]


def compiler_flags(checker: Checker) -> str:
    return f"-g -O1 -fno-omit-frame-pointer {SANITIZERS[checker]} -fno-sanitize-recover=all"


@dataclass(frozen=True, kw_only=True)
class CheckedProgram:
    """`edge-infer`, the image that it runs in, and where its checker writes."""

    path: Path
    image: str
    reports: Path

    def findings(self) -> str:
        """All that was found so far."""
        return "".join(path.read_text() for path in sorted(self.reports.iterdir()))

    def forget(self) -> None:
        """What was found was planted."""
        for path in self.reports.iterdir():
            path.unlink()


def checked(checker: Checker, binary: Path, image: str, folder: Path) -> CheckedProgram:
    """The program in the folder of a test; `binary` was compiled for this checker."""
    reports = folder / "reports"
    reports.mkdir()
    reports.chmod(0o777)  # a service changes its user
    if checker is Checker.NONE:
        return CheckedProgram(path=binary, image=image, reports=reports)
    program = binary
    if checker is Checker.VALGRIND:
        # Where a program's path is shorter than Valgrind's own (42 bytes), Valgrind 3.24 answers
        # for /proc/self/exe with the end of its own behind it: such a program cannot start itself.
        program = folder / f"{binary.name}-as-valgrind-runs-it"
        shutil.copy(binary, program)
    script = folder / binary.name
    script.write_text(f'#!/bin/sh\n{_start(checker, reports)} {shlex.quote(str(program))} "$@"\n')
    script.chmod(0o755)
    return CheckedProgram(path=script, image=image, reports=reports)


def _start(checker: Checker, reports: Path) -> str:
    if checker is Checker.VALGRIND:
        return shlex.join(["exec", *VALGRIND, f"--log-file={reports}/%p"])
    log = f"log_path={reports}/report"
    options = {
        # A signal is the sanitizer's, which knows more of it than the program's own handler. The
        # planted leak is loaded before the sanitizer, which does not matter to it.
        "ASAN_OPTIONS": f"{log}:handle_segv=2:handle_sigbus=2:verify_asan_link_order=0",
        "UBSAN_OPTIONS": f"{log}-undefined:print_stacktrace=1",  # each truncates its own
        "TSAN_OPTIONS": f"{log}:suppressions={SUPPRESSIONS}",
    }
    return shlex.join(["exec", "env", *(f"{name}={value}" for name, value in options.items())])


def valgrind_image(builder: DockerBuilder, folder: Path) -> str:
    """The builder image with Valgrind, made once. Debian's packages are unpacked over it."""
    image = f"edgewright/valgrind:{digest.text_sha256(builder.image, *VALGRIND_PACKAGES)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):  # tests run in several processes
        if not image_exists(image):
            arch = process.check(["dpkg", "--print-architecture"]).stdout.strip()
            log = folder / "valgrind.log"
            debs.unpack_all(VALGRIND_PACKAGES, arch, SUITE, folder / "root", log)
            (folder / "Dockerfile").write_text(f"FROM {builder.image}\nCOPY root/usr /usr\n")
            process.run_logged(["docker", "build", "--tag", image, str(folder)], log)
    return image
