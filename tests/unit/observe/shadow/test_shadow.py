"""What a candidate writes, which is not trusted, and what is said of it."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import CheckError, TargetError, UserError
from edgewright.deploy.remote import Result
from edgewright.observe.shadow.report import ShadowReport, require_agreement
from edgewright.observe.shadow.run import Turn, read_turn, require_candidate
from edgewright.release.manifest import Release
from edgewright.release.programs import ReleasedProgram
from tests.boards import make_release

ERROR = {"code": "model_damaged", "message": "model.ort: is damaged"}


def line(**fields: Any) -> str:
    return json.dumps({"version": 1, "command": "shadow", **fields})


def turn(*lines: str, code: int = 0) -> Turn:
    text = "".join(f"{each}\n" for each in lines)
    return read_turn(Result(argv=(), returncode=code, stdout=text, stderr=""), "board")


def pair(fate: str, current: Any, candidate: Any, frame: int = 1) -> str:
    return line(fate=fate, frame=frame, current=current, candidate=candidate)


SUMS = line(connections=2, offered=90, agreed=40, disagreed=3, failed=1, peak_rss_kb=30_000)


def test_answers_of_each_task_are_shown_in_words() -> None:
    classes = {"class": "bad", "index": 1, "probabilities": [0.25, 0.75]}
    boxes = {"detections": [{"class": "car", "score": 0.9, "box": [1, 2, 3, 4]}] * 5}
    areas = {"segments": [{"class": "road", "area": 0.5}]}
    ended = turn(
        pair("disagreed", classes, {"class": "anomalous", "score": 0.61}),
        pair("disagreed", boxes, {"detections": []}),
        pair("agreed", areas, areas),
        line(fate="failed", frame=9, current=classes, error=ERROR),
        line(fate="disagreed", frame=9, problems=["class: is no label"], candidate=classes),
        SUMS,
    )

    assert [(each.current, each.candidate) for each in ended.pairs] == [
        ("bad 0.750", "anomalous 0.610"),
        ("car 0.900, car 0.900, car 0.900 and 2 more", "nothing"),
        ("road 0.500", "road 0.500"),
        ("bad 0.750", "model.ort: is damaged"),
        ("class: is no label", "bad 0.750"),
    ]
    assert (ended.fault, ended.reason, ended.sums.offered) == (None, None, 90)


@pytest.mark.parametrize(
    ("lines", "code", "fault"),
    [
        ((), 139, "the candidate ended by signal 11"),
        ((), 0, "the candidate ended with exit code 0"),
        ((line(error=ERROR),), 4, "the candidate ended with exit code 4: model.ort: is damaged"),
    ],
)
def test_a_candidate_that_ends_before_its_sums_is_at_fault(
    lines: tuple[str, ...], code: int, fault: str
) -> None:
    ended = turn(pair("agreed", {"class": "ok"}, {"class": "ok"}, frame=7), *lines, code=code)

    assert ended.fault == fault
    assert (ended.sums.agreed, ended.sums.offered) == (1, 7)


def test_a_network_without_images_is_not_compared_and_not_at_fault() -> None:
    error = {"code": "card_invalid", "message": "is of a network that takes tensors"}
    ended = turn(line(error=error), code=5)

    assert (ended.fault, ended.reason) == (None, "is of a network that takes tensors")


def test_a_release_of_programs_of_the_user_alone_is_refused(tmp_path: Path) -> None:
    release = stand_in(tmp_path, protocol=3)
    programs = (ReleasedProgram(name="count", selftest=("selftest",)),)
    manifest = release.manifest.model_copy(update={"programs": programs})

    with pytest.raises(UserError, match=r"has no edge-infer.*\n.*invoke deploy"):
        require_candidate(replace(release, manifest=manifest))


def test_a_release_of_an_older_edgewright_is_refused_and_not_tried(tmp_path: Path) -> None:
    """Its helper takes no limit of memory, and its edge-infer would end with a usage text."""
    with pytest.raises(
        UserError, match=r"protocol 3 or newer\n  found: protocol 2\n.*invoke build"
    ):
        require_candidate(stand_in(tmp_path, protocol=2))


def test_a_release_of_this_edgewright_may_be_a_candidate(tmp_path: Path) -> None:
    require_candidate(stand_in(tmp_path, protocol=3))


def stand_in(folder: Path, *, protocol: int) -> Release:
    helper = folder / "edgectl"
    helper.write_text(f"usage\nedgectl protocol {protocol}\n")
    return make_release(folder / "built", root="/opt/edgewright", edgectl=helper)


@given(st.text(), st.integers(0, 255))
def test_any_text_is_read_or_refused(text: str, code: int) -> None:
    with contextlib.suppress(TargetError):
        ended = turn(text, code=code)
        assert ended.fault or ended.reason


def report(**fields: Any) -> ShadowReport:
    values = {"agreed": 95, "disagreed": 5, "failed": 0, "fault": None, "reason": None, **fields}
    return ShadowReport(
        board="line", target="root@board.test", emulated=False, release="new", current="old",
        seconds=60, offered=900, peak_rss_kb=None, pairs=(), **values,
    )  # fmt: skip


def test_who_agrees_often_enough_passes() -> None:
    require_agreement(report(), 0.05)


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"disagreed": 6}, CheckError, "answers 5.9% of the frames otherwise"),
        ({"agreed": 30, "disagreed": 0, "failed": 2}, CheckError, "answers 6.2%"),
        ({"fault": "the candidate ended by signal 11"}, CheckError, "ended by signal 11"),
        ({"agreed": 29, "disagreed": 0}, TargetError, "29 frames were compared"),
        (
            {"agreed": 0, "disagreed": 0, "reason": "no service runs on the board"},
            TargetError,
            "no service runs on the board\n  expected: at least 30 frames",
        ),
    ],
)
def test_who_does_not_is_told_why(
    fields: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as refusal:
        require_agreement(report(**fields), 0.05)
    assert words in str(refusal.value)
    assert "next: " in str(refusal.value)
