"""Every network of the gallery, from import to a counted inference on the emulated board.

Fetching, exporting and quantizing them takes half an hour and one runtime for all of them minutes:
a test of the night. `tests/unit/gallery` has some through the stages of the host.
"""

import subprocess
import sys

import pytest

from edgewright.gallery.documents import Gallery
from edgewright.gallery.page import is_whole
from tests.checkout import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.board, pytest.mark.model, pytest.mark.nightly]

LEAST = 22  # networks that go the whole way


def test_the_networks_of_the_gallery_go_the_whole_way() -> None:
    argv = [sys.executable, "-m", "edgewright.cli", "model.gallery", "--shared-runtime", "--json"]
    ran = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    gallery = Gallery.model_validate_json(ran.stdout)

    ends = [end for row in gallery.rows for end in (row.host.refusal, row.host.int8_refusal) if end]
    ends += [row.board.refusal for row in gallery.rows if row.board and row.board.refusal]
    assert [end for end in ends if end.is_traceback] == []
    assert sum(map(is_whole, gallery.rows)) >= LEAST
