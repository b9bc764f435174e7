"""A detector that is trained on images with boxes, as a model folder."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.progress import LineSink
from edgewright.model.contract.card import Input, ModelFile, write_card
from edgewright.model.contract.detect_card import BoxDistances, ClassScores, DetectCard
from edgewright.model.contract.session import IR_VERSION
from edgewright.model.importer.classifier import CARD
from edgewright.model.judge.boxed import load_boxes, read_labels
from edgewright.model.pack.task_golden import spread_cases, write_task_golden
from edgewright.model.train.detector import (
    BINS,
    DetectorConfig,
    export_detector,
    train_detector,
)
from edgewright.model.train.efficientnet_lite import STRIDES

LARGEST_STRIDE = STRIDES[-1]


@dataclass(frozen=True, kw_only=True)
class DetectorRequest:
    """`images` holds train.json and test.json in COCO's form; `test` serves the golden set."""

    images: Path
    out: Path  # the folder to make
    size: int  # pixels of the input's sides
    training: DetectorConfig

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % LARGEST_STRIDE:
            raise UserError(f"size {self.size}", f"is not a multiple of {LARGEST_STRIDE} pixels")


def make_detector(request: DetectorRequest, say: LineSink) -> DetectCard:
    """Write the folder `out`: model.onnx, card.json, golden/.

    Ctrl-C saves the checkpoint and raises KeyboardInterrupt. Raises UserError for images that
    cannot be read and for a checkpoint of another run.
    """
    training = request.training
    labels = read_labels(request.images / "train.json")
    images = load_boxes(request.images / "train.json", labels)
    test = load_boxes(request.images / "test.json", labels)
    card = _draft(request, labels, len(images))
    network = train_detector(images, card, training, say)
    with new_folder(request.out) as folder:
        path = folder / "model.onnx"
        export_detector(network, card, [output.name for output in card.outputs], path)
        model = onnx.load(str(path))
        model.ir_version = IR_VERSION
        onnx.save(model, str(path))
        card = card.model_copy(update={"file": ModelFile.of(path)})
        write_card(card, folder / CARD)
        cases = spread_cases([(image.path,) for image in test])
        write_task_golden(path, card, cases, folder / "golden")
    return card


def _draft(request: DetectorRequest, labels: tuple[str, ...], images: int) -> DetectCard:
    outputs: list[BoxDistances | ClassScores] = []
    for stride in STRIDES:
        cells = request.size // stride
        outputs += [
            BoxDistances(
                name=f"boxes{stride}",
                shape=(1, 4 * BINS, cells, cells),
                role="box_distances",
                stride=stride,
            ),
            ClassScores(
                name=f"scores{stride}",
                shape=(1, len(labels), cells, cells),
                role="class_scores",
                stride=stride,
            ),
        ]
    training = request.training
    return DetectCard(
        task="detect",
        name="lite0-detector",
        labels=labels,
        input=Input(shape=(1, 1, request.size, request.size)),
        outputs=tuple(outputs),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
        training={
            "architecture": "EfficientNet-Lite0, feature pyramid, heads of YOLOv8",
            "from": "ImageNet" if training.pretrained else "random weights",
            "images": images,
            "steps": training.steps,
            "batch": training.batch,
            "seed": training.seed,
        },
    )
