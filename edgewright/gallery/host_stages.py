"""Import, quantize and convert a network of the gallery: the stages that need no board."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime

from edgewright.base import digest
from edgewright.base.errors import EdgewrightError
from edgewright.base.files import make_folder, write_file
from edgewright.base.progress import LineSink
from edgewright.base.schema import read_record
from edgewright.gallery import fetch
from edgewright.gallery.documents import HostResult, Loss, Refusal, Stage
from edgewright.gallery.networks import Network
from edgewright.model.contract.card import Card, Scale
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.contract.task_cards import TaskCard, TensorCard, read_any_card
from edgewright.model.convert.inspect import inspect
from edgewright.model.convert.int8_nodes import int8_nodes
from edgewright.model.convert.to_ort import convert
from edgewright.model.importer import importing
from edgewright.model.importer.classifier import CARD
from edgewright.model.importer.proposal import PreprocessParts
from edgewright.model.importer.task_network import form_of
from edgewright.model.judge.data import FEWEST
from edgewright.model.judge.pictures import draw_pictures, write_pictures
from edgewright.model.pack.import_folder import ImportRequest, import_model
from edgewright.model.pack.task_golden import find_cases, spread_cases, write_task_golden
from edgewright.model.pack.unlabelled import UnlabelledQuantization, quantize_unlabelled
from edgewright.model.pack.workflow import Quantization, quantize
from edgewright.model.quantize.recipe import require_fp32

PICTURES = 120  # of a classifier; others are calibrated on fewer
CASES = 16  # of the other tasks
WORST = 100.0  # points: what INT8 loses is told here, not judged


class StoppedError(Exception):
    """A stage that refuses a network, or cannot do it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


Answer = TypeVar("Answer")


def stage(name: Stage, work: Callable[[], Answer]) -> Answer:
    """The result of one stage. Raises StoppedError, whatever went wrong: other networks go on."""
    try:
        return work()
    except EdgewrightError as fault:
        raise StoppedError(
            Refusal(stage=name, reason=fault.problem, facts=fault.facts[:3])
        ) from fault
    except Exception as bug:
        reason = f"{type(bug).__name__}: {str(bug).splitlines()[0] if str(bug) else ''}"
        raise StoppedError(Refusal(stage=name, reason=reason, is_traceback=True)) from bug


def run_host(network: Network, folder: Path, say: LineSink) -> HostResult:
    """The network's host stages, or what is recorded of them where nothing has changed.

    Writes `folder`: host.json, fp32/ and int8/, model folders as `invoke build` takes them.
    """
    record = folder / "host.json"
    source = str(network.source)
    try:
        path = stage("fetch", lambda: fetch.fetch(network))
        sha256 = network_sha256(path)
    except StoppedError as stopped:
        return HostResult(key="", source=source, refusal=stopped.refusal)
    key = _key(network, sha256)
    recorded = read_record(HostResult, record)
    if recorded and recorded.key == key:
        return recorded
    make_folder(folder)
    result = _through(network, path, folder, HostResult(key=key, source=source, sha256=sha256), say)
    write_file(record, result.to_json())
    return result


def _key(network: Network, sha256: str) -> str:
    versions = (onnx.__version__, onnxruntime.__version__)
    code = digest.tree_sha256(Path(importing.__file__).parents[1], Path(__file__))
    return digest.text_sha256(network.model_dump_json(), sha256, code, *versions)


def _through(
    network: Network, path: Path, folder: Path, result: HostResult, say: LineSink
) -> HostResult:
    with TemporaryDirectory(prefix="edgewright-gallery-") as scratch:
        inputs = Path(scratch)
        fp32 = folder / "fp32"
        try:
            say(f"{network.name}: import")
            stage("import", lambda: _import(network, path, fp32, inputs))
            model = fp32 / "model.onnx"
            result = result.model_copy(update=_facts_of_import(fp32))
        except StoppedError as stopped:
            return result.model_copy(update={"refusal": stopped.refusal})
        update: dict[str, object] = {}
        try:
            if network.is_int8:
                _link(fp32, folder / "int8")
                update["int8_bytes"] = result.fp32_bytes
                update["fp32_bytes"] = 0
            else:
                say(f"{network.name}: quantize")
                loss = stage("quantize", lambda: _quantize(network, fp32, folder / "int8", inputs))
                update["loss"] = loss
                update["int8_bytes"] = (folder / "int8" / "model.onnx").stat().st_size
            model = folder / "int8" / "model.onnx"
        except StoppedError as stopped:
            update["int8_refusal"] = stopped.refusal
            update["precision"] = "FP32"
        result = result.model_copy(update=update)
        try:
            say(f"{network.name}: convert")
            return result.model_copy(update=stage("convert", lambda: _facts_of_board_form(model)))
        except StoppedError as stopped:
            return result.model_copy(update={"refusal": stopped.refusal})


def _import(network: Network, path: Path, fp32: Path, inputs: Path) -> None:
    """Write the model folder of the network, with a golden set where no picture has a label."""
    parts = PreprocessParts(normalize=Scale(factor=1 / 255)) if _takes_units(network) else None
    request = ImportRequest(
        model=path,
        out=fp32,
        task=network.task,
        labels=network.labels,
        mean=() if parts else fetch.MEAN if network.task != "tensor" else (),
        std=() if parts else fetch.STD if network.task != "tensor" else (),
        parts=parts or PreprocessParts(),
        shape=network.shape,
        settings={"threshold": 0.5} if network.task == "anomaly" else {},
    )
    import_model(request)
    card = read_any_card(fp32 / CARD)
    if isinstance(card, Card):
        _file_pictures(fp32 / "model.onnx", card, inputs)
        return
    _write_inputs(network, card, inputs)
    cases = spread_cases(find_cases(inputs, card))
    write_task_golden(fp32 / "model.onnx", card, cases, fp32 / "golden")


