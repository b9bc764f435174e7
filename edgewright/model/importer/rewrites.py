"""Rewrites of what exporters leave in a network. Each changes the model and says in words what.

They keep what the network computes; `importing` compares it before and after.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    defs,
    helper,
    inliner,
    numpy_helper,
    version_converter,
)
from onnx.reference import ReferenceEvaluator

from edgewright.base.errors import UserError
from edgewright.model.contract.session import IR_VERSION, OPSET
from edgewright.model.importer.graphs import graphs_of, label, nodes_of, tensors_of

# The first opset whose quantizers have an axis; older networks are brought to `MODERN`.
OLDEST, MODERN = 13, 17
OLDEST_READ = 7
FLOAT_BYTES = 4
COARSE = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
WIDE: Mapping[int, str] = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "double",
}


def take_in(weights: Sequence[Path]) -> str | None:
    """One file is what is hashed, copied and released. The loader has read them all by now."""
    names = ", ".join(path.name for path in weights)
    return f"weights taken in from: {names}" if weights else None


def inline_functions(model: ModelProto) -> tuple[ModelProto, str | None]:
    if not model.functions:
        return model, None
    names = ", ".join(sorted({function.name for function in model.functions}))
    return inliner.inline_local_functions(model), f"functions inlined: {names}"


def name_domain(model: ModelProto) -> None:
    """ONNX's own domain has two names: the empty one stays."""
    for node in nodes_of(model):
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    for opset in model.opset_import:
        opset.domain = "" if opset.domain == "ai.onnx" else opset.domain


def densify(model: ModelProto) -> str | None:
    """Sparse constants with all their zeros."""
    sparse = list(model.graph.sparse_initializer)
    if not sparse:
        return None
    model.graph.initializer.extend(map(_dense, sparse))
    del model.graph.sparse_initializer[:]
    return f"sparse weights made dense: {len(sparse)}"


def _dense(sparse: SparseTensorProto) -> TensorProto:
    values = numpy_helper.to_array(sparse.values)
    places = numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 1:  # places in the flattened tensor
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return numpy_helper.from_array(dense, sparse.values.name)


def hide_weights(model: ModelProto) -> str | None:
    """Old files list weights among the inputs, so that a caller may replace them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    listed = [value for value in model.graph.input if value.name in weights]
    for value in listed:
        model.graph.input.remove(value)
    # Before IR 4 a weight had to be listed.
    model.ir_version = max(model.ir_version, 4)
    return f"weights taken from the inputs: {len(listed)}" if listed else None


def name_nodes(model: ModelProto) -> str | None:
    """A name of its own for each node: they are spared, counted and told apart by name."""
    counts = Counter(node.name for node in nodes_of(model))
    names, renamed = set(counts), 0
    numbers: Counter[str] = Counter()
    for node in nodes_of(model):
        if node.name and counts[node.name] == 1:
            continue
        while True:
            numbers[node.op_type] += 1
            name = f"{node.op_type}_{numbers[node.op_type]}"
            if name not in names:
                break
        names.add(name)
        node.name = name
        renamed += 1
    return f"nodes named: {renamed}" if renamed else None


def widen(model: ModelProto) -> str | None:
    """Half and double precision become float32, the only one that boards compute in."""
    kinds: Counter[str] = Counter()
    for tensor in tensors_of(model):
        if tensor.data_type in WIDE:
            kinds[WIDE[tensor.data_type]] += 1
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for graph in graphs_of(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if (kind := value.type.tensor_type.elem_type) in WIDE:
                kinds[WIDE[kind]] += 1
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                is_type = attribute.name in {"to", "dtype", "output_dtype"}
                if is_type and attribute.i in WIDE:
                    kinds[WIDE[attribute.i]] += 1
                    attribute.i = TensorProto.FLOAT
    return f"{', '.join(sorted(kinds))} became float32" if kinds else None


def fold_constant_norms(model: ModelProto) -> str | None:
    """Batch normalisation of constants by their own statistics: weights that are standardised.

    ONNX Runtime has no kernel for that mode, which trains; ONNX's own reference computes it.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    ancestry: list[NodeProto] = []  # nodes that depend on constants alone, in order
    folded = []
    for node in model.graph.node:
        if node.input and not set(filter(None, node.input)) <= constants:
            continue
        ancestry.append(node)
        constants |= set(node.output)
        if is_training_norm(node):
            folded.append(node)
    if not folded:
        return None
    names = [node.output[0] for node in folded]
    values = _computed(model, ancestry, names)
    for node in folded:
        model.graph.node.remove(node)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in zip(names, values, strict=True)
    )
    return f"standardised weights computed: {len(folded)}"


