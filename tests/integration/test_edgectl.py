"""`edgectl` of this machine, the board's sources and libc, on folders that stand for boards."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.build.packages import Package
from edgewright.lab.proof import crashpoints, fuzz, lostwrites
from edgewright.lab.proof.life import boot, in_memory
from edgewright.lab.proof.lostwrites import Record
from edgewright.lab.proof.orders import (
    COMPATIBLE,
    RUN,
    STATES,
    Answer,
    Helper,
    RefusedError,
    SignedOrder,
    keys_input,
    leaks,
    linked,
    old_keys_input,
    release_problem,
    small_release,
    state,
)
from edgewright.release.minisign import SecretKey
from tests.checkout import ROOT, checkout
from tests.integration.conftest import wait_until
from tests.schemas import require_valid

pytestmark = pytest.mark.docker

MANIFESTS = ROOT / "tests" / "corpus" / "edgectl" / "manifests"
EXPECTED = (line.split(" ", 2) for line in (MANIFESTS / "expected.txt").read_text().splitlines())
HOSTILE = [entry for entry in EXPECTED if entry[1] != "ok"]
STREAMS = ROOT / "tests" / "corpus" / "edgectl" / "streams"
KEY, NEXT, FOREIGN = SecretKey.generate(), SecretKey.generate(), SecretKey.generate()
FIRST = keys_input([KEY], KEY)

Ordered = Callable[..., SignedOrder]


@pytest.fixture(scope="session")
def program(native: dict[str, Package]) -> Path:
    return native["edgectl"].folder / "bin" / "edgectl"


class CheckedHelper(Helper):
    """Holds every answer against its schema."""

    def run(self, *command: str, input: bytes = b"") -> Answer:
        answer = super().run(*command, input=input)
        require_valid(f"edgectl-{command[0]}", json.dumps(answer))
        return answer


@pytest.fixture
def helper(program: Path, tmp_path: Path) -> Helper:
    """A board that trusts KEY and has nothing installed."""
    helper = CheckedHelper(program=program, root=tmp_path / "board", proc=tmp_path / "proc")
    helper.root.mkdir()
    boot(helper.proc)
    helper.run("keys", f"--compatible={COMPATIBLE}", input=FIRST)
    return helper


@pytest.fixture
def ordered(helper: Helper, tmp_path: Path) -> Ordered:
    """Signed releases by the content of their model."""

    def order(model: str, sequence: int, key: SecretKey = KEY) -> SignedOrder:
        folder = tmp_path / "releases" / model[:8]
        release = small_release(folder, helper.root, model.encode() * 1000)
        return SignedOrder(release=release, sequence=sequence, key=key)

    return order


def refused(helper: Helper, *command: str, input: bytes = b"") -> tuple[str, str]:
    """Code and message of what `edgectl` will not do."""
    with pytest.raises(RefusedError) as caught:
        helper.run(*command, input=input)
    return caught.value.args[0], caught.value.args[1]


def installed(helper: Helper, order: SignedOrder) -> str:
    """Everything up to the self-test; returns the fence as an option."""
    begun = helper.run("begin", "--holder=prover", input=order.input)
    fence = f"--fence={begun['fence']}"
    helper.run("receive", fence, input=order.stream(m["sha256"] for m in begun["missing"]))
    helper.run("seal", fence)
    helper.run("selftest", fence)
    return fence


def on_trial(helper: Helper, order: SignedOrder, *options: str) -> str:
    fence = installed(helper, order)
    helper.run("switch", fence, *(options or ("--deadline=0",)))
    return fence


# Deploys


def test_a_deploy_is_sound_and_doing_it_again_is_one_command(
    helper: Helper, ordered: Ordered
) -> None:
    order = ordered("one", 10)

    assert helper.deploy(order)
    assert not helper.deploy(order)
    assert linked(helper.root, "current") == order.release.id
    assert release_problem(helper.root, order.release.id, [KEY]) is None
    assert helper.starts() == 0
    assert leaks(helper.root) == []


def test_going_back_sends_nothing(helper: Helper, ordered: Ordered) -> None:
    helper.deploy(ordered("one", 10))
    helper.deploy(ordered("two", 20))

    plan = helper.run("plan", input=ordered("one", 30).input)

    assert (plan["state"], plan["missing"], plan["noop"]) == ("sealed", [], False)
    assert helper.deploy(ordered("one", 30))
    assert linked(helper.root, "current") == ordered("one", 30).release.id


def test_gc_removes_the_release_before_the_previous_one(helper: Helper, ordered: Ordered) -> None:
    for sequence, model in ((10, "one"), (20, "two"), (30, "three")):
        helper.deploy(ordered(model, sequence))

    assert len(list((helper.root / "releases").iterdir())) == 2
    assert leaks(helper.root) == []


def test_a_damaged_file_is_told_sent_again_and_mended(helper: Helper, ordered: Ordered) -> None:
    order = ordered("one", 10)
    helper.deploy(order)
    (helper.root / "releases" / order.release.id / "model/model.ort").write_bytes(b"rot")

    plan = helper.run("plan", input=order.input)

    assert [m["path"] for m in plan["missing"]] == ["model/model.ort"]
    assert refused(helper, "verify")[0] == "release_damaged"
    assert helper.deploy(order)
    assert release_problem(helper.root, order.release.id, [KEY]) is None


def test_a_file_that_the_manifest_does_not_list_is_unsound_and_removed(
    helper: Helper, ordered: Ordered
) -> None:
    order = ordered("one", 10)
    helper.deploy(order)
    stray = helper.root / "releases" / order.release.id / "bin" / "libonnxruntime.so.1"
    stray.write_bytes(b"\x7fELF")

    assert not helper.run("plan", input=order.input)["sound"]
    assert helper.deploy(order)
    assert not stray.exists()


# Uploads


def test_an_upload_that_was_cut_goes_on_from_what_is_sound(
    helper: Helper, ordered: Ordered
) -> None:
    order = ordered("m" * 300, 10)
    model = order.release.manifest.file("model/model.ort")
    content = order.release.path(model).read_bytes()
    begun = helper.run("begin", "--holder=prover", input=order.input)
    body = order.stream([model.sha256])
    assert refused(helper, "receive", f"--fence={begun['fence']}", input=body[:-60_000]) == (
        "stream_malformed",
        "object stream: ended early",
    )

    again = helper.run("begin", "--holder=prover", input=order.input)
    part = next(m for m in again["missing"] if m["sha256"] == model.sha256)["part"]
    copied = 2 * 65536
    head = b"EWR1O" + bytes.fromhex(model.sha256) + struct.pack("<Q", len(content)) + bytes(32)
    tail = content[copied:]
    ops = b"P" + struct.pack("<I", copied) + b"D" + struct.pack("<I", len(tail)) + tail
    answer = helper.run("receive", f"--fence={again['fence']}", input=head + ops + b"E")

    assert len(part["chunks"]) >= 2
    assert answer["objects"][0]["kept"] == copied
    assert answer["objects"][0]["sent"] == len(tail)


@pytest.mark.parametrize("seed", sorted(p.name for p in STREAMS.iterdir() if p.stem != "nothing"))
def test_streams_of_other_objects_or_shapes_are_refused(
    helper: Helper, ordered: Ordered, seed: str
) -> None:
    begun = helper.run("begin", "--holder=prover", input=ordered("one", 10).input)
    fence = f"--fence={begun['fence']}"

    code, _ = refused(helper, "receive", fence, input=(STREAMS / seed).read_bytes())

    assert code in ("stream_malformed", "object_foreign")
    assert list((helper.root / "store/sha256").iterdir()) == []


def frame(size: int, packed: bytes, length: int | None = None) -> bytes:
    return b"Z" + struct.pack("<II", size, len(packed) if length is None else length) + packed


HALF = 5000  # bytes of an object of twice as many
FRAMES = {
    "cut short": lambda good: frame(HALF, good[:-3]),
    "longer than told": lambda good: frame(HALF, good, len(good) - 1),
    "with bytes behind it": lambda good: frame(HALF, good + b"behind"),
    "no frame": lambda good: frame(HALF, bytes(100)),
    "empty": lambda good: frame(HALF, b""),
    "of fewer bytes": lambda good: frame(HALF + 1, good),
    "of more bytes": lambda good: frame(HALF - 1, good),
    "a bomb": lambda good: frame(HALF, zstandard.compress(bytes(100 << 20))),
    "a bomb that says so": lambda good: frame(100 << 20, zstandard.compress(bytes(100 << 20))),
    "two for one": lambda good: frame(2 * HALF, good + zstandard.compress(bytes(HALF + 1))),
    "huge": lambda good: frame(HALF, good, 0xFFFFFFFF),
    "for no bytes": lambda good: frame(0, good),
}


@pytest.mark.parametrize("defect", FRAMES)
def test_frames_that_are_not_what_they_say_are_refused(
    helper: Helper, ordered: Ordered, defect: str
) -> None:
    order = ordered("model-ten-", 10)
    model = order.release.manifest.file("model/model.ort")
    content = order.release.path(model).read_bytes()
    assert len(content) == 2 * HALF
    begun = helper.run("begin", "--holder=prover", input=order.input)
    head = b"EWR1O" + bytes.fromhex(model.sha256) + struct.pack("<Q", 2 * HALF) + bytes(32)
    body = frame(2 * HALF, zstandard.compress(content))
    bad = FRAMES[defect](zstandard.compress(content[:HALF]))

    code, code_and_text = refused(
        helper, "receive", f"--fence={begun['fence']}", input=head + bad + body
    )

    assert code == "stream_malformed", code_and_text
    assert not (helper.root / "store/sha256" / model.sha256).exists()
    fence = f"--fence={begun['fence']}"
    assert helper.run("receive", fence, input=head + body + b"E")["objects"][0]["sent"] == 2 * HALF


def test_what_the_storage_gives_back_is_read_again_before_the_switch(
    helper: Helper, ordered: Ordered
) -> None:
    order = ordered("one", 10)
    begun = helper.run("begin", "--holder=prover", input=order.input)
    fence = f"--fence={begun['fence']}"
    helper.run("receive", fence, input=order.stream(order.objects))
    stored = helper.root / "store/sha256" / order.release.manifest.file("model/model.ort").sha256
    stored.write_bytes(b"X" + stored.read_bytes()[1:])

    assert refused(helper, "seal", fence)[0] == "object_damaged"
    assert linked(helper.root, "current") is None
    assert helper.deploy(order)


# Tampering


@pytest.mark.parametrize(("name", "code", "text"), HOSTILE, ids=[h[0] for h in HOSTILE])
def test_a_hostile_manifest_is_refused_though_it_is_signed(
    helper: Helper, name: str, code: str, text: str
) -> None:
    document = (MANIFESTS / name).read_bytes()
    comment = "edgewright sequence=9 release=0123456789abcdef compatible=acme,board"
    signature = KEY.sign(document, comment).text("hostile").encode()

    refusal, message = refused(helper, "plan", input=signature + document)

    assert refusal == code
    assert text in message


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_changed_byte_of_what_was_signed_gets_in(
    helper: Helper, ordered: Ordered, data: st.DataObject
) -> None:
    genuine = ordered("one", 10).input
    covered = genuine.index(b"\n") + 1  # line 1 is the untrusted comment
    at = data.draw(st.integers(covered, len(genuine) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != genuine[at]))
    tampered = genuine[:at] + bytes([byte]) + genuine[at + 1 :]

    code, _ = refused(helper, "plan", input=tampered)

    assert code.startswith("signature_")


def test_each_kind_of_foreign_order_has_its_own_word(helper: Helper, ordered: Ordered) -> None:
    helper.deploy(ordered("one", 10))
    helper.deploy(ordered("two", 20))
    genuine, other = ordered("two", 30), ordered("three", 30)
    manifest = other.release.manifest.canonical()
    for_another = KEY.sign(
        manifest, f"edgewright sequence=40 release={other.release.id} compatible=acme,other"
    )

    refusals = {
        "replayed": refused(helper, "plan", input=ordered("one", 10).input)[0],
        "same number": refused(helper, "plan", input=ordered("three", 20).input)[0],
        "foreign key": refused(helper, "plan", input=ordered("two", 30, FOREIGN).input)[0],
        "other's signature": refused(helper, "plan", input=genuine.signature + manifest)[0],
        "wrong board": refused(helper, "plan", input=for_another.text("x").encode() + manifest)[0],
    }

    assert refusals == {
        "replayed": "older",
        "same number": "older",
        "foreign key": "signature_unknown_key",
        "other's signature": "signature_wrong",
        "wrong board": "signature_comment",
    }


def test_a_release_for_another_kind_of_board_is_refused(
    program: Path, helper: Helper, ordered: Ordered, tmp_path: Path
) -> None:
    other = Helper(program=program, root=tmp_path / "other", proc=helper.proc)
    other.root.mkdir()
    other.run("keys", "--compatible=acme,other", input=old_keys_input([KEY], 1, KEY))

    assert refused(other, "plan", input=ordered("one", 10).input)[0] == "wrong_board"


def test_swapped_files_do_not_fit_their_names(helper: Helper, ordered: Ordered) -> None:
    order = ordered("one", 10)
    fence = installed(helper, order)
    folder = helper.root / "releases" / order.release.id / "model"
    shutil.copy(folder / "labels.txt", folder / "swap")
    (folder / "model.ort").replace(folder / "labels.txt")
    (folder / "swap").replace(folder / "model.ort")

    assert refused(helper, "switch", fence, "--deadline=0")[0] == "release_damaged"


def test_a_board_without_keys_takes_nothing(
    program: Path, ordered: Ordered, tmp_path: Path
) -> None:
    fresh = Helper(program=program, root=tmp_path / "fresh", proc=tmp_path / "proc")
    fresh.root.mkdir()

    assert refused(fresh, "plan", input=ordered("one", 10).input)[0] == "no_keys"


# Keys


def test_keys_change_by_a_trusted_key_only_and_a_revoked_one_is_out(
    helper: Helper, ordered: Ordered
) -> None:
    change = ("keys", f"--compatible={COMPATIBLE}")
    helper.deploy(ordered("one", 10))
    foreign = keys_input([FOREIGN], FOREIGN, sequence=2, after=FIRST)
    assert refused(helper, *change, input=foreign)[0] == "signature_unknown_key"
    rotation = keys_input([NEXT], KEY, sequence=2, after=FIRST)

    assert helper.run(*change, input=rotation)["changed"]
    assert not helper.run(*change, input=rotation)["changed"]
    assert refused(helper, *change, input=FIRST)[0] == "signature_unknown_key"
    revived = keys_input([KEY, NEXT], NEXT, sequence=2, after=FIRST)
    assert refused(helper, *change, input=revived)[0] == "keys_conflict"
    old = old_keys_input([KEY, NEXT], 1 << 40, NEXT)
    assert refused(helper, *change, input=old)[0] == "keys_schema"
    assert refused(helper, "plan", input=ordered("two", 20).input)[0] == "signature_unknown_key"
    assert helper.starts() == 0
    assert helper.deploy(ordered("two", 20, NEXT))


def test_a_fence_that_is_given_counts_above_the_last_one_alone(
    helper: Helper, ordered: Ordered
) -> None:
    begin, order = ("begin", "--holder=prover"), ordered("one", 10)

    assert helper.run(*begin, "--fence=7000", input=order.input)["fence"] == 7000
    for stale in (7000, 6, 1):
        code, message = refused(helper, *begin, f"--fence={stale}", input=order.input)
        assert code == "fence_lost"
        assert "7000" in message
    assert helper.run(*begin, input=order.input)["fence"] == 7001


# Two deployers


def test_a_second_deployer_waits_or_takes_over_and_the_first_is_fenced_off(
    helper: Helper, ordered: Ordered
) -> None:
    fence = installed(helper, ordered("one", 10))
    second = ("begin", "--holder=other")
    order = ordered("two", 20)

    code, message = refused(helper, *second, input=order.input)
    assert (code, "by prover" in message) == ("busy", True)

    helper.run(*second, "--take-over", input=order.input)
    assert refused(helper, "switch", fence)[0] == "fence_lost"


INFER = ("bench", "--warmup", "3", "--runs", "20")


def begun(helper: Helper, order: SignedOrder) -> str:
    """A release that is sealed and not tested; returns the fence as an option."""
    answer = helper.run("begin", "--holder=prover", input=order.input)
    fence = f"--fence={answer['fence']}"
    helper.run("receive", fence, input=order.stream(order.objects))
    helper.run("seal", fence)
    return fence


@pytest.fixture(params=["selftest", "bench"])
def hanging(
    request: pytest.FixtureRequest, helper: Helper, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], SignedOrder]]:
    """A command of a release that hangs with its output closed, deaf to SIGTERM; and its order."""
    hangs = b"#!/bin/sh\ntrap '' TERM\nexec >&- 2>&-\nwhile :; do sleep 0.5; done\n"
    release = small_release(tmp_path / "hangs", helper.root, b"model", program=hangs)
    order = SignedOrder(release=release, sequence=10, key=KEY)
    right = (begun(helper, order), "--timeout=600")
    command = ("selftest", *right) if request.param == "selftest" else ("infer", *right, *INFER)
    argv = helper.argv(*command)
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: bool(running_in(helper.root)))
    yield child, order
    child.kill()
    child.wait()


def running_in(root: Path) -> list[int]:
    """Processes of this machine that work in a folder of the board."""
    processes = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(root):
                processes.append(int(link.parent.name))
    return processes


def test_another_updaters_board_takes_no_other_deploy(helper: Helper, ordered: Ordered) -> None:
    (helper.root / "owner").write_text("dpkg edgewright-board\n")
    order = ordered("one", 10)

    for options in ([], ["--take-over"]):
        code, message = refused(helper, "begin", "--holder=other", *options, input=order.input)
        assert (code, "belong to dpkg edgewright-board" in message) == ("owned", True)
    assert linked(helper.root, "current") is None

    assert helper.deploy(order, holder="dpkg edgewright-board")
    assert linked(helper.root, "current") == order.release.id


def test_an_owner_that_cannot_be_read_is_another_one(helper: Helper, ordered: Ordered) -> None:
    (helper.root / "owner").write_text("")
    assert refused(helper, "begin", "--holder=other", input=ordered("one", 10).input)[0] == "owned"

    (helper.root / "owner").write_text("x" * 1000)
    assert refused(helper, "begin", "--holder=other", input=ordered("one", 10).input)[0] == "io"


def test_a_second_deployer_is_told_who_is_at_work_and_takes_over_at_once(
    helper: Helper, ordered: Ordered, hanging: tuple[subprocess.Popen[bytes], SignedOrder]
) -> None:
    second = ("begin", "--holder=other")
    order = ordered("two", 20)

    code, message = refused(helper, *second, input=order.input)
    assert code == "busy"
    assert " (600 s at most) of prover is at work, for " in message

    start = time.monotonic()
    helper.run(*second, "--take-over", input=order.input)
    assert time.monotonic() - start < 5
    answer = json.loads(hanging[0].communicate(timeout=5)[0])
    assert answer["error"]["message"].endswith("was ended: another deployer took over")
    wait_until(lambda: running_in(helper.root) == [])


def test_a_self_test_ends_with_the_deployer_that_waits_for_it(
    helper: Helper, hanging: tuple[subprocess.Popen[bytes], SignedOrder]
) -> None:
    child, order = hanging
    assert child.stdout is not None

    child.stdout.close()

    assert child.wait(timeout=5) != 0
    wait_until(lambda: running_in(helper.root) == [])
    helper.run("begin", "--holder=prover", input=order.input)


def test_a_self_test_ends_with_an_edgectl_that_is_killed(
    helper: Helper, hanging: tuple[subprocess.Popen[bytes], SignedOrder]
) -> None:
    hanging[0].kill()

    wait_until(lambda: running_in(helper.root) == [])


def test_whoever_begins_anew_ends_what_he_left_running(
    helper: Helper, hanging: tuple[subprocess.Popen[bytes], SignedOrder]
) -> None:
    start = time.monotonic()

    helper.run("begin", "--holder=prover", input=hanging[1].input)

    assert time.monotonic() - start < 5
    wait_until(lambda: running_in(helper.root) == [])


def test_the_lease_lives_as_long_as_what_runs_under_it(
    helper: Helper, hanging: tuple[subprocess.Popen[bytes], SignedOrder]
) -> None:
    lease = helper.root / "lease"
    first = lease.read_text()

    wait_until(lambda: lease.read_text() != first, seconds=15)

    assert helper.run("status")["lease"]["holder"] == "prover"


ECHO = b"""#!/bin/sh
echo "$0 $*"
echo told >&2
[ "$1" != bench ] || exit 6
"""


def test_output_and_exit_code_of_edge_infer_are_passed_on(helper: Helper, tmp_path: Path) -> None:
    release = small_release(tmp_path / "echo", helper.root, b"model", program=ECHO)
    order = SignedOrder(release=release, sequence=10, key=KEY)
    fence = begun(helper, order)

    answer = helper.run("infer", fence, *INFER)

    assert (answer["release"], answer["exit"]) == (release.id, 6)
    assert answer["report"] == "bin/edge-infer bench --warmup 3 --runs 20\n"
    code, message = refused(helper, "infer", "--holder=tester", *INFER)
    assert (code, "by prover" in message) == ("busy", True)
    helper.run("selftest", fence)
    for end in ("switch", "commit", "gc"):
        helper.run(end, fence)
    assert helper.run("infer", "--holder=tester", "run", "a b.png")["report"].endswith("a b.png\n")


def test_nothing_but_measurements_of_a_release_on_the_board_is_run(
    helper: Helper, ordered: Ordered
) -> None:
    assert refused(helper, "infer", "--holder=tester", *INFER)[0] == "nothing_to_start"
    fence = installed(helper, ordered("one", 10))
    for words in (("watch", "--in", "/tmp"), ("../../bin/sh",), ("infer",)):
        assert refused(helper, "infer", fence, *words)[0] == "usage"
    for program in ("edgectl", "../../bin/sh", "inspect"):
        assert refused(helper, "infer", fence, f"--program={program}", "selftest")[0] == "usage"
    assert refused(helper, "infer", fence, "--program=edge-infer", "bench")[0] == "usage"
    assert refused(helper, "infer", *INFER)[0] == "usage"
    assert refused(helper, "infer", "--fence=99", *INFER)[0] == "fence_lost"


def test_a_self_test_that_is_ended_has_not_passed_whatever_it_says(
    helper: Helper, tmp_path: Path
) -> None:
    calm = b"#!/bin/sh\ntrap 'exit 0' TERM\nsleep 60 &\nwait\n"
    release = small_release(tmp_path / "calm", helper.root, b"model", program=calm)
    fence = begun(helper, SignedOrder(release=release, sequence=10, key=KEY))

    assert refused(helper, "selftest", fence, "--timeout=1") == (
        "selftest_failed",
        f"release {release.id}: its self-test took too long",
    )
    assert refused(helper, "switch", fence)[0] == "not_tested"


def test_a_lease_ends_with_the_boot(helper: Helper, ordered: Ordered) -> None:
    helper.run("begin", "--holder=prover", input=ordered("one", 10).input)

    boot(helper.proc)

    helper.run("begin", "--holder=other", input=ordered("one", 10).input)


# Trials


def test_a_release_that_does_not_stay_up_is_left_and_kept_out(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))
    bad = ordered("two", 20)
    on_trial(helper, bad, "--deadline=0", "--tries=2")

    running = []
    for _ in range(4):
        helper.starts()
        running.append(linked(helper.root, "current"))

    good = ordered("one", 10).release.id
    assert running == [bad.release.id, bad.release.id, good, good]
    assert refused(helper, "plan", input=bad.input)[0] == "quarantined"
    assert helper.run("plan", input=ordered("two", 30).input)["state"] == "sealed"


def test_a_trial_that_nobody_commits_ends_at_its_deadline(helper: Helper, ordered: Ordered) -> None:
    helper.deploy(ordered("one", 10))
    on_trial(helper, ordered("two", 20), "--deadline=1")
    service = subprocess.Popen(
        helper.argv("start", "/bin/sleep", "60"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    assert service.wait(timeout=20) == -15  # told to end, so that init starts the old release
    assert linked(helper.root, "current") == ordered("one", 10).release.id
    assert helper.deploy(ordered("two", 20))


def test_a_commit_makes_the_deadline_harmless(helper: Helper, ordered: Ordered) -> None:
    fence = on_trial(helper, ordered("one", 10), "--deadline=1")
    helper.run("commit", fence)

    time.sleep(1.5)

    assert linked(helper.root, "current") == ordered("one", 10).release.id


def test_what_is_not_tested_is_not_switched_to(helper: Helper, ordered: Ordered) -> None:
    order = ordered("one", 10)
    begun = helper.run("begin", "--holder=prover", input=order.input)
    fence = f"--fence={begun['fence']}"
    helper.run("receive", fence, input=order.stream(order.objects))
    helper.run("seal", fence)

    assert refused(helper, "switch", fence)[0] == "not_tested"


def test_start_leaves_a_damaged_release_for_the_previous_one(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))
    helper.deploy(ordered("two", 20))
    current = helper.root / "releases" / ordered("two", 20).release.id
    (current / "model/model.ort").write_bytes(b"rot")

    assert helper.starts() == 0
    assert linked(helper.root, "current") == ordered("one", 10).release.id


def test_only_one_service_runs_and_status_knows_its_pid(helper: Helper, ordered: Ordered) -> None:
    helper.deploy(ordered("one", 10))
    service = subprocess.Popen(helper.argv("start", "/bin/sleep", "60"))
    wait_until(lambda: helper.run("status")["service"] is not None)

    running = {"pid": service.pid, "release": ordered("one", 10).release.id, "ready": False}
    assert helper.run("status")["service"] == running
    second = subprocess.run(helper.argv("start", *RUN), capture_output=True, check=False)
    require_valid("edgectl-error", second.stdout)
    assert json.loads(second.stdout)["error"]["code"] == "busy"
    service.terminate()
    service.wait()
    assert helper.run("status")["service"] is None


READY = 'echo ready >&"$EDGECTL_READY_FD"; exec sleep 60'


@pytest.fixture
def serve(helper: Helper) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a shell script as the service of the board."""
    running: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        argv = helper.argv("start", "/bin/sh", "-c", script)
        running.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.wait()


