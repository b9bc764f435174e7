"""What Debian's archive says of all that recipes pin."""

from pathlib import Path

import pytest

from edgewright.build import archive
from tests.checkout import checkout
from tests.schemas import require_valid

pytestmark = pytest.mark.nightly  # apt reads the lists of two suites


def test_the_archive_has_each_package_that_is_pinned(tmp_path: Path) -> None:
    age = archive.age(checkout().resources, tmp_path / "log")

    require_valid("outdated", age.to_json())
    assert [row.package for row in age.packages if row.state == "gone"] == []
    runtime = next(row for row in age.packages if row.package == "onnxruntime")
    assert runtime.next is not None
