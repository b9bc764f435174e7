"""What images and answers of a model are like where all is well."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.layout import installed_resources
from edgewright.cli.common import Json, checkout, model_path, say, task, write_document
from edgewright.cli.documents import written_files
from edgewright.model.contract.card import Card
from edgewright.model.contract.task_cards import ImageTaskCard, TensorCard, read_any_card
from edgewright.model.importer.classifier import CARD, read_with_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.data import ELPV
from edgewright.model.judge.images import load_part, paths
from edgewright.model.pack.reference import write_reference
from edgewright.model.pack.task_golden import find_cases

Images = Annotated[str, "that it was not trained on: elpv, or a folder of any form"]


@dataclass(frozen=True, kw_only=True)
class ModelAndImages:
    """A network as boards run it, its card, and images for it."""

    path: Path  # as it was named
    card: ImageTaskCard
    network: Path
    images: tuple[Path, ...]


def model_and_images(
    model: str, images: str, part: Literal["validation", "test"]
) -> ModelAndImages:
    """What the options name; of ELPV a part that the demo's models were not trained on.

    Raises UserError for a model without a card, or that takes tensors.
    """
    path = model_path(model)
    card_path = path.parent / CARD
    card = read_any_card(card_path)
    if isinstance(card, TensorCard):
        raise UserError(
            str(path),
            "takes tensors: there are no images to compare",
            next="invoke help models, which tells what each task can do",
        )
    network = (
        read_with_card(path, card_path)[0].path
        if isinstance(card, Card)
        else read_for_task(path, card, card_path).path
    )
    chosen = (
        paths(load_part(ELPV, part))
        if images == ELPV
        else [files[0] for files in find_cases(Path(images), card)]
    )
    return ModelAndImages(path=path, card=card, network=network, images=tuple(chosen))


@task
def reference(
    c: Context,
    model: Annotated[str, "ONNX model with card.json beside it"] = "",
    images: Images = ELPV,
    json: Json = False,
) -> None:
    """What drift compares with. Example: invoke model.reference --model=net.onnx --images=cells"""
    demo = installed_resources().demo_models
    if demo and model_path(model).is_relative_to(demo):
        checkout()  # the models of an installation are only read
    chosen = model_and_images(model, images, "validation")
    say("an inference of each image")
    folder = chosen.path.parent
    written = write_reference(chosen.network, chosen.card, chosen.images, folder)
    say(f"{written}: {len(chosen.images):,} images")
    if json:
        write_document(written_files([written]))
