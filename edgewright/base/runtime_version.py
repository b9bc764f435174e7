"""The version of ONNX Runtime that boards run, and all that belongs to it.

It is written down once, in `recipes/onnxruntime-minimal/conandata.yml`, which Conan hands to the
recipe. The importer, the converter and the build read it here.
"""

from collections.abc import Mapping
from functools import cache
from typing import Literal

import yaml

from edgewright.base.layout import installed_resources
from edgewright.base.schema import Excerpt, Part

RUNTIME_RECIPE = "onnxruntime-minimal"


class RecipeFiles(Part):
    """Files of ONNX Runtime's sources that the recipe reads by name."""

    options: str  # declares the options of its CMake project
    reduction: str  # generates registrations of the wanted operators alone
    layout_operators: str  # names those that a provider may add at load


class PatchFolder(Part):
    """A folder of patches, relative to the recipe, and what they are applied to."""

    folder: str
    to: str


class RuntimeVersion(Excerpt):
    """The table. Its sources with their hashes are Conan's matter alone."""

    version: str
    wheel: str
    """Of the Python package `onnxruntime` that converts networks and runs them on this machine."""
    ir_version: int
    opset: int
    files: RecipeFiles
    options: Mapping[str, bool]
    xnnpack_options: tuple[str, ...]
    links: Mapping[Literal["stock", "xnnpack"], str]
    patches: Mapping[Literal["always", "arm64", "neon", "xnnpack"], tuple[PatchFolder, ...]]


@cache
def runtime_version() -> RuntimeVersion:
    table = installed_resources().recipes / RUNTIME_RECIPE / "conandata.yml"
    return RuntimeVersion.model_validate(yaml.safe_load(table.read_text()))
