"""What a deploy refuses before it touches a board, and how a helper's answers are read."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.board.audit import TargetFacts
from edgewright.cli import screens
from edgewright.deploy import documents, transfer
from edgewright.deploy import install as deploy
from edgewright.deploy.edgectl import (
    INSTALL,
    AbsentError,
    Edgectl,
    HelperFacts,
    Missing,
    PlanAnswer,
    RefusedError,
    install_edgectl,
    protocol_of,
    signed_input,
)
from edgewright.deploy.probe import APPLETS
from edgewright.deploy.remote import Result
from edgewright.deploy.service import ServiceState
from edgewright.release.manifest import Release
from edgewright.release.minisign import SecretKey
from tests.boards import LocalBoard, make_release

FACTS = TargetFacts(
    machine="armv7l",
    userland_bits=32,
    cpu_features=frozenset({"neon", "vfpv4"}),
    libc=(2, 31),
    free_bytes=10**9,
    memory_kb=2 * 1024**2,
    applets=frozenset(APPLETS),
)
HELPER = {"version": "0.1.0", "protocol": 1, "sha256": "0" * 64}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    helper = tmp_path / "edgectl"
    helper.write_text("a helper")
    return make_release(tmp_path / "one", root=str(tmp_path / "board"), edgectl=helper)


def answered(returncode: int, document: object) -> Edgectl:
    """A helper that says this, whatever it is asked."""
    text = document if isinstance(document, str) else json.dumps(document)

    class Answering(LocalBoard):
        def _run(self, argv: object, data: bytes, *, kill: bool) -> Result:
            return Result(argv=("edgectl",), returncode=returncode, stdout=text, stderr="said")

    return Edgectl(board=Answering(), root="/opt/edgewright")


def refusal(code: str) -> dict[str, object]:
    error = {"code": code, "message": "subject: problem", "next": "its own advice"}
    return {"version": 1, "command": "plan", "helper": HELPER, "error": error}


# Fit


def test_board_without_a_command_is_refused(release: Release) -> None:
    facts = replace(FACTS, applets=FACTS.applets - {"sha256sum", "df"})
    with pytest.raises(TargetError) as refused:
        deploy.require_fit(LocalBoard(), release, facts)
    assert str(refused.value) == (
        "root@board.test: lacks commands that a deploy needs\n"
        "  command: df\n"
        "  command: sha256sum\n"
        "next: enable them in the board's busybox"
    )


def test_program_for_another_machine_is_refused_before_anything_is_pushed(
    tmp_path: Path, release: Release
) -> None:
    foreign = (Path(__file__).parents[2] / "data" / "elf" / "client").read_bytes()
    root = tmp_path / "other"
    helper = tmp_path / "edgectl"
    bad = make_release(tmp_path / "two", root=str(root), edge_infer=foreign, edgectl=helper)
    with pytest.raises(TargetError, match="is not for this board's machine") as refused:
        deploy.deploy(LocalBoard(), bad, b"", reserve_bytes=0)
    assert "root@board.test: bin/edge-infer: " in str(refused.value)
    assert not root.exists()


def test_release_without_a_helper_is_refused(tmp_path: Path) -> None:
    release = make_release(tmp_path / "bare", root=str(tmp_path / "board"))
    with pytest.raises(UserError, match="has no bin/edgectl\nnext: invoke build"):
        deploy.deploy(LocalBoard(), release, b"", reserve_bytes=0)
    assert not (tmp_path / "board").exists()


def test_holder_is_a_name_that_a_board_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.deploy.install.getpass.getuser", lambda: "o'brien; rm -rf /")
    assert deploy.this_user().holder.startswith("o-brien--rm--rf--@")
    assert len(deploy.this_user().holder) <= 64


def test_two_machines_of_one_name_are_two_holders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = []
    for machine in ("one", "one", "two"):
        monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / machine))
        holders.append(deploy.this_user().holder)
    assert holders[0] == holders[1] != holders[2]


# edgectl of an older protocol


def helper_program(protocol: int, word: str = "") -> bytes:
    """Says its protocol as a helper does; the first one that did was of protocol 2."""
    line = f"echo usage\necho edgectl protocol {protocol}\n" if protocol > 1 else ""
    return f"#!/bin/sh\n# {word}\n{line}exit 0\n".encode()


def install(board: LocalBoard, root: Path, program: bytes) -> None:
    install_edgectl(board, str(root), program, sha256(program).hexdigest())


def test_two_first_installs_at_once_leave_a_whole_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync of the first is slow: the second writes its upload meanwhile, and is cut."""
    sync = tmp_path / "path" / "sync"
    sync.parent.mkdir()
    sync.write_text("#!/bin/sh\nsleep 1\n")
    sync.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sync.parent}:{os.environ['PATH']}")
    root, program = tmp_path / "board", helper_program(2) + b"#" * 100_000
    argv = ["sh", "-c", INSTALL, "_", str(root), sha256(program).hexdigest(), "2"]
    first = subprocess.Popen(argv, stdin=subprocess.PIPE)
    second = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert first.stdin is not None
    assert second.stdin is not None
    first.stdin.write(program)
    first.stdin.close()
    time.sleep(0.5)
    second.stdin.write(program[:1000])
    second.stdin.flush()

    assert first.wait(timeout=20) == 0
    assert (root / "bin" / "edgectl").read_bytes() == program
    second.stdin.close()
    assert second.wait(timeout=20) == 65
    assert [path.name for path in (root / "bin").iterdir()] == ["edgectl"]


