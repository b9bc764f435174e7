"""Make a model folder of a network that somebody else trained, and maybe quantized."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from edgewright.base.errors import UserError
from edgewright.base.files import copy_file, new_folder
from edgewright.base.schema import Document, translate_errors
from edgewright.model.contract.card import Card, MeanStd, ModelFile, Tiling, write_card
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.classifier import CARD, Classifier, default_card, read_with_card
from edgewright.model.importer.importing import import_facts
from edgewright.model.importer.proposal import PreprocessParts, exporters_task
from edgewright.model.judge.answers import judge
from edgewright.model.judge.evaluate import positive_label
from edgewright.model.judge.images import Inputs, load_part, relabel, spread
from edgewright.model.pack.golden import make_golden
from edgewright.model.pack.task_import import TaskRequest, import_task

COMPARED_IMAGES = 8
CLASSIFY = "classify"


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """The options of `model.import`; what is stated here comes before the card beside the model."""

    model: Path
    out: Path  # the folder to make
    images: str = ""  # to compare on, and to make the golden set of; labelled, as for `evaluate`
    card: Path | None = None
    labels: tuple[str, ...] = ()  # in the order of the outputs
    mean: tuple[float, ...] = ()  # a channel, of values in 0 to 1
    std: tuple[float, ...] = ()
    parts: PreprocessParts = field(default_factory=PreprocessParts)  # of the preprocessing
    shape: tuple[int, ...] = ()
    output: str = ""
    task: str = ""  # empty: that of the card, or the exporter's, or classify
    roles: Mapping[str, str] = field(default_factory=dict)  # output → what it means to the task
    settings: Mapping[str, JsonValue] = field(default_factory=dict)  # of the task
    tiling: Tiling | None = None


class ImportReport(Document):
    """`model.import --json`."""

    version: Literal[1] = 1
    source: str
    model: str
    card: str
    changes: tuple[str, ...]
    difference: float | None  # of the outputs, by the largest of them; null where nothing changed
    tolerance: float
    assumptions: tuple[str, ...]
    accuracy: float | None  # on the images, if there are some
    golden_cases: int
    left_out: tuple[str, ...]  # of the golden set, and why


def import_model(request: ImportRequest) -> ImportReport:
    """Write `out`: model.onnx in the form that boards run, card.json and, of images, golden/.

    Raises UserError for what no board can run, and for labels or preprocessing that do not fit.
    """
    if stated_task(request) != CLASSIFY:
        return _import_task(request)
    dataset = load_part(request.images, "test") if request.images else None
    classifier, card, assumptions = draft_classifier(request, dataset.labels if dataset else ())
    cases, accuracy = 0, None
    left_out: tuple[str, ...] = ()
    with new_folder(request.out) as folder:
        model = folder / "model.onnx"
        copy_file(classifier.path, model)
        facts = {
            "file": ModelFile.of(model),
            "imported": import_facts(classifier.imported),
            "schema_": 2,
        }
        card = card.model_copy(update=facts)
        write_card(card, folder / CARD)
        if dataset:
            dataset = relabel(dataset, card.labels)
            compared = spread(dataset, COMPARED_IMAGES).samples
            if classifier.imported:
                classifier.imported.require_equal(Inputs(samples=compared, card=card))
            answers = judge(model, dataset, card, positive_label(card.labels))
            golden = make_golden(model, card, answers)
            cases, left_out = golden.cases, golden.left_out
            accuracy = float(answers.right.mean())
    imported = classifier.imported
    return ImportReport(
        source=str(request.model),
        model=str(request.out / "model.onnx"),
        card=str(request.out / CARD),
        changes=imported.changes if imported else (),
        difference=imported.difference if imported else None,
        tolerance=imported.tolerance if imported else 0.0,
        assumptions=tuple(assumptions),
        accuracy=accuracy,
        golden_cases=cases,
        left_out=left_out,
    )


def stated_task(request: ImportRequest) -> str:
    """The task that is stated, else that of the card that is, else of the one beside the model,
    else the exporter's."""
    path = request.card or request.model.parent / CARD
    if request.task:
        return request.task
    if path.is_file():
        return read_any_card(path).task
    return exporters_task(request.model) or CLASSIFY


def draft_classifier(
    request: ImportRequest, folders: Sequence[str]
) -> tuple[Classifier, Card, list[str]]:
    """The network in the board's form, its card, and in words what that assumes.

    `folders` are the names of the images' folders. Raises UserError as `import_model` does.
    """
    classifier, stored_card = read_with_card(
        request.model, request.card, shape=request.shape, output=request.output or None
    )
    labels = request.labels or (stored_card.labels if stored_card else folders)
    try:
        return (classifier, *_stated_card(classifier, stored_card, labels, request))
    except ValidationError as invalid:
        raise UserError(
            str(request.model),
            "does not fit what is stated of it",
            facts=translate_errors(invalid, Card),
            next="give as many --labels as it has outputs, and --mean and --std for each channel",
        ) from invalid


def task_request(request: ImportRequest) -> TaskRequest:
    """The same for a task beyond classification."""
    return TaskRequest(
        model=request.model,
        out=request.out,
        task=stated_task(request),
        images=Path(request.images) if request.images else None,
        card=request.card,
        labels=request.labels,
        roles=request.roles,
        settings=request.settings,
        parts=_stated_parts(request),
        tiling=request.tiling,
        shape=request.shape,
    )


def _import_task(request: ImportRequest) -> ImportReport:
    task = import_task(task_request(request))
    return ImportReport(
        source=str(request.model),
        model=str(request.out / "model.onnx"),
        card=str(request.out / CARD),
        changes=task.imported.changes,
        difference=task.imported.difference,
        tolerance=task.imported.tolerance,
        assumptions=task.assumptions,
        accuracy=None,
        golden_cases=task.golden_cases,
        left_out=(),
    )


def _stated_parts(request: ImportRequest) -> PreprocessParts:
    if not (request.mean or request.std):
        return request.parts
    return replace(request.parts, normalize=MeanStd(mean=request.mean, std=request.std))


def _stated_card(
    classifier: Classifier, stored_card: Card | None, labels: Sequence[str], request: ImportRequest
) -> tuple[Card, list[str]]:
    """The card with what the request states, and in words what is assumed.

    Raises ValidationError if that contradicts the network or itself.
    """
    stated = _stated_parts(request)
    assumptions: list[str] = []
    if stored_card is None:
        stored_card, assumptions = default_card(classifier, labels, stated)
    content = stored_card.model_dump(by_alias=True) | {"schema": 2}
    content["preprocess"] |= stated.content()
    if request.labels:
        content["labels"] = request.labels
    if request.tiling:
        content["tiling"] = request.tiling.model_dump()
    settings = dict(request.settings)
    if "temperature" in settings:
        content["output"]["temperature"] = settings.pop("temperature")
    if settings:
        label = content["labels"][positive_label(content["labels"])]
        content["decision"] = {"label": label} | (content.get("decision") or {}) | settings
    return Card.model_validate(content), assumptions
