"""Pictures of any shape, seen by the board's program, with its vectors, as by Python."""

import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgewright.board.catalogue import load_board
from edgewright.build.pipeline import BuildReport
from edgewright.model.contract.card import Filter, Preprocess, Scale, read_card, write_card
from edgewright.model.contract.preprocess import load_input
from edgewright.observe import frame_cost
from edgewright.observe.count.instructions import program_of_release
from edgewright.observe.serve_cost import small_network
from edgewright.release.manifest import load_release
from tests.checkout import checkout

pytestmark = pytest.mark.docker
CHECKOUT = checkout()
BOARD = "a53-som"
EQUAL = 1e-4  # of 255; one step of a weight is 0.015
SHAPES: Mapping[str, tuple[int, int, int]] = {"gray": (1, 24, 38), "rgb": (3, 17, 30)}

Color = Literal["gray", "rgb"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Network of each colour."""
    folder = tmp_path_factory.mktemp("frames")
    models = {}
    for color, shape in SHAPES.items():
        (folder / color).mkdir()
        rules = Preprocess(color=color, normalize=Scale(factor=1))
        models[color] = small_network(folder / color, rules, shape)
    return models


def encoded(mode: str, form: str, width: int, height: int, seed: int) -> bytes:
    """Noise above shades, so that a PNG has rows of all filters."""
    random = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    shades = np.linspace(0, 200, width * channels) * np.linspace(0, 1, height)[:, None]
    noise = random.integers(0, 56, (height, width * channels))
    values = (shades + noise).astype(np.uint8).reshape(height, width, channels)
    out = io.BytesIO()
    Image.fromarray(values if channels > 1 else values[..., 0], mode).save(out, form)
    return out.getvalue()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    color=st.sampled_from(["gray", "rgb"]),
    kernel=st.sampled_from(["triangle", "bicubic", "bilinear"]),
    kind=st.sampled_from(
        [("L", "PPM"), ("RGB", "PPM"), ("L", "PNG"), ("LA", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"),
         ("L", "JPEG"), ("RGB", "JPEG")]
    ),
    width=st.integers(1, 150),
    height=st.integers(1, 90),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_a_picture_of_any_shape_is_seen_alike(
    built: BuildReport,
    networks: Mapping[str, Path],
    tmp_path: Path,
    color: Color,
    kernel: Filter,
    kind: tuple[str, str],
    width: int,
    height: int,
    seed: int,
) -> None:
    image, dump = tmp_path / "image", tmp_path / "input.bin"
    image.write_bytes(encoded(*kind, width, height, seed))
    model = networks[color]
    path = model.parent / "card.json"
    card = read_card(path)
    rules = card.preprocess.model_copy(update={"resize": kernel})
    card = card.model_copy(update={"preprocess": rules})
    write_card(card, path)
    emulator = ["qemu-arm", "-cpu", load_board(BOARD, CHECKOUT.boards).qemu_cpu]
    program = [str(load_release(built.folder).folder / "bin" / "edge-infer"), "run"]
    argv = [*emulator, *program, "--model", str(model), "--dump-input", str(dump), str(image)]

    subprocess.run(argv, check=True, capture_output=True)

    expected = load_input(image, card)
    actual = np.fromfile(dump, dtype="<f4").reshape(expected.shape)
    np.testing.assert_allclose(actual, expected, atol=EQUAL)


def test_frames_cost_no_more_than_they_may(
    built: BuildReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them: `bench.frames` has all."""
    monkeypatch.setattr(frame_cost, "KINDS", frame_cost.KINDS[:1])
    program = program_of_release(
        load_release(built.folder).folder,
        load_board(BOARD, CHECKOUT.boards),
        CHECKOUT.build(BOARD),
    )

    costs = frame_cost.measure(program, BOARD, CHECKOUT.resources)

    frame_cost.require_goals(costs)
    (cost,) = costs.frames
    assert cost.goal is not None
    assert cost.peak_kb is not None
    assert cost.instructions > cost.goal / 4
    assert cost.peak_kb > 8 << 10
