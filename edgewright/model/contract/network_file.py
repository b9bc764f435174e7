"""An ONNX file with the files that its weights lie in: read, named and hashed as a whole."""

import os
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import open_inside

NETWORK_BYTES = 2 << 30  # of an ONNX file, as protobuf has it, and of its weights in other files


def read_graph(model: Path) -> onnx.ModelProto:
    """The network without the weights that lie in other files.

    Raises UserError if the file is absent, too large or cannot be parsed.
    """
    if not model.is_file():
        raise UserError(str(model), "no such model", next="invoke build --model=PATH")
    if (size := model.stat().st_size) > NETWORK_BYTES:  # before it takes as much memory
        facts = [f"expected: at most {NETWORK_BYTES:,} bytes, as ONNX has it", f"found: {size:,}"]
        raise UserError(str(model), "is too large", facts=facts)
    try:
        return onnx.load(model, load_external_data=False)
    except Exception as broken:  # protobuf's own class comes from a library of no fixed name
        raise not_onnx(model, str(broken)) from broken


def not_onnx(model: Path, reason: str) -> UserError:
    lines = reason.strip().splitlines() or ["empty file"]
    return UserError(
        str(model),
        "not a valid ONNX model",
        facts=[f"size: {model.stat().st_size} bytes", lines[0]],
        next="export it again, or copy it again if it was cut off",
    )


def weight_files(model: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights of it.

    Raises UserError for one that is absent, a link, or outside of the model's folder, and for
    more than `NETWORK_BYTES`.
    """
    names = sorted(
        {
            ExternalDataInfo(tensor).location
            for tensor in _get_all_tensors(read_graph(model))
            if uses_external_data(tensor)
        }
    )
    total = 0
    for name in names:
        next = "copy it there: it holds weights of the model"
        with open_inside(model.parent, name, next=next) as file:
            total += os.fstat(file.fileno()).st_size
        if total > NETWORK_BYTES:
            facts = [f"expected: at most {NETWORK_BYTES:,} bytes of weights"]
            raise UserError(str(model.parent / name), "is too large", facts=facts)
    return [model.parent / name for name in names]


def network_sha256(model: Path) -> str:
    """Hash of everything that a network is made of.

    That of the file, where it holds its weights itself; else of its hash and those of the files
    with its weights, by name.
    """
    own = digest.file_sha256(model)
    if model.suffix != ".onnx":
        return own
    weights = weight_files(model)
    if not weights:
        return own
    parts = [
        (path.relative_to(model.parent).as_posix(), digest.file_sha256(path)) for path in weights
    ]
    return digest.text_sha256(own, *(text for part in parts for text in part))


def network_bytes(model: Path) -> int:
    """Bytes of a network with all its weights."""
    files = [model, *(weight_files(model) if model.suffix == ".onnx" else ())]
    return sum(path.stat().st_size for path in files)
