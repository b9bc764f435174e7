"""Golden outputs: a few real images, and the answers of the INT8 network to them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder, read_inside
from edgewright.base.schema import Part, parse_json
from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import Session, class_probabilities, open_session, outputs
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import Sample
from edgewright.model.judge.evaluate import Border, Scores, decided
from edgewright.model.pack import rounding

TOLERANCE = 0.01  # of a probability, and more where the network itself magnifies rounding
MARGIN = 0.1  # least lead of a golden answer's label over the next: the tolerance must not flip it
EXPECTED = "expected.json"
EXPECTED_BYTES = 1 << 20
_MOST_TRIED = 24  # images of one class, one inference each


class Case(Part):
    """One image, and what the network answers to it."""

    image: str
    class_: str
    probabilities: tuple[float, ...]


class Expected(Part):
    """`golden/expected.json`."""

    schema_: Literal[1] = 1
    tolerance: float
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Samples for a golden set, and in words which images cannot be golden, and why."""

    samples: tuple[Sample, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """A set on disk; `left_out` says in words what is missing from it, and why."""

    folder: Path
    cases: int
    left_out: tuple[str, ...]


def choose(answers: Answers, is_steady: Callable[[Sample], bool] = lambda _: True) -> Choice:
    """Choose images that the network answers rightly.

    For each class (and cell type, where it is known) the surest one, and the one nearest to the
    border that is still outside the margin, of those that are steady. Raises UserError if there is
    none of any class.
    """
    # Twice the margin: the variants made of these images are answered a little less surely.
    leads = lead(answers.probabilities, answers.border)
    sure = answers.right & (leads > 2 * MARGIN)
    chosen: list[Sample] = []
    left_out = _reasons(answers, sure)
    rows = list(zip(answers.dataset.samples, leads, sure, strict=True))
    for label, kind in sorted({(sample.label, sample.cell_type) for sample, _, _ in rows}):
        fitting = [
            (float(ahead), sample.key, sample)
            for sample, ahead, is_sure in rows
            if (sample.label, sample.cell_type) == (label, kind) and is_sure
        ]
        nearest_first = [sample for *_, sample in sorted(fitting)]
        ends = (_first(nearest_first, is_steady), _first(nearest_first[::-1], is_steady))
        pair = {sample.key: sample for sample in ends if sample}
        chosen += pair.values()
        if not pair:
            name = " ".join([answers.dataset.labels[label], kind]).strip()
            why = "surely, and alike however values round" if fitting else "surely"
            left_out.append(f"no image of {name} is answered rightly and {why}")
    if not chosen:
        raise UserError(
            "golden",
            f"none of {len(rows)} images is answered rightly and surely",
            facts=left_out,
            next="take more images, or a better network",
        )
    return Choice(samples=tuple(chosen), left_out=tuple(left_out))


def _first(samples: Sequence[Sample], is_steady: Callable[[Sample], bool]) -> Sample | None:
    return next((sample for sample in samples[:_MOST_TRIED] if is_steady(sample)), None)


def lead(probabilities: Scores, border: Border | None = None) -> Scores:
    """By how much the answered label of each row (N, labels) leads over the next: (N,), 0 to 1.

    With a border: how far the row is from it, as a share of the way to 1 or to 0; for two labels
    and a threshold of 0.5 that is the same.
    """
    ordered = np.sort(probabilities, axis=1)
    if border is None:
        return np.asarray(ordered[:, -1] - ordered[:, -2])
    share, threshold = probabilities[:, border.label], border.threshold
    below = (threshold - share) / threshold
    others = np.sort(np.delete(probabilities, border.label, axis=1), axis=1)
    if others.shape[1] > 1:
        below = np.minimum(below, others[:, -1] - others[:, -2])
    return np.where(share >= threshold, (share - threshold) / (1 - threshold), below)


def _reasons(answers: Answers, sure: NDArray[np.bool_]) -> list[str]:
    """Which images cannot be golden, by reason."""
    kinds = {
        "answered wrongly": ~answers.right,
        f"answered with a lead of less than {2 * MARGIN:g}": answers.right & ~sure,
    }
    lines = []
    for reason, places in kinds.items():
        names = [s.key for s, is_one in zip(answers.dataset.samples, places, strict=True) if is_one]
        if names:
            more = ", …" if len(names) > 3 else ""
            lines.append(f"{reason}: {len(names)} ({', '.join(names[:3])}{more})")
    return lines


def make_golden(model: Path, card: Card, answers: Answers, out: Path | None = None) -> GoldenSet:
    """Choose among the images that a network answered, and write them: `choose`, `write_golden`."""
    rows = {
        sample.key: row
        for sample, row in zip(answers.dataset.samples, answers.probabilities, strict=True)
    }
    sessions = [open_session(network) for network in rounding.shifted(model)]

    def is_steady(sample: Sample) -> bool:
        moved = _moved(sessions, card, [sample.path], [rows[sample.key]])
        return _is_steady(float(moved[0]), 2 * MARGIN)

    choice = choose(answers, is_steady)
    golden = write_golden(model, card, choice.samples, out)
    return replace(golden, left_out=(*choice.left_out, *golden.left_out))


def write_golden(
    model: Path, card: Card, samples: Sequence[Sample], out: Path | None = None
) -> GoldenSet:
    """Write `out`, which is `golden/` beside the model if not given: the images, variants of two of
    them and `expected.json`.

    What is answered inside the margin is left out, and what depends on how values round inside the
    network. Raises UserError, and leaves the former folder, if nothing remains.
    """
    out = out or model.parent / "golden"
    with new_folder(out) as folder:
        # By key, not by name: images of two classes may have the same name.
        images = [
            Path(shutil.copy(sample.path, folder / sample.key.replace("/", "-")))
            for sample in samples
        ]
        if card.preprocess.roi is None:  # a region is of images of the camera's size
            images += [_as_odd_jpeg(images[-1], folder, card.preprocess.color)]
        if card.preprocess.color == "gray":
            images.insert(len(samples), _as_rgb(images[0], folder))
        expected = expect(model, card, images)
        sessions = [open_session(network) for network in rounding.shifted(model)]
        moves = _moved(sessions, card, images, [case.probabilities for case in expected.cases])
        unfit = {}
        leads = lead(np.array([case.probabilities for case in expected.cases]), Border.of(card))
        for case, ahead, moved in zip(expected.cases, leads, moves, strict=True):
            if ahead < MARGIN:
                unfit[case.image] = "too near to the border"
            elif not _is_steady(moved, ahead):
                unfit[case.image] = f"rounding inside the network moves its answer by {moved:.2g}"
        sound = [case for case in expected.cases if case.image not in unfit]
        left_out = tuple(f"{name}: {reason}" for name, reason in unfit.items())
        if not sound:
            raise UserError(
                str(model),
                "answers no golden image surely",
                facts=left_out,
                next="take other images",
            )
        for name in unfit:
            (folder / name).unlink()
        most = max(
            moved
            for case, moved in zip(expected.cases, moves, strict=True)
            if case.image not in unfit
        )
        tolerance = max(TOLERANCE, round(rounding.FACTOR * float(most), 3))
        content = expected.model_copy(update={"cases": tuple(sound), "tolerance": tolerance})
        (folder / EXPECTED).write_text(content.model_dump_json(indent=1, by_alias=True) + "\n")
    return GoldenSet(folder=out, cases=len(sound), left_out=left_out)


def _rows(session: Session, card: Card, images: Sequence[Path]) -> Scores:
    inputs = np.concatenate([load_input(path, card) for path in images])
    return class_probabilities(outputs(session, inputs), card)


def _moved(
    sessions: Sequence[Session],
    card: Card,
    images: Sequence[Path],
    probabilities: Sequence[Sequence[float] | NDArray[np.float64]],
) -> NDArray[np.float64]:
    """How far each image's answer moves in any of these sessions: (N,)."""
    moved = np.zeros(len(images))
    for session in sessions:
        difference = np.abs(_rows(session, card, images) - np.array(probabilities))
        moved = np.maximum(moved, difference.max(axis=1))
    return moved


def _is_steady(moved: float, lead: float) -> bool:
    """Whether a tolerance that lets an answer move so far still leaves its label unquestioned."""
    return rounding.FACTOR * moved <= min(MARGIN, lead / 2)


def expect(model: Path, card: Card, images: Sequence[Path]) -> Expected:
    """The content of `expected.json` for these images: what the network itself answers.

    Raises UserError for an answer that is not finite, or no probability although the card says so.
    """
    rows = _rows(open_session(model), card, images)
    for image, row in zip(images, rows, strict=True):
        if not (np.isfinite(row).all() and row.min() >= -TOLERANCE and row.max() <= 1 + TOLERANCE):
            raise UserError(
                str(model),
                f"its answer to {image.name} is not made of probabilities",
                facts=[f"answer: {row}", f"output.activation: {card.output.activation}"],
                next="write the activation that turns its outputs into probabilities into card.json"
                " (docs/formats.md)",
            )
    return Expected(
        tolerance=TOLERANCE,
        cases=tuple(
            Case(
                image=image.name,
                class_=card.labels[label],
                probabilities=tuple(round(float(p), 6) for p in row),
            )
            for image, row, label in zip(
                images, rows, decided(rows, Border.of(card)).tolist(), strict=True
            )
        ),
    )


def require_golden(network: Path, card: Card, folder: Path, model: Path) -> None:
    """Raise UserError if a golden set is not what the network itself answers to its images.

    `network` is the file that is run, `model` the user's that it was imported from. The board
    compares itself with this set alone: a set that is wrong would let it pass.
    """
    expected = read_expected(folder)
    images = [folder / case.image for case in expected.cases]
    answers = expect(network, card, images)
    facts = [
        f"{case.image}: expected {case.class_} {case.probabilities}, "
        f"found {answer.class_} {answer.probabilities}"
        for case, answer in zip(expected.cases, answers.cases, strict=True)
        if _differs(case, answer, expected.tolerance, Border.of(card))
    ]
    if facts:
        raise UserError(
            str(folder),
            f"{len(facts)} of its {len(images)} answers are not those of {model.name}",
            facts=facts[:3],
            next=f"invoke model.golden --model={model} --images=…",
        )


def _differs(case: Case, answer: Case, tolerance: float, border: Border | None) -> bool:
    """As `edge-infer` compares: so near to the border either label is right."""
    if len(case.probabilities) != len(answer.probabilities):
        return True
    distance = np.abs(np.subtract(case.probabilities, answer.probabilities)).max()
    is_near = border is not None and (
        abs(case.probabilities[border.label] - border.threshold) <= tolerance
    )
    return bool(distance > tolerance or (case.class_ != answer.class_ and not is_near))


def read_expected(folder: Path) -> Expected:
    """The golden set of a folder. Raises UserError if it is none, or has no case."""
    raw = read_inside(folder, EXPECTED, limit=EXPECTED_BYTES, next="invoke model.golden")
    return parse_json(Expected, raw, str(folder / EXPECTED), "is not a golden set")


def _as_rgb(image: Path, folder: Path) -> Path:
    """The same picture with three channels, tinted so that the luma formula matters."""
    gray = np.asarray(Image.open(image).convert("L"), np.uint16)
    tinted = np.stack([gray, gray * 7 // 8, gray * 3 // 4], axis=2).astype(np.uint8)
    out = folder / f"{image.stem}-rgb.png"
    Image.fromarray(tinted).save(out, optimize=True)
    return out


def _as_odd_jpeg(image: Path, folder: Path, color: str) -> Path:
    """The same picture as a JPEG of another, odd size, with the colours that the network sees."""
    out = folder / f"{image.stem}-odd.jpg"
    mode = "L" if color == "gray" else "RGB"
    with Image.open(image) as picture:
        picture.convert(mode).resize((333, 287), Image.Resampling.BICUBIC).save(out, quality=92)
    return out
