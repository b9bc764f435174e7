"""What a report is collected of: a release, its records, and what is not here."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.deploy.report import Check, SmokeReport, Verdict
from edgewright.observe.report.collect import ReportInputs, card_metrics, collect
from edgewright.observe.report.document import Evaluation
from tests import reports
from tests.boards import make_release
from tests.checkout import ROOT
from tests.unit.release.test_evidence import INGREDIENTS, with_evidence


@pytest.fixture
def inputs(tmp_path: Path) -> ReportInputs:
    """A release on a board, which is not on this machine."""
    links = tmp_path / "links.txt"
    links.write_text("")
    return ReportInputs(
        manifest=make_release(tmp_path / "one", root="/opt").manifest,
        release=None,
        target="root@192.0.2.7",
        former=make_release(tmp_path / "two", root="/opt", model=b"a former model").manifest,
        former_reason=None,
        reports=tmp_path,
        stores=(),
        links=links,
        bench=None,
        evaluation=None,
    )


def test_a_release_of_a_board_alone_has_sizes_and_says_what_is_not_known(
    inputs: ReportInputs,
) -> None:
    report = collect(inputs)

    sizes = {file.path: (file.bytes, file.former_bytes) for file in report.files}
    assert sizes["model/model.ort"] == (len(b"model one"), len(b"a former model"))
    assert report.programs_reason == report.ingredients_reason
    assert report.programs_reason == "the release is not on this machine"
    assert (report.network, report.network_reason) == (None, report.programs_reason)
    assert (report.operators, report.bench, report.smoke) == (None, None, None)


def test_parts_come_of_the_bill_beside_the_release(inputs: ReportInputs, tmp_path: Path) -> None:
    program = (ROOT / "tests" / "data" / "elf" / "good-v7").read_bytes()
    release = with_evidence(make_release(tmp_path / "three", root="/opt", edge_infer=program))

    report = collect(replace(inputs, manifest=release.manifest, release=release))

    assert [part.name for part in report.ingredients] == [item.name for item in INGREDIENTS]
    assert report.network_reason == "model/model.ort is no ORT-format model"


def test_a_measurement_of_another_release_is_refused(inputs: ReportInputs) -> None:
    with pytest.raises(UserError, match="is of another release"):
        collect(replace(inputs, bench=reports.bench()))


def test_a_measurement_s_judgement_stands_before_the_smoke_test_s(
    inputs: ReportInputs, smoke: SmokeReport
) -> None:
    (inputs.reports / "smoke.json").write_text(smoke.to_json())
    bench = reports.bench().model_copy(update={"release": inputs.manifest.id})

    assert [check.name for check in collect(inputs).checks] == ["run", "peak memory"]
    checks = collect(replace(inputs, bench=bench)).checks
    assert [(check.name, check.found) for check in checks] == [
        ("run", "10 images"),
        ("peak memory", "29.3"),
    ]


def test_a_smoke_test_of_another_release_does_not_count(
    inputs: ReportInputs, smoke: SmokeReport
) -> None:
    other = smoke.model_copy(update={"release": "f" * 16})
    (inputs.reports / "smoke.json").write_text(other.to_json())

    assert collect(inputs).checks == ()


@pytest.fixture
def smoke(inputs: ReportInputs) -> SmokeReport:
    run = Check(name="run", verdict=Verdict.PASSED, found="10 images")
    memory = Check(name="peak memory", verdict=Verdict.PASSED, found="37.8 MiB")
    return SmokeReport.model_validate(
        {
            "board": "board",
            "target": "root@192.0.2.7",
            "emulated": False,
            "release": inputs.manifest.id,
            "model": "small",
            "threads": 2,
            "started": "2026-01-02T03:04:05Z",
            "seconds": 1.0,
            "passed": True,
            "checks": (run, memory),
            "images": (),
            "bench": None,
        }
    )


def test_a_card_s_numbers_are_told_by_the_names_that_lead_to_them() -> None:
    card = {
        "metrics": {
            "int8": {"defect_recall": {"value": 0.5, "low": 0.4, "high": 0.6}, "count": 654},
            "part": "test",
            "endless": float("inf"),
            "long": 10**400,
            "confusion": [[1, 2], [3, 4]],
        }
    }

    figures = {m.name: (m.value, m.low, m.high) for m in card_metrics(card)}
    assert figures == {"int8, defect recall": (0.5, 0.4, 0.6), "int8, count": (654, None, None)}


def test_an_evaluation_stands_before_the_card(inputs: ReportInputs) -> None:
    interval = {"value": 0.8, "low": 0.7, "high": 0.9}
    evaluation = Evaluation.model_validate(
        {"images": "elpv", "count": 99}
        | dict.fromkeys(("accuracy", "auc", "defect_recall"), interval)
    )

    report = collect(replace(inputs, evaluation=evaluation))

    assert [metric.name for metric in report.metrics] == ["accuracy", "auc", "defect recall"]
    assert report.metrics_source == "evaluation on 99 images, elpv"
