"""A network's input and output in the one form that boards feed and read.

One image, float32 (1, channels, height, width), and one vector of scores, float32 (1, labels) with
two labels or more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
    shape_inference,
)

from edgewright.base.errors import UserError
from edgewright.model.contract.operators import ACTIVATIONS
from edgewright.model.importer.graphs import (
    elements,
    free_name,
    label,
    nodes_of,
    rename_source,
    rename_uses,
    set_sizes,
    sizes_of,
)

CHANNELS = (1, 3)
Shape = tuple[int, int, int, int]
_NUMBERS: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
}


@dataclass(frozen=True, kw_only=True)
class Interface:
    """How the network as it came is fed and read, in terms of the rewritten one."""

    input: str
    output: str
    dtype: str  # numpy's name
    batch: int
    channels_last: bool
    is_single: bool  # one score, which became two

    def feed(self, images: NDArray[np.float32]) -> NDArray[np.generic]:
        """Images (N, C, H, W), as many as the batch, as the network as it came takes them."""
        stacked = images.transpose(0, 2, 3, 1) if self.channels_last else images
        return np.ascontiguousarray(stacked).astype(self.dtype)


def image_input(model: ModelProto, subject: str) -> ValueInfoProto:
    """The one input. Raises UserError if there are more, or if it is no image."""
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        raise UserError(
            subject,
            f"has {len(inputs)} inputs, expected one image",
            facts=[words_for(value) for value in inputs],
            next="export it with the others as constants",
        )
    value: ValueInfoProto = inputs[0]
    sizes = sizes_of(value)
    if sizes is None or len(sizes) != 4:
        rank = "an unknown rank" if sizes is None else f"rank {len(sizes)}"
        raise UserError(subject, f"input has {rank}, expected 4", facts=[value_fact(value)])
    if value.type.tensor_type.elem_type not in _NUMBERS:
        kind = type_name(value)
        raise UserError(
            subject,
            f"input is {kind}, expected float, uint8 or int8",
            facts=[value_fact(value)],
            next="export it with a float32 input, or take it as tensors: --task=tensor",
        )
    return value


def fix_input(
    model: ModelProto, subject: str, shape: Sequence[int] | None
) -> tuple[Interface, list[str]]:
    """One float image of a fixed size, channels first; and what was changed for it.

    `shape` is (1, channels, height, width), and needed where the network leaves a size open.
    Raises UserError if that cannot be, or contradicts the network.
    """
    value = image_input(model, subject)
    before = sizes_of(value) or ()
    channels_last = _is_channels_last(before, shape, subject, value)
    order = (0, 3, 1, 2) if channels_last else (0, 1, 2, 3)
    first = tuple(before[place] for place in order)  # as channels first
    target = _target(first, shape, subject, value)
    dtype = _NUMBERS[value.type.tensor_type.elem_type]
    interface = Interface(
        input=value.name,
        output=model.graph.output[0].name,
        dtype=dtype,
        batch=before[0] or 1,
        channels_last=channels_last,
        is_single=False,
    )
    changes = []
    if first != target:
        open_sizes = [
            f"{name} {new}"
            for name, old, new in zip(
                ("batch", "channels", "height", "width"), first, target, strict=True
            )
            if old != new
        ]
        changes.append(f"input fixed: {', '.join(open_sizes)}")
        _forget_shapes(model)
    if dtype != "float32":
        limits = "0 to 255" if dtype == "uint8" else "-128 to 127"
        changes.append(f"input takes the same values, {limits}, as float32")
        _take_floats(model, value)
    if channels_last:
        changes.append("input has its channels first")
        inner = free_name(model, f"{value.name}_channels_last")
        rename_uses(model, value.name, inner)
        node = helper.make_node("Transpose", [value.name], [inner], inner, perm=[0, 2, 3, 1])
        model.graph.node.insert(0, node)
    set_sizes(value, target)
    return interface, changes


def _open_size(subject: str, value: ValueInfoProto, *, is_only: bool) -> UserError:
    return UserError(
        subject,
        "leaves the size of an input open",
        facts=[value_fact(value)],
        next="give its whole shape, such as --shape=1,576, or export it with fixed sizes"
        if is_only
        else "write a card with the shape of each input (docs/formats.md), "
        "or export it with fixed sizes",
    )


def fix_tensors(
    model: ModelProto,
    subject: str,
    shape: Sequence[int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> list[str]:
    """Batch 1 for every input whose first size is open; other open sizes come from `shapes`, by
    the inputs' names, or from `shape`, which is that of the only input that leaves one open.

    Raises UserError for a size that stays open, and for a shape that does not fit.
    """
    open_inputs = [v for v in model.graph.input if None in (sizes_of(v) or (None,))[1:]]
    fixed = []
    for value in model.graph.input:
        sizes = sizes_of(value)
        new_shape = (shapes or {}).get(value.name)
        if new_shape is None and [value.name] == [single.name for single in open_inputs]:
            new_shape = shape
        if new_shape is None and (sizes is None or None in sizes[1:]):
            raise _open_size(subject, value, is_only=len(open_inputs) == 1)
        target = tuple(new_shape or (size or 1 for size in sizes or ()))
        if sizes is not None and (
            len(sizes) != len(target)
            or any(size not in (None, new) for size, new in zip(sizes, target, strict=True))
        ):
            raise UserError(
                subject,
                "has another input shape than the card or --shape",
                facts=[value_fact(value), f"expected: {target}"],
                next="give the network's own shape, or export it again",
            )
        if sizes != target:
            set_sizes(value, target)
            is_batch = sizes is not None and sizes[1:] == target[1:]
            fixed.append(value.name if is_batch else f"{value.name} {words(target)}")
    if not fixed:
        return []
    _forget_shapes(model)
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):  # a touch makes a tensor of a sequence
            value.type.tensor_type.ClearField("shape")
    is_batch_alone = not any(" " in name for name in fixed)
    return [f"{'batch fixed to 1' if is_batch_alone else 'input fixed'}: {', '.join(fixed)}"]


def _is_channels_last(
    sizes: tuple[int | None, ...], shape: Sequence[int] | None, subject: str, value: ValueInfoProto
) -> bool:
    first, last = sizes[1] in CHANNELS, sizes[3] in CHANNELS
    if first:
        return False
    if last:
        return True
    if sizes[1] is None and shape is not None:
        return False
    channels = "any number of" if sizes[1] is None else str(sizes[1])
    raise UserError(
        subject, f"input has {channels} channels, expected 1 or 3", facts=[value_fact(value)]
    )


def _target(
    first: tuple[int | None, ...], shape: Sequence[int] | None, subject: str, value: ValueInfoProto
) -> tuple[int, ...]:
    """The sizes as channels first; those that are open come from `shape`."""
    new_shape = tuple(shape or ())
    if new_shape and (len(new_shape) != 4 or new_shape[0] != 1):
        raise UserError(subject, f"cannot have the shape {new_shape}", facts=[value_fact(value)])
    fixed = (1, *first[1:])
    if not new_shape and None in fixed:
        raise UserError(
            subject,
            "takes images of any size, and neither --shape nor a card tells which",
            facts=[value_fact(value)],
            next="give the size, such as --shape=1,3,224,224",
        )
    new_shape = new_shape or tuple(size or 1 for size in fixed)
    if any(size not in (None, new) for size, new in zip(fixed, new_shape, strict=True)):
        raise UserError(
            subject,
            "has another input shape than the card or --shape",
            facts=[value_fact(value), f"expected: {new_shape}, as batch, channels, height, width"],
            next="give the network's own shape, or export it again",
        )
    return new_shape


def _forget_shapes(model: ModelProto) -> None:
    """Shapes between the ends were inferred for the open sizes."""
    del model.graph.value_info[:]


def _take_floats(model: ModelProto, value: ValueInfoProto) -> None:
    """Whole numbers come as float32; a cast to float at the start has nothing to do any more."""
    users = [node for node in nodes_of(model) if value.name in node.input]
    kind = value.type.tensor_type.elem_type
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    if all(_is_cast_to_float(node) for node in users):
        return  # a cast of float32 to float32, which the runtime takes out
    integers, pixels = (free_name(model, f"{value.name}_{part}") for part in ("whole", "pixels"))
    rename_uses(model, value.name, pixels)
    nodes = [
        helper.make_node("Round", [value.name], [integers], integers),
        helper.make_node("Cast", [integers], [pixels], pixels, to=kind),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def _is_cast_to_float(node: NodeProto) -> bool:
    types = [attribute.i for attribute in node.attribute if attribute.name == "to"]
    return node.op_type == "Cast" and types == [TensorProto.FLOAT]


def keep_output(model: ModelProto, subject: str, output: str | None) -> str | None:
    """Only the output of that name; none may be named where there is one."""
    outputs = list(model.graph.output)
    if output is not None and output not in [value.name for value in outputs]:
        raise UserError(
            subject, f"has no output '{output}'", facts=[words_for(value) for value in outputs]
        )
    if len(outputs) == 1:
        return None
    if output is None:
        raise UserError(
            subject,
            f"has {len(outputs)} outputs, expected one vector of logits or probabilities",
            facts=[words_for(value) for value in outputs],
            next=f"name the one, such as --output={outputs[0].name}" if outputs else None,
        )
    dropped = [value for value in outputs if value.name != output]
    for value in dropped:
        model.graph.output.remove(value)
    return f"outputs taken away: {', '.join(value.name for value in dropped)}"


def keep_outputs(model: ModelProto, subject: str, names: Sequence[str]) -> str | None:
    """Only the outputs of these names, all where there is none. Raises UserError for another.

    A name of a tensor inside cuts the network there.
    """
    outputs = list(model.graph.output)
    cut = expose(model, names)
    if unknown := set(names) - {value.name for value in model.graph.output}:
        raise UserError(
            subject,
            f"has no output '{min(unknown)}'",
            facts=[words_for(value) for value in outputs],
        )
    dropped = [value for value in outputs if names and value.name not in names]
    for value in dropped:
        model.graph.output.remove(value)
    if not dropped:
        return None
    words = f"outputs taken away: {', '.join(value.name for value in dropped)}"
    return f"{words}; the network is cut at {', '.join(cut)}" if cut else words


def expose(model: ModelProto, names: Sequence[str]) -> list[str]:
    """Make outputs of tensors inside; returns those that were none."""
    inner = {name for node in model.graph.node for name in node.output}
    hidden = [name for name in names if name in inner - {v.name for v in model.graph.output}]
    if hidden:
        inferred = shape_inference.infer_shapes(model).graph.value_info
        by_name = {value.name: value for value in inferred}
        plain = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        model.graph.output.extend(
            by_name.get(name) or helper.make_value_info(name, plain) for name in hidden
        )
    return hidden


_CASTABLE = {
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
}


def make_outputs_float(model: ModelProto, subject: str) -> list[str]:
    """Outputs of another type become float32, which says whole numbers up to 2^24 exactly."""
    changed = []
    for value in _of_other_types(model.graph.output, subject, "output"):
        inner = free_name(model, f"{value.name}_{type_name(value)}")
        rename_source(model, value.name, inner)
        node = helper.make_node("Cast", [inner], [value.name], inner, to=TensorProto.FLOAT)
        model.graph.node.append(node)
        changed.append(f"output {value.name} is float32, was {type_name(value)}")
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


def make_inputs_float(model: ModelProto, subject: str) -> list[str]:
    """Inputs of another type take the same values as float32."""
    changed = []
    for value in _of_other_types(model.graph.input, subject, "input"):
        kind = value.type.tensor_type.elem_type
        inner = free_name(model, f"{value.name}_{type_name(value)}")
        rename_uses(model, value.name, inner)
        node = helper.make_node("Cast", [value.name], [inner], inner, to=kind)
        model.graph.node.insert(0, node)
        changed.append(f"input {value.name} takes the same values as float32")
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


def _of_other_types(
    values: Iterable[ValueInfoProto], subject: str, kind: str
) -> Iterator[ValueInfoProto]:
    """Those that are not float32 yet. Raises UserError for one that is no tensor of numbers."""
    for value in values:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            continue
        if value.type.tensor_type.elem_type not in _CASTABLE:
            raise UserError(
                subject,
                f"{kind} is {type_name(value)}, expected numbers",
                facts=[value_fact(value)],
            )
        yield value


def require_scores(model: ModelProto, subject: str) -> None:
    """Raise UserError, naming the node, if the output is no tensor of floats."""
    value = model.graph.output[0]
    maker = next((n for n in model.graph.node if value.name in n.output), None)
    facts = [value_fact(value), *([f"made by: {label(maker)}"] if maker is not None else [])]
    if not value.type.HasField("tensor_type"):
        raise UserError(
            subject,
            "output is no tensor",
            facts=facts,
            next="export it so that it ends in scores, such as with zipmap=False",
        )
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise UserError(
            subject,
            f"output is {type_name(value)}, expected scores as float",
            facts=facts,
            next="export it without its last step, such as an ArgMax or a Cast",
        )


def flatten_output(
    model: ModelProto, subject: str, sizes: tuple[int, ...]
) -> tuple[bool, list[str]]:
    """The output, which has these sizes for one image, as (1, labels).

    A single score becomes two, of the label without and the label with what it is for. Returns
    whether it did, and what was changed.
    """
    value = model.graph.output[0]
    count = elements(sizes) or 0
    if count != max(sizes, default=1):
        raise UserError(
            subject,
            f"output has shape {words(sizes)}",
            facts=["expected: (1, labels), a score for each label"],
            next="cut the network where it has a score for each label: only classifiers are taken",
        )
    changes = []
    if sizes != (1, count):
        inner = free_name(model, f"{value.name}_unshaped")
        shape = free_name(model, f"{value.name}_shape")
        rename_source(model, value.name, inner)
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, count]), shape))
        model.graph.node.append(helper.make_node("Reshape", [inner, shape], [value.name], shape))
        changes.append(f"output {words(sizes)} became {words((1, count))}")
    elif sizes_of(value) != sizes:
        changes.append(f"output fixed: {words(sizes)}")
    if count == 1:
        changes.append(_double(model, value.name))
    set_sizes(value, (1, max(count, 2)))
    return count == 1, changes


def _double(model: ModelProto, output: str) -> str:
    """(1, 1) -> (1, 2). Of a probability p: 1 - p and p; of a logit z: 0 and z, whose softmax is
    that of the sigmoid of z."""
    maker = next(node for node in model.graph.node if output in node.output)
    inner, other = free_name(model, f"{output}_single"), free_name(model, f"{output}_other")
    start = free_name(model, f"{output}_start")
    rename_source(model, output, inner)
    is_probability = maker.op_type in ACTIVATIONS or _source_kind(model, inner) in ACTIVATIONS
    first = np.array([[1.0 if is_probability else 0.0]], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(first, start))
    pair = [start, inner]
    if is_probability:
        model.graph.node.append(helper.make_node("Sub", [start, inner], [other], other))
        pair = [other, inner]
    model.graph.node.append(helper.make_node("Concat", pair, [output], f"{output}_pair", axis=1))
    words = "1 - p and p" if is_probability else "0 and the logit"
    return f"one score became two, {words}: the second label is what the score is for"


def _source_kind(model: ModelProto, name: str) -> str:
    """The operator that makes a tensor, behind what changes its shape alone."""
    makers = {output: node for node in model.graph.node for output in node.output}
    while (node := makers.get(name)) is not None:
        if node.op_type not in ("Reshape", "Cast", "Flatten", "Squeeze"):
            return str(node.op_type)
        name = node.input[0]
    return ""


def type_name(value: ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind).removesuffix("_type")
    return str(TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def words_for(value: ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return f"{value.name}: {type_name(value)}"
    return f"{value.name}: {type_name(value)} {words(sizes_of(value) or ())}"


def value_fact(value: ValueInfoProto) -> str:
    return f"found: {words_for(value)}"


def words(sizes: Sequence[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"
