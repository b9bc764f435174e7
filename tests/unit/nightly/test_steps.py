"""What a step does besides a command of its own."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.progress import Progress
from edgewright.nightly.steps import SIGN, CellAtWork
from edgewright.release import evidence, keys, order
from tests.boards import make_release
from tests.unit.nightly.nights import nights_in
from tests.unit.release.test_evidence import with_evidence


@pytest.fixture
def at_work(tmp_path: Path) -> CellAtWork:
    """A cell whose release is signed, and whose provenance was written anew since."""
    nights = nights_in(tmp_path)
    signing = nights.request.signing
    signing.keys.generate(keys.DEFAULT)
    release = make_release(tmp_path / "release", root="/opt")
    order.sign_release(release, signing.signer(emulated=False))
    built = with_evidence(release)
    cell = nights.cells[0]
    return CellAtWork(night=nights.request, cell=cell, progress=Progress(), built=built)


def test_a_provenance_that_is_newer_than_the_order_is_signed(at_work: CellAtWork) -> None:
    signature = at_work.release.signature.read_bytes()

    SIGN.work(at_work)

    assert evidence.beside(at_work.release).envelope.is_file()
    assert at_work.release.signature.read_bytes() == signature


def test_a_provenance_of_another_release_is_not_signed(at_work: CellAtWork, tmp_path: Path) -> None:
    other = with_evidence(make_release(tmp_path / "other", root="/opt", model=b"other"))
    behind = evidence.beside(at_work.release)
    behind.statement.write_bytes(evidence.beside(other).statement.read_bytes())

    with pytest.raises(UserError, match=f"is not about {at_work.release.id}"):
        SIGN.work(at_work)

    assert not behind.envelope.exists()