def test_a_program_is_asked_for_its_protocol_in_its_bytes() -> None:
    assert protocol_of(b"\x7fELF old") == 1
    assert protocol_of(b"\x7fELF usage\nedgectl protocol 2\n\0") == 2


def test_edgectl_is_never_replaced_by_one_of_an_older_protocol(tmp_path: Path) -> None:
    installed = tmp_path / "bin" / "edgectl"
    for protocol in (1, 2, 2, 3):
        program = helper_program(protocol, "another build")
        install(LocalBoard(), tmp_path, program)
        assert installed.read_bytes() == program
    newest = installed.read_bytes()

    with pytest.raises(TargetError) as refused:
        install(LocalBoard(), tmp_path, helper_program(2))

    assert installed.read_bytes() == newest
    assert str(refused.value) == (
        "root@board.test: bin/edgectl: "
        "stays as it is: the release brings one of an older protocol\n"
        "  expected: protocol 3\n"
        "  found: protocol 2\n"
        "next: invoke build, which makes a release with a newer one"
    )


def test_two_who_install_at_once_leave_a_whole_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is slow to sync when the second begins, whose upload ends in the middle."""
    slow = tmp_path / "applets" / "sync"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\n[ -e {tmp_path}/second ] || sleep 1\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    program = helper_program(2, "x" * 100_000)
    first = threading.Thread(target=install, args=(LocalBoard(), tmp_path, program))
    first.start()
    time.sleep(0.5)
    (tmp_path / "second").touch()

    half = CutBoard(program[: len(program) // 2])
    with pytest.raises(TargetError, match="arrived damaged"):
        install(half, tmp_path, program)
    first.join()

    assert (tmp_path / "bin" / "edgectl").read_bytes() == program


class CutBoard(LocalBoard):
    """Gets other bytes than were sent."""

    def __init__(self, received: bytes) -> None:
        super().__init__()
        self._received = received

    def _run(self, argv: Sequence[str], data: bytes, *, kill: bool) -> Result:
        return super()._run(argv, self._received, kill=kill)


def test_nor_where_the_newer_one_does_not_run(tmp_path: Path) -> None:
    install(LocalBoard(), tmp_path, helper_program(2))
    (tmp_path / "bin" / "edgectl").write_bytes(b"")
    (tmp_path / "id").write_text("0" * 32)

    with pytest.raises(TargetError, match="one of an older protocol"):
        install(LocalBoard(), tmp_path, helper_program(1))
    install(LocalBoard(), tmp_path, helper_program(2))


def test_a_release_with_an_older_edgectl_leaves_the_boards_alone(release: Release) -> None:
    board = answered(0, status_answer(protocol=2))

    edgectl = deploy.ensure_edgectl(board.board, "/opt/edgewright", release)

    assert edgectl.protocol == 2
    assert isinstance(board.board, LocalBoard)
    assert [argv[1] for argv in board.board.sent] == ["status"]


def test_a_board_that_calls_itself_old_is_not_believed(tmp_path: Path) -> None:
    """It would have keys signed in a document that counts on other boards, too."""
    helper = tmp_path / "edgectl"
    helper.write_bytes(helper_program(2))
    new = make_release(tmp_path / "new", root="/opt/edgewright", edgectl=helper)
    board = answered(0, status_answer(protocol=1)).board

    assert deploy.ensure_edgectl(board, "/opt/edgewright", new).protocol == 2


# Orders from the future


@pytest.mark.parametrize(("synchronised", "days"), [(True, 0.5), (False, 5), (None, 5)])
def test_an_order_that_no_clock_contradicts_is_sent(
    release: Release, synchronised: bool | None, days: float
) -> None:
    ended = OSError("asked the board for more")
    with pytest.raises(OSError, match="asked the board"):
        deploy.deploy(*ahead_of_a_board(release, days, synchronised, ended), reserve_bytes=0)


def test_an_order_from_the_future_is_not_sent(release: Release) -> None:
    ended = OSError("asked the board for more")
    with pytest.raises(UserError, match=r"the order is 5\.0 days ahead of its clock") as refused:
        deploy.deploy(*ahead_of_a_board(release, 5, True, ended), reserve_bytes=0)
    assert str(refused.value).endswith(
        "next: set the clock that is wrong, then invoke release.sign"
    )


def ahead_of_a_board(
    release: Release, days: float, synchronised: bool | None, ended: Exception
) -> tuple[LocalBoard, Release, bytes]:
    """A board whose clock is behind the order's signer; it is asked for its plan alone."""
    sequence = int(time.time())
    answer = plan_answer(release, []).model_copy(update={"sequence": sequence})
    table = answer.model_dump(mode="json")
    if synchronised is not None:
        unix_s = sequence - int(days * 86400)
        table["clock"] = {"unix_s": unix_s, "synchronised": synchronised}

    class Behind(LocalBoard):
        def _run(self, argv: object, data: bytes, *, kill: bool) -> Result:
            if len(self.sent) > 1:
                raise ended
            return Result(argv=("edgectl",), returncode=0, stdout=json.dumps(table), stderr="")

    comment = f"edgewright sequence={sequence} release={release.id} compatible=acme,board"
    signature = SecretKey.generate().sign(release.manifest.canonical(), comment).text("c")
    return Behind(), release, signature.encode()


