"""`reference.json` of a model folder: what images and answers are like where all is well."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import EdgewrightError, UserError
from edgewright.base.files import read_inside, update_file
from edgewright.base.schema import Foreign, parse_json
from edgewright.model.contract.task_cards import ImageTaskCard
from edgewright.model.judge.observed import Histograms, histograms_of, observe

REFERENCE = "reference.json"
REFERENCE_BYTES = 64 << 10
MOST_IMAGES = 400  # an inference each


class Reference(Foreign):
    """Histograms of images that the network was not trained on: of those it was, its answers are
    too sure."""

    schema_: Literal[1]
    images: Annotated[int, Field(ge=1)]
    statistics: Histograms


def make_reference(network: Path, card: ImageTaskCard, images: Sequence[Path]) -> Reference:
    """Of at most `MOST_IMAGES` of them, evenly spread.

    Raises UserError for an image that cannot be read.
    """
    step = -(-len(images) // MOST_IMAGES)
    observations = observe(network, card, images[::step])
    statistics = histograms_of(observations)
    return Reference(schema_=1, images=len(observations), statistics=statistics)


def write_reference(
    network: Path, card: ImageTaskCard, images: Sequence[Path], folder: Path
) -> Path:
    """Write the reference of these images into a model folder; returns the file."""
    path = folder / REFERENCE
    reference = make_reference(network, card, images)
    update_file(path, reference.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    return path


def read_reference(path: Path) -> Reference:
    """Raises UserError for anything else than a reference."""
    return parse_reference(read_inside(path.parent, path.name, limit=REFERENCE_BYTES), str(path))


def parse_reference(
    raw: bytes | str, subject: str, blame: type[EdgewrightError] = UserError
) -> Reference:
    problem = "is no reference of a model"
    return parse_json(Reference, raw, subject, problem, blame=blame, limit=REFERENCE_BYTES)
