from itertools import product

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edgewright.base.errors import UserError
from edgewright.fleet.rollout import gates
from edgewright.fleet.rollout.gates import Measured, Numbers, Reading, Shadowed, Word


def reading(
    name: str,
    *,
    p95: tuple[float, float] | None = None,
    memory: tuple[int, int] | None = None,
    right: tuple[float, float] | None = None,
    leak: tuple[float | None, float | None] = (None, None),
    instructions: tuple[int, int] | None = None,
    failure: str | None = None,
    restarts: int | None = None,
) -> Reading:
    numbers = [
        Numbers(
            p95_ms=p95[side] if p95 else None,
            peak_rss_kb=memory[side] if memory else None,
            right=right[side] if right else None,
            leak_kb=leak[side],
            instructions=instructions[side] if instructions else None,
        )
        for side in (0, 1)
    ]
    return Reading(
        board=name,
        failure=failure,
        measured=Measured(before=numbers[0], after=numbers[1], restarted=restarts),
    )


def verdict(gate: str, readings: list[Reading]) -> gates.Verdict:
    (judgement,) = gates.judge(gates.parse(gate), readings)
    return judgement


# Recorded series: 95th percentiles of eight boards, ms, former release and candidate.
FORMER = (41.2, 39.8, 44.0, 40.5, 47.9, 40.1, 42.2, 39.9)
SAME = (41.9, 39.1, 44.4, 40.2, 48.3, 40.9, 41.7, 40.0)
SLOWER = (49.1, 47.7, 51.0, 48.9, 58.8, 48.2, 50.3, 47.1)


def p95(after: tuple[float, ...]) -> list[Reading]:
    pairs = zip(FORMER, after, strict=False)
    return [reading(f"oven-{n}", p95=pair) for n, pair in enumerate(pairs)]


def test_boards_that_are_as_quick_as_before_pass() -> None:
    assert verdict("p95<=10%", p95(SAME)).word is Word.YES


def test_boards_that_are_all_slower_than_the_limit_fail_and_are_named() -> None:
    no = verdict("p95<=10%", p95(SLOWER))

    assert (no.word, no.pairs, no.p) == (Word.NO, 8, 0.003906)
    assert len(no.boards) == 8
    assert no.boards[0] == "oven-4"
    assert no.found == "median +19.5 %, at most +22.8 %, 8 of 8 boards beyond the limit"


def test_boards_of_different_speeds_are_compared_with_themselves() -> None:
    """The second half of the boards is ten times as slow, before and after."""
    former, after = (*FORMER, *(10 * p for p in FORMER)), (*SAME, *(10 * p for p in SAME))
    readings = [reading(f"b-{n}", p95=pair) for n, pair in enumerate(zip(former, after))]  # noqa: B905

    assert verdict("p95<=3%", readings).word is Word.YES


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_few_boards_are_no_verdict(count: int) -> None:
    none = verdict("p95<=10%", p95(SLOWER[:count]))

    assert none.word is Word.NONE
    assert none.found == f"{count} boards compared, expected at least 5"


def test_one_stray_board_among_few_is_no_verdict_and_named() -> None:
    none = verdict("p95<=10%", p95((*SAME[:7], 80.0)))

    assert (none.word, none.boards) == (Word.NONE, ("oven-7",))


def test_what_is_at_the_limit_is_within_it() -> None:
    """0.95 less 0.94 is more than 0.01 to a processor, and 0.29 times 100 less than 29."""
    readings = [reading(f"b-{n}", right=(0.95, 0.94)) for n in range(8)]

    assert verdict("accuracy<=1%", readings).word is Word.YES
    (gate,) = gates.parse("failures<=29%")
    assert gates.may_fail(gate, 100) == 29


def test_more_memory_on_all_boards_fails() -> None:
    readings = [reading(f"b-{n}", memory=(30_000 + n, 45_000 + 7 * n)) for n in range(6)]

    assert verdict("memory<=10%", readings).word is Word.NO


# KiB that an inference left on the heap of five emulated boards: what threads happen to hold.
RESTLESS = (0.297, -0.152, 0.0, 0.031, -0.203)


def leaks(before: tuple[float | None, ...], more: float) -> list[Reading]:
    pairs = [(former, size + more) for former, size in zip(before, RESTLESS, strict=True)]
    return [reading(f"b-{n}", leak=pair) for n, pair in enumerate(pairs)]


