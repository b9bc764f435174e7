import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import CheckError, TargetError
from edgewright.deploy import smoke
from edgewright.deploy.edge_infer import BenchAnswer, Decision, ImageLine
from edgewright.deploy.edgectl import BoardRelease, Edgectl
from edgewright.deploy.remote import Result
from edgewright.deploy.report import SmokeReport, Verdict
from edgewright.deploy.smoke import Golden
from edgewright.deploy.target import Target
from edgewright.fleet.bench.stand_in import program
from edgewright.release.manifest import Release
from edgewright.release.programs import ReleasedProgram
from tests.boards import BENCH, CASES, LocalBoard, documents, make_release

GOLDEN = Golden.model_validate_json(json.dumps({"schema": 1, "tolerance": 0.01, "cases": CASES}))


def result(command: str, document: Any, code: int = 0, stderr: str = "") -> Result:
    text = document if isinstance(document, str) else json.dumps(document)
    argv = ("/opt/edgewright/releases/x/bin/edge-infer", command)
    return Result(argv=argv, returncode=code, stdout=text, stderr=stderr)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"), root="/opt/edgewright")


def on_board(board: LocalBoard, release: Release) -> BoardRelease:
    """The release where it was built, on a board whose helper has protocol 1."""
    root = release.folder.parent
    (root / "releases").mkdir(exist_ok=True)
    release.folder.rename(root / "releases" / release.id)
    edgectl = Edgectl(board=board, root=str(root), protocol=1)
    return BoardRelease(edgectl=edgectl, release=release.id, right="--fence=1")


def run(tmp_path: Path, edge_infer: bytes, *, emulated: bool = False) -> SmokeReport:
    release = make_release(tmp_path, root="/nowhere", edge_infer=edge_infer)
    board = LocalBoard(emulated=emulated)
    return smoke.run(on_board(board, release), release.manifest)


def test_a_fit_release_passes_on_a_real_board(tmp_path: Path) -> None:
    report = run(tmp_path, program(documents()))
    assert report.passed
    assert [check.name for check in report.checks] == ["selftest", "run", "peak memory", "latency"]
    assert {check.verdict for check in report.checks} == {Verdict.PASSED}
    assert [image.max_abs_diff for image in report.images] == [0.0, 0.0]
    smoke.require_passed(report)


def test_latency_is_not_judged_on_an_emulated_board(tmp_path: Path) -> None:
    report = run(tmp_path, program(documents()), emulated=True)
    latency = report.checks[-1]
    assert (latency.verdict, latency.facts) == (Verdict.NOT_JUDGED, ("emulated",))
    assert latency.found is None
    assert report.passed


def test_program_that_crashes_fails_every_check_it_was_asked_for(tmp_path: Path) -> None:
    report = run(tmp_path, b"#!/bin/sh\necho illegal instruction >&2\nexit 132\n")
    assert [check.name for check in report.checks] == ["selftest", "run", "bench"]
    with pytest.raises(TargetError) as failed:
        smoke.require_passed(report)
    assert str(failed.value).splitlines()[:5] == [
        f"root@board.test: release {report.release}: smoke test failed",
        "  selftest:",
        "    expected: one JSON document, version 1",
        "    found: exit code 132, signal 4",
        "    | illegal instruction",
    ]
    assert str(failed.value).endswith(
        "next: mend it, then invoke build --board=board and invoke deploy"
    )


def test_a_budget_alone_that_is_not_met_is_a_check_that_says_no(tmp_path: Path) -> None:
    slow = documents()
    slow["bench"]["latency_ms"]["median"] = 1e6
    report = run(tmp_path, program(slow))
    with pytest.raises(CheckError) as failed:
        smoke.require_passed(report)
    assert failed.value.exit_code == 4
    assert "  latency:\n    expected: median at most " in str(failed.value)
    # Building the same model anew makes it no faster.
    assert "next: take a smaller model, or raise budgets.latency_ms of board" in str(failed.value)

    slow["run"]["results"][0] |= {"class": "defective", "probabilities": [0.4, 0.6]}
    with pytest.raises(TargetError):
        smoke.require_passed(run(tmp_path, program(slow)))


KIB = 1024
FLAT = [8_000_000 + noise for noise in (0, 32, -120, -120, 184, 200, 152, -56, 80)]


