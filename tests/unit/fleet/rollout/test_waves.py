import hypothesis.strategies as st
import pytest
from hypothesis import given

from edgewright.base.errors import UserError
from edgewright.fleet.rollout import waves


def test_waves_are_what_runs_the_release_after_them() -> None:
    assert waves.ends("10,5%,25%,100%", 1000) == (10, 50, 250, 1000)
    assert waves.ends("1, 50%, 5", 5) == (1, 3, 5)
    assert waves.ends("100%", 1) == (1,)


@pytest.mark.parametrize(
    ("text", "boards", "words"),
    [
        ("10,5%,100%", 100, "a wave adds no board to the one before it"),
        ("10,100%", 8, "a wave adds no board"),
        ("1,50%", 8, "the last wave does not come to all boards"),
        ("5%,25%,101%", 100, "the last wave does not come to all boards"),
        ("1,,100%", 8, "expected numbers of boards"),
        ("0,100%", 8, "expected numbers of boards"),
        ("half", 8, "expected numbers of boards"),
        ("", 8, "expected numbers of boards"),
    ],
)
def test_a_plan_that_sums_wrong_is_refused(text: str, boards: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        waves.ends(text, boards)

    assert refused.value.next is not None


def test_the_refusal_counts_boards() -> None:
    with pytest.raises(UserError) as refused:
        waves.ends("10,5%,100%", 100)

    assert str(refused.value).splitlines()[1:3] == [
        "  wave 1: 10 of 100 boards are 10",
        "  wave 2: 5% of 100 boards are 5",
    ]


SITES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=6),
    st.sampled_from(["lyon", "metz", "brest"]),
    min_size=2,
)


@given(sites=SITES, salt=st.text(max_size=4), data=st.data())
def test_each_wave_has_its_share_of_each_site(
    sites: dict[str, str], salt: str, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, len(sites) - 1))
    members = waves.assign(sites, (first, len(sites)), salt)

    assert members.keys() == sites.keys()
    assert sum(wave == 1 for wave in members.values()) == first
    for site in set(sites.values()):
        here = [board for board in sites if sites[board] == site]
        share = len(here) * first / len(sites)
        assert abs(sum(members[board] == 1 for board in here) - share) < 2


def test_membership_depends_on_salt_and_names_alone() -> None:
    sites = {f"oven-{number}": f"hall-{number % 3}" for number in range(60)}
    shuffled = dict(sorted(sites.items(), reverse=True))

    assert waves.assign(sites, (6, 60), "a") == waves.assign(shuffled, (6, 60), "a")
    assert waves.assign(sites, (6, 60), "a") != waves.assign(sites, (6, 60), "b")


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("10m", 600), ("2h", 7200), ("0s", 0)])
def test_durations(text: str, expected: float) -> None:
    assert waves.seconds(text, "--soak") == expected


@pytest.mark.parametrize("text", ["", "10", "m", "1.5h", "-1m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a duration"):
        waves.seconds(text, "--soak")