# Answers


def test_refusal_is_told_with_the_helpers_word_and_our_advice() -> None:
    with pytest.raises(RefusedError) as refused:
        answered(12, refusal("older")).plan(b"")
    assert refused.value.code == "older"
    assert str(refused.value) == (
        "root@board.test: subject: problem\n"
        "next: if it is to go back: invoke release.sign, then deploy again; if the board's number "
        "is ahead of the clock: invoke keys.floor"
    )


def test_a_self_test_that_did_not_pass_says_which_golden_images_differ() -> None:
    ok = {"class": "ok", "index": 0, "probabilities": [0.9, 0.1]}
    cases = [
        {"image": f"{name}.png", "expected": ok, "got": ok, "max_abs_diff": diff, "passed": passed}
        | {"problems": problems}
        for name, diff, passed, problems in (
            ("a", 0.3, False, ["expected ok, found defective", "probabilities differ by 0.3000"]),
            ("b", 0.0, True, []),
            ("c\x1b[2J", None, False, []),
            ("d", 0.02, False, []),
            ("e", 0.02, False, []),
        )
    ]
    report = {"version": 1, "command": "selftest", "model": "net", "tolerance": 0.01}
    report |= {"passed": False, "cases": cases}
    answer = refusal("selftest_failed") | {"report": json.dumps(report)}
    with pytest.raises(RefusedError) as refused:
        answered(16, answer).selftest(1, timeout_s=9)
    assert refused.value.facts == (
        "a.png: expected ok, found defective; probabilities differ by 0.3000",
        "c\\x1b[2J.png: differs by unknown",
        "d.png: differs by 0.0200",
        "and 1 of 5 cases more",
    )


def test_a_self_test_that_could_not_begin_says_why() -> None:
    message = "model.ort: the runtime refuses it: Could not find an implementation for Split\x1b[2J"
    error = {"code": "model_unsupported", "message": message, "next": None}
    report = {"version": 1, "command": "selftest", "error": error}
    answer = refusal("selftest_failed") | {"report": json.dumps(report)}
    with pytest.raises(RefusedError) as refused:
        answered(16, answer).selftest(1, timeout_s=9)
    assert refused.value.facts == (message.replace("\x1b", "\\x1b"),)


@pytest.mark.parametrize("report", ["Segmentation fault", '{"version": 1, "command": null}'])
def test_a_self_test_that_says_nothing_of_use_is_refused_all_the_same(report: str) -> None:
    with pytest.raises(RefusedError) as refused:
        answered(16, refusal("selftest_failed") | {"report": report}).selftest(1, timeout_s=9)
    assert refused.value.facts == ()


def test_unknown_refusal_is_told_as_it_is() -> None:
    with pytest.raises(RefusedError, match="subject: problem\nnext: its own advice"):
        answered(99, refusal("brand_new")).status()


