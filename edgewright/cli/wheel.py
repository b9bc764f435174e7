"""The runtime as a Python wheel for the board."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.build import wheel as wheels
from edgewright.build.sdk import build_sdk
from edgewright.cli import build_screens, screens
from edgewright.cli import keys as key_tasks
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    task,
    write_document,
)
from edgewright.cli.sdk import SdkOptions, request_of
from edgewright.release.sdk import load_sdk


@dataclass(frozen=True, kw_only=True)
class WheelOptions(SdkOptions):
    """What `invoke wheel` builds, and where it goes."""

    out: Annotated[str, "folder for the wheel; default: build/<board>/wheel"] = ""
    index: Annotated[str, "folder for pip's --find-links, with a page for --index-url"] = ""


@task
def wheel(c: Context, options: WheelOptions, json: Json = False) -> None:
    """Build a Python wheel of the runtime for a board. Example: invoke wheel --board=a53-som"""
    request = request_of(options)
    profile, place = request.profile, request.workspace
    with screens.progress(ERR) as progress:
        built = build_sdk(request, progress)
    report = wheels.build_wheel(
        load_sdk(built.folder),
        profile,
        place.resources.runtime_py,
        Path(options.out) if options.out else place.build(profile.name).wheels,
    )
    key_tasks.sign_sdk(load_sdk(built.folder))  # it stays, for sdk.verify and the next wheel
    key_tasks.sign_wheel(report.wheel)
    if options.index:
        report = wheels.add_to_index(report, Path(options.index))
    if json:
        write_document(report)
    else:
        OUT.print(build_screens.wheel_screen(report), soft_wrap=True)
