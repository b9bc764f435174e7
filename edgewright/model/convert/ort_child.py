"""What is done with ONNX Runtime's own tools for its file format: a program, run in a process.

    python -m edgewright.model.convert.ort_child convert NETWORK.onnx FOLDER ANSWER.json
    python -m edgewright.model.convert.ort_child needs MODEL.ort ANSWER.json
    python -m edgewright.model.convert.ort_child kernels ANSWER.json
    python -m edgewright.model.convert.ort_child pack MODEL.ort TILE PACKED.ort ANSWER.json

`ort_tools` runs it, and says why. None writes anything but its files; what ONNX Runtime refuses
is an answer too: `{"refused": REASON}`.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NO_LAST_VERSION = 2**31 - 1  # of a kernel that is for no later version of its operator yet


def convert(model: str, out: str) -> dict[str, object]:
    """Write the model in ORT format, in canonical bytes, and its op config; their paths.

    The level of optimisation is that of the environment: the converter takes it from there alone.
    """
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    from edgewright.model.convert.ortfile import canonicalize

    network, folder = Path(model), Path(out)
    try:
        convert_onnx_models_to_ort(
            network,
            folder,
            [OptimizationStyle.Fixed],
            target_platform="arm",
            enable_type_reduction=True,
        )
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        reason = str(refused).strip().splitlines() or [type(refused).__name__]
        return {"refused": reason[0]}
    ort = next(folder.glob("*.ort"))  # a level that is not the highest is part of the names
    canonicalize(ort)
    return {"ort": str(ort), "ops_config": str(next(folder.glob("*.config")))}


def needs(model: str) -> dict[str, object]:
    """The op config of a model in ORT format, by ONNX Runtime's own rules, and its nodes.

    A node is its operator's domain, version and kind, and its own name or number. Of each type of
    elements it tells a node that has to do with it; a constant without its zeros is SPARSE.
    """
    from onnxruntime.tools.ort_format_model import create_config_from_models
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
        InferenceSession,
    )

    graph = InferenceSession.GetRootAs(Path(model).read_bytes(), 0).Model().Graph()
    with tempfile.TemporaryDirectory(prefix="edgewright-ops-") as scratch:
        config = Path(scratch) / "ops.config"
        create_config_from_models([Path(model)], config, enable_type_reduction=True)
        return {
            "ops_config": config.read_text(),
            "nodes": [
                [
                    (node.Domain() or b"").decode() or "ai.onnx",  # ONNX's own may be empty
                    node.SinceVersion(),
                    node.OpType().decode(),
                    _node_name(node),
                ]
                for node in _nodes(graph)
            ],
            "types": _types(graph),
        }


def kernels() -> dict[str, object]:
    """Domain, version and kind of every operator that the CPU's execution provider runs."""
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        get_all_operator_schema,
        get_all_opkernel_def,
    )

    versions: dict[tuple[str, str], set[int]] = {}
    for schema in get_all_operator_schema():
        versions.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    operators = set()
    for kernel in get_all_opkernel_def():
        first, last = kernel.version_range
        # As ONNX Runtime chooses kernels: one without a last version is for its first alone.
        last = first if last == NO_LAST_VERSION else last
        for version in {first} | versions.get((kernel.domain, kernel.op_name), set()):
            if kernel.provider == "CPUExecutionProvider" and first <= version <= last:
                operators.add((kernel.domain or "ai.onnx", version, kernel.op_name))
    return {"operators": sorted(operators)}


def pack(model: str, tile: str, out: str) -> dict[str, object]:
    """Write the model with its weights packed for the tile of that name."""
    from edgewright.model.convert.packed_weights import TILES, pack_weights

    Path(out).write_bytes(pack_weights(Path(model).read_bytes(), TILES[tile]))
    return {}


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of subgraphs included."""
    for part in _graphs(graph):
        yield from (part.Nodes(i) for i in range(part.NodesLength()))


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and its subgraphs (of If, Loop, Scan)."""
    yield graph
    for node in (graph.Nodes(i) for i in range(graph.NodesLength())):
        for attribute in (node.Attributes(i) for i in range(node.AttributesLength())):
            if attribute.G() is not None:
                yield from _graphs(attribute.G())


def _types(graph: Any) -> dict[str, str]:
    """Types of elements, each with the first node that takes or gives one."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorDataType import (
        TensorDataType,
    )

    names = {number: name for name, number in vars(TensorDataType).items() if name.isupper()}
    nodes: dict[str, str] = {}
    for part in _graphs(graph):
        values = (part.NodeArgs(i) for i in range(part.NodeArgsLength()))
        types = {value.Name(): names.get(_element_type(value.Type())) for value in values}
        for i in range(part.SparseInitializersLength()):
            types[part.SparseInitializers(i).Values().Name()] = "SPARSE"
        for node in (part.Nodes(i) for i in range(part.NodesLength())):
            inputs = (node.Inputs(i) for i in range(node.InputsLength()))
            outputs = (node.Outputs(i) for i in range(node.OutputsLength()))
            for name in filter(None, map(types.get, (*inputs, *outputs))):
                nodes.setdefault(name, _node_name(node))
    return nodes


def _node_name(node: Any) -> str:
    return (node.Name() or b"").decode() or f"#{node.Index()}"


def _element_type(type_info: Any) -> int | None:
    """Of a tensor; None for anything else, which no 8-bit float can be in."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import (
        TensorTypeAndShape,
    )
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TypeInfoValue import (
        TypeInfoValue,
    )

    if type_info is None or type_info.ValueType() != TypeInfoValue.tensor_type:
        return None
    table, tensor = type_info.Value(), TensorTypeAndShape()
    tensor.Init(table.Bytes, table.Pos)
    element: int = tensor.ElemType()
    return element


def main(command: str, *words: str) -> None:
    # onnxruntime.tools imports torch wherever it is installed, for a helper that nothing here
    # calls: seconds. A None in sys.modules is Python's way to say that a module is not there.
    sys.modules["torch"] = None  # type: ignore[assignment]
    *arguments, answer = words
    commands: dict[str, Callable[..., dict[str, object]]]
    commands = {"convert": convert, "needs": needs, "kernels": kernels, "pack": pack}
    content = commands[command](*arguments)
    Path(answer).write_text(json.dumps(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
