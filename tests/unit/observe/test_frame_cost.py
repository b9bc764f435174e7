"""What the counts and the memory of frames are read from, and what they may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.board.profile import Arch
from edgewright.observe import frame_cost
from edgewright.observe.count.counts import EMULATORS
from edgewright.observe.count.instructions import Program
from edgewright.observe.frame_cost import (
    FrameCost,
    FrameCosts,
    guest_kb,
    picture,
    require_goals,
)

SMAPS = """\
00010000-001b0000 r--p 00000000 fe:00 354 /release/bin/edge-infer
Size:               1664 kB
Rss:                1660 kB
Pss:                1660 kB
Anonymous:            24 kB
001ba000-0087e000 rw-p 00000000 00:00 0
Rss:                6852 kB
Anonymous:          6840 kB
56260432b000-5626043a3000 r--p 00000000 fe:00 217 /usr/bin/qemu-arm
Rss:                 480 kB
Anonymous:           480 kB
"""

Costs = Callable[..., FrameCosts]


@pytest.fixture
def costs() -> Costs:
    def costs_with(**changes: Any) -> FrameCosts:
        values = {
            "frame": "JPEG",
            "file_bytes": 1000,
            "instructions": 70,
            "goal": 75,
            "peak_kb": 17_000,
            "peak_goal_kb": 20_480,
        }
        cost = FrameCost.model_validate(values | changes)
        return FrameCosts(board="a53-som", cpu="max", frames=(cost,))

    return costs_with


def test_the_memory_of_the_emulator_is_not_the_programs() -> None:
    assert guest_kb(SMAPS, Arch.ARMHF, "Rss") == 1660 + 6852
    assert guest_kb(SMAPS, Arch.ARMHF, "Anonymous") == 24 + 6840
    wide = SMAPS.replace("001ba000-0087e000", "5500001000-55006c5000")
    assert guest_kb(wide, Arch.ARM64, "Rss") == 1660 + 6852
    assert guest_kb(wide, Arch.ARM64, "Anonymous") == 24 + 6840


@pytest.mark.parametrize(
    ("script", "problem"), [("exec sleep 60", r"no end after 1 s"), ("exit 3", "exit code 3")]
)
def test_a_program_that_goes_on_or_fails_ends_with_words(
    script: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = tmp_path / "emulator"
    emulator.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
    emulator.chmod(0o755)
    monkeypatch.setitem(EMULATORS, Arch.ARMHF, str(emulator))
    monkeypatch.setattr(frame_cost, "PATIENCE", 1.0)
    program = Program(
        arch=Arch.ARMHF,
        cpu="max",
        binary=tmp_path,
        symbols=tmp_path,
        options=(),
        model=tmp_path,
        inputs=(),
    )

    with pytest.raises(UserError, match=problem):
        frame_cost.peak(program, ["edge-infer"])

    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_frame_within_its_goals_is_well(costs: Costs) -> None:
    require_goals(costs())
    require_goals(costs(goal=None, peak_kb=None, peak_goal_kb=None))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"instructions": 76}, "JPEG: 76 instructions, goal 75"),
        ({"peak_kb": 20_481}, "JPEG: 20,481 KiB at its peak, goal 20,480"),
    ],
)
def test_a_frame_that_costs_more_is_named(costs: Costs, change: dict[str, int], fact: str) -> None:
    with pytest.raises(CheckError) as refused:
        require_goals(costs(**change))
    assert fact in str(refused.value)
    assert "\nnext: invoke bench.frames --board=" in str(refused.value)


def test_the_picture_is_the_same_each_time() -> None:
    first = picture(48, 32, 3)
    assert first.shape == (32, 48, 3)
    assert np.array_equal(first, picture(48, 32, 3))
    assert picture(48, 32, 1).shape == (32, 48)
