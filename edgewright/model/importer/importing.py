"""Bring an ONNX network of any exporter into the form that is judged, quantized and converted.

Every rewrite must keep what the network computes: both run on the same inputs, and a difference
beyond the tolerance is refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Facts, ModelFile
from edgewright.model.contract.network_file import network_bytes, not_onnx, weight_files
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import IR_VERSION, load_session
from edgewright.model.importer import interface as forms
from edgewright.model.importer import rewrites
from edgewright.model.importer.graphs import elements, label, nodes_of, sizes_of, tensors_of
from edgewright.model.importer.interface import Interface
from edgewright.model.importer.refusals import refuse_unfit

MAX_BYTES = (1 << 31) - 1  # what protobuf, and so ONNX Runtime, takes in one piece
MAX_TENSOR = 1 << 30  # bytes of one tensor: more fits no board, and may be a bomb
TOLERANCE = 1e-4  # of the largest output; rewrites change the order of sums
COARSE_TOLERANCE = 2e-2  # of half precision, which was rounded after each node
PROBES = 4
# Operators that fold away once the input's size is fixed, or that do nothing in an inference.
_FOLDABLE = {"Shape", "Size", "ConstantOfShape", "Range", "If", "Loop", "Dropout"}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network in a form that boards run, in one file; the source itself if it had it already.

    The file lies in a folder that goes with this object.
    """

    source: Path
    path: Path
    changes: tuple[str, ...]  # in words
    difference: float | None  # largest one of the outputs, by the largest output; None: unchanged
    tolerance: float
    interface: Interface | None  # None: no classifier of images
    folder: TemporaryDirectory[str] | None = field(repr=False)

    def require_equal(self, images: Iterable[Floats]) -> None:
        """Compare both networks on inputs (1, C, H, W). Raises UserError if their outputs differ.

        A batch is filled with the first images over and over.
        """
        if self.changes and self.interface:
            rows = np.concatenate(list(images))
            session = load_session(self.path)
            _compare_on_images(self.source, session, self.interface, rows, self.tolerance)


def import_facts(imported: Imported | None) -> Facts:
    """What was rewritten, for the card; empty if nothing was."""
    if imported is None or not imported.changes:
        return {}
    return {
        "source": ModelFile.of(imported.source).model_dump(),
        "changes": list(imported.changes),
        "difference": imported.difference,
        "tolerance": imported.tolerance,
    }