def test_a_trial_with_a_service_is_won_by_one_that_says_it_is_ready(
    helper: Helper, ordered: Ordered, serve: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    order = ordered("one", 10)
    fence = on_trial(helper, order, "--deadline=30", "--service")

    service = serve(f"sleep 1; {READY}")

    assert helper.run("commit", fence)["committed"]
    running = {"pid": service.pid, "release": order.release.id, "ready": True}
    assert helper.run("status")["service"] == running


@pytest.mark.parametrize("script", ["exit 0", "exec sleep 60"])
def test_a_service_that_ends_or_says_nothing_wins_no_trial(
    helper: Helper,
    ordered: Ordered,
    serve: Callable[[str], subprocess.Popen[bytes]],
    script: str,
) -> None:
    helper.deploy(ordered("one", 10))
    fence = on_trial(helper, ordered("two", 20), "--deadline=2", "--service")

    serve(script)

    code, message = refused(helper, "commit", fence)
    assert code in ("not_ready", "no_trial"), message
    wait_until(lambda: helper.run("status")["txn"] is None)
    assert linked(helper.root, "current") == ordered("one", 10).release.id


def test_a_service_that_used_up_its_tries_ends_the_commit_with_the_reason(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))
    fence = on_trial(helper, ordered("two", 20), "--deadline=30", "--service", "--tries=1")
    commit = subprocess.Popen(helper.argv("commit", fence), stdout=subprocess.PIPE)

    for _ in range(2):
        helper.starts()

    answer = json.loads(commit.communicate(timeout=20)[0])
    assert answer["error"]["code"] == "no_trial"
    assert answer["error"]["message"].endswith("was undone: it did not stay up")


