import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from edgewright.base.errors import UserError
from edgewright.cli.screens import smoke_screen
from edgewright.deploy.report import (
    Bench,
    Check,
    ImageResult,
    SmokeReport,
    Verdict,
    load_smoke_report,
)


def report(**changes: Any) -> SmokeReport:
    smoke = SmokeReport(
        board="a53-som",
        target="root@192.0.2.7",
        emulated=False,
        release="0123456789abcdef",
        model="mobilevit-s-elpv",
        threads=4,
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        seconds=12.5,
        passed=False,
        checks=(
            Check(name="selftest", verdict=Verdict.PASSED, expected="2 cases", found="2 cases"),
            Check(name="latency", verdict=Verdict.FAILED, expected="9 ms", found="[bold]12 ms"),
        ),
        images=(
            ImageResult(
                image="a.png",
                expected="ok",
                found="ok",
                max_abs_diff=0.00123,
                inference_ms=2.5,
                verdict=Verdict.PASSED,
            ),
        ),
        bench=Bench(
            runs=20,
            load_ms=1,
            median_ms=2,
            p95_ms=3,
            max_ms=4,
            peak_rss_kb=30000,
            rss_growth_kb=0,
        ),
    )
    return smoke.model_copy(update=changes)


def screen(smoke: SmokeReport) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(smoke_screen(smoke))
    return out.getvalue()


def test_json_and_back() -> None:
    smoke = report()
    assert load_smoke_report(smoke.to_json(), "report.json") == smoke
    assert json.loads(smoke.to_json())["version"] == 1


@pytest.mark.parametrize("change", [{"version": 2}, {"surprise": 1}])
def test_another_version_and_unknown_fields_are_refused(change: dict[str, Any]) -> None:
    text = json.dumps(json.loads(report().to_json()) | change)
    with pytest.raises(UserError) as refused:
        load_smoke_report(text, "report.json")
    assert str(refused.value).startswith(
        f"report.json: not a smoke report, version 1\n  {next(iter(change))}: "
    )


def test_one_screen_tells_verdicts_and_takes_no_text_for_markup() -> None:
    text = screen(report())
    assert "a53-som at root@192.0.2.7: release 0123456789abcdef, mobilevit-s-elpv" in text
    assert "[bold]12 ms" in text
    assert "2.5 ms" in text
    assert "smoke test failed in 12.5 s" in text
    assert len(text.splitlines()) < 25


def test_milliseconds_of_an_emulator_are_not_shown() -> None:
    text = screen(report(emulated=True))
    assert "2.5 ms" not in text
    assert "emulated" in text
