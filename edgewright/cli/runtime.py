"""The runtime that a release holds: ONNX Runtime as its recipe makes it."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.runtime_version import runtime_version
from edgewright.build import outdated as versions
from edgewright.build import packages
from edgewright.cli.common import OUT, Json, say, task, workspace, write_document


@task
def outdated(
    c: Context,
    runtime: Annotated[str, "another ONNX Runtime's sources: a folder, or a tar archive of it"],
    json: Json = False,
) -> None:
    """What of the recipe still fits another ONNX Runtime? Example: invoke outdated --runtime=DIR"""
    recipe = workspace().resources.recipes / packages.RUNTIME
    report = versions.compare(recipe, runtime_version(), Path(runtime))
    if json:
        write_document(report)
    else:
        for hunk in report.hunks:
            line = f"{hunk.verdict:6} {hunk.patch}: {hunk.file}:{hunk.line} {hunk.reason}"
            OUT.print(line.rstrip(), markup=False, soft_wrap=True)
    versions.require_fit(report)
    say(
        f"ONNX Runtime {report.onnxruntime}: all {len(report.hunks)} hunks fit, options are "
        "declared, files and linked sources are there"
    )
