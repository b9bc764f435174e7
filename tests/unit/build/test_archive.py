"""What the archive offers beside what is pinned."""

import pytest

from edgewright.base.errors import CheckError
from edgewright.base.layout import installed_resources
from edgewright.build import archive
from edgewright.build.archive import Pin

MADISON = """\
      zlib | 1:1.3.dfsg+really1.3.1-1 | https://archive.example/debian trixie/main Sources
      zlib | 1:1.2.13.dfsg-1 | https://archive.example/debian trixie/main Sources
      zlib | 1:1.3.2+ds-1 | https://archive.example/debian sid/main Sources
   libeigen3-dev | 3.4.0-5 | https://archive.example/debian trixie/main amd64 Packages
      musl | 1.2.6-1 | https://archive.example/debian trixie/main Sources
N: Unable to locate package gone
"""
OFFERS = archive.parse_offers(MADISON)


def pin(package: str, version: str) -> Pin:
    return Pin(package=package, user="a recipe", version=version, suite="trixie")


@pytest.mark.parametrize(
    ("used", "state", "next"),
    [
        (pin("zlib", "1.3.dfsg+really1.3.1"), "same", "1:1.3.2+ds-1"),
        (pin("zlib", "1.2.13.dfsg"), "moved", "1:1.3.2+ds-1"),
        (pin("libeigen3-dev", "3.4.0-5"), "same", None),
        (pin("libeigen3-dev", "3.4.0-4"), "moved", None),
        (pin("musl", "1.2.5"), "moved", None),
        (pin("gone", "1"), "gone", None),
    ],
)
def test_a_package_is_what_its_suite_has_or_not(used: Pin, state: str, next: str | None) -> None:
    row = archive.judge(used, OFFERS)

    assert (row.state, row.next) == (state, next)


def test_what_the_archive_has_no_more_is_told_with_what_it_has() -> None:
    rows = [archive.judge(pin(*used), OFFERS) for used in (("musl", "1.2.5"), ("gone", "1"))]

    with pytest.raises(CheckError) as refused:
        archive.require_current(rows)

    assert str(refused.value).splitlines()[:3] == [
        "2 packages: are not what the archive offers",
        "  a recipe: musl 1.2.5, trixie has 1.2.6-1",
        "  a recipe: gone 1, trixie has none",
    ]
    archive.require_current([archive.judge(pin("libeigen3-dev", "3.4.0-5"), OFFERS)])


def test_every_source_of_every_recipe_is_looked_at() -> None:
    pins = {
        (pin.user, pin.package): pin for pin in archive.recipe_pins(installed_resources().recipes)
    }

    assert pins["onnxruntime-minimal", "onnxruntime"].version == "1.21.0+dfsg"
    assert pins["zlib", "zlib"].version == "1.3.dfsg+really1.3.1"
    assert pins["onnxruntime-minimal", "libeigen3-dev"].version == "3.4.0-5"
    assert {pin.suite for pin in pins.values()} == {"trixie"}
    assert len(pins) > 15
