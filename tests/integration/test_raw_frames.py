"""Frames as cameras lay them out: the program's vectors on both widths against plain Python."""

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.build.container import DockerBuilder
from edgewright.client import Format
from tests.integration.conftest import REPO
from tests.raw_frames.reference import converted

pytestmark = pytest.mark.docker
FLAGS = "-std=c++17 -Wall -Wextra -Werror -O2"
COMPILE = (
    f'$1 {FLAGS} $2 -I"$3/include" -I"$3" "$4" "$3/src/raw_frame.cpp" "$3/common/text.cpp" -o "$5"'
)
HEAD = struct.Struct("<8I")
LUMA_CHROMA = {Format.NV12, Format.NV12_FULL, Format.YUYV, Format.YUYV_FULL}


@dataclass(frozen=True, kw_only=True)
class Width:
    """How the program of one width is compiled and run."""

    compiler: str
    flags: str
    emulator: tuple[str, ...]


WIDTHS = {
    "armhf": Width(
        compiler="arm-linux-gnueabihf-g++",
        flags="-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard -mthumb -static",
        emulator=("qemu-arm", "-cpu", "cortex-a7"),
    ),
    "arm64": Width(
        compiler="aarch64-linux-gnu-g++",
        flags="-march=armv8-a -static",
        emulator=("qemu-aarch64", "-cpu", "cortex-a53"),
    ),
    "without vectors": Width(
        compiler="g++",
        flags="-fsanitize=address,undefined -fno-sanitize-recover=all -static-libasan"
        " -static-libubsan",
        emulator=(),
    ),
}


@pytest.fixture(scope="module", params=WIDTHS)
def driver(
    request: pytest.FixtureRequest, builder: DockerBuilder
) -> Iterator["subprocess.Popen[bytes]"]:
    """The program that converts, at work: an emulator begins once for all frames."""
    width = WIDTHS[request.param]
    folder = REPO.root / "build" / "tests" / f"raw-frames-{width.compiler}"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "driver"
    source = REPO.root / "tests" / "raw_frames" / "driver.cpp"
    places = [str(builder.path(path)) for path in (REPO.resources.runtime_cpp, source, program)]
    command = ["sh", "-ec", COMPILE, "_", width.compiler, width.flags, *places]
    builder.run(command, folder / "build.log")
    with subprocess.Popen(
        [*width.emulator, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        yield child
        child.kill()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a frame lies in its memory, and on which side of it no other memory lies."""

    format: Format
    width: int
    height: int
    stride: int
    chroma: int
    is_at_begin: bool

    def channels(self, *, gray: bool) -> int:
        return 1 if self.format is Format.GRAY or (gray and self.format in LUMA_CHROMA) else 3


def rows_of(
    driver: "subprocess.Popen[bytes]", memory: bytes, shape: Shape, *, gray: bool
) -> np.ndarray:
    assert driver.stdin is not None
    assert driver.stdout is not None
    layout = (shape.format, shape.width, shape.height, shape.stride, shape.chroma)
    driver.stdin.write(HEAD.pack(*layout, gray, shape.is_at_begin, len(memory)) + memory)
    driver.stdin.flush()
    size = (shape.height, shape.width, shape.channels(gray=gray))
    rows = driver.stdout.read(size[0] * size[1] * size[2])
    assert len(rows) == size[0] * size[1] * size[2], "the program ended"
    return np.frombuffer(rows, np.uint8).reshape(size)


@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(Format),
    width=st.integers(1, 70),
    height=st.integers(1, 9),
    padding=st.integers(0, 5),
    rows_of_padding=st.integers(0, 3),
    is_at_begin=st.booleans(),
    gray=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_frame_of_any_size_is_converted_as_the_contract_says(
    driver: "subprocess.Popen[bytes]",
    format: Format,
    width: int,
    height: int,
    padding: int,
    rows_of_padding: int,
    is_at_begin: bool,
    gray: bool,
    seed: int,
) -> None:
    if "BAYER" in format.name:
        width, height = max(width, 2), max(height, 2)
    stride = format.row_bytes(width) + padding
    rows_before = height + rows_of_padding if format.has_plane_of_chroma else 0
    rows_in_all = rows_before + format.rows(height) - height if rows_before else height
    size = (rows_in_all - 1) * stride + format.row_bytes(width)
    shape = Shape(
        format=format,
        width=width,
        height=height,
        stride=stride,
        chroma=rows_before * stride,
        is_at_begin=is_at_begin,
    )
    # Half of the bytes at an end of their range, where results are clamped.
    random = np.random.default_rng(seed)
    levels = random.choice(np.array([0, 1, 15, 16, 128, 235, 240, 255], np.uint8), size)
    noise = random.integers(0, 256, size, np.uint8)
    memory = np.where(random.random(size) < 0.5, levels, noise).tobytes()

    rows = rows_of(driver, memory, shape, gray=gray)

    luma, chroma = memory[: height * stride], memory[shape.chroma :]
    close = luma + chroma if format.has_plane_of_chroma else memory
    expected = converted(close, format, width, height, stride, gray=gray)
    np.testing.assert_array_equal(rows, expected)