def test_a_start_beside_the_service_costs_no_try(
    helper: Helper, ordered: Ordered, serve: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    helper.deploy(ordered("one", 10))
    fence = on_trial(helper, ordered("two", 20), "--deadline=0", "--tries=2")
    serve("exec sleep 60")
    wait_until(lambda: helper.run("status")["service"] is not None)

    assert [helper.starts() for _ in range(3)] == [14, 14, 14]

    assert helper.run("status")["txn"]["tries"] == 1
    assert helper.run("commit", fence)["committed"]


# Accidents of the board: its storage is read-only, full or damaged, its locks are held


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def small_disk(helper: Helper) -> Iterator[Callable[..., None]]:
    """Puts the board's root on a file system of its own, which is mounted anew as asked."""
    if os.geteuid() != 0:
        pytest.skip("needs to mount a file system")
    mounted: list[bool] = []

    def mount(*options: str) -> None:
        if not mounted:
            saved = helper.root.with_name("saved")
            helper.root.rename(saved)
            helper.root.mkdir()
            argv = ["mount", "-t", "tmpfs", "-o", "nr_inodes=200,size=8m,mode=700", "none"]
            subprocess.run([*argv, str(helper.root)], check=True)
            shutil.copytree(saved, helper.root, symlinks=True, dirs_exist_ok=True)
            mounted.append(True)
        for option in options:
            subprocess.run(["mount", "-o", f"remount,{option}", str(helper.root)], check=True)

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(helper.root)], check=True)


