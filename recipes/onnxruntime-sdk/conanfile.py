"""ONNX Runtime for others' programs: a shared library and one object in an archive.

Both are linked from the objects of `onnxruntime-minimal`; nothing of it is compiled anew. Both show
nothing but ONNX Runtime's C API.
"""

import os
from pathlib import Path

from conan import ConanFile
from conan.tools.files import copy

# What other programs may call. ONNX Runtime's C++ API is a header over it.
EXPORTS = ("OrtGetApiBase", "OrtSessionOptionsAppendExecutionProvider_CPU")


class OnnxRuntimeSdk(ConanFile):
    name = "onnxruntime-sdk"
    version = "0.1.0"
    license = "MIT"
    description = "ONNX Runtime as a library that any compiler's program links"
    python_requires = "program/1.0", "sdk-library/1.0"
    python_requires_extend = "sdk-library.SdkLibrary"
    requires = "onnxruntime-minimal/[*]"  # its own version, which conan.lock pins
    exports_sources = "tree/*"
    library = "onnxruntime"

    @property
    def _runtime(self):
        return self.dependencies["onnxruntime-minimal"]

    @property
    def library_version(self):
        return str(self._runtime.ref.version)

    def build(self):
        packages = [package.package_folder for package in self.dependencies.host.values()]
        archives = [path for folder in packages for path in sorted(Path(folder).rglob("*.a"))]
        self.link_libraries(EXPORTS, archives)

    def package(self):
        """The folders of an SDK."""
        self.package_library()
        runtime = self._runtime.package_folder
        for part, folder in (("include", "include/onnxruntime"), ("licenses", "licenses")):
            target = os.path.join(self.package_folder, folder)
            copy(self, "*", os.path.join(runtime, part), target)
        copy(self, "ops.config", os.path.join(runtime, "res"), self.package_folder)
