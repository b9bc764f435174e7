"""A wheel on the wrong machine: one ImportError, in words."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.unit.runtime_py.conftest import CODE, MakePackage

ELF = ROOT / "tests" / "data" / "elf"


def imported(folder: Path) -> str:
    """The last line of an import's standard error; empty if there is none."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import edgewright_runtime"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return (ended.stderr.splitlines() or [""])[-1]


def test_a_wheel_for_another_machine_says_so(make_package: MakePackage) -> None:
    refusal = imported(make_package(ELF / "good-v8"))

    assert refusal.startswith(
        "ImportError: edgewright_runtime is a wheel for board 'a53-som', ARM (32 bits, hard float);"
        " this Python is for "
    )
    assert refusal.endswith("invoke wheel --board=NAME")


def test_an_older_glibc_is_told_with_the_floor_that_would_do(make_package: MakePackage) -> None:
    refusal = imported(make_package(libc_floor="2.99"))

    assert refusal.startswith(
        "ImportError: edgewright_runtime needs glibc 2.99 or newer; this system"
    )
    assert refusal.endswith("then: invoke wheel --board=a53-som")


def test_a_library_that_does_not_load_is_told(make_package: MakePackage, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    refusal = imported(make_package(tmp_path / "empty"))

    assert refusal.startswith("ImportError: edgewright_runtime cannot load its library: ")
    assert refusal.endswith("pip install --force-reinstall edgewright-runtime")


@pytest.mark.parametrize(
    ("family", "floor", "found", "message"),
    [
        ("glibc", "2.17", None, r"needs glibc 2\.17 or newer; .*another C library .*= \"musl\""),
        ("musl", "1.2", "2.31", r"needs musl 1\.2 or newer; .*has glibc 2\.31\. .*= \"glibc\""),
    ],
)
def test_another_c_library_is_told(
    part: Callable[[str], Any], family: str, floor: str, found: str | None, message: str
) -> None:
    about = part("_about").read()._replace(libc_family=family, libc_floor=floor)

    with pytest.raises(ImportError, match=message):
        part("_library").require_libc(about, found)


def test_a_wheel_for_musl_loads_where_no_glibc_tells_its_version(
    part: Callable[[str], Any],
) -> None:
    about = part("_about").read()._replace(libc_family="musl", libc_floor="1.2")

    part("_library").require_libc(about, None)


@pytest.mark.parametrize(
    ("platform", "hwcap", "lacks"),
    [
        ("v8l", 1 << 12 | 1 << 16 | 1 << 17, None),
        ("v7l", 1 << 12 | 1 << 16 | 1 << 17, r"\(v7l\) lacks ARMv8\."),
        ("v7l", 1 << 12, r"lacks ARMv8, VFPv4, integer division\."),
        ("v8l", 0, r"lacks NEON, VFPv4, integer division\."),
    ],
)
def test_a_processor_that_lacks_instructions_is_told(
    part: Callable[[str], Any], platform: str, hwcap: int, lacks: str | None
) -> None:
    require, about = part("_library").require_processor, part("_about").read()

    if lacks is None:
        require(about, platform, hwcap)
    else:
        with pytest.raises(ImportError, match=rf"with a cortex-a53; this processor .*{lacks}"):
            require(about, platform, hwcap)


@pytest.mark.parametrize("path", sorted(CODE.rglob("*.py")), ids=lambda path: path.name)
def test_the_code_is_python_3_7(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 7))