@pytest.mark.parametrize(
    ("runs", "sizes", "leak_kb"),
    [
        (1, FLAT, 0),
        (1, [*FLAT[:1], *(size + 12 * KIB for size in FLAT[1:])], 0),
        (1, [size + 4 * KIB * n for n, size in enumerate(FLAT)], 4),
        (4, [size + 4 * KIB * n for n, size in enumerate(FLAT)], 1),
        (2, [0, 0, 1 * KIB, 1 * KIB, 2 * KIB, 2 * KIB, 3 * KIB], 0.25),
    ],
    ids=["steady", "once", "each", "four from sample to sample", "each fourth"],
)
def test_a_leak_is_what_grows_with_inferences(
    runs: int, sizes: list[int], leak_kb: float, release: Release
) -> None:
    answer = BENCH | {"heap": {"runs": runs, "bytes": sizes}}
    target = Target(address="board.test", emulated=True)

    bench, _ = smoke.judge_budgets(result("bench", answer), release.manifest, target)

    assert bench is not None
    assert bench.leak_kb == pytest.approx(leak_kb, abs=0.05)


@pytest.mark.parametrize("heap", [None, {"runs": 1, "bytes": [8_000_000]}])
def test_a_program_that_does_not_tell_what_its_heap_does(
    heap: dict[str, Any] | None, release: Release
) -> None:
    answer = BENCH | {"heap": heap}
    target = Target(address="board.test")

    bench, _ = smoke.judge_budgets(result("bench", answer), release.manifest, target)

    assert bench is not None
    assert bench.leak_kb is None


def test_the_golden_images_of_another_release_tell_how_many_answers_it_shares(
    tmp_path: Path,
) -> None:
    """Its class counts: how sure another network is of it is its own matter."""
    answers = documents()
    answers["run"]["results"][0] |= {"probabilities": [0.6, 0.4]}
    answers["run"]["results"][1] |= {"class": "ok", "probabilities": [0.7, 0.3]}
    release = make_release(tmp_path, root="/nowhere", edge_infer=program(answers))
    on = on_board(LocalBoard(), release)

    right = smoke.share_right(smoke.Subject(release=on, manifest=release.manifest), on.folder)

    assert right == 0.5


def test_wrong_class_and_far_probabilities_are_told_for_each_image() -> None:
    answer = copy.deepcopy(documents()["run"])
    answer["results"][0] |= {"class": "defective", "probabilities": [0.4, 0.6]}
    answer["results"][1]["probabilities"] = [0.209, 0.791]
    images, check = smoke.judge_images(result("run", answer), GOLDEN)
    assert [image.verdict for image in images] == [Verdict.FAILED, Verdict.PASSED]
    assert check.facts == ("a.png: expected ok, found defective, probabilities differ by 0.5000",)
    assert check.found == "1 images"


@pytest.mark.parametrize(
    ("threshold", "verdict"), [(0.1, Verdict.FAILED), (None, Verdict.FAILED), (0.5, Verdict.PASSED)]
)
def test_at_the_threshold_either_label_is_right(threshold: float | None, verdict: Verdict) -> None:
    case = smoke.GoldenCase(image="a.png", class_="ok", probabilities=(0.504, 0.496))
    golden = smoke.Golden(schema_=1, tolerance=0.01, cases=(case,))
    line = ImageLine(
        image="/x/a.png",
        class_="defective",
        probabilities=(0.499, 0.501),
        decision=Decision(label="defective", index=1, threshold=threshold) if threshold else None,
    )
    assert smoke.judge_image(case, line, golden).verdict is verdict


def test_an_image_that_the_board_cannot_use_is_told_in_its_words() -> None:
    answer = copy.deepcopy(documents()["run"])
    problem = {"code": "image_corrupt", "message": "b.png: CRC"}
    answer["results"][1] = {"image": "/x/b.png", "error": problem}
    images, check = smoke.judge_images(result("run", answer, code=3), GOLDEN)
    assert images[1].found is None
    assert check.facts == ("b.png: image_corrupt: b.png: CRC",)


def test_an_image_without_a_result_fails() -> None:
    answer = copy.deepcopy(documents()["run"])
    del answer["results"][1]
    _, check = smoke.judge_images(result("run", answer), GOLDEN)
    assert check.verdict is Verdict.FAILED
    assert check.facts == (
        "b.png: expected defective, found nothing, probabilities differ by unknown",
    )


def test_probabilities_that_are_no_numbers_fail() -> None:
    answer = copy.deepcopy(documents()["run"])
    answer["results"][0]["probabilities"] = [float("nan"), 0.1]
    _, check = smoke.judge_images(result("run", answer), GOLDEN)
    assert check.verdict is Verdict.FAILED


def test_selftest_names_the_cases_that_failed() -> None:
    answer = copy.deepcopy(documents()["selftest"]) | {"passed": False}
    answer["cases"][1] |= {"passed": False, "max_abs_diff": 0.25}
    check = smoke.judge_selftest(result("selftest", answer, code=6), GOLDEN)
    assert (check.verdict, check.expected, check.found) == (
        Verdict.FAILED,
        "2 cases within 0.01",
        "1 cases",
    )
    assert check.facts == ("b.png: differs by 0.2500",)


