"""What the thermal governor and the histograms of drift add to an inference, counted.

The board's program serves the release as a deployed one, with a thermal limit, under QEMU's
user-mode emulation.
"""

import contextlib
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

from PIL import Image

from edgewright.base.files import make_folder
from edgewright.base.layout import Resources
from edgewright.base.schema import Part
from edgewright.board.symbols import Symbols, read_symbols
from edgewright.client import ConnectionEndedError, Format, Frame
from edgewright.observe.count.counts import Counts, Guest, count
from edgewright.observe.count.instructions import RUN, Program
from edgewright.observe.served_program import ANSWER, connected

MARKS = 7
STEADY = range(2, MARKS)  # columns: the first inferences are that of the golden image, and one more
WAIT = "_ZN4edge5Pacer4waitE"  # the governor's part ends where the network begins to run
RECORD = "_ZN4edge8Recorder3addE"  # … and the histograms' where the answer begins to be written
MEASURE = ("_ZN4edge7measureE", "_ZN4edge12_GLOBAL__N_17gray_of")  # of an image; call nothing else
LIMIT = 0.002  # of an inference


class ObservingCost(Part):
    """Instructions. On the emulator an inference takes longer than a second, so that the sensors
    are read before each: on a board it is once a second."""

    inference: int  # all of it
    governor: int
    histograms: int

    @property
    def share(self) -> float:
        return (self.governor + self.histograms) / self.inference


def measure(program: Program, resources: Resources) -> ObservingCost:
    """Raises UserError and ChildFailed as `count` does."""
    symbols = read_symbols(program.symbols)
    starts = {
        name: {f.address for f in symbols.named(name)} for name in (WAIT, RECORD, RUN, ANSWER)
    }
    with tempfile.TemporaryDirectory(prefix="edgewright-observing-") as scratch:
        guest = Guest(
            arch=program.arch,
            cpu=program.cpu,
            argv=_service(program, Path(scratch)),
            mark=symbols.named(RUN)[0].address,
            marks=MARKS,
            spans=sorted(set().union(*starts.values())),
        )
        client = threading.Thread(target=_ask, args=(Path(scratch), program.inputs[0]), daemon=True)
        client.start()
        counts = count(guest, resources)
        client.join()
    return ObservingCost(
        inference=_median([counts.total(column) for column in STEADY]),
        governor=_span(counts, starts[WAIT]),
        histograms=_span(counts, starts[RECORD]) + _own(counts, symbols),
    )


def _service(program: Program, scratch: Path) -> list[str]:
    """The release in a deploy root, where a service keeps histograms, and a sensor."""
    release = scratch / "releases" / program.model.parent.parent.name
    shutil.copytree(program.model.parent.parent, release)
    zone = scratch / "sys" / "class" / "thermal" / "thermal_zone0"
    make_folder(zone)
    (zone / "temp").write_text("45000\n")
    argv = [str(program.binary), "serve", "--release", str(release), "--folder", str(scratch)]
    return [*argv, "--threads", "1", "--thermal-limit", "80", "--sysfs", str(scratch)]


def _ask(folder: Path, image: Path) -> None:
    """The image as a frame, until the service ends."""
    with Image.open(image) as opened:
        picture = opened.convert("L" if opened.mode == "L" else "RGB")
    format = Format.GRAY if picture.mode == "L" else Format.RGB
    with (
        connected(folder) as client,
        Frame(picture.width, picture.height, format) as frame,
        contextlib.suppress(ConnectionEndedError),
    ):
        frame.pixels[:] = picture.tobytes()
        while True:
            client.frame(frame)


def _span(counts: Counts, starts: set[int]) -> int:
    """From one of these addresses to the next that is listed."""
    spans = [s for s in counts.spans if s.address in starts and s.column in STEADY]
    return _median([span.instructions for span in spans])


def _own(counts: Counts, symbols: Symbols) -> int:
    """The functions that measure an image."""
    functions = [function for name in MEASURE for function in symbols.named(name)]
    blocks = [block for block in counts.blocks if symbols.at(block.address) in functions]
    return _median(
        [sum(block.instructions * block.executed[c] for block in blocks) for c in STEADY]
    )


def _median(values: list[int]) -> int:
    return round(statistics.median(values))
