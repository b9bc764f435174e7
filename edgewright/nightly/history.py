"""The nights that are kept, and what the last one leaves for others to read.

`nights/<night>.json` is a night's document, `nights/<night>/` has the logs of what failed in it.
`night.json`, `junit.xml` and `index.html` are the last night's.
"""

import shutil
from pathlib import Path

from edgewright.base.files import write_file
from edgewright.base.schema import read_record
from edgewright.nightly import junit
from edgewright.nightly.report import NightReport

NIGHTS = "nights"
REPORT, JUNIT, INDEX = "night.json", "junit.xml", "index.html"


def write_night(folder: Path, report: NightReport, *, nights: int) -> None:
    """Write the reports of a night; of older ones the newest stay, `nights` with this one."""
    # Here, as it brings matplotlib.
    from edgewright.nightly import page

    write_past(folder, report)
    _retain(folder, report.night, nights)
    write_file(folder / REPORT, report.to_json())
    write_file(folder / JUNIT, junit.render(report))
    # Last whatever it is called: nights are named by a clock that may have been ahead.
    before = [night for night in past_nights(folder) if night.night != report.night]
    write_file(folder / INDEX, page.render([*before, report]))


def write_past(folder: Path, report: NightReport) -> None:
    """Write down a night among those that are kept."""
    write_file(folder / NIGHTS / f"{report.night}.json", report.to_json())


def log_name(night: str, board: str, model: str, name: str) -> str:
    """Where a log of a cell lies, in the folder of nights."""
    return f"{NIGHTS}/{night}/{board}/{model}/{name}"


def past_nights(folder: Path) -> list[NightReport]:
    """The nights that are kept, by their names; one that is damaged is left out."""
    files = sorted((folder / NIGHTS).glob("*.json"))
    return [night for path in files if (night := read_record(NightReport, path))]


def _retain(folder: Path, last: str, nights: int) -> None:
    """Logs of a night that never ended go, too."""
    older = sorted({path.stem for path in (folder / NIGHTS).glob("*.json")} - {last})
    retained = {last, *older[max(len(older) - nights + 1, 0) :]}
    for path in (folder / NIGHTS).iterdir():
        if path.stem not in retained:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
