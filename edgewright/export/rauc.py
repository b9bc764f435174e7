"""Bundles of RAUC: a handler that goes through `edgectl`, or an image for a slot of the board's."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from edgewright.base.errors import ExitCode, UserError
from edgewright.base.files import write_file
from edgewright.deploy.install import SELFTEST_SECONDS
from edgewright.export import tools
from edgewright.export.exported import Exported
from edgewright.export.file_tree import deploy_root
from edgewright.export.installer import installer
from edgewright.export.trees import File, Tree, script, tar_bytes, text
from edgewright.export.updaters import ArtifactKey, written
from edgewright.release.programs import DEFAULT_PROGRAM

OWNER = "rauc"
SLOT_CLASS = re.compile(r"[A-Za-z0-9_-]+")

_MANIFEST = """\
[update]
compatible={compatible}
version={version}
description={summary}

[bundle]
format=plain
"""
# The handler takes the place of RAUC's own, so no slot is written: the deploy root is the board's.
_HANDLER = """
[handler]
filename=install
"""
_SLOT = """
[hooks]
filename=hook

[image.{slot}]
filename={slot}.tar
hooks=post-install
"""
# RAUC has written the slot then, and has it mounted. Where this fails the installation does, and
# the slot is not switched to.
_HOOK = """\
#!/bin/sh
# Tests release {release} in the slot that it was written to.
set -eu
[ "$1" = slot-post-install ] || exit 0
# busybox's `timeout` leaves a process for a second, whose folder cannot be unmounted until then.
cd /
[ -d "$RAUC_SLOT_MOUNT_POINT/current/" ] || {{
    echo "release {release}: the slot has no folder current/" >&2
    exit {problem}
}}
in_slot='cd "$RAUC_SLOT_MOUNT_POINT/current/" && exec "$@"'
selftest() {{
    program=$1
    code=0
    timeout {seconds} sh -c "$in_slot" _ "$@" > /dev/null || code=$?
    [ "$code" = 0 ] && return
    echo "release {release}: self-test of $program ended with exit code $code" >&2
    exit {problem}
}}
{selftests}
"""


def write_rauc(exported: Exported, key: ArtifactKey, slot: str, out: Path) -> None:
    """A signed bundle, by `rauc`; its image is for slots of a class, or `edgectl` installs it.

    Raises UserError.
    """
    if key.certificate is None or key.private is None:
        raise UserError(
            "rauc",
            "takes no bundle that is not signed by a certificate",
            next="invoke release.export --board=… --format=rauc --certificate=cert.pem "
            "--private-key=key.pem",
        )
    with written(_content(exported, slot), exported) as folder:
        bundle = folder.parent / "bundle.raucb"
        keys = [f"--cert={key.certificate}", f"--key={key.private}"]
        argv = [*tools.clock_at(exported.epoch), tools.program("rauc"), *keys]
        tools.run([*argv, "bundle", str(folder), str(bundle)], epoch=exported.epoch)
        write_file(out, bundle.read_bytes(), mode=0o644)


def require_slot_class(slot: str) -> None:
    """Raises UserError for what is no name of a class of slots."""
    if not SLOT_CLASS.fullmatch(slot):
        raise UserError(
            f"--slot={slot}",
            "is no class of slots",
            facts=["expected: X of a group [slot.X.0] in the board's system.conf"],
            next="invoke release.export --help",
        )


def _content(exported: Exported, slot: str) -> Tree:
    manifest = _MANIFEST.format(
        compatible=exported.release.manifest.compatible,
        version=exported.version,
        summary=exported.summary,
    )
    if not slot:
        return {**installer(exported, OWNER), "manifest.raucm": text(manifest + _HANDLER)}
    image = tar_bytes({**deploy_root(exported), "owner": text(f"{OWNER}\n")}, exported.epoch)
    return {
        f"{slot}.tar": File(image),
        "hook": script(_hook(exported)),
        "manifest.raucm": text(manifest + _SLOT.format(slot=slot)),
    }


def _hook(exported: Exported) -> str:
    return _HOOK.format(
        release=exported.release.id,
        seconds=SELFTEST_SECONDS,
        problem=int(ExitCode.TARGET),
        selftests="\n".join(_selftests(exported)),
    )


def _selftests(exported: Exported) -> Iterator[str]:
    """The lines that test each program in the folder of the release."""
    manifest = exported.release.manifest
    for program in manifest.programs:
        options = manifest.run_options(".") if program == DEFAULT_PROGRAM else ()
        yield shlex.join(["selftest", f"./{program.path}", *program.selftest, *options])
