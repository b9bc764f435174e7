"""Packs what edgewright brings beside its Python code into the wheel: `edgewright/resources/`.

All else stands in pyproject.toml. An installation with `pip install -e` packs nothing: it finds
these folders in the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESOURCES = (
    *("bench", "board_profiles", "docker", "docs", "recipes", "runtime_cpp", "runtime_py"),
    "toolchains",
)


class BuildWithResources(build_py):
    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        # What an earlier build left there, of modules that are gone, would be packed too.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        for folder in RESOURCES:
            shutil.copytree(
                folder,
                Path(self.build_lib, "edgewright", "resources", folder),
                ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
            )


setup(cmdclass={"build_py": BuildWithResources})