def use_up_inodes(root: Path) -> None:
    with contextlib.suppress(OSError):
        for number in range(1000):
            (root / f"filler-{number}").touch()
    with pytest.raises(OSError, match="No space left"):
        (root / "one-more").touch()


def use_up_space(root: Path) -> None:
    """What is left of a file system, in a file that is there already."""
    with pytest.raises(OSError, match="No space left"):
        (root / "filler-0").write_bytes(bytes(9 << 20))


def test_a_committed_release_starts_from_storage_that_is_read_only(
    helper: Helper, ordered: Ordered, small_disk: Callable[..., None]
) -> None:
    small_disk()
    helper.deploy(ordered("one", 10))
    small_disk("ro")

    assert helper.starts() == 0


def test_a_trial_on_storage_that_is_read_only_leaves_the_start_to_the_former_release(
    helper: Helper, ordered: Ordered, small_disk: Callable[..., None]
) -> None:
    small_disk()
    helper.deploy(ordered("one", 10))
    on_trial(helper, ordered("two", 20), "--deadline=0")
    small_disk("ro")

    ended = subprocess.run(helper.argv("start", "/bin/pwd"), capture_output=True, check=False)

    assert ended.stdout.decode().strip().endswith(ordered("one", 10).release.id)
    assert b"what is installed starts as it is" in ended.stderr
    small_disk("rw")
    assert helper.run("status")["txn"]["tries"] == 3


