"""What a network's own metadata and the files beside it say of its input and labels.

Ultralytics writes `metadata_props` into the ONNX file, transformers a `preprocessor_config.json`
and a `config.json`, timm a `config.json`. Others wrote them: what is too large, malformed or
contradicts the network is left out, with a word.
"""

import ast
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from edgewright.base.errors import UserError
from edgewright.base.files import read_inside
from edgewright.base.schema import Excerpt, parse_json, translate_errors
from edgewright.base.text import visible
from edgewright.model.contract.card import (
    AnyRegion,
    CenterCrop,
    Color,
    Filter,
    Fit,
    JpegDecoding,
    Letterbox,
    MeanStd,
    Normalize,
    Preprocess,
    RegionShare,
    Scale,
    Stretch,
    fit_problems,
)
from edgewright.model.contract.network_file import read_graph

PROCESSOR, CONFIG, METADATA = "preprocessor_config.json", "config.json", "its metadata"
CONFIG_BYTES = 4 << 20
LITERAL = 1 << 20  # characters of a Python literal
MOST_LABELS = 50_000
LABEL = 200  # characters
Config = TypeVar("Config", bound=Excerpt)
KEYS = ("fit", "color", "resize", "normalize", "jpeg", "roi")
# Pillow's numbers of its filters.
_FILTERS: Mapping[int, Filter] = {2: "triangle", 3: "bicubic"}
_FILTER_NAMES: Mapping[str, Filter] = {"bilinear": "triangle", "bicubic": "bicubic"}
# Of transformers: their `size: 224` is both sides; that of others is the shorter one.
_SQUARE = ("ViT", "DeiT", "Beit", "Segformer", "GLPN")


@dataclass(frozen=True, kw_only=True)
class PreprocessParts:
    """Parts of a card's `preprocess`; None where nothing is said."""

    fit: Fit | None = None
    color: Color | None = None
    resize: Filter | None = None
    normalize: Normalize | None = None
    jpeg: JpegDecoding | None = None
    roi: AnyRegion | None = None

    def content(self) -> dict[str, Any]:
        parts = {key: getattr(self, key) for key in KEYS}
        return {key: part for key, part in parts.items() if part is not None}


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What was said, by whom, and what of it cannot be taken."""

    parts: PreprocessParts = PreprocessParts()
    labels: tuple[str, ...] = ()  # in the order of the outputs
    task: str = ""  # in the words of the exporter
    sources: Mapping[str, str] = field(default_factory=dict)  # of each part, and of `labels`
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """The network's input."""

    channels: int
    height: int
    width: int


def propose(model: Path, target: Target) -> Proposal:
    """What is said of the network at `model`; nothing of it raises an error.

    The files are looked for beside it, and in the folder above where it lies in one named `onnx`.
    """
    folder = model.parent
    if folder.name == "onnx" and not (folder / CONFIG).is_file():
        folder = folder.parent
    readers: list[tuple[str, Callable[[], Proposal]]] = [
        (METADATA, lambda: _of_metadata(model, target)),
        (PROCESSOR, lambda: _of_processor(folder, target)),
        (CONFIG, lambda: _of_config(folder, target)),
    ]
    return _merged([(source, _guarded(source, read, target)) for source, read in readers])


def _guarded(source: str, read: Callable[[], Proposal], target: Target) -> Proposal:
    """What a source says, without what the network cannot use."""
    try:
        proposal = read()
        fit = proposal.parts.fit
        problems = tuple(fit_problems(fit, target.height, target.width)) if fit else ()
        if not problems:
            return proposal
        notes = (*proposal.notes, f"{source}: {problems[0]}, and is left out")
        return replace(proposal, parts=replace(proposal.parts, fit=None), notes=notes)
    except UserError as fault:
        facts = f" ({fault.facts[0]})" if fault.facts else ""
        return Proposal(notes=(f"{source}: {fault.problem}{facts}, and is left out",))
    except ValidationError as invalid:
        (first, *_) = translate_errors(invalid, Preprocess)
        return Proposal(notes=(f"{source}: {first}, and is left out",))


def _merged(proposals: Sequence[tuple[str, Proposal]]) -> Proposal:
    """Of each part what the first one says that says something."""
    parts: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, proposal in proposals:
        content = proposal.parts.content()
        content |= {"labels": proposal.labels} if proposal.labels else {}
        for key, part in content.items():
            if key not in parts:
                parts[key], sources[key] = part, source
    labels = parts.pop("labels", ())
    return Proposal(
        parts=PreprocessParts(**parts),
        labels=labels,
        task=next((proposal.task for _, proposal in proposals if proposal.task), ""),
        sources=sources,
        notes=tuple(note for _, proposal in proposals for note in proposal.notes),
    )


# What Ultralytics calls a segmentation finds things, and a mask of each.
_TASKS = {"detect": "detect", "segment": "detect"}


