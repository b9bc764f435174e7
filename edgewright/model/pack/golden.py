"""Golden outputs: a few real images, and the answers of the INT8 network to them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import JsonValue

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import logits, open_session, softmax
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import Sample

TOLERANCE = 0.01
MARGIN = 0.05  # least distance of a golden answer from 0.5: the tolerance must not flip it
EXPECTED = "expected.json"


def choose(answers: Answers) -> list[Sample]:
    """Choose test images that the network answers rightly.

    For each class (and cell type, where it is known) the surest one, and the one nearest to the
    border that is still outside the margin. Raises UserError if a class has fewer than two.
    """
    chosen: list[Sample] = []
    # Twice the margin: the variants made of these images are answered a little less surely.
    sure = 0.5 + 2 * MARGIN
    rows = list(zip(answers.dataset.samples, answers.probabilities, strict=True))
    for label, kind in sorted({(sample.label, sample.cell_type) for sample, _ in rows}):
        fitting = [
            (float(row[label]), sample.key, sample)
            for sample, row in rows
            if (sample.label, sample.cell_type) == (label, kind) and row[label] > sure
        ]
        if len(fitting) < 2:
            name = answers.dataset.labels[label]
            raise UserError("golden", f"too few right answers: {' '.join([name, kind])}".strip())
        chosen += [min(fitting)[-1], max(fitting)[-1]]
    return chosen


def write_golden(model: Path, card: Card, samples: Sequence[Sample]) -> Path:
    """Write `golden/` beside the model: the images, two variants of them and `expected.json`.

    Raises UserError, and leaves the former folder, if an answer is inside the margin.
    """
    out = model.parent / "golden"
    with new_folder(out) as folder:
        # By key, not by name: images of two classes may have the same name.
        names = [sample.key.replace("/", "-") for sample in samples]
        images = [
            Path(shutil.copy(sample.path, folder / name))
            for sample, name in zip(samples, names, strict=True)
        ]
        images += [_as_rgb(images[0], folder), _as_odd_jpeg(images[-1], folder)]
        expected = expect(model, card, images)
        (folder / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n")
    return out


def expect(model: Path, card: Card, images: Sequence[Path]) -> dict[str, JsonValue]:
    """The content of `expected.json` for these images."""
    inputs = np.concatenate([load_input(path, card) for path in images])
    rows = softmax(logits(open_session(model), inputs))
    cases: list[JsonValue] = []
    for image, row in zip(images, rows, strict=True):
        if row.max() < 0.5 + MARGIN:
            raise UserError(image.name, "is too near to the border to be golden", facts=[str(row)])
        probabilities: list[JsonValue] = [round(float(p), 6) for p in row]
        answer = card.labels[int(row.argmax())]
        cases.append({"image": image.name, "class": answer, "probabilities": probabilities})
    return {"schema": 1, "tolerance": TOLERANCE, "cases": cases}


def _as_rgb(image: Path, folder: Path) -> Path:
    """The same picture with three channels, tinted so that the luma formula matters."""
    gray = np.asarray(Image.open(image).convert("L"), np.uint16)
    tinted = np.stack([gray, gray * 7 // 8, gray * 3 // 4], axis=2).astype(np.uint8)
    out = folder / f"{image.stem}-rgb.png"
    Image.fromarray(tinted).save(out, optimize=True)
    return out


def _as_odd_jpeg(image: Path, folder: Path) -> Path:
    """The same picture as a JPEG of another, odd size."""
    out = folder / f"{image.stem}-odd.jpg"
    with Image.open(image) as picture:
        picture.convert("L").resize((333, 287), Image.Resampling.BICUBIC).save(out, quality=92)
    return out