@dataclass(frozen=True, kw_only=True)
class TaskForm:
    """What a task beyond classification needs of a network."""

    takes_image: bool  # one image; else tensors as they are
    # Shapes of tensors, by input, as the card has them; a network may leave them open.
    inputs: Mapping[str, Sequence[int]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()  # those to keep; empty: all


def import_classifier(
    source: Path, *, shape: Sequence[int] | None = None, output: str | None = None
) -> Imported:
    """Read, rewrite and check a network with one image and one vector of scores.

    `shape` (1, channels, height, width) fixes sizes that it leaves open, `output` chooses one of
    several. Raises UserError, with the node and a remedy, for what no board can run.
    """
    original = _read(source)
    model, changes = _modernised(original, source)
    changes += filter(None, [forms.keep_output(model, str(source), output)])
    forms.require_scores(model, str(source))
    interface, fixed = forms.fix_input(model, str(source), shape)
    interface = replace(interface, dtype=_dtypes(original)[interface.input])
    model, folded = _folded(model, source)
    probes = _probes(model, interface)
    sizes = _output_sizes(model, source, probes)
    is_single, reshaped = forms.flatten_output(model, str(source), sizes)
    interface = replace(interface, is_single=is_single)
    tolerance = _tolerance(original)

    def compare(session: onnxruntime.InferenceSession) -> float:
        return _compare_on_images(source, session, interface, probes, tolerance)

    return _finish(
        source, model, [*changes, *fixed, *folded, *reshaped], tolerance, compare, interface
    )


def import_network(
    source: Path,
    *,
    shape: Sequence[int] | None = None,
    output: str | None = None,
    form: TaskForm | None = None,
) -> Imported:
    """Read, rewrite and check a network of any task; a classifier as `import_classifier`.

    Of another one inputs and outputs stay as they are, but for an open batch, which becomes 1.
    `form` is that of the task whose card is beside it, and then decides.
    """
    if form:
        return import_for_task(source, form, shape=shape)
    original = _read(source)
    if output or _may_classify(original):
        return import_classifier(source, shape=shape, output=output)
    model, changes = _modernised(original, source)
    fixed = forms.fix_tensors(model, str(source), shape)
    model, folded = _folded(model, source)
    _state_output_shapes(model, source)
    tolerance = _tolerance(original)

    def compare(session: onnxruntime.InferenceSession) -> float:
        return _compare_on_noise(source, session, original, model, tolerance)

    return _finish(source, model, [*changes, *fixed, *folded], tolerance, compare)


def import_for_task(
    source: Path, form: TaskForm, *, shape: Sequence[int] | None = None
) -> Imported:
    """Read, rewrite and check a network of a task beyond classification.

    Inputs and outputs become float32, of batch 1, an image has its channels first. Raises
    UserError, with the node and a remedy, for what no board can run.
    """
    original = _read(source)
    model, changes = _modernised(original, source)
    changes += filter(None, [forms.keep_outputs(model, str(source), form.outputs)])
    tolerance, dtypes = _tolerance(original), _dtypes(original)
    if form.takes_image:
        interface, fixed = forms.fix_input(model, str(source), shape)
        interface = replace(interface, dtype=dtypes[interface.input])
        fixed += forms.make_outputs_float(model, str(source))
        model, folded = _folded(model, source)
        _state_output_shapes(model, source)
        probes = _probes(model, interface)

        def compare(session: onnxruntime.InferenceSession) -> float:
            return _compare_outputs(source, session, interface, probes, tolerance)

        changes += [*fixed, *folded]
        return _finish(source, model, changes, tolerance, compare, interface)
    fixed = forms.fix_tensors(model, str(source), shape, form.inputs)
    fixed += forms.make_inputs_float(model, str(source))
    fixed += forms.make_outputs_float(model, str(source))
    model, folded = _folded(model, source)
    _state_output_shapes(model, source)

    def compare_noise(session: onnxruntime.InferenceSession) -> float:
        return _compare_on_noise(source, session, original, model, tolerance)

    return _finish(source, model, [*changes, *fixed, *folded], tolerance, compare_noise)


def _may_classify(model: ModelProto) -> bool:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = [sizes_of(value) for value in model.graph.output]
    is_image = len(inputs) == 1 and len(sizes_of(inputs[0]) or ()) == 4
    return is_image and len(outputs) == 1 and sum(n != 1 for n in outputs[0] or ()) <= 2


def _tolerance(model: ModelProto) -> float:
    coarse = rewrites.COARSE & {tensor.data_type for tensor in tensors_of(model)}
    return COARSE_TOLERANCE if coarse else TOLERANCE


def _finish(
    source: Path,
    model: ModelProto,
    changes: Sequence[str],
    tolerance: float,
    compare: Callable[[onnxruntime.InferenceSession], float],
    interface: Interface | None = None,
) -> Imported:
    """Write the rewritten network, and compare it with the source."""
    folder = TemporaryDirectory(prefix="edgewright-import-") if changes else None
    path, difference = source, None
    if folder:
        path = Path(folder.name) / source.name
        onnx.save(model, path)
        difference = compare(_session(path, source))
    return Imported(
        source=source,
        path=path,
        changes=tuple(changes),
        difference=difference,
        tolerance=tolerance,
        interface=interface,
        folder=folder,
    )


def _read(source: Path) -> ModelProto:
    """The whole network, weights in other files included."""
    if not source.is_file():
        raise UserError(str(source), "no such model", next="invoke build --model=PATH")
    if (size := network_bytes(source)) > MAX_BYTES:
        facts = [f"expected: at most {MAX_BYTES:,} bytes, as ONNX has it", f"found: {size:,}"]
        raise UserError(str(source), "is too large", facts=facts)
    try:
        model = onnx.load(source)  # with the weights of other files
        # Before IR 4 a weight had to be listed as an input; many files of that age do not.
        model.ir_version = max(model.ir_version, 4)
        onnx.checker.check_model(model)
        return model
    except Exception as invalid:  # the checker's, protobuf's and the loader's have no common class
        raise not_onnx(source, str(invalid)) from invalid


def _modernised(original: ModelProto, source: Path) -> tuple[ModelProto, list[str]]:
    """Operators, types and names in the form that the runtime and its tools take."""
    subject = str(source)
    model = ModelProto()
    model.CopyFrom(original)
    if (opset := rewrites.opset_of(model)) < rewrites.OLDEST_READ:
        raise UserError(
            subject,
            f"has opset {opset}, which ONNX Runtime does not run",
            facts=[f"expected: {rewrites.OLDEST_READ} or newer"],
            next=f"export it again with opset_version={rewrites.MODERN}",
        )
    rewrites.name_domain(model)
    standardised = rewrites.fold_constant_norms(model)
    refuse_unfit(model, source)
    model, inlined = rewrites.inline_functions(model)
    changes = [
        rewrites.take_in(weight_files(source)),
        standardised,
        inlined,
        rewrites.densify(model),
        rewrites.hide_weights(model),
    ]
    model, lowered = rewrites.lower_opset(model, subject)
    model, raised = rewrites.raise_opset(model)
    changes += [lowered, raised, rewrites.lower_ir(model), rewrites.widen(model)]
    changes.append(rewrites.name_nodes(model))
    return model, [change for change in changes if change]


def _folded(model: ModelProto, source: Path) -> tuple[ModelProto, list[str]]:
    """The network after ONNX Runtime's basic optimisations, which add no operator of its own,
    where there is something to fold; and what was changed."""
    _refuse_absurd_sizes(model, source)
    if not any(node.op_type in _FOLDABLE for node in nodes_of(model)):
        return model, []
    with TemporaryDirectory(prefix="edgewright-fold-") as scratch:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as refused:  # ONNX Runtime's own exceptions have no common class
            raise _unloadable(source, refused) from refused
        folded = onnx.load(options.optimized_model_filepath)
    rewrites.name_nodes(folded)
    return folded, ["constants folded, dead branches and training leftovers taken away"]


def _refuse_absurd_sizes(model: ModelProto, source: Path) -> None:
    """Raise UserError for a tensor that no board holds, before anything computes it."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # what it cannot infer, the runtime may still run, or refuse with a reason
        return
    makers = {name: node for node in inferred.graph.node for name in node.output}
    for value in inferred.graph.value_info:
        sizes = sizes_of(value) or ()
        size = elements(sizes) or 0
        if size * rewrites.FLOAT_BYTES > MAX_TENSOR and value.name in makers:
            raise UserError(
                str(source),
                f"computes a tensor of {size:,} values",
                facts=[f"node: {label(makers[value.name])}", f"shape: {forms.words(sizes)}"],
                next="export it for smaller images",
            )


def _probes(model: ModelProto, interface: Interface) -> Floats:
    """Made-up pictures of the input's size, (N, C, H, W): noise, smooth shades, and both."""
    (value,) = [v for v in model.graph.input if v.name == interface.input]
    shape = tuple(size or 1 for size in sizes_of(value) or ())[1:]
    random = np.random.default_rng(0)
    noise = random.standard_normal((PROBES, *shape))
    rows, columns = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    shades = np.stack([np.sin(3 * rows + turn) + columns for turn in range(PROBES)])[:, np.newaxis]
    share = np.linspace(0, 1, PROBES).reshape(-1, 1, 1, 1)
    pictures = share * noise + (1 - share) * shades
    if interface.dtype != "float32":
        middle = 128 if interface.dtype == "uint8" else 0
        pictures = np.clip(np.round(middle + 48 * pictures), middle - 128, middle + 127)
    count = max(PROBES, interface.batch)
    return np.resize(pictures, (count, *shape)).astype(np.float32)


def _output_sizes(model: ModelProto, source: Path, probes: Floats) -> tuple[int, ...]:
    """The sizes that the output has for one image, whatever the file says of them."""
    session = _session(model.SerializeToString(), source)
    try:
        rows = _run(session, probes)
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        raise UserError(
            str(source),
            "does not run on one image",
            facts=_reason(refused),
            next="export it for one image (batch 1) of a fixed size",
        ) from refused
    if np.isnan(rows).all(axis=tuple(range(1, rows.ndim))).all():
        raise UserError(
            str(source),
            "answers every picture with NaN",
            facts=[f"output: {model.graph.output[0].name}"],
            next="look for a logarithm or a root of negative values, or train it again",
        )
    return tuple(rows.shape[1:])


def _state_output_shapes(model: ModelProto, source: Path) -> None:
    """Write down what ONNX Runtime infers for the outputs; what it cannot infer stays open."""
    outputs = [value for value in model.graph.output if value.type.HasField("tensor_type")]
    for value in outputs:  # the file's own shapes may be of another batch
        value.type.tensor_type.ClearField("shape")
    session = _session(model.SerializeToString(), source)
    by_name = {tensor.name: tensor for tensor in session.get_outputs()}
    for value in outputs:
        tensor = by_name[value.name]
        shape = value.type.tensor_type.shape
        shape.SetInParent()
        for place, size in enumerate(tensor.shape):
            dimension = shape.dim.add()
            if isinstance(size, int) and size >= 0:
                dimension.dim_value = size
            else:
                dimension.dim_param = f"{value.name}_{place}"


def _session(model: Path | bytes, source: Path) -> onnxruntime.InferenceSession:
    try:
        return load_session(model)
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        raise _unloadable(source, refused) from refused


def _unloadable(source: Path, refused: Exception) -> UserError:
    return UserError(
        str(source),
        f"ONNX Runtime {onnxruntime.__version__} cannot run it",
        facts=_reason(refused),
        next=f"export it again with opset_version={rewrites.MODERN}",
    )


def _reason(refused: Exception) -> list[str]:
    """ONNX Runtime's node and first line, without the places of its own source."""
    text = str(refused)
    node = re.search(r"while running (\w+) node\. Name:'([^']*)'", text)
    facts = [f"node: {node[1]} '{node[2]}'"] if node else []
    lines = text.rpartition(" was false. ")[2].strip().splitlines()
    return facts + (lines[:1] or [type(refused).__name__])


def _run(session: onnxruntime.InferenceSession, images: Floats) -> NDArray[np.float64]:
    """Images one by one -> outputs (N, …), each as it comes for one image."""
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image[np.newaxis]})[0] for image in images]
    return np.stack(rows).astype(np.float64)


