"""fleet.toml: what it means, and every defect of one at once."""

import base64
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.deploy.known_hosts import fingerprint
from edgewright.fleet import inventory
from edgewright.fleet.inventory import DAYS, Day, Inventory, Window

KINDS = {"a53-som", "rpi2"}


def host_key(number: int) -> str:
    head = (11).to_bytes(4, "big") + b"ssh-ed25519" + (32).to_bytes(4, "big")
    return f"ssh-ed25519 {base64.b64encode(head + number.to_bytes(32, 'big')).decode()}"


SOUND = f"""version = 1

[[sites]]
name = "lyon"
gateway = "gw-lyon"
window = {{ days = ["sat", "sun"], from = "22:00", to = "05:00", timezone = "Europe/Paris" }}

[[sites]]
name = "turin"

[[gateways]]
name = "gw-lyon"
address = "ops@198.51.100.7:2222"
host_key = "{host_key(1)}"

[[boards]]
name = "lyon-1"
site = "lyon"
kind = "a53-som"
address = "root@192.0.2.7"
host_key = "{host_key(2)}"
labels = {{ line = 3, canary = true }}

[[boards]]
name = "lyon-2"
site = "lyon"
kind = "rpi2"
address = "root@203.0.113.9"
jump = "none"
sudo = true
emulated = true

[[boards]]
name = "turin-1"
site = "turin"
kind = "a53-som"
address = "root@192.0.2.7"
jump = "lyon-2"
[boards.labels]
canary = false
[boards.window]
from = "01:00"
to = "02:00"

[groups]
first = "canary"
ovens = "kind=a53-som and site in (lyon, turin)"
"""


def read(text: str) -> Inventory:
    return inventory.parse(text.encode(), Path("fleet.toml"), KINDS)


def defects(text: str) -> list[str]:
    with pytest.raises(UserError) as refused:
        read(text)
    return [fact.removeprefix("fleet.toml:") for fact in refused.value.facts]


def test_the_way_to_each_board() -> None:
    fleet = read(SOUND)
    lyon_1, lyon_2, turin_1 = map(fleet.target, fleet.fleet.boards)

    assert str(lyon_1) == "root@192.0.2.7"
    assert lyon_1.host_key is not None
    assert lyon_1.host_key.source == "fleet.toml:21"
    assert str(lyon_1.jump) == "ops@198.51.100.7:2222"
    assert lyon_1.jump is not None
    assert lyon_1.jump.host_key is not None
    assert (lyon_2.jump, lyon_2.sudo) == (None, True)
    assert (lyon_2.emulated, lyon_2.shares_memory) == (True, True)
    assert (lyon_1.emulated, lyon_1.shares_memory) == (False, False)
    assert turin_1.jump == lyon_2


@pytest.mark.parametrize(
    ("expression", "group", "names"),
    [
        ("", "", ["lyon-1", "lyon-2", "turin-1"]),
        ("site=lyon", "", ["lyon-1", "lyon-2"]),
        ("", "first", ["lyon-1"]),
        ("site=turin", "ovens", ["turin-1"]),
        ("line=3", "", ["lyon-1"]),
    ],
)
def test_boards_are_selected(expression: str, group: str, names: list[str]) -> None:
    assert [board.name for board in read(SOUND).select(expression, group)] == names


def test_a_selection_of_no_board_is_a_mistake() -> None:
    with pytest.raises(UserError, match="no board is selected") as refused:
        read(SOUND).select("site=turin", "first")
    assert refused.value.facts == ("group 'first': canary", "--select: site=turin")


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no group of fleet\.toml; did you mean 'ovens'"):
        read(SOUND).select(group="oven")