def test_a_trial_ends_where_inodes_are_gone(
    helper: Helper, ordered: Ordered, small_disk: Callable[..., None]
) -> None:
    small_disk()
    helper.deploy(ordered("one", 10))
    on_trial(helper, ordered("two", 20), "--deadline=0", "--tries=1")
    use_up_inodes(helper.root)

    assert [helper.starts(), helper.starts()] == [0, 0]

    assert linked(helper.root, "current") == ordered("one", 10).release.id
    assert helper.run("status")["txn"] is None


def test_a_trial_is_won_where_inodes_are_gone(
    helper: Helper, ordered: Ordered, small_disk: Callable[..., None]
) -> None:
    small_disk()
    helper.deploy(ordered("one", 10))
    order = ordered("two", 20)
    fence = on_trial(helper, order, "--deadline=0")
    use_up_inodes(helper.root)

    assert helper.run("commit", fence)["committed"]

    assert helper.run("status")["txn"] is None
    assert linked(helper.root, "current") == order.release.id
    assert linked(helper.root, "previous") == ordered("one", 10).release.id


def test_a_bad_release_is_noted_where_space_and_inodes_are_gone(
    helper: Helper, ordered: Ordered, small_disk: Callable[..., None]
) -> None:
    small_disk()
    helper.deploy(ordered("one", 10))
    order = ordered("two", 20)
    on_trial(helper, order, "--deadline=0", "--tries=1")
    assert helper.run("status")["quarantine"] == []
    use_up_inodes(helper.root)
    use_up_space(helper.root)

    assert [helper.starts(), helper.starts()] == [0, 0]

    assert helper.run("status")["quarantine"] == [order.release.id]
    assert refused(helper, "plan", input=order.input)[0] == "quarantined"


