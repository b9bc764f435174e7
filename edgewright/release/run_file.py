"""`run.json`: what a release says about how it is run; the default program reads it on the board.

The smoke test, the service and every measurement run the program with this file and no options
of their own, so that what runs is what was judged.
"""

import json
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.schema import Part
from edgewright.release.programs import DEFAULT_PROGRAM, SERVICE_FILE

RUN_FILE = "run.json"
MODEL = "model/model.ort"
CARD = "model/card.json"
GOLDEN = "model/golden"
REFERENCE = "model/reference.json"  # not in every release


class ImageLimits(Part):
    """How large a picture may be; the default program takes nothing above these defaults."""

    image_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 64 << 20  # of the file
    image_pixels: Annotated[int, Field(ge=1, le=64 << 20)] = 64 << 20
    image_side: Annotated[int, Field(ge=1, le=16384)] = 16384  # pixels
    # Bytes that a decoder may hold at once, with an image that came over a socket and the frame of
    # one that is cut into tiles. Only what is interlaced, progressive or of several scans is held
    # whole by a decoder; of all else a few rows are.
    image_memory: Annotated[int, Field(ge=1, le=64 << 20)] = 64 << 20


DEFAULT_LIMITS = ImageLimits()


class UnsureLimits(Part):
    """How many of the least certain images a service keeps for whoever labels them."""

    images: Annotated[int, Field(ge=1, le=10_000)]
    bytes: Annotated[int, Field(ge=1, le=1 << 30)]  # of all of them


class RunFile(Part):
    """The content of `run.json`; paths are relative to the release's folder."""

    schema_: Literal[1] = 1
    model: str = MODEL
    # Compared whenever the model is loaded; with SHA-256 a load would take 3.5 times as many
    # instructions. None in releases that were made before it: the manifest's hash is compared.
    model_crc32: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None
    card: str = CARD
    golden: str = GOLDEN
    threads: Annotated[int, Field(ge=1, le=64)]
    execution_providers: tuple[str, ...]  # of ONNX Runtime, in the order in which they are asked
    limits: ImageLimits = DEFAULT_LIMITS
    thermal_limit_c: Annotated[int, Field(ge=40, le=110)] | None = None  # None: no governor
    unsure_images: UnsureLimits | None = None  # None: it keeps none

    def content(self) -> bytes:
        table = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(table, indent=2).encode() + b"\n"


# Who the service is, is the board's matter and not the release's; so it is said here. A release of
# 0.1.0 knows no --user and stays root's. A program of the user's is told in its environment, and
# its arguments are the release's.
#
# Releases of 0.1.0 have no run.json, and their program does not look for one: what it needs
# is in their manifest. This is for a board, where only a shell knows which release is current;
# `Manifest.run_options` is the same for this machine. A manifest is canonical JSON on one line,
# and no other object has these two keys in a row.
_LAUNCHER = rf"""if [ -f {SERVICE_FILE} ]; then
    export EDGEWRIGHT_USER="$user" EDGEWRIGHT_HEARTBEAT="$heartbeat"
    exec {SERVICE_FILE}
fi
[ -f {RUN_FILE} ] && exec {DEFAULT_PROGRAM.path} "$@" --user "$user"
runtime='"ops_config_sha256":"[0-9a-f]*","threads":\([0-9]*\)'
threads=$(sed -n "s/.*$runtime.*/\1/p" manifest.json)
exec {DEFAULT_PROGRAM.path} "$@" --model {MODEL} --threads "$threads"
"""


def launcher(user: str, heartbeat: str) -> str:
    """The script that becomes a release's service, as this user of the board.

    `heartbeat` is the file that it writes every few seconds.
    """
    return f"""#!/bin/sh
# Becomes the release's program; edgectl starts this in the folder of the release.
user={user} heartbeat={heartbeat}
{_LAUNCHER}"""