@pytest.mark.parametrize(
    ("old", "new", "defect"),
    [
        ('site = "turin"', 'site = "turn"', "board 'turin-1': site 'turn' is unknown; did you"),
        ('kind = "rpi2"', 'kind = "rpi-2"', "board 'lyon-2': kind 'rpi-2' is unknown; did you"),
        ('gateway = "gw-lyon"', 'gateway = "gw"', "site 'lyon': gateway 'gw' is unknown"),
        ('jump = "lyon-2"', 'jump = "lyon-7"', "board 'turin-1': jump 'lyon-7' is unknown"),
        (
            'jump = "none"',
            'jump = "turin-1"',
            "board 'lyon-2': its jump hosts go in a circle: lyon-2 -> turin-1 -> lyon-2",
        ),
        (
            'host_key = "' + host_key(2),
            'host_key = "' + host_key(1),
            "board 'lyon-1': host_key: is that of 'gw-lyon', so it identifies neither",
        ),
        ("root@203.0.113.9", "root@@", "board 'lyon-2': address 'root@@' is no user@addr[:port]"),
        (host_key(2), "ssh-ed25519 AAAA", "board 'lyon-1': host_key: the key is not of kind"),
        (host_key(2), "SHA256:short", "board 'lyon-1': host_key: expected 'ssh-ed25519 AAAA…'"),
        (
            host_key(2),
            "ssh-ed25519 AAAA…",
            "board 'lyon-1': host_key: expected 'ssh-ed25519 AAAA…'",
        ),
        ("Europe/Paris", "Europe/Lyon", "site 'lyon': window.timezone: no time zone 'Europe/Lyon'"),
        ('"sat"', '"sax"', "site 'lyon': window.days.0: expected 'mon'"),
        ("canary = true", "all = true", "board 'lyon-1': label 'all' means something else"),
        ("canary = true", "site = 4", "board 'lyon-1': label 'site' means something else"),
        ("sudo = true", "sudos = true", "board 'lyon-2': sudos: unknown key; did you mean 'sudo'?"),
        ('name = "lyon-2"', 'name = "Lyon 2"', "board 'Lyon 2': name: expected a match"),
        ('first = "canary"', 'first = "canari"', "group 'first': column 1: no board has the"),
        ("version = 1", "version = 2", "version: expected 1, found 2"),
        ("[groups]", "[grups]", "grups: unknown key; did you mean 'groups'?"),
    ],
)
def test_a_defect_is_named_with_its_line(old: str, new: str, defect: str) -> None:
    assert SOUND.count(old) == 1
    text = SOUND.replace(old, new)

    problems = defects(text)

    number = max(n for n, line in enumerate(text.splitlines(), 1) if new in line)
    assert [line for line in problems if line.startswith(f"{number}: {defect}")] != [], problems


def test_what_two_entries_may_not_share_is_told_of_the_later_one() -> None:
    text = (
        SOUND.replace('name = "turin-1"', 'name = "gw-lyon"')
        .replace('address = "root@203.0.113.9"\njump = "none"', 'address = "admin@192.0.2.7:22"')
        .replace('to = "02:00"', 'to = "01:00"')
    )

    assert [line.split(": ", 1)[1] for line in defects(text)] == [
        "board 'lyon-2': has the address of 'lyon-1': admin@192.0.2.7:22",
        "board 'gw-lyon': window: begins and ends at 01:00; leave it out, and it is always open",
    ]
    text = text.replace('to = "01:00"', 'to = "02:00"')
    assert "board 'gw-lyon': has the name of another gateway" in "".join(defects(text))


def test_every_defect_is_named_at_once() -> None:
    text = SOUND.replace('kind = "a53-som"', 'kind = "a53"').replace("version = 1", "version = 9")

    problems = [line.split(": ", 1)[1].splitlines()[0] for line in defects(text + 'bad = "("\n')]

    assert [line.split("; ")[0] for line in problems] == [
        "version: expected 1, found 9",
        "board 'lyon-1': kind 'a53' is unknown",
        "board 'turin-1': kind 'a53' is unknown",
        "group 'ovens': column 6: no board has kind=a53-som",
        "group 'bad': column 2: expected a label, 'not', 'all' or '(', found the end",
    ]


def test_a_fleet_that_is_no_toml() -> None:
    with pytest.raises(UserError, match=r"fleet\.toml: not TOML") as refused:
        read("version = 1\n[[boards]]\nname = \n")
    assert "line 3" in refused.value.facts[0]


def test_lists_that_are_written_otherwise_have_no_lines() -> None:
    text = 'version = 1\nsites = [{ name = "a", gateway = "b" }]\n'

    assert defects(text) == [" site 'a': gateway 'b' is unknown"]


@limits(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("[]=\",. \n#'{}abn1boardsites"), max_size=120))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(UserError):
        read("version = 1\n" + text)


TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "site", "labels", "window", "host_key"]), inner)
    ),
    max_leaves=8,
)


@limits(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["sites", "gateways", "boards", "groups", "x"]), TOML))
def test_any_table_is_read_or_refused_in_words(table: dict[str, object]) -> None:
    checker = inventory._Checker(lines=inventory.Lines("", table), kinds=KINDS)

    checker.fleet(dict(table) | {"version": 1})

    assert all(words for _, words in checker.defects)


