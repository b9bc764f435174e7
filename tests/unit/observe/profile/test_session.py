"""Sampling from its begin to its end, by a shell of this machine and a program that is a script."""

import contextlib
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy.smoke import Golden
from edgewright.observe.board_stream import Ending
from edgewright.observe.profile.report import SampledStack, folded, function_shares
from edgewright.observe.profile.samples import parse_samples
from edgewright.observe.profile.session import (
    Sampling,
    attached_command,
    golden_run,
    sample,
    sampled_calls,
    sampled_command,
)
from edgewright.observe.stacks.dump import Mapping
from edgewright.observe.stacks.program import SymbolicProgram
from tests.unit.observe.profile.sample_files import HEAD, TEXT
from tests.unit.observe.stacks.test_unwind import CALLS, thread, unwinder

PROGRAM = r"""#!/bin/sh
echo '{"command": "run"}'
echo "its own words" >&2
while IFS= read -r line; do printf '%s\n' "$line" >&3; done <samples
echo "$@" >arguments
THEN
"""


def sampled(folder: Path, *, text: str = TEXT, then: str = ":", seconds: float = 60) -> Sampling:
    (folder / "samples").write_text(text)
    (folder / "bin").mkdir()
    program = folder / "bin" / "edge-infer"
    program.write_text(PROGRAM.replace("THEN", then))
    program.chmod(0o755)
    argv = sampled_command(str(folder), ["run", "a b.png"])
    return sample(argv, seconds=seconds, subject="board.test", next="invoke smoke")


def test_samples_come_here_and_what_the_program_says_does_not(tmp_path: Path) -> None:
    sampling = sampled(tmp_path, then="exit 3")

    assert (sampling.text, sampling.ended, sampling.exit_code) == (TEXT, Ending.BY_ITSELF, 3)
    assert (tmp_path / "arguments").read_text() == "run --samples 3 a b.png\n"


def test_sampling_ends_after_its_time(tmp_path: Path) -> None:
    sampling = sampled(tmp_path, then="exec sleep 60", seconds=1)

    assert (sampling.text, sampling.ended, sampling.exit_code) == (TEXT, Ending.IN_TIME, None)


def test_a_program_that_cannot_be_sampled_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="nothing was sampled") as refused:
        sampled(tmp_path, text="", then="exit 2")

    assert "exit code: 2" in refused.value.facts
    assert "its own words" in refused.value.facts


def attached(root: Path, text: str, seconds: float = 60) -> Sampling:
    """A service that writes so much as soon as somebody reads, and stops."""

    def serve() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # nobody reads yet
                fifo = os.open(root / "crashes" / "samples", os.O_WRONLY | os.O_NONBLOCK)
                os.write(fifo, text.encode())
                os.close(fifo)
                return
            time.sleep(0.02)

    service = threading.Thread(target=serve)
    service.start()
    argv = attached_command(str(root))
    try:
        return sample(argv, seconds=seconds, subject="board.test", next="give it images")
    finally:
        service.join()


def test_a_service_that_runs_sends_its_samples_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "crashes").mkdir()
    os.mkfifo(tmp_path / "crashes" / "samples")  # of a board that was switched off meanwhile

    sampling = attached(tmp_path, TEXT)

    assert (sampling.text, sampling.ended) == (TEXT, Ending.BY_ITSELF)
    assert [*(tmp_path / "crashes").iterdir()] == []


def test_a_service_that_does_not_hear_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    (tmp_path / "crashes").mkdir()
    argv = attached_command(str(tmp_path))

    with pytest.raises(TargetError, match=r"nothing was sampled\n"):
        sample(argv, seconds=0.5, subject="board.test", next="give it images")

    deadline = time.monotonic() + 10
    while [*(tmp_path / "crashes").iterdir()] != []:  # the shell removes it once it is told to end
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_service_without_work_is_told_from_one_that_does_not_hear(tmp_path: Path) -> None:
    (tmp_path / "crashes").mkdir()
    with pytest.raises(TargetError, match="the program heard of it, and took no CPU time"):
        attached(tmp_path, HEAD)


def test_golden_images_are_inferred_as_often_as_a_command_names_them() -> None:
    cases = [{"image": f"{name}.png", "class": "ok", "probabilities": [1.0]} for name in "ab"]
    golden = Golden.model_validate_json(json.dumps({"schema": 1, "tolerance": 0.1, "cases": cases}))

    arguments = golden_run(golden)

    assert arguments[:4] == ["run", *(f"model/golden/{name}.png" for name in "aba")]
    assert 7000 < len(" ".join(arguments)) < 8100


def test_stacks_are_named_and_counted_by_where_they_lead() -> None:
    program = SymbolicProgram(
        symbols=Path("program"), unwinder=unwinder(*CALLS), is_relocated=False
    )
    library = Mapping(start=0x5000, end=0x6000, offset=0, path="/lib/libc.so.6")
    samples = replace(
        parse_samples(TEXT, "samples"),
        machine="aarch64",
        mappings=(library,),
        threads=(
            thread(0x1024, 0x1018, 0x1008),  # main, b, c
            thread(0x1004),  # main itself
            thread(0x1024, 0x1018, 0x1008),
            thread(0x5010),  # of a library, whose callers are not known
            thread(0x9000),
        ),
    )

    calls = sampled_calls(samples, program)

    assert [(stack.frames, stack.samples) for stack in calls.stacks] == [
        (("main", "b", "c"), 2),
        (("main",), 1),
        (("[libc.so.6]",), 1),
        (("(unknown)",), 1),
    ]
    assert (calls.ends, calls.unrooted, calls.searched) == ({"main": 3}, 2, 2)


def test_shares_count_a_function_once_in_a_stack() -> None:
    stacks = (
        SampledStack(frames=("main", "walk", "walk"), samples=3),
        SampledStack(frames=("main", "a;b"), samples=1),
    )

    shares = [(share.function, share.own, share.total) for share in function_shares(stacks)]

    assert shares == [("walk", 3, 3), ("a;b", 1, 1), ("main", 0, 4)]
    assert folded(stacks) == "main;walk;walk 3\nmain;a:b 1\n"
