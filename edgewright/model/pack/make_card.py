"""Write the card of a network: what is stated, what its exporter says, and what is assumed."""

from pathlib import Path
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.schema import Document
from edgewright.model.contract.card import write_card
from edgewright.model.contract.task_cards import AnyCard
from edgewright.model.importer.classifier import CARD
from edgewright.model.pack.import_folder import (
    CLASSIFY,
    ImportRequest,
    draft_classifier,
    stated_task,
    task_request,
)
from edgewright.model.pack.preview import write_preview
from edgewright.model.pack.task_import import draft_card


class CardReport(Document):
    """`model.card --json`."""

    version: Literal[1] = 1
    card: str  # the file that was written
    task: str
    assumptions: tuple[str, ...]
    answer: str | None  # to the image, in words, if there is one
    preview: str | None  # the picture of it


def make_card(request: ImportRequest, image: Path | None = None) -> CardReport:
    """Write card.json beside the network, whose card is kept where nothing else is stated.

    With an image also `card.png`, which shows what the network sees of it and what it answers.
    Raises UserError for what no board can run, and for a statement that does not fit.
    """
    card: AnyCard
    if stated_task(request) == CLASSIFY:
        classifier, card, assumptions = draft_classifier(request, ())
        network = classifier.path
    else:
        imported, card, assumptions = draft_card(task_request(request))
        network = imported.path
    path = request.model.parent / CARD
    answer, preview = None, path.with_suffix(".png")
    if image:
        if not image.is_file():
            raise UserError(str(image), "no such image")
        answer = write_preview(network, card, image, preview)
    write_card(card, path)
    return CardReport(
        card=str(path),
        task=card.task,
        assumptions=tuple(assumptions),
        answer=answer,
        preview=str(preview) if image else None,
    )