def _compare_on_images(
    source: Path,
    session: onnxruntime.InferenceSession,
    interface: Interface,
    images: Floats,
    tolerance: float,
) -> float:
    count = max(len(images), interface.batch)
    images = np.resize(images, (count - count % interface.batch, *images.shape[1:]))
    if interface.dtype != "float32":
        images = np.round(images)  # the source takes no fractions, which a resize makes
    rewritten = _run(session, images).reshape(len(images), -1)
    original = _run_original(source, interface, images).reshape(len(images), -1)
    if interface.is_single:
        rewritten = rewritten[:, 1:]
    return _difference(source, original, rewritten, tolerance)


def _compare_outputs(
    source: Path,
    session: onnxruntime.InferenceSession,
    interface: Interface,
    images: Floats,
    tolerance: float,
) -> float:
    """Every output for each image alone; a source of another batch is filled with that image."""
    names = [value.name for value in session.get_outputs()]
    largest = 0.0
    for image in images:
        rewritten = session.run(None, {interface.input: image[np.newaxis]})
        batch = np.resize(image, (interface.batch, *image.shape)).astype(np.float32)
        original = _run_source(source, names, {interface.input: interface.feed(batch)})
        for before, after in zip(original, rewritten, strict=True):
            values = np.asarray(before, np.float64)
            if interface.batch > 1:
                values = values[: len(values) // interface.batch]
            largest = max(
                largest,
                _difference(source, values, np.asarray(after, np.float64), tolerance),
            )
    return largest


def _compare_on_noise(
    source: Path,
    session: onnxruntime.InferenceSession,
    original: ModelProto,
    model: ModelProto,
    tolerance: float,
) -> float:
    random = np.random.default_rng(0)
    values = {
        value.name: np.abs(random.standard_normal(tuple(n or 1 for n in sizes_of(value) or ())))
        for value in model.graph.input
    }
    names = [value.name for value in model.graph.output]
    before, after = (
        {name: value.astype(_dtypes(network)[name]) for name, value in values.items()}
        for network in (original, model)
    )
    pairs = zip(_run_source(source, names, before), session.run(names, after), strict=True)
    return max(
        _difference(source, np.asarray(old, np.float64), np.asarray(new, np.float64), tolerance)
        for old, new in pairs
    )


def _difference(
    source: Path, original: NDArray[np.float64], rewritten: NDArray[np.float64], tolerance: float
) -> float:
    """The largest difference of the outputs, by the largest of them.

    Raises UserError if it is beyond the tolerance.
    """
    if original.shape != rewritten.shape:
        raise _changed(source, f"outputs: {original.shape} before, {rewritten.shape} after")
    if (np.isfinite(original) != np.isfinite(rewritten)).any():
        raise _changed(source, "other outputs are infinite or NaN")
    with np.errstate(invalid="ignore"):  # infinity less infinity
        distances = np.where(original == rewritten, 0, np.abs(original - rewritten))
    scale = max(1.0, float(np.abs(np.nan_to_num(original, posinf=0, neginf=0)).max(initial=0)))
    difference = float(np.nan_to_num(distances).max(initial=0)) / scale
    if difference > tolerance:
        raise _changed(source, f"largest difference: {difference:.2g}, allowed: {tolerance:g}")
    return difference


def _changed(source: Path, fact: str) -> UserError:
    return UserError(
        str(source),
        "answers otherwise once it is rewritten for a board",
        facts=[fact],
        next="export it for one image (batch 1) of a fixed size, with opset_version=17",
    )


def _run_original(source: Path, interface: Interface, images: Floats) -> NDArray[np.float64]:
    groups = images.reshape(-1, interface.batch, *images.shape[1:])
    feeds = [{interface.input: interface.feed(group)} for group in groups]
    rows = [_run_source(source, [interface.output], feed)[0] for feed in feeds]
    return np.stack([np.asarray(row, np.float64) for row in rows])


def _run_source(
    source: Path, names: list[str], feed: Mapping[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """The network as it came; by ONNX's own reference if the runtime does not read it."""
    try:
        return list(load_session(source).run(names, feed))
    except Exception:  # a tensor inside, or a newer opset or IR version, which was rewritten
        model = onnx.load(source)
        forms.expose(model, names)
    try:
        # The number of the IR alone says nothing of what is computed.
        model.ir_version = min(model.ir_version, IR_VERSION)
        return list(load_session(model.SerializeToString()).run(names, feed))
    except Exception:  # a newer opset
        outputs: Any = None
    try:
        outputs = ReferenceEvaluator(model).run(names, dict(feed))
    except Exception as unknown:  # it has no operator of ONNX Runtime, and not every old version
        raise UserError(
            str(source),
            "was rewritten for the runtime, and nothing here runs it as it came, to compare",
            facts=[str(unknown).strip().splitlines()[0]],
            next=f"export it again with opset_version={rewrites.MODERN}",
        ) from unknown
    return list(outputs)


def _dtypes(model: ModelProto) -> dict[str, str]:
    """Input → numpy's name of its type."""
    return {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in model.graph.input
    }
