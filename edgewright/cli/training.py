"""From images to an FP32 network: the half of `model` that needs PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from invoke.context import Context
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from edgewright.base.errors import InterruptedWorkError, UserError
from edgewright.cli.common import ERR, OUT, Json, heavy, say, task, workspace, write_document
from edgewright.cli.documents import written_files

# PyTorch is an extra, and takes seconds to import: `heavy` brings what needs it when a task runs,
# or says how to install it. So the types of all that are `Any` here.
Arch = Annotated[str, "mobilevit-s, xs or xxs, or efficientnet-lite0, -lite1 or -lite2"]
Run = Annotated[
    str, "folder of the run: checkpoint, split, learning curve; build/model/<arch> if not given"
]
Threads = Annotated[int, "of the processor"]
Resolution = Annotated[int, "pixels a side, a multiple of 32"]
Data = Annotated[str, "elpv, or a folder with a folder of images (PNG or JPEG) for each class"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    dataset: Data = "elpv"
    arch: Arch = "mobilevit-s"
    resolution: Resolution = 256
    epochs: Annotated[
        int, "length of the run; 60, 10 from pretrained weights, 5 with --quantized"
    ] = 0
    minutes: Annotated[float, "length of the run by the clock, in place of epochs"] = 0.0
    resume: Annotated[bool, "go on with the run, from the step where it was interrupted"] = False
    weights: Annotated[
        str,
        "file with weights to start from, in place of random ones; all of the run is "
        "then at the full resolution",
    ] = ""
    pretrained: Annotated[bool, "start from ImageNet's weights (efficientnet-lite0, 1, 2)"] = False
    frozen: Annotated[
        int,
        "stages of an efficientnet-lite, 0 to 7, that keep their first weights; what they make of "
        "the images is computed once and kept in the run's folder",
    ] = 3
    loss: Annotated[str, "cross-entropy, weighted (rare classes count more) or focal"] = (
        "cross-entropy"
    )
    teacher: Annotated[str, "folder of a run whose answers are imitated as well"] = ""
    quantized: Annotated[
        bool, "go on from --weights with INT8's rounding, for a network that it costs accuracy"
    ] = False
    seed: Annotated[int, "of the random numbers"] = 0
    run: Run = ""
    learning_rate: Annotated[
        float,
        "at its peak; 0.0006, 0.0002 from pretrained weights, 0.00005 with --quantized, if not "
        "given",
    ] = 0.0
    batch: Annotated[int, "images a step"] = 16
    threads: Threads = 2


@task
def train(c: Context, options: TrainOptions, json: Json = False) -> None:
    """Train a network on labelled images. Example: invoke model.train --arch=xxs --epochs=40"""
    folders = heavy("train.run_folder")
    data = heavy("judge.data").load_dataset(options.dataset)
    folder = run_folder(options.run, options.arch)
    config = _train_config(options, folder.checkpoint)
    parts = folders.begin(folder, data, resume=options.resume)
    if not options.resume:
        _say_what_is_odd(data, parts)
    if config.frozen:
        say("first the frozen stages look at all images, once")
    _train(config, data, parts, folder)
    if json:
        write_document(written_files([folder.checkpoint, folder.curve]))


def _train_config(options: TrainOptions, checkpoint: Path) -> Any:
    configs, architectures = heavy("train.config"), heavy("train.architectures")
    arch = architectures.full_name(options.arch)
    adapts = arch in architectures.LITES and (options.pretrained or options.weights)
    rate = 5e-5 if options.quantized else 2e-4 if adapts else 6e-4
    config = configs.TrainConfig(
        checkpoint=checkpoint,
        arch=arch,
        resolution=options.resolution,
        epochs=options.epochs or (5 if options.quantized else 10 if adapts else 60),
        minutes=options.minutes or None,
        weights=Path(options.weights) if options.weights else None,
        pretrained=options.pretrained,
        teacher=run_folder(options.teacher, arch).checkpoint if options.teacher else None,
        loss=options.loss,
        seed=options.seed,
        quantization_aware=options.quantized,
        learning_rate=options.learning_rate or rate,
        batch=options.batch,
        threads=options.threads,
        stages=configs.FULL if options.weights else configs.STAGES,
    )
    return configs.fine_tuning(config, options.frozen) if adapts else config


def _say_what_is_odd(data: Any, parts: Any) -> None:
    """What makes a set easier, or its labels softer, than it looks."""
    unsure = sum(not sample.is_sure for sample in data.samples)
    if unsure:
        say(f"{unsure} of {len(data.samples)} images have soft labels: those who judged disagree")
    pairs = heavy("judge.data").alike(parts.train, (*parts.validation, *parts.test))
    if pairs:
        say(f"{len(pairs)} images that judge look like one that trains: figures flatter")
        for trains, judges in pairs[:5]:
            say(f"  {trains}, {judges}")


def _train(config: Any, data: Any, parts: Any, folder: Any) -> None:
    """Train with progress on the screen; Ctrl-C ends with a saved checkpoint."""
    training = heavy("train.run")
    earlier = (
        heavy("train.checkpoint").history(folder.checkpoint) if folder.checkpoint.exists() else []
    )
    try:
        with _watch(folder.curve, f"{config.arch} on {data.name}", earlier) as watch:
            training.train(config, data, parts, watch)
    except KeyboardInterrupt:
        raise InterruptedWorkError(
            str(folder.checkpoint),
            "interrupted and saved",
            next="the same command with --resume",
        ) from None
    say(f"{folder.checkpoint}\nlearning curve: {folder.curve}\nnext: invoke model.export")


@task
def export(
    c: Context,
    arch: Arch = "mobilevit-s",
    run: Run = "",
    out: Annotated[str, "the ONNX file to write; fp32.onnx in the run's folder if not given"] = "",
    dynamic: Annotated[bool, "any number of images at once, in place of one"] = False,
    json: Json = False,
) -> None:
    """Checkpoint to ONNX, compared with PyTorch on real images. Example: invoke model.export"""
    folder = run_folder(run, arch)
    to = Path(out) if out else folder.fp32
    exported = heavy("pack.folder").export_run(folder, to, dynamic=dynamic)
    say(f"{to}: {exported.bytes:,} bytes, opset {exported.opset}, batch {exported.batch}")
    difference = f"{exported.difference:.1e} at most, on {exported.images} images"
    say(f"logits differ from PyTorch by {difference}")
    if json:
        write_document(written_files([to]))


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    arch: Arch = "mobilevit-s"
    run: Run = ""
    target_macs: Annotated[str, "multiplications of one inference, at most; e.g. 1.6G"] = ""
    target_size: Annotated[str, "bytes of INT8 weights, at most; e.g. 4M"] = ""
    to: Annotated[str, "folder of the new run; the old one's with -pruned if not given"] = ""
    epochs: Annotated[int, "of fine-tuning"] = 10
    minutes: Annotated[float, "of fine-tuning by the clock, in place of epochs"] = 0.0
    resume: Annotated[bool, "go on with an interrupted fine-tuning"] = False
    learning_rate: Annotated[float, "of fine-tuning, at its peak"] = 2e-4
    threads: Threads = 2


@task
def prune(c: Context, options: PruneOptions, json: Json = False) -> None:
    """Take channels away and fine-tune. Example: invoke model.prune --target-macs=1.6G"""
    checkpoints, pruned = heavy("train.checkpoint"), heavy("train.pruned_run")
    configs = heavy("train.config")
    source = run_folder(options.run, options.arch)
    target_run = run_folder(options.to or f"{source.root}-pruned", options.arch)
    origin = checkpoints.read_checkpoint(source.checkpoint)["origin"]
    config = configs.TrainConfig(
        checkpoint=target_run.checkpoint,
        arch=origin["arch"],
        resolution=origin["resolution"],
        epochs=options.epochs,
        minutes=options.minutes or None,
        learning_rate=options.learning_rate,
        threads=options.threads,
        stages=configs.FULL,
    )
    # A fine-tuning that is resumed has its pruned network in the checkpoint.
    if not options.resume:
        target = _target(options.target_macs, options.target_size)
        pruning = pruned.begin_pruned(source, target_run, target, config)
        say(f"before: {pruning.before}\nafter: {pruning.after}")
    data, parts = heavy("train.run_folder").data_of(
        target_run, checkpoints.read_checkpoint(target_run.checkpoint)
    )
    _train(config, data, parts, target_run)
    if json:
        write_document(written_files([target_run.checkpoint, target_run.curve]))


def _target(macs: str, size: str) -> Any:
    if not macs and not size:
        raise UserError(
            "model.prune",
            "expected --target-macs or --target-size, or both",
            next="invoke model.prune --target-macs=1.6G",
        )
    amount = heavy("train.pruned_run").parse_amount
    return heavy("train.prune").Target(
        macs=amount(macs) if macs else None, bytes=amount(size) if size else None
    )


@task
def pack(
    c: Context,
    arch: Arch = "mobilevit-s",
    run: Run = "",
    folder: Annotated[str, "the model folder to write; models/<arch>-<dataset> if not given"] = "",
    json: Json = False,
) -> None:
    """Make a run's model folder, as a whole. Example: invoke model.pack --arch=xxs"""
    source = run_folder(run, arch)
    origin = heavy("train.checkpoint").read_checkpoint(source.checkpoint)["origin"]
    name = f"{origin['arch']}-{Path(origin['dataset']).name}"
    to = Path(folder) if folder else workspace().models / name
    packed = heavy("pack.folder").make_model_folder(source, to, say)
    say(f"{to}: {packed.file.bytes:,} bytes\nnext: invoke build --model={to / packed.file.name}")
    if json:
        write_document(written_files([to / packed.file.name]))