def is_training_norm(node: NodeProto) -> bool:
    flags = [a.i for a in node.attribute if a.name == "training_mode"]
    return bool(node.op_type == "BatchNormalization" and any(flags))


def _computed(
    model: ModelProto, nodes: Sequence[NodeProto], names: Sequence[str]
) -> list[NDArray[np.generic]]:
    """Values of tensors that nodes compute of constants."""
    graph = helper.make_graph(
        nodes,
        "constants",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        list(model.graph.initializer),
    )
    constants = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    outputs: Any = ReferenceEvaluator(constants).run(list(names), {})
    return list(outputs)


def opset_of(model: ModelProto) -> int:
    return next((o.version for o in model.opset_import if not o.domain), 1)


def lower_opset(model: ModelProto, subject: str) -> tuple[ModelProto, str | None]:
    """The newest opset that the runtime takes.

    An operator whose newer version only takes more types and attributes is the older one where
    those are not used. Others are replaced by ONNX's own definition of them. Raises UserError
    naming the node that has none.
    """
    before = opset_of(model)
    if before <= OPSET:
        return model, None
    newer = {
        node.op_type
        for node in nodes_of(model)
        if not node.domain and not _has_older(node.op_type, before)
    }
    if newer:
        _spell_defaults(model, newer, before)
        model = inliner.inline_selected_functions(
            model, [("", kind) for kind in sorted(newer)], inline_schema_functions=True
        )
    for node in nodes_of(model):
        if not node.domain and (problem := _beyond(node, before)):
            raise UserError(
                subject,
                f"has an operator that ONNX has since opset {before}, the runtime knows {OPSET}"
                if problem == "new"
                else f"uses {problem}, which is newer than opset {OPSET}, the runtime's",
                facts=[f"node: {label(node)}"],
                next=f"export it again with opset_version={OPSET} or lower",
            )
    _set_opset(model, OPSET)
    kinds = f"; replaced by their definitions: {', '.join(sorted(newer))}" if newer else ""
    return model, f"opset {before} became {OPSET}{kinds}"


def _spell_defaults(model: ModelProto, kinds: set[str], opset: int) -> None:
    """The inliner fills a definition with the attributes that stand at the node, and no others."""
    for node in nodes_of(model):
        if node.domain or node.op_type not in kinds:
            continue
        names = {attribute.name for attribute in node.attribute}
        schema = defs.get_schema(node.op_type, opset, "")
        for name, attribute in schema.attributes.items():
            if name not in names and attribute.default_value.name:
                node.attribute.append(attribute.default_value)


def _has_older(kind: str, opset: int) -> bool:
    return defs.has(kind, OPSET, "") or not defs.has(kind, opset, "")


def _beyond(node: object, opset: int) -> str | None:
    """What of a node the runtime's opset lacks: `new` for the operator itself."""
    kind, attributes, inputs = node.op_type, node.attribute, node.input  # type: ignore[attr-defined]
    if not defs.has(kind, OPSET, ""):
        return "new"
    old, new = defs.get_schema(kind, OPSET, ""), defs.get_schema(kind, opset, "")
    if old.since_version == new.since_version:
        return None
    for attribute in list(attributes):
        if attribute.name in old.attributes:
            continue
        default = new.attributes[attribute.name].default_value
        if helper.get_attribute_value(attribute) != _value(default):
            return f"the attribute {attribute.name}"
        attributes.remove(attribute)
    if len(inputs) > old.max_input:
        return f"{len(inputs)} inputs"
    return None


def _value(attribute: AttributeProto) -> object:
    return helper.get_attribute_value(attribute) if attribute.name else None


def raise_opset(model: ModelProto) -> tuple[ModelProto, str | None]:
    """An opset whose operators can be quantized. A network that ONNX's converter does not take
    stays as it is: the runtime takes old ones too."""
    before = opset_of(model)
    if before >= OLDEST:
        return model, None
    try:
        converted = version_converter.convert_version(model, MODERN)
    except Exception:  # its own class has no name in Python
        return model, None
    return converted, f"opset {before} became {MODERN}"


def _set_opset(model: ModelProto, version: int) -> None:
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = version


def lower_ir(model: ModelProto) -> str | None:
    before = model.ir_version
    if before <= IR_VERSION:
        return None
    model.ir_version = IR_VERSION
    # What the newer forms add, and the runtime does not read.
    for graph in graphs_of(model.graph):
        del graph.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.value_info):
            del value.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
    return f"IR version {before} became {IR_VERSION}"
