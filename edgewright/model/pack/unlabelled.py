"""INT8 networks where nothing says what is right: judged by what remains of the outputs."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.base.schema import Document
from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.task_cards import TaskCard
from edgewright.model.importer.classifier import CARD
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.pack.task_golden import find_cases, spread_cases, write_task_golden
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.recipe import DEFAULT, prepare, quantize_prepared
from edgewright.model.tasks.inference import Engine, Inference


class UnlabelledQuantized(Document):
    """`model.quantize --json` where nothing says what is right: INT8 against FP32."""

    version: Literal[1] = 1
    sqnr_db: float  # of all outputs on the files: the signal by the noise that INT8 adds
    difference: float  # largest one of an output, by the largest value of that output
    recipe: str
    calibration_files: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class UnlabelledQuantization:
    """A network of a task beyond classification, and files that it is calibrated and compared on:
    images, or `.npy` files where it takes tensors."""

    model: Path
    card: TaskCard
    card_path: Path
    files: Path  # folder
    out: Path
    calibration_files: int
    least_sqnr_db: float  # what remains of the outputs


def quantize_unlabelled(request: UnlabelledQuantization, say: LineSink) -> UnlabelledQuantized:
    """Write `out`: model.onnx, card.json, golden/.

    Raises UserError if INT8 leaves less of the outputs than `least_sqnr_db`.
    """
    imported = read_for_task(request.model, request.card, request.card_path)
    source = imported.path
    cases = find_cases(request.files, request.card)
    chosen = spread_cases(cases, request.calibration_files)
    engine = Engine(source, request.card)
    with new_folder(request.out) as folder, TemporaryDirectory() as scratch:
        prepared = prepare(source, Path(scratch) / "prepared.onnx")
        say(f"ranges of {len(chosen)} files")
        ranges = calibrate(prepared, (engine.load(files)[0] for files in chosen))
        model = quantize_prepared(prepared, ranges, folder / "model.onnx")
        rounded = Engine(model, request.card)
        pairs = [(engine.infer(files), rounded.infer(files)) for files in spread_cases(cases)]
        report = UnlabelledQuantized(
            sqnr_db=round(_sqnr(pairs), 2),
            difference=round(_largest_difference(pairs), 5),
            recipe=str(DEFAULT),
            calibration_files=len(chosen),
            bytes=model.stat().st_size,
        )
        if report.sqnr_db < request.least_sqnr_db:
            raise UserError(
                str(request.model),
                f"keeps {report.sqnr_db:.1f} dB of its outputs in INT8",
                facts=[f"expected: {request.least_sqnr_db:g} dB or more (--least-sqnr)"],
                next="build the FP32 network",
            )
        facts = report.model_dump(mode="json", exclude={"version", "bytes"})
        card = request.card.model_copy(
            update={"file": ModelFile.of(model), "quantization": facts, "schema_": 2}
        )
        write_card(card, folder / CARD)
        write_task_golden(model, card, spread_cases(cases), folder / "golden")
    return report


Pairs = list[tuple[Inference, Inference]]  # of FP32 and INT8


def _sqnr(pairs: Pairs) -> float:
    """In dB, over all outputs of all files, each weighed by its own size; at most 100."""
    noise = signal = 0.0
    for plain, rounded in pairs:
        for exact, coarse in zip(plain.outputs, rounded.outputs, strict=True):
            if exact.shape == coarse.shape and exact.size:
                scale = float(np.abs(exact).max()) or 1.0
                noise += float(np.square((exact - coarse) / scale).mean())
                signal += float(np.square(exact / scale).mean())
    return min(100.0, 10 * math.log10(signal / noise)) if noise and signal else 100.0


def _largest_difference(pairs: Pairs) -> float:
    return max(
        float(np.abs(exact - coarse).max(initial=0)) / (float(np.abs(exact).max(initial=0)) or 1.0)
        for plain, rounded in pairs
        for exact, coarse in zip(plain.outputs, rounded.outputs, strict=True)
        if exact.shape == coarse.shape
    )
