"""Samples are read whole, or up to where they were cut, or refused in words."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.observe.profile.samples import parse_samples
from tests.unit.observe.profile.sample_files import HEAD, STACK, TEXT, thread


def test_all_that_samples_say_is_read() -> None:
    samples = parse_samples(TEXT, "samples")

    assert (samples.machine, samples.build_id[:4], samples.interval_us) == ("arm", "2612", 10000)
    assert [each.id for each in samples.threads] == [812, 815, 812]
    assert samples.threads[0].stack == bytes(64)
    assert (samples.dropped, len(samples.mappings)) == (4, 1)


@pytest.mark.parametrize("cut", [5, 60, len(thread(812)) - 1])
def test_of_samples_that_were_cut_the_last_one_is_left_out(cut: int) -> None:
    samples = parse_samples(HEAD + thread(812) + thread(812) + thread(815)[:cut], "samples")

    assert {each.id for each in samples.threads} == {812}
    assert samples.dropped is None


@pytest.mark.parametrize(
    ("changed", "to", "problem"),
    [
        ("profile 1", "profile 2", "line 1: expected edgewright profile 1"),
        ("machine arm", "machine aarch64", "line 9: expected registers"),
        ("interval 10000", "interval 0", "line 5: expected interval"),
        (STACK, STACK + "00", "line 11: expected end"),
        ("end 4\n", "end 4\nend 4\n", "line 21: expected the end of the file"),
        ("thread 815", "\x1b]52;", "line 12: expected end"),
    ],
)
def test_any_defect_is_told_with_its_line(changed: str, to: str, problem: str) -> None:
    assert changed in TEXT
    with pytest.raises(TargetError, match="is no file of samples") as refused:
        parse_samples(TEXT.replace(changed, to, 1), "samples")
    assert problem in refused.value.problem


@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=40))
def test_any_text_is_samples_or_refused(at: int, size: int, text: str) -> None:
    with contextlib.suppress(TargetError):
        samples = parse_samples(TEXT[:at] + text + TEXT[at + size :], "samples")
        assert len(samples.threads) <= 4
