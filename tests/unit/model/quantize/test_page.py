"""The page of a sweep, from its document alone."""

import re

from edgewright.model.judge.evaluate import Interval
from edgewright.model.judge.figures import COLOURS
from edgewright.model.quantize.page import render
from edgewright.model.quantize.sweep_report import (
    Histogram,
    Noise,
    Picture,
    Rival,
    Row,
    SweepReport,
)

SURE = Interval(value=0.9, low=0.85, high=0.95)


def row(name: str, **changes: object) -> Row:
    values: dict[str, object] = {
        "name": name,
        "accuracy": SURE,
        "defect_recall": SURE,
        "auc": SURE,
        "confusion": ((9, 1), (1, 9)),
        "bytes": 400_000,
        "macs": 3_000_000,
        "time": 1.0,
        "instructions": None,
        "distance": 0.0,
        "agreement": 1.0,
        "operators": ("Conv",),
    }
    return Row.model_validate({**values, **changes})


def report(**changes: object) -> SweepReport:
    values: dict[str, object] = {
        "model": "net <1>",
        "positive": "cracked",
        "calibration": "cells",
        "calibration_images": 8,
        "held_out": "others",
        "held_out_images": 20,
        "budget": 1.0,
        "reason": "it is the best",
        "fp32": row("FP32"),
        "candidates": (row("small", bytes=100_000, chosen=True, on_frontier=True), row("large")),
        "rivals": (),
        "noise": (Noise(tensor="a", operator="Conv", local=30.0, total=-3.0),),
        "histograms": (Histogram(tensor="a", low=-1, high=9, counts=(5, 90, 0), kept=(-1, 4)),),
        "disagreements": (
            Picture(
                name="cell.png",
                truth="cracked",
                fp32="fine",
                int8="cracked",
                fp32_defect=0.48,
                int8_defect=0.53,
            ),
        ),
    }
    return SweepReport.model_validate({**values, **changes})


def test_names_of_others_are_no_markup() -> None:
    page = render(report(), ["data:image/jpeg;base64,AA=="])
    assert "net &lt;1&gt;" in page
    assert "<1>" not in page


def test_every_part_is_there() -> None:
    page = render(report(), ["data:image/jpeg;base64,AA=="])
    assert page.count("<svg") == 4  # size, time, noise, one histogram
    assert "75 % smaller than 0.40" in page
    assert 'src="data:image/jpeg;base64,AA=="' in page
    assert "p 0.48" in page
    assert "keeps -1 to 4" in page


def test_noise_louder_than_the_signal_is_a_bar_below_zero() -> None:
    def height(total: float) -> float:
        noise = (Noise(tensor="a", operator="Conv", local=30.0, total=total),)
        svg = render(report(noise=noise), []).split('id="total-0"')[1]
        edges = [float(y) for y in re.findall(r"[ML] [\d.-]+ ([\d.-]+)", svg.split("</g>")[0])]
        return max(edges) - min(edges)

    assert height(-3.0) > 1.0


def test_a_part_without_content_is_left_out() -> None:
    page = render(report(noise=(), histograms=(), disagreements=()), [])
    assert page.count("<svg") == 2
    assert "the answers to all 20 images are the same" in page


def points(page: str, plot: str) -> list[str]:
    """The tooltips of a plot's points, from the last that is drawn to the first."""
    svg = next(svg for svg in page.split("<svg") if f'aria-label="accuracy against {plot}"' in svg)
    return re.findall(r'<g id="[\w-]+">\s*<title>(.*?)</title>', svg.partition("</svg>")[0])[::-1]


def test_a_point_tells_whose_it_is_and_what_it_costs() -> None:
    page = render(report(), [])

    assert points(page, "size") == [
        "FP32: 90.0 %, 0.40 MB",
        "1 small: 90.0 %, 0.10 MB",
        "2 large: 90.0 %, 0.40 MB",
    ]
    assert "<title>Conv a: own rounding 30.0 dB, all -3.0 dB</title>" in page


def test_instructions_are_plotted_where_they_were_counted() -> None:
    counted = (row("counted", instructions=2_000_000_000, chosen=True), row("not counted"))
    page = render(report(candidates=counted), [])
    assert points(page, "instructions on the board") == ["1 counted: 90.0 %, 2000.00 millions"]
    assert "<td>2000</td>" in page


def test_other_networks_stand_on_the_same_plots() -> None:
    slim = Rival(
        row=row("whole/model.onnx", bytes=900_000, macs=4_000_000),
        accuracy_gain=Interval(value=-0.005, low=-0.02, high=0.01),
        dominated=True,
    )
    page = render(report(rivals=(slim,)), [])
    plots = re.findall(r'aria-label="accuracy against ([\w ]+)"', page)
    assert plots == ["size", "x86 time", "multiplications"]
    assert [points(page, plot)[-1] for plot in plots] == [
        "3 whole/model.onnx: 90.0 %, 0.90 MB",
        "3 whole/model.onnx: 90.0 %, 1.00 times that of FP32",
        "3 whole/model.onnx: 90.0 %, 4.00 M MACs",
    ]
    assert "-0.5 <small>-2.0 to +1.0</small>" in page
    assert "<td>-25.0 %</td>" in page  # of the multiplications
    assert "<td>dominated</td>" in page


def test_a_hopeless_recipe_does_not_press_the_others_together() -> None:
    hopeless = row("hopeless", accuracy=Interval(value=0.2, low=0.1, high=0.3))
    page = render(report(candidates=(row("good", chosen=True), hopeless)), [])
    assert page.count("1 further below") == 2  # plots
    assert ">20.0 <small>" in page  # the table has it
    assert points(page, "size") == ["FP32: 90.0 %, 0.40 MB", "1 good: 90.0 %, 0.40 MB"]


def test_plots_have_the_pages_colours_and_load_nothing() -> None:
    """A figure's own colours would be lost in dark mode; a namespace is an address."""
    plots = "".join(re.findall(r"<svg.*?</svg>", render(report(), []), re.DOTALL))

    assert [colour for colour in COLOURS if colour in plots] == []
    assert {name for name in COLOURS.values() if name in plots} >= {"var(--ink)", "var(--line)"}
    assert "http" not in plots


def test_a_page_repeats_to_the_last_byte() -> None:
    assert render(report(), []) == render(report(), [])
