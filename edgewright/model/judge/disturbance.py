"""What a line does to images: light, focus, noise, compression and placement that change."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from edgewright.base.progress import LineSink
from edgewright.base.schema import Part
from edgewright.model.contract.card import Card
from edgewright.model.contract.pixels import Pixels, decode
from edgewright.model.contract.preprocess import preprocess
from edgewright.model.contract.session import Session, class_probabilities
from edgewright.model.judge.data import Dataset
from edgewright.model.judge.evaluate import Border, Scores, auc, chosen_labels
from edgewright.model.judge.images import truth

Disturb = Callable[[Pixels, float, np.random.Generator], Pixels]


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    name: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Disturb


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that is judged under disturbances."""

    name: str
    session: Session
    card: Card


class DisturbedFigures(Part):
    """Of one network."""

    network: str
    accuracy: float
    defect_recall: float
    auc: float


class DisturbedQuality(Part):
    disturbance: str
    strength: float
    unit: str
    figures: tuple[DisturbedFigures, ...]  # in the order of the networks


def _darken(pixels: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    return _rounded(pixels * (1 - percent / 100))


def _flatten(pixels: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    mean = pixels.mean()
    return _rounded(mean + (pixels - mean) * (1 - percent / 100))


def _blur(pixels: Pixels, permille: float, _: np.random.Generator) -> Pixels:
    """By a share of the shorter side, so that images of every size lose the same detail."""
    radius = permille / 1000 * min(pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _noise(pixels: Pixels, levels: float, random: np.random.Generator) -> Pixels:
    return _rounded(pixels + random.normal(0, levels, pixels.shape))


def _compress(pixels: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG", quality=int(quality))
    return np.asarray(Image.open(content))


def _turn(pixels: Pixels, degrees: float, _: np.random.Generator) -> Pixels:
    """Around the middle; what comes in from outside repeats the border."""
    height, width = pixels.shape[:2]
    wide = _padded(pixels, height // 2, width // 2)
    turned = Image.fromarray(wide).rotate(degrees, Image.Resampling.BILINEAR)
    left, top = width // 2, height // 2
    return np.asarray(turned.crop((left, top, left + width, top + height)))


def _shift(pixels: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    """To the right and down; what comes in from outside repeats the border."""
    height, width = pixels.shape[:2]
    down, right = round(height * percent / 100), round(width * percent / 100)
    shifted: Pixels = _padded(pixels, down, right)[:height, :width]
    return shifted


def _padded(pixels: Pixels, rows: int, columns: int) -> Pixels:
    margins = [(rows, rows), (columns, columns), (0, 0)][: pixels.ndim]
    return np.pad(pixels, margins, mode="edge")


def _rounded(values: np.ndarray) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


# Five strengths each, from what every line has to what a line should not have.
DISTURBANCES = (
    Disturbance(name="less light", unit="%", strengths=(10, 20, 30, 40, 50), apply=_darken),
    Disturbance(name="less contrast", unit="%", strengths=(10, 20, 30, 40, 50), apply=_flatten),
    Disturbance(name="blur", unit="‰ of the side", strengths=(2, 4, 6, 8, 10), apply=_blur),
    Disturbance(name="noise", unit="grey levels", strengths=(4, 8, 12, 16, 24), apply=_noise),
    Disturbance(name="JPEG", unit="quality", strengths=(80, 60, 40, 20, 10), apply=_compress),
    Disturbance(name="rotation", unit="°", strengths=(2, 4, 6, 8, 10), apply=_turn),
    Disturbance(name="shift", unit="%", strengths=(1, 2, 4, 6, 8), apply=_shift),
)


def judge_disturbed(
    candidates: Sequence[Candidate], dataset: Dataset, positive: int, say: LineSink
) -> tuple[DisturbedQuality, ...]:
    """Judge all networks on the same disturbed images; the same images are disturbed alike again.

    The cards may differ; their labels, and the number of significant bits, may not.
    """
    quality = []
    labels = np.array(truth(dataset))
    for disturbance in DISTURBANCES:
        rows: dict[tuple[float, str], list[Scores]] = {}
        for number, sample in enumerate(dataset.samples):
            pixels = decode(sample.path, candidates[0].card.preprocess.significant_bits)
            for strength in disturbance.strengths:
                disturbed = disturbance.apply(pixels, strength, np.random.default_rng(number))
                for candidate in candidates:
                    answer = _answer(candidate, disturbed)
                    rows.setdefault((strength, candidate.name), []).append(answer)
        for strength in disturbance.strengths:
            quality.append(
                DisturbedQuality(
                    disturbance=disturbance.name,
                    strength=strength,
                    unit=disturbance.unit,
                    figures=tuple(
                        _figures(
                            candidate,
                            np.concatenate(rows[strength, candidate.name]),
                            labels,
                            positive,
                        )
                        for candidate in candidates
                    ),
                )
            )
        say(f"{disturbance.name}: {len(dataset.samples)} images at five strengths")
    return tuple(quality)


def _answer(candidate: Candidate, pixels: Pixels) -> Scores:
    """Probabilities (1, labels)."""
    name = candidate.session.get_inputs()[0].name
    (row, *_) = candidate.session.run(None, {name: preprocess(pixels, candidate.card)})
    return class_probabilities(row, candidate.card)


def _figures(
    candidate: Candidate, answers: Scores, labels: np.ndarray, positive: int
) -> DisturbedFigures:
    chosen = chosen_labels(answers, positive, Border.of(candidate.card))
    is_positive = labels == positive
    return DisturbedFigures(
        network=candidate.name,
        accuracy=round(float((chosen == labels).mean()), 4),
        defect_recall=round(float((chosen[is_positive] == positive).mean()), 4),
        auc=round(auc(is_positive.astype(np.int64), answers[:, positive]), 4),
    )