def test_selftest_that_skips_a_case_fails() -> None:
    answer = copy.deepcopy(documents()["selftest"])
    del answer["cases"][1]
    assert smoke.judge_selftest(result("selftest", answer), GOLDEN).verdict is Verdict.FAILED


def test_error_document_is_quoted_instead_of_standard_error() -> None:
    problem = {"code": "model_truncated", "message": "model.ort: truncated", "next": "x"}
    document = {"version": 1, "command": "bench", "error": problem}
    check = smoke.parse(BenchAnswer, result("bench", document, code=4, stderr="noise"))
    assert not isinstance(check, BenchAnswer)
    assert (check.found, check.facts) == (
        "exit code 4",
        ("model_truncated: model.ort: truncated",),
    )


@pytest.mark.parametrize("text", ["", "no json", '{"version": 2}', "[]"])
def test_what_is_no_document_is_told(text: str) -> None:
    check = smoke.parse(BenchAnswer, result("bench", text, stderr="last words"))
    assert not isinstance(check, BenchAnswer)
    assert check.found == "no valid document"
    assert check.facts[-1] == "| last words"


@pytest.mark.parametrize(
    ("rss_kb", "shared", "verdict"),
    [
        (64 * 1024, False, Verdict.PASSED),
        (64 * 1024 + 1, False, Verdict.FAILED),
        (64 * 1024, True, Verdict.PASSED),
        (64 * 1024 + 1, True, Verdict.NOT_JUDGED),
    ],
)
def test_memory_budget(release: Release, rss_kb: int, shared: bool, verdict: Verdict) -> None:
    answer = BENCH | {"peak_rss_kb": rss_kb}
    target = Target(address="board.test", emulated=True, shares_memory=shared)
    _, checks = smoke.judge_budgets(result("bench", answer), release.manifest, target)
    assert checks[0].verdict is verdict
    assert checks[0].facts == (("the emulator's own included",) if shared else ())


def test_latency_budget(release: Release) -> None:
    latency = {"min": 1, "median": 100.5, "p95": 120, "p99": 130, "max": 140}
    answer = BENCH | {"latency_ms": latency}
    _, checks = smoke.judge_budgets(
        result("bench", answer), release.manifest, Target(address="board.test")
    )
    assert checks[1].verdict is Verdict.FAILED
    assert (checks[1].expected, checks[1].found) == (
        "median at most 100 ms",
        "median 100.5 ms, p95 120.0 ms",
    )


def test_a_bench_that_a_signal_ended_early_judges_nothing(release: Release) -> None:
    answer = BENCH | {"runs": 1, "ended_early": True}
    bench, checks = smoke.judge_budgets(
        result("bench", answer), release.manifest, Target(address="board.test")
    )
    assert bench is None
    assert [(check.verdict, check.found) for check in checks] == [
        (Verdict.FAILED, "ended by a signal after 1 runs")
    ]


def test_release_without_a_golden_set(tmp_path: Path) -> None:
    release = make_release(tmp_path, root="/nowhere")
    (release.folder / "model" / "golden" / "expected.json").write_text("{}")
    with pytest.raises(TargetError) as refused:
        smoke.run(on_board(LocalBoard(), release), release.manifest)
    assert "model/golden/expected.json: not a golden set\n  schema: missing" in str(refused.value)


PART = {"name": "a part", "passed": True}


@pytest.mark.parametrize(
    ("code", "document", "facts"),
    [
        (0, {"passed": True, "cases": [PART]}, None),
        (6, {"passed": True, "cases": [PART]}, ["ended with exit code 6"]),
        (0, {"passed": False, "cases": [PART]}, ["passed: false, and no case says why"]),
        (0, {"passed": True, "cases": []}, []),
        (
            1,
            {"passed": False, "cases": [PART | {"passed": False, "problem": "blurred"}]},
            ["ended with exit code 1", "a part: blurred"],
        ),
    ],
)
def test_a_self_test_of_a_users_program_passes_by_exit_code_and_document(
    code: int, document: dict[str, Any], facts: list[str] | None
) -> None:
    answer = {"version": 1, "command": "selftest", **document}
    check = smoke.judge_own_selftest(
        result("selftest", answer, code), ReleasedProgram(name="probe", selftest=("selftest",))
    )
    assert check.name == "selftest of probe"
    assert check.verdict is (Verdict.PASSED if facts is None else Verdict.FAILED)
    assert list(check.facts) == (facts or [])


def test_a_self_test_that_crashes_without_a_document_says_how_it_ended() -> None:
    check = smoke.judge_own_selftest(
        result("selftest", "", 139), ReleasedProgram(name="probe", selftest=("selftest",))
    )
    assert check.verdict is Verdict.FAILED
    assert check.facts[0] == "ended with exit code 139, signal 11"
