"""Inverted residuals that the release's program computes in bands of rows, and others.

A block that shows its expanded image as an output is computed stage by stage, so the same network
with and without such outputs has to give the same values.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.board.profile import Arch
from edgewright.build.pipeline import BuildReport
from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import TensorCard, TensorInput
from edgewright.model.convert.to_ort import convert
from tests.integration.conftest import run_as
from tests.integration.inverted_residuals import Block, write_network

pytestmark = pytest.mark.docker

FUSED = [
    Block(expanded=72),
    Block(expanded=80, silu=False, strides=(2, 2)),
    Block(expanded=88, adds_input=True),
    Block(expanded=96, kernel=(5, 5), strides=(2, 2)),
    Block(expanded=104, silu=False, dilations=(2, 2)),
    Block(expanded=136, kernel=(3, 5), strides=(2, 1), dilations=(1, 2), pads=(0, 2, 1, 3)),
]
PLAIN = [
    Block(expanded=64),  # too small an image
    Block(expanded=76),  # not a multiple of 8
    Block(expanded=112, lowest="expand"),
    Block(expanded=120, lowest="depthwise"),
    Block(expanded=128, lowest="project"),
]
# What lies between their convolutions is read by others, too.
SHOWN = [
    Block(expanded=144, shows="sigmoid"),
    Block(expanded=152, shows="activated"),
    Block(expanded=160, shows="convolved"),
    Block(expanded=168, shows="convolved", silu=False),
    Block(expanded=176, shows="second"),
    Block(expanded=184, shows="second", silu=False),
]
HEIGHT, WIDTH = 61, 63


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the program gave for a network, and the channels of all images that its nodes gave."""

    outputs: list[np.ndarray]
    channels: set[int]


def write_model(folder: Path, blocks: list[Block]) -> Path:
    """A network in ORT format with its card."""
    network = write_network(folder / "model.onnx", HEIGHT, WIDTH, blocks)
    ort = convert(network, folder).ort
    outputs = tuple(
        TaskOutput(
            name=value.name,
            role="values",
            shape=tuple(d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in onnx.load(str(network)).graph.output
    )
    image = TensorInput(name="image", shape=(1, 1, HEIGHT, WIDTH))
    card = TensorCard(
        name="blocks", task="tensor", file=ModelFile.of(ort), inputs=(image,), outputs=outputs
    )
    write_card(card, folder / "card.json")
    return ort


def run(built: BuildReport, folder: Path, blocks: list[Block], threads: int) -> Run:
    folder.mkdir()
    model = write_model(folder, blocks)
    values = np.random.default_rng(1).normal(size=(1, 1, HEIGHT, WIDTH)).astype(np.float32)
    np.save(folder / "image.npy", 3 * values)
    options = ["--threads", threads, "--operator-times", folder / "times", "--dump-outputs", folder]
    arguments = ["run", "--model", model, *options, folder / "image.npy"]
    ended = run_as("max", built.folder, Arch.ARMHF, *map(str, arguments))
    assert ended.returncode == 0, ended.stderr
    (times,) = folder.glob("times*.json")
    events = [e for e in json.loads(times.read_text()) if e["name"].endswith("_kernel_time")]
    shapes = [s for e in events for types in e["args"]["output_type_shape"] for s in types.values()]
    dumps = sorted(folder.glob("[0-9]*.npy"), key=lambda path: int(path.stem))
    return Run(
        outputs=[np.load(path) for path in dumps],
        channels={shape[-1] for shape in shapes if len(shape) == 4},
    )


def require_alike(outputs: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for output, by_stages in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, by_stages)
        assert len(np.unique(output)) > 100  # no output that saturates, which would hide anything


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_in_bands_of_rows_give_what_their_stages_give(
    built: BuildReport, tmp_path: Path, threads: int
) -> None:
    shown = [replace(block, shows="expanded") for block in FUSED]
    fused = run(built, tmp_path / "fused", FUSED, threads)
    by_stages = run(built, tmp_path / "stages", shown, threads)

    require_alike(fused.outputs, by_stages.outputs[::2])
    assert fused.channels.isdisjoint(block.expanded for block in FUSED)
    assert by_stages.channels >= {block.expanded for block in FUSED}


def test_blocks_that_the_kernels_do_not_take_are_computed_stage_by_stage(
    built: BuildReport, tmp_path: Path
) -> None:
    shown = [replace(block, shows="expanded") for block in PLAIN]
    plain = run(built, tmp_path / "plain", PLAIN, 1)
    by_stages = run(built, tmp_path / "stages", shown, 1)

    require_alike(plain.outputs, by_stages.outputs[::2])
    assert plain.channels >= {block.expanded for block in PLAIN}


def test_blocks_whose_values_others_read_are_computed_stage_by_stage(
    built: BuildReport, tmp_path: Path
) -> None:
    shown = run(built, tmp_path / "shown", SHOWN, 1)
    by_stages = run(
        built, tmp_path / "stages", [replace(block, shows="expanded") for block in SHOWN], 1
    )

    require_alike(shown.outputs[::2], by_stages.outputs[::2])
    assert shown.channels >= {block.expanded for block in SHOWN}