@task
def curve(
    c: Context,
    dataset: Data = "elpv",
    arch: Annotated[str, "efficientnet-lite0, -lite1 or -lite2"] = "efficientnet-lite0",
    images: Annotated[str, "numbers of images to train on, with commas"] = "100,250,500,1000,1575",
    draws: Annotated[int, "random choices of each number of images"] = 5,
    resolution: Resolution = 256,
    threads: Threads = 2,
    json: Json = False,
) -> None:
    """How many images are enough. Example: invoke model.curve --dataset=cells --images=50,100"""
    try:
        counts = tuple(map(int, images.split(",")))
    except ValueError:
        raise UserError(f"--images={images}", "are no numbers, expected 100,250 or so") from None
    curves, data = heavy("train.learning_curve"), heavy("judge.data")
    request = curves.CurveRequest(
        arch=arch, counts=counts, draws=draws, resolution=resolution, threads=threads
    )
    source = data.load_dataset(dataset)
    say("the network looks at all images, once")
    answer = curves.learning_curve(source, data.split(source.samples), request)
    if json:
        write_document(answer)
        return
    table = Table("images", "choices", "accuracy", "AUC")
    for point in answer.points:
        table.add_row(
            f"{point.images:,}", str(point.draws), _spread(point.accuracy), _spread(point.auc)
        )
    OUT.print(table)


