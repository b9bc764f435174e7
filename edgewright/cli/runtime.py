"""What is built of, and what is newer: the archive's packages, another ONNX Runtime."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.layout import user_cache
from edgewright.base.runtime_version import runtime_version
from edgewright.build import archive, packages
from edgewright.build import outdated as versions
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, say, task, workspace, write_document


@task
def outdated(
    c: Context,
    runtime: Annotated[
        str, "another ONNX Runtime's sources, to try the recipe on: a folder, or a tar archive"
    ] = "",
    json: Json = False,
) -> None:
    """Compare what is built of with what is newer. Example: invoke outdated --runtime=DIR"""
    if runtime:
        _compare_runtime(Path(runtime), json=json)
        return
    with screens.waiting(ERR, "ask Debian's archive"):
        age = archive.age(workspace().resources, user_cache() / "logs" / "outdated.log")
    if json:
        write_document(age)
    else:
        OUT.print(_age_table(age))
    if age.builder is None:
        say("the builder was not built yet: its packages were not looked at")
    archive.require_current(age.packages)
    say(f"{len(age.packages)} packages: all are what the archive offers")


def _age_table(age: archive.ArchiveAge) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("package", "of", "used", "suite has", age.next_suite):
        table.add_column(column, overflow="fold")  # a version is of no use cut short
    for row in age.packages:
        offered = "the same" if row.state == "same" else row.offered or "none"
        table.add_row(row.package, row.user, row.used, offered, row.next or "none")
    return table


def _compare_runtime(source: Path, *, json: bool) -> None:
    recipe = workspace().resources.recipes / packages.RUNTIME
    report = versions.compare(recipe, runtime_version(), source)
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