def exporters_task(model: Path) -> str:
    """The task that Ultralytics wrote into a network, in our words; empty where nobody did.

    Raises UserError for a file that is no ONNX.
    """
    if model.suffix != ".onnx":
        return ""
    metadata = {entry.key: entry.value for entry in read_graph(model).metadata_props}
    is_of_ultralytics = {"names", "stride", "task"} <= metadata.keys()
    return _TASKS.get(metadata["task"], "") if is_of_ultralytics else ""


def _of_metadata(model: Path, target: Target) -> Proposal:
    """Of Ultralytics' exports. A detector is fed letterboxed, a classifier as torchvision does."""
    if model.suffix != ".onnx":
        return Proposal()
    metadata = {entry.key: entry.value for entry in read_graph(model).metadata_props}
    if not {"names", "stride"} <= metadata.keys():
        return Proposal()
    task = metadata.get("task", "detect")
    fit: Fit = Letterbox(pad_value=114)
    if task == "classify":
        fit = CenterCrop(resize_shorter=max(target.height, target.width))
    parts = PreprocessParts(
        fit=fit,
        color="rgb",
        resize="triangle" if task == "classify" else "bilinear",
        normalize=Scale(factor=1 / 255),
    )
    least = 2 if task == "classify" else 1
    labels, note = _labels(_literal(metadata["names"]), least)
    notes = (f"{METADATA}: names {note}, and are left out",) if note else ()
    return Proposal(
        parts=parts if target.channels == 3 else PreprocessParts(),
        labels=labels,
        task=visible(task[:LABEL]),
        notes=notes,
    )


def _literal(text: str) -> object:
    """A Python literal, which runs no code; None for anything else."""
    if len(text) > LITERAL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escape sequences, which are the exporter's matter
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _labels(names: object, least: int = 2) -> tuple[tuple[str, ...], str]:
    """Labels of a list, or of a table from the output's number; else none, and why."""
    if isinstance(names, dict):
        try:
            table = {int(number): name for number, name in names.items()}
        except (ValueError, TypeError, OverflowError):
            return (), "have keys that are no numbers"
        if sorted(table) != list(range(len(table))):
            return (), "do not count from 0"
        names = [table[number] for number in range(len(table))]
    if not isinstance(names, list) or not least <= len(names) <= MOST_LABELS:
        return (), f"are no list of {least} to {MOST_LABELS:,} labels"
    for name in names:
        if not (isinstance(name, str) and 0 < len(name) <= LABEL and visible(name) == name):
            return (), f"have one that is no text of at most {LABEL} visible characters"
    return tuple(names), ""


class _Size(Excerpt):
    height: int | None = None
    width: int | None = None
    shortest_edge: int | None = None
    longest_edge: int | None = None

    @property
    def sides(self) -> tuple[int, int] | None:
        return (self.height, self.width) if self.height and self.width else None


class _Processor(Excerpt):
    """`preprocessor_config.json` of transformers; older ones leave out what their class does."""

    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    do_resize: bool = True
    size: int | _Size | None = None
    do_center_crop: bool | None = False
    crop_size: int | _Size | None = None
    crop_pct: float | None = None
    resample: int | None = None
    do_rescale: bool | None = True
    rescale_factor: float = 1 / 255
    rescale_offset: bool | None = False
    include_top: bool | None = False
    do_normalize: bool | None = None
    image_mean: list[float] | None = None
    image_std: list[float] | None = None
    do_flip_channel_order: bool | None = False
    do_pad: bool | None = False

    @property
    def kind(self) -> str:
        return self.image_processor_type or self.feature_extractor_type or ""


def _of_processor(folder: Path, target: Target) -> Proposal:
    if not (folder / PROCESSOR).is_file():
        return Proposal()
    processor = _read(folder, PROCESSOR, _Processor)
    notes: list[str] = []
    fit = _fit_of(processor, target)
    if fit is None:
        notes.append(f"{PROCESSOR}: its sizes do not lead to the input's, and are left out")
    resize = _FILTERS.get(processor.resample) if processor.resample is not None else None
    if processor.resample is not None and resize is None:
        notes.append(
            f"{PROCESSOR}: resample {processor.resample} is neither bilinear nor bicubic,"
            " and is left out"
        )
    normalize = _normalize_of(processor, target.channels)
    if normalize is None:
        notes.append(f"{PROCESSOR}: its normalisation does not fit, and is left out")
    color: Color = "bgr" if processor.do_flip_channel_order else "rgb"
    parts = PreprocessParts(
        fit=fit,
        color=color if target.channels == 3 else None,
        resize=resize,
        normalize=normalize,
    )
    return Proposal(parts=parts, notes=tuple(notes))


def _fit_of(processor: _Processor, target: Target) -> Fit | None:
    """None where it does not end in the network's input."""
    sides = (target.height, target.width)
    size = _as_size(processor.size, is_square=processor.kind.startswith(_SQUARE))
    shorter = size.shortest_edge if size.longest_edge is None else None
    if not processor.do_resize or processor.do_pad:
        return None
    if processor.kind.startswith("ConvNext") and shorter and sides == (shorter, shorter):
        # Below 384 pixels it crops, by a share; from there on it stretches.
        if shorter >= 384:
            return Stretch()
        return CenterCrop(resize_shorter=int(shorter / _share(processor.crop_pct)))
    if not processor.do_center_crop:
        return Stretch() if size.sides == sides else None
    if _as_size(processor.crop_size, is_square=True).sides != sides:
        return None
    if size.sides:
        return Stretch() if size.sides == sides else Stretch(size=size.sides)
    return CenterCrop(resize_shorter=shorter) if shorter else None