def _spread(values: Any) -> str:
    return f"{values.mean:.3f} ({values.lowest:.3f} to {values.highest:.3f})"


def run_folder(run: str, arch: str) -> Any:
    """The run's folder: the one asked for, or that of the architecture."""
    name = heavy("train.architectures").full_name(arch)
    root = Path(run) if run else workspace().root / "build" / "model" / name
    return heavy("train.run_folder").RunFolder(root=root)


class _Lines:
    """A line for each epoch: for logs. Draws the learning curve anew each time."""

    def __init__(self, curve: Path, title: str, earlier: list[Any]) -> None:
        self.curve, self.title, self.epochs = curve, title, earlier

    def begin(self, step: int, source: str) -> None:
        say(f"goes on after step {step}" if step else f"starts from {source}")

    def head(self, accuracy: float, auc: float) -> None:
        figures = f"accuracy {accuracy:.3f}, AUC {auc:.3f} on the validation part"
        say(f"the last layer alone is fitted: {figures}")

    def step(self, tick: Any) -> None:
        """Nothing: there are thousands of steps, and a log keeps every line."""

    def epoch(self, epoch: Any) -> None:
        self.epochs.append(epoch)
        say(
            f"epoch {epoch.epoch + 1}: {epoch.size} px, loss {epoch.loss:.3f}, "
            f"accuracy {epoch.accuracy:.3f}, AUC {epoch.auc:.3f} on the validation part, "
            f"{epoch.images_per_second:.1f} images/s"
        )
        heavy("train.curve").draw_curve(self.epochs, self.title, self.curve)

    def choice(self, share: float, accuracy: float, auc: float) -> None:
        where = f"{share:.0%} of the way from the fitted layer to the best epoch"
        say(f"{where}: accuracy {accuracy:.3f}, AUC {auc:.3f} on the validation part")


class _Bar(_Lines):
    """The same, with a bar that moves with every step."""

    def __init__(self, curve: Path, title: str, earlier: list[Any], bars: Bars) -> None:
        super().__init__(curve, title, earlier)
        self.bars = bars
        self.bar = bars.add_task("training", total=1.0, note="")

    def step(self, tick: Any) -> None:
        note = f"step {tick.step}, loss {tick.loss:.3f}"
        self.bars.update(self.bar, completed=min(1.0, tick.passed), note=note)


@contextmanager
def _watch(curve: Path, title: str, earlier: list[Any]) -> Iterator[_Lines]:
    if not ERR.is_terminal:
        yield _Lines(curve, title, earlier)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.1f} %"),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=ERR) as bars:
        yield _Bar(curve, title, earlier, bars)