@pytest.mark.parametrize("answer", ["", "Segmentation fault", "{}", "[]", '{"version": 1}', "\0"])
@pytest.mark.parametrize("code", [0, 1, 126, 127, 139, -1])
def test_what_is_no_answer_counts_as_no_helper(code: int, answer: str) -> None:
    with pytest.raises(AbsentError):
        answered(code, answer).plan(b"")


def status_answer(protocol: int = 1) -> dict[str, object]:
    return {
        "version": 1,
        "command": "status",
        "helper": HELPER | {"protocol": protocol},
        "compatible": "acme,board",
        "keys": ["E7620F1842B4E81F"],
        "current": "0" * 16,
        "previous": None,
        "floor": {"sequence": 1763840000, "release": "0" * 16},
        "txn": None,
        "lease": None,
        "releases": ["0" * 16],
        "quarantine": [],
        "objects": 3,
        "object_bytes": 10,
        "service": {"pid": 7},
        "free_bytes": 1,
        "sound": None,
        "a newer helper": "says more",
    }


def test_status_is_read_from_what_is_documented() -> None:
    status = answered(0, status_answer()).status()
    report = documents.status_report(
        deploy.Status(facts=FACTS, edgectl=status, manifest=None),
        ServiceState(installed=False),
        "root@board.test",
    )
    assert report.ordered == "2025-11-22T19:33:20+00:00"
    assert report.keys == ("E7620F1842B4E81F",)
    assert report.service_pid == 7


def test_input_is_signature_then_document() -> None:
    assert signed_input(b"four lines\n", b"{}\n") == b"four lines\n{}\n"


# Dry run of a board that has no helper yet


def test_dry_run_of_a_bare_board_is_told_in_bytes(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = deploy.dry_run(LocalBoard(), release, b"", reserve_bytes=0)
    report = documents.plan_report(plan, "root@board.test")
    lines = screens.plan_lines(report)
    assert lines[0] == "install edgectl"
    assert any(line.startswith("send model/model.ort: ") for line in lines)
    assert lines[-1] == f"switch from nothing to {release.id}"


def test_dry_run_of_a_bare_board_without_space(release: Release) -> None:
    with pytest.raises(TargetError, match=f"no space for release {release.id}"):
        deploy.dry_run(LocalBoard(), release, b"", reserve_bytes=1 << 60)


# A hostile board


def test_a_board_gets_no_file_but_those_of_the_release(release: Release, tmp_path: Path) -> None:
    """The path of a missing object is the board's word; `Path / absolute` would be that file."""
    secret = tmp_path / "default.key"
    secret.write_text("secret")
    missing = [
        Missing(sha256=sha256(secret.read_bytes()).hexdigest(), bytes=6, path=str(secret)),
        Missing(sha256="0" * 64, bytes=6, path="../../default.key"),
    ]
    edgectl = answered(0, "nothing is asked")

    with pytest.raises(TargetError) as refused:
        deploy.plan_objects(edgectl, release, plan_answer(release, missing))

    assert str(refused.value) == (
        f"root@board.test: asks for files that are not of release {release.id}\n"
        f"  found: {missing[0].sha256} as {secret}\n"
        f"  found: {missing[1].sha256} as ../../default.key\n"
        "next: look at what runs on this board: its edgectl would never ask for them"
    )


def test_an_object_is_read_where_our_manifest_has_it(release: Release, tmp_path: Path) -> None:
    file = release.manifest.files[0]
    secret = tmp_path / "default.key"
    secret.write_text("secret")
    missing = Missing(sha256=file.sha256, bytes=file.bytes, path=str(secret))

    (sent,) = deploy.plan_objects(answered(0, ""), release, plan_answer(release, [missing]))

    assert sent.sha256 == file.sha256
    stream = BytesIO()
    transfer.write_stream([sent], stream)
    assert b"secret" not in stream.getvalue()


def plan_answer(release: Release, missing: list[Missing]) -> PlanAnswer:
    return PlanAnswer(
        version=1,
        command="begin",
        helper=HelperFacts(version="0.1.0", protocol=1, sha256="0" * 64),
        release=release.id,
        sequence=1,
        key="0" * 16,
        state="absent",
        sound=False,
        noop=False,
        missing=tuple(missing),
        missing_bytes=12,
        needed_bytes=12,
        free_bytes=10**9,
        current=None,
        previous=None,
        floor=None,
        txn=None,
        lease=None,
        fence=1,
    )