def test_ten_thousand_boards_are_read_in_seconds() -> None:
    boards = "".join(
        f'[[boards]]\nname = "b{n}"\nsite = "hall"\nkind = "rpi2"\n'
        f'address = "root@10.0.{n // 250}.{n % 250}"\n'
        for n in range(10_000)
    )
    text = f'version = 1\n[[sites]]\nname = "hall"\n{boards}'
    started = time.process_time()

    fleet = read(text)
    assert len([fleet.target(board) for board in fleet.select("not name=b7")]) == 9_999

    assert len(defects(text.replace('"rpi2"', '"rpi"\njump = "b"'))) == 20_000
    assert time.process_time() - started < 30


# Windows


WINDOW = Window(days=(Day.SAT,), from_="22:00", to="05:00", timezone="Europe/Paris")


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-07-04T19:59:00+00:00", False),  # Saturday, 21:59 in Paris
        ("2026-07-04T20:00:00+00:00", True),
        ("2026-07-05T02:59:00+00:00", True),  # Sunday, 04:59
        ("2026-07-05T03:00:00+00:00", False),
        ("2026-07-05T21:00:00+00:00", False),  # Sunday, 23:00
        ("2026-12-05T20:30:00+00:00", False),  # in winter it is 21:30 there
        ("2026-12-05T21:30:00+00:00", True),
    ],
)
def test_a_window_goes_by_the_clocks_of_its_place(moment: str, is_open: bool) -> None:
    assert WINDOW.is_open(datetime.fromisoformat(moment)) == is_open


@pytest.mark.parametrize(
    ("begin", "end", "open_at", "closed_at"),
    [
        ("02:30", "05:00", ("00:30", "01:10", "01:40", "03:59"), ("00:29", "04:00")),
        ("22:00", "02:30", ("00:29",), ("00:31", "01:10", "01:31")),
        ("02:10", "02:40", ("00:15",), ("00:45", "01:05", "01:15", "01:45")),
    ],
)
def test_an_hour_that_comes_twice_opens_and_closes_no_window_twice(
    begin: str, end: str, open_at: tuple[str, ...], closed_at: tuple[str, ...]
) -> None:
    """In Paris it is 02:00 at 00:00 UTC and at 01:00 UTC."""
    window = Window(days=DAYS, from_=begin, to=end, timezone="Europe/Paris")

    def moment(clock: str) -> datetime:
        return datetime.fromisoformat(f"2026-10-25T{clock}:00+00:00")

    assert [clock for clock in open_at if not window.is_open(moment(clock))] == []
    assert [clock for clock in closed_at if window.is_open(moment(clock))] == []
    assert all(window.next_opening(moment(clock)) > moment(clock) for clock in closed_at)


def test_a_window_that_begins_in_an_hour_that_is_left_out_opens_after_it() -> None:
    before = datetime.fromisoformat("2026-03-29T00:50:00+00:00")  # 01:50 in Paris, 03:00 is next
    later = Window(days=DAYS, from_="02:30", to="05:00", timezone="Europe/Paris")
    never = Window(days=(Day.SUN,), from_="02:10", to="02:40", timezone="Europe/Paris")

    assert later.next_opening(before).isoformat() == "2026-03-29T03:00:00+02:00"
    assert never.next_opening(before).isoformat() == "2026-04-05T02:10:00+02:00"


CLOCKS = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.integers(0, 59))
WINDOWS = st.builds(
    lambda days, begin, end, zone: (days, begin, end, zone),
    st.sets(st.sampled_from(DAYS), min_size=1),
    CLOCKS,
    CLOCKS,
    st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]),
).filter(lambda window: window[1] != window[2])
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@limits(deadline=None)
@given(WINDOWS, MOMENTS)
def test_a_window_is_open_when_it_opens_next(
    window: tuple[set[Day], str, str, str], moment: datetime
) -> None:
    days, begin, end, zone = window
    opening = Window(days=tuple(days), from_=begin, to=end, timezone=zone)

    next_opening = opening.next_opening(moment)

    assert moment <= next_opening <= moment + timedelta(days=15)
    assert opening.is_open(next_opening)


def test_a_key_of_the_file_is_compared_by_its_fingerprint() -> None:
    blob = base64.b64decode(host_key(2).split()[1])
    by_key = read(SOUND)
    by_print = read(SOUND.replace(host_key(2), fingerprint(blob)))

    keys = [fleet.target(fleet.fleet.boards[0]).host_key for fleet in (by_key, by_print)]
    assert [key.fingerprint for key in keys if key] == [fingerprint(blob)] * 2
