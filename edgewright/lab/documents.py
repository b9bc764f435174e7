"""The JSON documents about boards on this machine."""

from typing import Literal

from edgewright.base.schema import Document
from edgewright.lab.emulate import State
from edgewright.lab.machine import Power


class LabStatus(Document):
    """`emulate.status --json` and `lab.status --json`."""

    version: Literal[1] = 1
    board: str
    state: State | Power
    target: str | None  # user@addr:port; null where nothing answers
