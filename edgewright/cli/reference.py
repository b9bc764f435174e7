"""What images and answers of a model are like where all is well."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.layout import installed_resources
from edgewright.cli.common import Json, checkout, model_path, say, task, write_document
from edgewright.cli.documents import written_files
from edgewright.model.contract.card import Card
from edgewright.model.contract.task_cards import TensorCard, read_any_card
from edgewright.model.importer.classifier import CARD, read_with_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.data import ELPV
from edgewright.model.judge.images import load_part, paths
from edgewright.model.pack.reference import write_reference
from edgewright.model.pack.task_golden import find_cases


@task
def reference(
    c: Context,
    model: Annotated[str, "ONNX model with card.json beside it"] = "",
    images: Annotated[str, "that it was not trained on: elpv, or a folder of any form"] = ELPV,
    json: Json = False,
) -> None:
    """What drift compares with. Example: invoke model.reference --model=net.onnx --images=cells"""
    path, demo = model_path(model), installed_resources().demo_models
    if demo and path.is_relative_to(demo):
        checkout()  # the models of an installation are only read
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
        paths(load_part(ELPV, "validation"))
        if images == ELPV
        else [files[0] for files in find_cases(Path(images), card)]
    )
    say("an inference of each image")
    written = write_reference(network, card, chosen, path.parent)
    say(f"{written}: {len(chosen):,} images")
    if json:
        write_document(written_files([written]))