@pytest.mark.parametrize("before", [RESTLESS, (4.0,) * 5, (None,) * 5])
@pytest.mark.parametrize("more", [0.0, 4.0])
def test_a_leak_is_what_the_former_release_had_not(
    before: tuple[float | None, ...], more: float
) -> None:
    """A former release that does not tell is taken for steady."""
    judgement = verdict("leak<=1", leaks(before, more))

    is_new = more == 4.0 and before != (4.0,) * 5
    assert judgement.word is (Word.NO if is_new else Word.YES)
    assert judgement.pairs == 5
    if before == RESTLESS and is_new:
        assert judgement.found.startswith("median +4.0 KiB, at most +4.0 KiB, 5 of 5")


def test_a_release_that_does_not_tell_its_heap_is_no_verdict() -> None:
    readings = [reading(f"b-{n}", leak=(0.0, None)) for n in range(5)]

    assert verdict("leak<=1", readings).word is Word.NONE


@pytest.mark.parametrize(("after", "word"), [(687, Word.YES), (721, Word.YES), (1122, Word.NO)])
def test_instructions_are_compared_as_counts_and_labelled_so(after: int, word: Word) -> None:
    readings = [reading(f"b-{n}", instructions=(687, after)) for n in range(5)]

    judgement = verdict("instructions<=5%", readings)

    assert judgement.word is word
    assert "counted in an emulator, not timed" in judgement.test
    assert gates.counts_instructions(gates.parse("failures<=0,instructions<=5%"))
    assert not gates.counts_instructions(gates.parse(gates.DEFAULT))


def test_counts_of_four_boards_are_no_verdict() -> None:
    readings = [reading(f"b-{n}", instructions=(687, 1122)) for n in range(4)]

    assert verdict("instructions<=5%", readings).word is Word.NONE


@pytest.mark.parametrize(("after", "word"), [(1.0, Word.YES), (0.9, Word.NO)])
def test_answers_that_are_lost(after: float, word: Word) -> None:
    readings = [reading(f"b-{n}", right=(1.0, after)) for n in range(5)]

    assert verdict("accuracy<=0%", readings).word is word


@pytest.mark.parametrize(
    ("hotter", "word", "reason"),
    [
        (12.5, Word.NO, "median +14.5 °C, at most +16.5 °C, 5 of 5 boards beyond the limit"),
        (2.0, Word.YES, "median +4.0 °C, at most +6.0 °C, 0 of 5 boards beyond the limit"),
    ],
)
def test_boards_that_become_hotter(hotter: float, word: Word, reason: str) -> None:
    """Each against itself: one of these boards stands in the sun."""
    readings = [
        Reading(
            board=f"b-{n}",
            failure=None,
            measured=Measured(
                before=Numbers(celsius=before), after=Numbers(celsius=before + hotter + n)
            ),
        )
        for n, before in enumerate((41.0, 43.5, 40.0, 39.5, 68.0))
    ]

    judgement = verdict("temperature<=10", readings)

    assert (judgement.word, judgement.found) == (word, reason)
    (gate,) = gates.parse("temperature<=10")
    assert gates.change_of(gate, readings[0].measured) == hotter


def test_boards_without_a_sensor_are_no_verdict() -> None:
    none = verdict("temperature<=10", p95(SLOWER))

    assert (none.word, none.pairs) == (Word.NONE, 0)


def test_a_temperature_is_no_share() -> None:
    with pytest.raises(UserError, match=r"'temperature<=10%' is no gate"):
        gates.parse("temperature<=10%")


@pytest.mark.parametrize(
    ("gate", "word"),
    [
        ("failures<=0", Word.NO),
        ("failures<=2", Word.YES),
        ("failures<=20%", Word.NO),
        ("failures<=25%", Word.YES),
    ],
)
def test_failures_are_counted(gate: str, word: Word) -> None:
    readings = [reading(f"b-{n}", failure="off" if n < 2 else None) for n in range(8)]

    assert verdict(gate, readings).word is word
    assert verdict(gate, readings).boards == ("b-0", "b-1")


def test_restarts_are_each_board_s() -> None:
    readings = [reading("a", restarts=0), reading("b", restarts=3)]

    assert verdict("restarts<=0", readings).boards == ("b",)
    assert verdict("restarts<=3", readings).word is Word.YES
    assert verdict("restarts<=0", [reading("a")]).word is Word.NONE
    (gate,) = gates.parse("restarts<=0")
    assert [gates.change_of(gate, each.measured) for each in readings] == [0, 3]
    assert gates.shown_change(gate, 3) == "+3.0 restarts"


@given(st.lists(st.integers(-6, 6), max_size=8))
def test_the_signed_rank_test_is_exact(differences: list[int]) -> None:
    """Against all signs, one by one."""
    values = [value for value in differences if value]
    sizes = sorted(map(abs, values))

    def rank(size: int) -> float:
        places = [place for place, other in enumerate(sizes, 1) if other == size]
        return sum(places) / len(places)

    statistic = sum(rank(abs(value)) for value in values if value > 0)
    sums = [
        sum(rank(abs(value)) for value, sign in zip(values, signs, strict=True) if sign)
        for signs in product((False, True), repeat=len(values))
    ]
    expected = sum(total >= statistic for total in sums) / len(sums)
    assert gates.signed_rank(differences) == pytest.approx(expected)


