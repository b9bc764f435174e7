"""ONNX → ORT format and op config, with ONNX Runtime's own converter at the board's version."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnx

from edgewright.base import digest
from edgewright.base.files import make_folder
from edgewright.base.runtime_version import runtime_version
from edgewright.base.schema import Document
from edgewright.model.convert.ops import parse_config
from edgewright.model.convert.ort_tools import Converted, convert_network
from edgewright.model.convert.shared_scalars import share_scalars
from edgewright.model.convert.signed_bytes import make_signed
from edgewright.model.importer import importing
from edgewright.model.importer.importing import TaskForm, import_network

RULES = (  # modules
    "to_ort",
    "ops",
    "ort_child",
    "ort_tools",
    "ortfile",
    "packed_weights",
    "shared_scalars",
    "signed_bytes",
)


def convert(
    model: Path,
    out: Path,
    *,
    xnnpack: bool = False,
    shape: Sequence[int] | None = None,
    output: str | None = None,
    form: TaskForm | None = None,
) -> Converted:
    """Write `out/model.ort` and `out/ops.config` for an ONNX file.

    Graph optimisations are applied now (style Fixed, for ARM), so the board does none. For a
    runtime with `xnnpack` activations become signed bytes, since XNNPACK's provider takes no
    convolution of unsigned ones by signed weights; and convolutions keep ONNX's own layout, which
    it changes when it takes them. `shape`, `output` and `form` are those of `import_network`.
    Raises UserError if no board can run the network, or the converter refuses it.
    """
    imported = import_network(model, shape=shape, output=output, form=form)
    make_folder(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".convert-") as scratch:
        source = Path(scratch) / "model.onnx"
        _copy(imported.path, source, signed=xnnpack)
        files = convert_network(
            source, Path(scratch) / "out", "extended" if xnnpack else "all", str(model)
        )
        config = parse_config(files.ops_config.read_text(), str(model))
        files.ops_config.write_text(config.text())
        result = Converted(ort=out / "model.ort", ops_config=out / "ops.config")
        files.ort.replace(result.ort)
        files.ops_config.replace(result.ops_config)
    return result


class Conversion(Document):
    """`model.convert --json`."""

    version: Literal[1] = 1
    ort: str
    ops_config: str
    bytes: int  # of the `.ort` file
    operators: tuple[str, ...]  # `domain;opset;name`, as the runtime is to register them


def conversion_report(files: Converted) -> Conversion:
    config = parse_config(files.ops_config.read_text(), str(files.ops_config))
    return Conversion(
        ort=str(files.ort),
        ops_config=str(files.ops_config),
        bytes=files.ort.stat().st_size,
        operators=tuple(sorted(map(str, config.operators))),
    )


def rules_sha256() -> str:
    """Hash of what decides on a conversion beside the model: the converter, the importer
    and the code here."""
    files = sorted(Path(__file__).with_name(f"{name}.py") for name in RULES)
    importer = digest.tree_sha256(Path(importing.__file__).parent)
    versions = (runtime_version().wheel, onnx.__version__)
    return digest.text_sha256(*versions, importer, *(path.read_text() for path in files))


def _copy(model: Path, copy: Path, *, signed: bool) -> None:
    """Copy a network with its weights into one file, in the form that is to be converted.

    Not a link: the converter names its files by what a link points to.
    """
    network = onnx.load(str(model))
    if signed:
        make_signed(network)
    share_scalars(network)
    onnx.save(network, str(copy))
