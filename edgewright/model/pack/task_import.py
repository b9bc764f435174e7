"""Make a model folder of a network for a task beyond classification."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import copy_file, new_folder
from edgewright.base.schema import translate_errors
from edgewright.model.contract.card import ModelFile, Preprocess, Tiling, write_card
from edgewright.model.contract.task_cards import CARDS, TaskCard, read_any_card
from edgewright.model.importer.classifier import CARD, whole_numbers
from edgewright.model.importer.importing import Imported, TaskForm, import_facts, import_for_task
from edgewright.model.importer.proposal import PreprocessParts, Target, describe, propose
from edgewright.model.importer.task_network import interface_of, read_for_task, require_sound
from edgewright.model.pack.detect_proposal import (
    detect_outputs,
    find_heads,
    find_joint,
    leaves_one_box,
    observe,
)
from edgewright.model.pack.plane_proposals import (
    anomaly_roles,
    anomaly_settings,
    ends_in,
    segment_roles,
)
from edgewright.model.pack.task_golden import find_cases, spread_cases, write_task_golden

Shapes = Mapping[str, tuple[int, ...]]  # of tensors, by name
TENSOR = "tensor"
DETECT = "detect"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network in the board's form."""

    path: Path
    inputs: Shapes
    outputs: Shapes
    dtype: str  # of the image as exported, in numpy's words


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """What is stated of a network; what is stated comes before the card beside it."""

    model: Path
    out: Path  # the folder to make
    task: str = ""  # empty: the card's
    images: Path | None = None  # of the golden set; `.npy` files where the task takes tensors
    card: Path | None = None
    labels: tuple[str, ...] = ()
    roles: Mapping[str, str] | None = None  # output → role; those that have none are taken away
    settings: Mapping[str, JsonValue] | None = None  # of the task, such as score_threshold
    parts: PreprocessParts = field(default_factory=PreprocessParts)
    tiling: Tiling | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaskFolder:
    """A model folder that was made."""

    card: TaskCard
    imported: Imported
    assumptions: tuple[str, ...]
    golden_cases: int


def import_task(request: TaskRequest) -> TaskFolder:
    """Write `out`: model.onnx in the form that boards run, card.json and, of images, golden/.

    Raises UserError for what no board can run, and for a card or a statement that does not fit.
    """
    imported, card, assumptions = draft_card(request)
    cases = 0
    with new_folder(request.out) as folder:
        model = folder / "model.onnx"
        copy_file(imported.path, model)
        facts = {"file": ModelFile.of(model), "imported": import_facts(imported), "schema_": 2}
        card = card.model_copy(update=facts)
        write_card(card, folder / CARD)
        if request.images:
            chosen = spread_cases(find_cases(request.images, card))
            cases = len(write_task_golden(model, card, chosen, folder / "golden").cases)
    return TaskFolder(
        card=card, imported=imported, assumptions=tuple(assumptions), golden_cases=cases
    )


def draft_card(request: TaskRequest) -> tuple[Imported, TaskCard, list[str]]:
    """The network in the board's form, its card, and in words what that assumes.

    Raises UserError as `import_task` does.
    """
    path = request.card or request.model.parent / CARD
    stored_card = read_any_card(path) if request.card or path.is_file() else None
    if isinstance(stored_card, TaskCard) and request.task in ("", stored_card.task):
        card = _stated(stored_card.model_dump(by_alias=True), request)
        return read_for_task(request.model, card, path), card, []
    if request.task not in CARDS:
        raise UserError(
            f"--task={request.task}",
            f"no such task{near_miss(request.task, CARDS)}",
            facts=[f"expected: {', '.join(CARDS)}"],
        )
    if request.task == DETECT and not request.roles:
        request = replace(request, roles=find_heads(request.model) or find_joint(request.model))
    form = TaskForm(takes_image=request.task != TENSOR, outputs=tuple(request.roles or ()))
    imported = import_for_task(request.model, form, shape=request.shape or None)
    inputs, outputs = interface_of(imported.path)
    interface = imported.interface
    network = Network(
        path=imported.path,
        inputs=inputs,
        outputs=outputs,
        dtype=interface.dtype if interface else "float32",
    )
    content, assumptions = PROPOSALS[request.task](network, request)
    content |= {
        "schema": 2,
        "task": request.task,
        "name": request.model.stem,
        "file": ModelFile.of(request.model).model_dump(),
    }
    card = _stated(content, request)
    require_sound(imported, card)
    return imported, card, assumptions


