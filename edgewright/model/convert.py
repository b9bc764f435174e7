"""ONNX → ORT format and op config, with ONNX Runtime's own converter at the board's version."""

import io
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from onnxruntime.tools.convert_onnx_models_to_ort import (
    OptimizationStyle,
    convert_onnx_models_to_ort,
)

from edgewright.errors import UserError
from edgewright.model.classifier import require_finite, require_onnx
from edgewright.model.ops import parse_config
from edgewright.model.ortfile import canonicalize

RUNTIME_VERSION = "1.21.0"
_WARNING, _ERROR = 2, 3  # severities of ONNX Runtime's log


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The two files that the rest of a build needs of a model."""

    ort: Path
    ops_config: Path


def convert(model: Path, out: Path) -> Converted:
    """Write `out/model.ort` and `out/ops.config` for an ONNX file.

    Graph optimisations are applied now (style Fixed, for ARM), so the board does none.
    Raises UserError if the file is not an ONNX model, holds weights that are not finite, or
    the converter refuses it.
    """
    require_runtime_version()
    require_onnx(model)
    require_finite(model)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".convert-") as scratch:
        made = _run_converter(model, Path(scratch))
        config = parse_config(made.ops_config.read_text(), str(model))
        made.ops_config.write_text(config.text())
        canonicalize(made.ort)
        result = Converted(ort=out / "model.ort", ops_config=out / "ops.config")
        made.ort.replace(result.ort)
        made.ops_config.replace(result.ops_config)
    return result


def require_runtime_version() -> None:
    """The converter must be of the runtime's version: its optimisations pick the operators."""
    if onnxruntime.__version__ != RUNTIME_VERSION:
        raise UserError(
            "onnxruntime",
            f"expected version {RUNTIME_VERSION}, found {onnxruntime.__version__}",
            next=f"pip install onnxruntime=={RUNTIME_VERSION}",
        )


def _run_converter(model: Path, scratch: Path) -> Converted:
    source = scratch / "model.onnx"
    shutil.copyfile(model, source)  # no link: the converter names its files by what it points to
    try:
        with _silent():
            convert_onnx_models_to_ort(
                source,
                scratch / "out",
                [OptimizationStyle.Fixed],
                target_platform="arm",
                enable_type_reduction=True,
            )
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        reason = str(refused).strip().splitlines() or [type(refused).__name__]
        raise UserError(str(model), "not convertible to ORT format", facts=[reason[0]]) from refused
    return Converted(
        ort=scratch / "out" / "model.ort",
        ops_config=scratch / "out" / "model.required_operators_and_types.config",
    )


@contextmanager
def _silent() -> Iterator[None]:
    """The converter prints what it does, and warns that its file suits one kind of machine."""
    onnxruntime.set_default_logger_severity(_ERROR)
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        onnxruntime.set_default_logger_severity(_WARNING)