def _share(crop_pct: float | None) -> float:
    """Of the resized image that is kept; the usual one where nothing sensible is said."""
    return crop_pct if crop_pct is not None and 0.1 <= crop_pct <= 1 else 0.875


def _as_size(size: int | _Size | None, *, is_square: bool) -> _Size:
    if isinstance(size, int):
        return _Size(height=size, width=size) if is_square else _Size(shortest_edge=size)
    return size or _Size()


def _normalize_of(processor: _Processor, channels: int) -> Normalize | None:
    mean, std = processor.image_mean, processor.image_std
    does = processor.do_normalize
    if does is None:  # MobileViT's has a mean and does not use it
        does = bool(mean) and not processor.kind.startswith("MobileViT")
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    if processor.rescale_offset or processor.include_top or factor <= 0:
        return None  # EfficientNet's, which normalises twice
    if not does:
        return Scale(factor=factor)
    if not mean or not std or {len(mean), len(std)} != {channels}:
        return None
    unit = 255 * factor  # theirs are of the rescaled pixels, the card's of pixels in 0 to 1
    return MeanStd(
        mean=tuple(value / unit for value in mean), std=tuple(value / unit for value in std)
    )


class _Timm(Excerpt):
    mean: list[float] | None = None
    std: list[float] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None


class _Config(_Timm):
    """`config.json` of transformers (`id2label`) or timm, whose older ones are flat."""

    id2label: dict[str, str] | None = None
    label_names: list[str] | None = None
    architecture: str | None = None
    pretrained_cfg: _Timm | None = None


def _of_config(folder: Path, target: Target) -> Proposal:
    if not (folder / CONFIG).is_file():
        return Proposal()
    config = _read(folder, CONFIG, _Config)
    names = config.label_names or config.id2label
    labels, note = _labels(names) if names else ((), "")
    if all(label == f"LABEL_{index}" for index, label in enumerate(labels)):
        labels = ()  # transformers' names for what has none
    notes = (f"{CONFIG}: labels {note}, and are left out",) if note else ()
    timm = config.pretrained_cfg or config
    parts = _timm_parts(timm, target) if config.architecture else PreprocessParts()
    return Proposal(parts=parts, labels=labels, notes=notes)


def _timm_parts(timm: _Timm, target: Target) -> PreprocessParts:
    """As timm.data.create_transform makes them for an evaluation."""
    share = _share(timm.crop_pct)
    height, width = floor(target.height / share), floor(target.width / share)
    fit: Fit | None = None
    if timm.crop_mode == "squash":
        fit = Stretch(size=(height, width))
    elif timm.crop_mode in (None, "center") and height == width:
        fit = CenterCrop(resize_shorter=height)
    fits = timm.mean and timm.std and {len(timm.mean), len(timm.std)} == {target.channels}
    return PreprocessParts(
        fit=fit,
        color="rgb" if target.channels == 3 else None,
        resize=_FILTER_NAMES.get(timm.interpolation or ""),
        normalize=MeanStd(mean=tuple(timm.mean or ()), std=tuple(timm.std or ())) if fits else None,
    )


def _read(folder: Path, name: str, kind: type[Config]) -> Config:
    raw = read_inside(folder, name, limit=CONFIG_BYTES)
    return parse_json(kind, raw, name, "is not understood")


def describe(preprocess: Preprocess, target: Target) -> str:
    """What becomes of an image, in words."""
    size = f"{target.width} x {target.height} pixels"
    match preprocess.fit:
        case Letterbox(pad_value=pad):
            fit = f"letterboxed into {size} with a border of {pad}"
        case CenterCrop(resize_shorter=shorter):
            fit = f"resized to a shorter side of {shorter}, and its middle of {size} taken"
        case Stretch(size=(height, width)):
            fit = f"stretched to {width} x {height} pixels, and its middle of {size} taken"
        case _:
            fit = f"stretched to {size}"
    match preprocess.normalize:
        case MeanStd(mean=mean, std=std):
            numbers = f"standardised by mean {_numbers(mean)} and deviation {_numbers(std)}"
        case Scale(factor=1):
            numbers = "as pixels of 0 to 255"
        case Scale(factor=factor):
            numbers = f"pixels of 0 to 255 times {factor:.4g}"
        case _:
            numbers = "standardised by its own mean and deviation"
    image = "each image"
    if part := preprocess.roi:
        unit = "of its size" if isinstance(part, RegionShare) else "pixels"
        image += f"'s region of {part.width:g} x {part.height:g} {unit} at {part.x:g}, {part.y:g}"
    filters = "" if preprocess.resize == "triangle" else f", {preprocess.resize}"
    return f"{image} is {fit}{filters}, {preprocess.color}, {numbers}"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
