"""The runtime that a release holds: ONNX Runtime as its recipe makes it."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.build import candidate as candidates
from edgewright.build import packages
from edgewright.cli.common import OUT, Json, say, task, workspace, write_document


@task
def candidate(
    c: Context,
    source: Annotated[str, "ONNX Runtime's sources: a folder, or a tar archive of it"],
    json: Json = False,
) -> None:
    """Do our patches fit it? Example: invoke runtime.candidate --source=onnxruntime-1.22.tar.gz"""
    fit = candidates.fit_candidate(workspace().resources.recipes / packages.RUNTIME, Path(source))
    if json:
        write_document(fit)
    else:
        for hunk in fit.hunks:
            line = f"{hunk.verdict:6} {hunk.patch}: {hunk.file}:{hunk.line} {hunk.reason}"
            OUT.print(line.rstrip(), markup=False, soft_wrap=True)
    candidates.require_fit(fit)
    say(f"ONNX Runtime {fit.onnxruntime}: all {len(fit.hunks)} hunks fit")