def test_a_bad_release_that_cannot_be_noted_is_left_and_that_is_said(
    helper: Helper, ordered: Ordered
) -> None:
    good, bad = ordered("one", 10), ordered("two", 20)
    helper.deploy(good)
    on_trial(helper, bad, "--deadline=0")
    (helper.root / "quarantine" / bad.release.id).mkdir()  # no file gets this name

    code, message = refused(helper, "rollback", "--bad=it proved bad")

    assert code == "io"
    assert "takes no note that it is bad" in message
    assert linked(helper.root, "current") == good.release.id


def test_the_kernel_does_not_kill_the_guard_of_a_trial_for_lack_of_memory(
    helper: Helper, ordered: Ordered, tmp_path: Path
) -> None:
    fence = installed(helper, ordered("one", 10))
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-e", "trace=write", "-o", str(trace)]

    subprocess.run([*strace, *helper.argv("switch", fence, "--deadline=1")], check=True)

    write = re.search(r'/proc/\d+/oom_score_adj>, "-1000", 5\) = (.*)', trace.read_text())
    assert write
    assert write[1] == ("5" if may_be_spared() else "-1 EACCES (Permission denied)")


def may_be_spared() -> bool:
    """The kernel lets processes of this test say so: root may, but in some containers not."""
    say = "echo -1000 >/proc/self/oom_score_adj"
    return subprocess.run(["sh", "-c", say], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def locked_by_another(lock: Path) -> Iterator[None]:
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_the_deadline_ends_a_trial_whose_lock_somebody_held(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))
    on_trial(helper, ordered("two", 20), "--deadline=1")

    with locked_by_another(helper.root / "locks" / "state"):
        time.sleep(13)  # the guard waits for it for 10 s
        assert linked(helper.root, "current") == ordered("two", 20).release.id

    wait_until(lambda: helper.run("status")["txn"] is None, seconds=20)
    assert linked(helper.root, "current") == ordered("one", 10).release.id


