"""A classifier judged as an inspector would."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from edgewright.cli import quality
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import Dataset, Sample
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.report import (
    JudgedNetwork,
    report_kinds,
    report_network,
    worst_mistakes,
)
from tests.schemas import require_valid
from tests.unit.model import small_cnn

POSITIVE = 1


def answers(rows: list[tuple[float, int, str]]) -> Answers:
    """Probability of a defect, label and kind of each image."""
    samples = tuple(
        Sample(path=Path(f"{place}.png"), category=label, cell_type=kind)
        for place, (_, label, kind) in enumerate(rows)
    )
    defect = np.array([row[0] for row in rows])
    return Answers(
        dataset=Dataset(name="cells", labels=("ok", "defective"), samples=samples),
        probabilities=np.stack([1 - defect, defect], axis=1),
        positive=POSITIVE,
    )


CELLS = answers(
    [
        (0.9, 1, "mono"),
        (0.2, 1, "mono"),
        (0.7, 0, "mono"),
        (0.1, 0, "mono"),
        (0.8, 1, "poly"),
        (0.4, 1, "poly"),
        (0.3, 0, "poly"),
        (0.6, 0, "poly"),
    ]
)


def test_the_curve_has_the_precision_of_each_recall() -> None:
    report = report_network(JudgedNetwork(name="net", answers=CELLS), Prices(miss=10), None)
    assert [(point.recall, round(point.precision, 3)) for point in report.curve] == [
        (0.25, 1),
        (0.5, 1),
        (0.5, 0.667),
        (0.5, 0.5),
        (0.75, 0.6),
        (0.75, 0.5),
        (1, 0.571),
        (1, 0.5),
    ]
    assert (report.cheapest.value, report.cheapest.misses) == (0.2, 0)
    assert report.accuracy_gain is None


def test_each_kind_of_cell_is_judged_by_itself() -> None:
    mono, poly = report_kinds(CELLS)
    assert (mono.kind, mono.confusion) == ("mono", ((1, 1), (1, 1)))
    assert (poly.count, poly.defect_recall.value) == (4, 0.5)
    assert report_kinds(answers([(0.9, 1, ""), (0.1, 0, "")])) == ()


def test_images_whose_judges_disagree_are_judged_apart() -> None:
    samples = tuple(
        replace(sample, shares=(0.0, 1.0) if place < 4 else (0.4, 0.6), cell_type="mono")
        for place, sample in enumerate(CELLS.dataset.samples)
    )
    agree, disagree = report_kinds(replace(CELLS, dataset=replace(CELLS.dataset, samples=samples)))
    assert (agree.kind, agree.count, agree.confusion) == ("judges agree", 4, ((1, 1), (1, 1)))
    assert (disagree.kind, disagree.count) == ("judges disagree", 4)


def test_the_surest_mistakes_come_first() -> None:
    mistakes = [(mistake.kind, mistake.defect) for _, mistake in worst_mistakes(CELLS)]
    assert mistakes == [
        ("missed", 0.2),
        ("missed", 0.4),
        ("false alarm", 0.7),
        ("false alarm", 0.6),
    ]


class Addresses(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    small_cnn.write_network(folder / "net", small_cnn.write_images(folder / "train", 10))
    small_cnn.write_network(folder / "wide", folder / "train", channels=12)
    small_cnn.write_images(folder / "images", 20, first=100)
    return folder


def test_the_page_shows_two_networks_and_loads_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality.evaluate(
        Context(),
        model=str(data / "net" / "net.onnx"),
        images=str(data / "images"),
        positive="cracked",
        page=str(tmp_path / "page.html"),
        beside=(str(data / "wide" / "net.onnx"),),
        disturbed=4,
        json=True,
    )
    text = capsys.readouterr().out
    require_valid("model.evaluate--page", text)
    report = json.loads(text)
    assert [network["name"] for network in report["networks"]] == ["net/net", "wide/net"]
    assert report["networks"][0]["accuracy_gain"] is None
    assert report["networks"][1]["accuracy_gain"] is not None
    assert len(report["disturbed"]) == 35
    assert report["heat"] is None

    page = (tmp_path / "page.html").read_text()
    addresses = Addresses()
    addresses.feed(page)
    pictures = [address for address in addresses.found if not address.startswith("#")]
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert len(pictures) == 2 * len(report["mistakes"]), "each with its heat"
    assert page.count("<svg") == 10
    assert "http:" not in page
    assert "https:" not in page
    assert "wide/net" in page


def test_more_networks_than_colours_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit):
        quality.evaluate(
            Context(),
            model=str(data / "net" / "net.onnx"),
            images=str(data / "images"),
            positive="cracked",
            page=str(tmp_path / "page.html"),
            beside=(str(data / "wide" / "net.onnx"),) * 5,
        )
    assert "--beside: 5 networks, the page shows 4" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