def _stated(content: dict[str, Any], request: TaskRequest) -> TaskCard:
    """The card with what the request states. Raises UserError if the parts do not fit."""
    content = content | {"schema": 2}
    if request.labels:
        content["labels"] = request.labels
    if stated := request.parts.content():
        content["preprocess"] = content.get("preprocess", {}) | stated
    if request.tiling:
        content["tiling"] = request.tiling.model_dump()
    if request.settings:
        content[content["task"]] = content.get(content["task"], {}) | dict(request.settings)
    kind = CARDS[content["task"]]
    try:
        card = kind.model_validate(content)
    except ValidationError as invalid:
        raise UserError(
            str(request.model),
            f"has no card of the task {content['task']} as it is stated",
            facts=translate_errors(invalid, kind),
            next="see docs/formats.md for the card of the task",
        ) from invalid
    assert isinstance(card, TaskCard)
    return card


# What a card of each task says where nothing is stated


CardDraft = tuple[dict[str, Any], list[str]]  # the card's content, and in words what is assumed


def image_part(network: Network, request: TaskRequest) -> CardDraft:
    """Input and preprocessing of a task that takes one image."""
    ((name, shape),) = network.inputs.items()
    target = Target(channels=shape[1], height=shape[2], width=shape[3])
    proposal = propose(request.model, target)
    parts = {"color": "gray" if shape[1] == 1 else "rgb"} | proposal.parts.content()
    if integers := whole_numbers(network.dtype, shape[1]):
        parts["normalize"] = integers
    preprocess = Preprocess.model_validate(parts | request.parts.content())
    content: dict[str, Any] = {
        "input": {"name": name, "shape": shape},
        "preprocess": preprocess.model_dump(by_alias=True),
    }
    sources = ", ".join(sorted(set(proposal.sources.values()))) or "nothing says otherwise"
    words = [f"{describe(preprocess, target)}; {sources}", *proposal.notes]
    if proposal.labels and not request.labels:
        content["labels"] = proposal.labels
        words.append(f"labels of {proposal.sources['labels']}: {', '.join(proposal.labels)}")
    return content, words


def output_part(outputs: Shapes, roles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The outputs in the order of `roles`, which has one for each."""
    return [{"name": name, "shape": outputs[name], "role": role} for name, role in roles.items()]


def _propose_tensor(network: Network, request: TaskRequest) -> CardDraft:
    roles = request.roles or dict.fromkeys(network.outputs, "tensor")
    content = {
        "inputs": [{"name": name, "shape": shape} for name, shape in network.inputs.items()],
        "outputs": output_part(network.outputs, roles),
    }
    return content, []


def _propose_anomaly(network: Network, request: TaskRequest) -> CardDraft:
    content, words = image_part(network, request)
    settings, source = anomaly_settings(request.model)
    roles = request.roles or anomaly_roles(network.outputs)
    content["outputs"] = output_part(network.outputs, roles)
    content.setdefault("labels", ("normal", "anomalous"))
    content["anomaly"] = settings
    return content, words + source


def _propose_segment(network: Network, request: TaskRequest) -> CardDraft:
    content, words = image_part(network, request)
    roles = request.roles or segment_roles(request.model, network.outputs)
    content["outputs"] = output_part(network.outputs, roles)
    for output in content["outputs"]:
        # One channel has nothing to be likelier than.
        if output["role"] == "logits" and output["shape"][1] == 1:
            is_probability = ends_in(request.model, output["name"], "Sigmoid")
            output["activation"] = "none" if is_probability else "sigmoid"
            content["segment"] = {"threshold": 0.5}
            words.append(f"{output['name']}: activation {output['activation']}, threshold 0.5")
    return content, words


def _propose_detect(network: Network, request: TaskRequest) -> CardDraft:
    content, words = image_part(network, request)
    labels = request.labels or content.get("labels", ())
    if not labels:
        raise UserError(
            str(request.model),
            "does not say which labels it knows",
            next="state them in its order: --labels=crack,finger",
        )
    (shape,) = network.inputs.values()
    content["outputs"], assumed = detect_outputs(
        request.model,
        network.outputs,
        request.roles or {},
        len(labels),
        side=(shape[2], shape[3]),
        observed=observe(network.path, shape, takes_pixels=network.dtype == "uint8"),
    )
    if leaves_one_box(content["outputs"]):
        content["detect"] = {"nms": False}
        assumed.append("it finds each thing once: no box is suppressed")
    return content, words + assumed


PROPOSALS: Mapping[str, Callable[[Network, TaskRequest], CardDraft]] = {
    "tensor": _propose_tensor,
    "anomaly": _propose_anomaly,
    "segment": _propose_segment,
    "detect": _propose_detect,
}