def test_a_lock_that_somebody_holds_keeps_no_release_from_starting(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))

    with locked_by_another(helper.root / "locks" / "state"):
        assert helper.starts() == 0


@pytest.mark.parametrize("name", ["txn", *STATES])
def test_a_bit_that_flips_in_one_copy_of_a_state_does_no_harm(
    helper: Helper, ordered: Ordered, name: str
) -> None:
    board_id = helper.run("identify")["board_id"]
    helper.deploy(ordered("one", 10))
    order = ordered("two", 20)
    fence = on_trial(helper, order, "--deadline=0")
    sound = helper.run("status")
    assert (sound["board_id"], sound["compatible"]) == (board_id, COMPATIBLE)
    size = (helper.root / name).stat().st_size
    for at in range(0, size, max(7, size // 20)):
        for copy in (name, f"{name}.copy"):
            flip(helper.root / copy, at)
            assert steady(helper.run("status")) == steady(sound)
            assert helper.run("seal", fence)["release"] == order.release.id
            flip(helper.root / copy, at)

    assert helper.run("commit", fence)["committed"]
    assert helper.run("status")["floor"]["sequence"] == 20


def steady(status: Answer) -> Answer:
    """What a status says of the board's states."""
    names = ("board_id", "compatible", "aliases", "keys", "current", "previous", "floor", "txn")
    return {name: status[name] for name in names}


@pytest.mark.parametrize("copy", ["", ".copy"])
@pytest.mark.parametrize("name", STATES)
def test_a_copy_that_rotted_or_is_gone_is_mended_by_the_other(
    helper: Helper, ordered: Ordered, name: str, copy: str
) -> None:
    helper.run("identify")
    helper.deploy(ordered("one", 10))
    path = helper.root / f"{name}{copy}"
    sound = path.read_bytes()

    flip(path, 3)
    assert helper.starts() == 0
    assert path.read_bytes() == sound

    path.unlink()
    helper.run("identify")
    assert path.read_bytes() == sound


def test_states_of_0_1_0_get_their_copies_without_a_word(helper: Helper, ordered: Ordered) -> None:
    helper.run("identify")
    helper.deploy(ordered("one", 10))
    before = {name: (helper.root / name).read_bytes() for name in STATES}
    for name in STATES:
        (helper.root / name).write_text(state(helper.root, name))
        (helper.root / f"{name}.copy").unlink()

    assert helper.deploy(ordered("two", 20))

    for name in ("board", "id", "keys.json"):
        assert (helper.root / name).read_bytes() == before[name]
        assert (helper.root / f"{name}.copy").read_bytes() == before[name]


@pytest.mark.parametrize(
    ("name", "code"), [("keys.json", "keys_lost"), ("floor", "floor_lost"), ("board", "board_lost")]
)
def test_a_state_that_is_damaged_in_both_copies_is_told_and_what_is_installed_starts(
    helper: Helper, ordered: Ordered, name: str, code: str
) -> None:
    helper.deploy(ordered("one", 10))
    for copy in (name, f"{name}.copy"):
        flip(helper.root / copy, 3)

    assert refused(helper, "plan", input=ordered("two", 20).input)[0] == code
    assert helper.starts() == 0


def test_a_board_that_lost_its_kind_is_told_it_anew(helper: Helper, ordered: Ordered) -> None:
    for copy in ("board", "board.copy"):
        flip(helper.root / copy, 3)

    helper.run("keys", f"--compatible={COMPATIBLE}", input=FIRST)

    assert helper.deploy(ordered("one", 10))


def test_a_trial_whose_state_is_damaged_in_both_copies_is_lost(
    helper: Helper, ordered: Ordered
) -> None:
    helper.deploy(ordered("one", 10))
    on_trial(helper, ordered("two", 20), "--deadline=0")
    for copy in ("txn", "txn.copy"):
        flip(helper.root / copy, 3)

    assert helper.starts() == 0
    assert linked(helper.root, "current") == ordered("one", 10).release.id
    assert helper.run("status")["txn"] is None


def test_nobody_else_comes_near_state_and_locks(helper: Helper, ordered: Ordered) -> None:
    helper.root.chmod(0o755)  # as 0.1.0 left it
    helper.deploy(ordered("one", 10))

    assert [helper.root.stat().st_mode & 0o777, (helper.root / "locks").stat().st_mode & 0o777] == [
        0o700,
        0o700,
    ]


def test_a_release_that_does_not_fit_is_refused_before_anything_is_sent(
    helper: Helper, ordered: Ordered
) -> None:
    plan = ("plan", f"--reserve={1 << 40}")

    assert refused(helper, *plan, input=ordered("one", 10).input)[0] == "no_space"


# Crash points, lost writes, fuzzing: samples of what the tasks do in full


def test_a_kill_at_any_system_call_breaks_no_promise(program: Path) -> None:
    report = crashpoints.prove(program, points=1)

    assert report.violations == ()
    assert report.killed >= 45


def test_no_system_call_that_fails_breaks_a_promise(program: Path) -> None:
    report = crashpoints.prove(program, points=1, error="EIO")

    assert report.violations == ()
    assert report.failed >= 45
    assert report.killed == 0


def test_no_link_that_cannot_be_read_is_taken_for_one_that_is_absent(program: Path) -> None:
    """`gc` deleted the current release then, and a trial that was undone for good came back."""
    report = crashpoints.prove(program, error="EIO", call="readlink")

    assert report.violations == ()
    assert report.failed >= 150


def test_an_error_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="error 'EOI': unknown"):
        crashpoints.prove(Path("edgectl"), error="EOI")


@pytest.fixture(scope="module")
def recorded(program: Path) -> Iterator[Record]:
    with in_memory() as folder:
        yield lostwrites.record(program, folder)


@pytest.fixture(scope="module")
def every_cut(recorded: Record) -> list[lostwrites.Cut]:
    return list(lostwrites.cuts(recorded))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_power_cut_breaks_a_promise(
    recorded: Record, every_cut: list[lostwrites.Cut], data: st.DataObject
) -> None:
    cut = data.draw(st.sampled_from(every_cut))

    with in_memory() as folder:
        assert lostwrites.judge(recorded, cut, folder) is None


BITES = {
    "tmp/<hash>.part": "damaged",
    "tmp/text.new": "manifest.json",
    "tmp/txn.new": "neither committed nor on trial",
    "txn.copy": "a try was not counted",
    "floor": "floor",
    "fence": "given out twice",
}


@pytest.mark.parametrize("site", BITES)
def test_without_any_one_sync_a_promise_breaks(recorded: Record, site: str, tmp_path: Path) -> None:
    problem = lostwrites.first_violation(recorded, tmp_path, site)

    assert problem
    assert BITES[site] in problem


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_hostile_input_finds_no_fault(native: dict[str, Package], target: str) -> None:
    if fuzz.problem():
        pytest.skip("needs invoke setup --yes: " + str(fuzz.problem()))

    assert fuzz.run(checkout(), native, target, seconds=2).executions > 1000