def test_the_normal_distribution_takes_over_smoothly() -> None:
    differences = [(-1) ** n * (n + 3.5) for n in range(gates.EXACT)] + [0.25]
    exact = gates.signed_rank(differences[:-1])

    assert gates.signed_rank(differences) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(
    "text", ["", "p95", "p95<=10", "restarts<=5%", "speed<=1%", "p95<=1%,p95<=2%", "p95<=-1%"]
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--gate"):
        gates.parse(text)


def beside(*shares: tuple[int, int], faults: int = 0) -> list[Reading]:
    """Boards by frames that were answered alike and otherwise; the first have a candidate that
    ended."""
    return [
        Reading(
            board=f"oven-{n}",
            failure=None,
            measured=Measured(
                shadow=Shadowed(
                    agreed=agreed,
                    differing=differing,
                    fault="the candidate ended by signal 11" if n < faults else None,
                )
            ),
        )
        for n, (agreed, differing) in enumerate(shares)
    ]


def test_candidates_that_answer_alike_pass_and_those_that_do_not_are_stopped() -> None:
    alike, otherwise = [(99, 1)] * 6, [(80, 20)] * 6

    assert verdict("shadow<=5%", beside(*alike)).word is Word.YES
    no = verdict("shadow<=5%", beside(*otherwise))
    assert (no.word, no.pairs, no.found) == (
        Word.NO,
        6,
        "median +20.0 %, at most +20.0 %, 6 of 6 boards beyond the limit",
    )
    assert "same live frames" in no.test


def test_few_boards_and_few_frames_are_no_verdict_on_a_candidate() -> None:
    """Frames of one board are alike: many of them are no more proof."""
    assert verdict("shadow<=5%", beside(*[(0, 10_000)] * 4)).word is Word.NONE
    few = verdict("shadow<=5%", beside(*[(0, 29)] * 9))
    assert (few.word, few.pairs) == (Word.NONE, 0)
    assert verdict("shadow<=5%", [reading(f"oven-{n}") for n in range(9)]).word is Word.NONE


def test_a_candidate_that_ends_says_no_unless_on_stray_boards() -> None:
    no = verdict("shadow<=5%", beside(*[(99, 1)] * 6, faults=1))
    assert (no.word, no.boards) == (Word.NO, ("oven-0",))
    assert no.found == "on 1 of 6 boards the candidate ended by signal 11"
    assert verdict("shadow<=5%", beside(*[(99, 1)] * 40, faults=2)).word is Word.YES


def test_a_shadow_has_its_gate_and_a_gate_its_shadow() -> None:
    assert gates.with_shadow("failures<=0", begins=True) == "failures<=0,shadow<=5%"
    assert gates.with_shadow("shadow<=1%", begins=True) == "shadow<=1%"
    assert gates.with_shadow("failures<=0", begins=False) == "failures<=0"
    with pytest.raises(UserError, match="no wave begins with a shadow"):
        gates.with_shadow("shadow<=1%", begins=False)
    both = gates.parse("failures<=0,p95<=10%,shadow<=1%")
    assert [gate.name for gate in gates.before_switch(both)] == ["failures", "shadow"]
    assert [gate.name for gate in gates.after_switch(both)] == ["failures", "p95"]


def test_few_boards_of_a_later_wave_are_compared_together_with_those_before_it() -> None:
    gate = gates.parse("p95<=10%")

    (alone,) = gates.judge(gate, p95(SAME[:3]))
    (together,) = gates.judge(gate, p95(SAME[:3]), p95(SAME)[3:])
    (slower,) = gates.judge(gate, p95(SLOWER[:3]), p95(SAME)[3:])
    (enough,) = gates.judge(gate, p95(SAME[:5]), p95(SLOWER)[5:])

    assert (alone.word, together.word) == (Word.NONE, Word.YES)
    assert (together.pairs, slower.pairs, enough.pairs) == (8, 8, 5)
    assert (slower.word, slower.boards) == (Word.NONE, ("oven-1", "oven-0", "oven-2"))


def test_a_wave_in_which_nothing_was_measured_is_not_judged_by_those_before_it() -> None:
    (none,) = gates.judge(gates.parse("p95<=10%"), [reading("oven-9")], p95(SAME))

    assert (none.word, none.pairs) == (Word.NONE, 0)
