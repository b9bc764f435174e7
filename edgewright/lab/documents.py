"""The JSON documents about boards on this machine."""

from typing import Literal

from edgewright.base.schema import Document
from edgewright.lab.emulate import State
from edgewright.lab.machine import Power


class LabStatus(Document):
    """`emulate.up`, `down` and `status`, `lab.up`, `down` and `status`, under --json."""

    version: Literal[1] = 1
    board: str
    state: State | Power
    target: str | None  # user@addr:port; null where nothing answers
