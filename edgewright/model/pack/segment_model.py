"""A segmentation of defects that are drawn on ELPV's sound cells."""

from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Input, ModelFile, write_card
from edgewright.model.contract.pixels import Pixels, decode
from edgewright.model.contract.segment_card import SegmentCard, SegmentSettings
from edgewright.model.contract.session import IR_VERSION
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.importer.classifier import CARD
from edgewright.model.judge.data import Sample, load_elpv, split
from edgewright.model.judge.synthetic import SYNTHETIC_LABELS, draw_defects
from edgewright.model.pack.task_golden import spread_cases, write_task_golden
from edgewright.model.train.segmenter import (
    SegmenterConfig,
    export_segmenter,
    train_segmenter,
)

SIDE = 128  # pixels of the input
TEST_SEED = 1


def make_segment_model(
    out: Path, say: LineSink, *, steps: int, test_images: int, samples: tuple[Sample, ...] = ()
) -> SegmentCard:
    """Write the folder `out`: model.onnx, card.json, golden/, validation/ and test/.

    Their images are cells of those parts of ELPV alone, with defects that no step has seen:
    `validation/` is what to quantize by, `test/` what to judge by. `calibration/` has such cells
    of the train part.
    """
    parts = split(samples or load_elpv())
    form = Input(shape=(1, 1, SIDE, SIDE))
    logits = TaskOutput(
        name="logits",
        shape=(1, len(SYNTHETIC_LABELS), SIDE, SIDE),
        role="logits",
        activation="softmax",
    )
    card = SegmentCard(
        task="segment",
        name="unet-drawn-defects",
        labels=SYNTHETIC_LABELS,
        input=form,
        outputs=(logits,),
        segment=SegmentSettings(background=SYNTHETIC_LABELS[0]),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
        training={"steps": steps, "defects": "drawn on sound cells, not real"},
    )
    cells = _sound(parts.train)
    network = train_segmenter(cells, card, SegmenterConfig(steps=steps), say)
    with new_folder(out) as folder:
        path = folder / "model.onnx"
        export_segmenter(network, card, path)
        model = onnx.load(str(path))
        model.ir_version = IR_VERSION
        onnx.save(model, str(path))
        card = card.model_copy(update={"file": ModelFile.of(path)})
        write_card(card, folder / CARD)
        for seed, (name, samples_of_part) in enumerate(
            (("test", parts.test), ("validation", parts.validation), ("calibration", parts.train)),
            start=TEST_SEED,
        ):
            _write_images(_sound(samples_of_part)[:test_images], folder / name, seed)
        cases = spread_cases([(path,) for path in sorted((folder / "test").glob("*.png"))])
        write_task_golden(path, card, cases, folder / "golden")
    return card


def _sound(samples: tuple[Sample, ...]) -> list[Pixels]:
    """Cells that the experts are sure of."""
    return [decode(sample.path) for sample in samples if sample.probability == 0]


def _write_images(cells: list[Pixels], folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    (folder / "masks").mkdir(parents=True)
    for number, cell in enumerate(cells):
        pixels, labels = draw_defects(cell, random)
        for image, parent in ((pixels, folder), (labels, folder / "masks")):
            Image.fromarray(image).save(parent / f"{number:03}.png")
