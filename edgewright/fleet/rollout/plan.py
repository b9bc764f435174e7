"""What a rollout was started with; it does not change any more."""

from typing import Literal

from pydantic import Field

from edgewright.base.schema import Document


class Plan(Document):
    """The settings of a rollout, as the ledger keeps them. Times are seconds."""

    version: Literal[1] = 1
    waves: str  # as it was written
    ends: tuple[int, ...]  # boards that run the release after each wave
    salt: str  # of the hash that chose which board comes when
    gates: str
    releases: dict[str, str]  # kind of board → release
    soak_s: float
    approve_after: int = 0  # a person lets the rollout go on after this wave; 0: nobody is asked
    parallel: int = 16
    per_site: int = 0  # boards of one site that are at work at once; 0: no limit
    site_kbps: int = 0  # kB a second that are sent to the boards of one site; 0: no limit
    stage_first: bool = False  # boards get the content at any time, and switch in their windows
    shadow_s: float = 0.0  # that a wave's boards have it beside the one in charge first; 0: not
    dial_out: tuple[str, ...] = ()  # sites whose own workers lease their boards
    tries: int = Field(3, ge=1)
    backoff_s: float = 30.0
    lease_s: float = 60.0
    # Whatever is silent for longer counts as failed.
    board_s: float = 3600.0  # an attempt on one board
    wave_s: float = 86400.0  # all boards of a wave, closed windows included
    approval_s: float = 7 * 86400.0