def _takes_units(network: Network) -> bool:
    return network.task == "detect"


def _file_pictures(model: Path, card: Card, folder: Path) -> None:
    """Drawn pictures in a folder for each answer of the FP32 network: an accuracy of 1 is its."""
    side = max(card.input.shape[2:])
    session = open_session(model)
    scratch = folder / "unfiled"
    make_folder(scratch)
    for path in write_pictures(scratch, PICTURES, side):
        label = card.labels[int(outputs(session, load_input(path, card)).argmax())]
        make_folder(folder / "pictures" / label)
        path.rename(folder / "pictures" / label / path.name)
    scratch.rmdir()
    for rare in (folder / "pictures").iterdir():
        if len(list(rare.iterdir())) < FEWEST:
            shutil.rmtree(rare)


def _write_inputs(network: Network, card: TaskCard, folder: Path) -> None:
    """Pictures, or `.npy` files for each input of a network that takes tensors."""
    if not isinstance(card, TensorCard):
        write_pictures(folder, CASES, max(card.input.shape[2:]))
        return
    random = np.random.default_rng(0)
    for number in range(CASES):
        case = folder / f"{number:02}"
        make_folder(case if len(card.inputs) > 1 else folder)
        for place, tensor in enumerate(card.inputs):
            name = case / f"{place}.npy" if len(card.inputs) > 1 else case.with_suffix(".npy")
            np.save(name, _values(network, tensor.shape, number, random))


def _values(
    network: Network, shape: tuple[int, ...], number: int, random: np.random.Generator
) -> np.ndarray:
    if network.values.highest:
        return random.integers(0, network.values.highest, shape).astype(np.float32)
    if len(shape) == 4 and shape[1] == 3:
        (picture,) = draw_pictures(1, max(shape[2:]), number)
        return np.ascontiguousarray(fetch.normalized(picture[: shape[2], : shape[3]]))
    return np.asarray(network.values.scale * random.standard_normal(shape), np.float32)


def _facts_of_import(fp32: Path) -> dict[str, object]:
    card = read_any_card(fp32 / CARD)
    changes = card.imported.get("changes", [])
    assert isinstance(changes, list)
    form = None if isinstance(card, Card) else form_of(card)
    network = inspect(fp32 / "model.onnx", form=form)
    return {
        "imported": "; ".join(map(str, changes)) or "nothing",
        "fp32_bytes": network.bytes,
        "macs": network.macs,
    }


def _quantize(network: Network, fp32: Path, int8: Path, inputs: Path) -> Loss:
    model, card = fp32 / "model.onnx", read_any_card(fp32 / CARD)
    require_fp32(model, model)
    quiet: LineSink = lambda _: None  # noqa: E731
    if isinstance(card, Card):
        report = quantize(
            Quantization(
                model=model,
                out=int8,
                calibration=str(inputs / "pictures"),
                # Recall is asked for of a label that has pictures.
                positive=min(path.name for path in (inputs / "pictures").iterdir()),
                budget=WORST,
            ),
            quiet,
        )
        sqnr, difference = _logit_loss(model, int8 / "model.onnx", card, inputs / "pictures")
        return Loss(
            agreement=round(report.chosen.accuracy.value, 4), sqnr_db=sqnr, difference=difference
        )
    unlabelled = quantize_unlabelled(
        UnlabelledQuantization(
            model=model,
            card=card,
            card_path=fp32 / CARD,
            files=inputs,
            out=int8,
            calibration_files=CASES,
            least_sqnr_db=-WORST,
        ),
        quiet,
    )
    return Loss(agreement=None, sqnr_db=unlabelled.sqnr_db, difference=unlabelled.difference)


def _logit_loss(fp32: Path, int8: Path, card: Card, pictures: Path) -> tuple[float, float]:
    """SQNR in dB, and the largest difference by the largest value, of a classifier's outputs."""
    paths = sorted(pictures.rglob("*.png"))[:CASES]
    inputs = np.concatenate([load_input(path, card) for path in paths])
    exact, coarse = (outputs(open_session(model), inputs) for model in (fp32, int8))
    noise, signal = np.square(exact - coarse).mean(), np.square(exact).mean()
    sqnr = 100.0 if not noise else min(100.0, float(10 * np.log10(signal / noise)))
    return round(sqnr, 2), round(float(np.abs(exact - coarse).max() / np.abs(exact).max()), 5)


def _link(source: Path, target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    target.symlink_to(source.name)


def _facts_of_board_form(model: Path) -> dict[str, object]:
    card = read_any_card(model.parent / CARD)
    form = None if isinstance(card, Card) else form_of(card)
    with TemporaryDirectory(prefix="edgewright-gallery-") as scratch:
        converted = convert(model, Path(scratch), form=form)
        nodes = int8_nodes(model)
        return {
            "ort_bytes": converted.ort.stat().st_size,
            "fast_nodes": sum(kind.nodes for kind in nodes if kind.fast),
            "stock_nodes": sum(kind.nodes for kind in nodes if not kind.fast),
        }
