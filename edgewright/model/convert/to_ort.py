"""ONNX → ORT format and op config, with ONNX Runtime's own converter at the board's version."""

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.tools.convert_onnx_models_to_ort import (
    OptimizationStyle,
    convert_onnx_models_to_ort,
)

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.model.contract.classifier import require_finite, require_onnx
from edgewright.model.convert.ops import parse_config
from edgewright.model.convert.ortfile import canonicalize
from edgewright.model.convert.signed_bytes import make_signed

RUNTIME_VERSION = "1.21.0"
RULES = ("to_ort", "ops", "ortfile", "signed_bytes")  # modules
LEVEL = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"
_WARNING, _ERROR = 2, 3  # severities of ONNX Runtime's log


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The two files that the rest of a build needs of a model."""

    ort: Path
    ops_config: Path


def convert(model: Path, out: Path, *, xnnpack: bool = False) -> Converted:
    """Write `out/model.ort` and `out/ops.config` for an ONNX file.

    Graph optimisations are applied now (style Fixed, for ARM), so the board does none. For a
    runtime with `xnnpack` activations become signed bytes, since XNNPACK's provider takes no
    convolution of unsigned ones by signed weights; and convolutions keep ONNX's own layout, which
    it changes when it takes them.
    Raises UserError if the file is not an ONNX model, holds weights that are not finite, or
    the converter refuses it.
    """
    require_runtime_version()
    require_onnx(model)
    require_finite(model)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".convert-") as scratch:
        source = Path(scratch) / "model.onnx"
        # A copy, no link: the converter names its files by what a link points to.
        _copy_signed(model, source) if xnnpack else shutil.copyfile(model, source)
        with _level("extended" if xnnpack else "all"):
            made = _run_converter(model, source)
        config = parse_config(made.ops_config.read_text(), str(model))
        made.ops_config.write_text(config.text())
        canonicalize(made.ort)
        result = Converted(ort=out / "model.ort", ops_config=out / "ops.config")
        made.ort.replace(result.ort)
        made.ops_config.replace(result.ops_config)
    return result


def rules_sha256() -> str:
    """Hash of what decides on a conversion beside the model: the converter and the code here."""
    files = sorted(Path(__file__).with_name(f"{name}.py") for name in RULES)
    return digest.text_sha256(onnxruntime.__version__, *(path.read_text() for path in files))


def require_runtime_version() -> None:
    """The converter must be of the runtime's version: its optimisations pick the operators."""
    if onnxruntime.__version__ != RUNTIME_VERSION:
        raise UserError(
            "onnxruntime",
            f"expected version {RUNTIME_VERSION}, found {onnxruntime.__version__}",
            next=f"pip install onnxruntime=={RUNTIME_VERSION}",
        )


def _copy_signed(model: Path, copy: Path) -> None:
    network = onnx.load(str(model))
    make_signed(network)
    onnx.save(network, str(copy))


@contextmanager
def _level(name: str) -> Iterator[None]:
    """The converter takes its level of optimisation from the environment alone."""
    before = os.environ.get(LEVEL)
    os.environ[LEVEL] = name
    try:
        yield
    finally:
        del os.environ[LEVEL]
        if before is not None:
            os.environ[LEVEL] = before


def _run_converter(model: Path, source: Path) -> Converted:
    """Convert `source`, which stands for the user's `model`."""
    out = source.parent / "out"
    try:
        with _silent():
            convert_onnx_models_to_ort(
                source,
                out,
                [OptimizationStyle.Fixed],
                target_platform="arm",
                enable_type_reduction=True,
            )
    except Exception as refused:  # ONNX Runtime's own exceptions have no common class
        reason = str(refused).strip().splitlines() or [type(refused).__name__]
        raise UserError(str(model), "not convertible to ORT format", facts=[reason[0]]) from refused
    return Converted(
        ort=next(out.glob("*.ort")),  # a level that is not the highest is part of the names
        ops_config=next(out.glob("*.config")),
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
