"""A classifier judged as an inspector would, beside others: the page of `model.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Card
from edgewright.model.contract.pixels import decode
from edgewright.model.contract.preprocess import Floats, load_placed
from edgewright.model.contract.session import open_session
from edgewright.model.importer.classifier import Classifier
from edgewright.model.judge import report_page
from edgewright.model.judge.answers import judge
from edgewright.model.judge.contact_sheet import data_uri, picture_uri, shrunk
from edgewright.model.judge.data import Sample
from edgewright.model.judge.disturbance import Candidate, DisturbedQuality, judge_disturbed
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.grad_cam import GradCam
from edgewright.model.judge.images import spread
from edgewright.model.judge.report import (
    EvaluationReport,
    JudgedNetwork,
    report_kinds,
    report_network,
    worst_mistakes,
)
from edgewright.model.pack.workflow import Judging, rival
from edgewright.model.tasks.masks import Window

_HEAT = np.array([214, 40, 40], np.float32)  # red
_OPACITY = 0.65


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    judging: Judging
    beside: tuple[Path, ...]  # networks of the same labels
    prices: Prices
    page: Path  # to write
    disturbed_images: int  # 0: none is disturbed


def evaluate_for_page(request: EvaluationRequest, say: LineSink) -> EvaluationReport:
    """Judge the networks and write the page.

    Raises UserError for networks with other labels, and for more of them than the page has
    colours.
    """
    judging, dataset = request.judging, request.judging.dataset
    networks = _networks(request)
    judged = []
    for network in networks:
        answers = judge(network.path, dataset, network.card, judging.positive)
        judged.append(JudgedNetwork(name=network.name, answers=answers))
        say(f"{network.name}: {len(dataset.samples)} images")
    first = judged[0]
    disturbed, disturbed_images = _disturbed(request, networks, say)
    mistakes = worst_mistakes(first.answers)
    samples = [dataset.samples[place] for place, _ in mistakes]
    heats, no_heat = _heats(networks[0].path, networks[0].card, samples, judging.positive)
    report = EvaluationReport(
        images=dataset.name,
        labels=dataset.labels,
        positive=dataset.labels[judging.positive],
        count=len(dataset.samples),
        prices=request.prices,
        networks=tuple(
            report_network(network, request.prices, None if network is first else first)
            for network in judged
        ),
        kinds=report_kinds(first.answers),
        disturbed=disturbed,
        disturbed_images=disturbed_images,
        mistakes=tuple(mistake for _, mistake in mistakes),
        heat=no_heat,
        page=str(request.page),
    )
    pictures = [
        (mistake, data_uri(sample.path), heat)
        for (_, mistake), sample, heat in zip(mistakes, samples, heats, strict=True)
    ]
    write_file(request.page, report_page.render(report, pictures))
    return report


@dataclass(frozen=True, kw_only=True)
class _Network:
    name: str
    classifier: Classifier  # whose imported file lives as long as it does
    card: Card

    @property
    def path(self) -> Path:
        """As a session takes it."""
        return self.classifier.path


def _networks(request: EvaluationRequest) -> list[_Network]:
    """The judged one first. Raises UserError for too many, and for those of other labels."""
    if len(request.beside) >= report_page.MOST_NETWORKS:
        most = report_page.MOST_NETWORKS - 1
        raise UserError("--beside", f"{len(request.beside)} networks, the page shows {most}")
    judging = request.judging
    rivals = [rival(path, judging.card) for path in request.beside]
    names = _names([judging.classifier.source, *request.beside])
    classifiers = [judging.classifier, *(other.classifier for other in rivals)]
    cards = [judging.card, *(other.card for other in rivals)]
    return [
        _Network(name=name, classifier=classifier, card=card)
        for name, classifier, card in zip(names, classifiers, cards, strict=True)
    ]


def _disturbed(
    request: EvaluationRequest, networks: Sequence[_Network], say: LineSink
) -> tuple[tuple[DisturbedQuality, ...], int]:
    """What disturbances do, and to how many images."""
    if not request.disturbed_images:
        return (), 0
    judging = request.judging
    dataset = spread(judging.dataset, request.disturbed_images)
    candidates = [
        Candidate(name=network.name, session=open_session(network.path), card=network.card)
        for network in networks
    ]
    return judge_disturbed(candidates, dataset, judging.positive, say), len(dataset.samples)


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with the folder's where those of several networks are alike."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{path.resolve().parent.name}/{path.stem}" for path in paths]


def _heats(
    model: Path, card: Card, samples: Sequence[Sample], label: int
) -> tuple[list[str | None], str | None]:
    """A picture of each image with the heat over it, or why there are none."""
    if not samples:
        return [], None
    try:
        grad_cam = GradCam(model, card)
    except ValueError as missing:
        return [None] * len(samples), str(missing)
    heats: list[str | None] = []
    for sample in samples:
        image, placement = load_placed(sample.path, card)
        heat = grad_cam.heat(image, label)
        window = Window.of(heat.shape, card.input.shape[2:], placement)
        pixels = np.asarray(Image.fromarray(decode(sample.path, 16)).convert("RGB"), np.float32)
        rows, columns = window.pixels
        share = np.zeros((*pixels.shape[:2], 1), np.float32)
        share[rows, columns, 0] = _smooth(window.cut(heat), share[rows, columns].shape[:2])
        mixed = pixels * (1 - _OPACITY * share) + _HEAT * _OPACITY * share
        heats.append(picture_uri(shrunk(Image.fromarray(mixed.astype(np.uint8)))))
    return heats, None


def _smooth(heat: Floats, size: tuple[int, ...]) -> Floats:
    """The map (h, w) at the size (H, W) of what it is of."""
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(heat))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
