"""What a deploy refuses before it touches a board, and how a helper's answers are read."""

import json
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
    AbsentError,
    Edgectl,
    HelperFacts,
    Missing,
    PlanAnswer,
    RefusedError,
    signed_input,
)
from edgewright.deploy.probe import APPLETS
from edgewright.deploy.remote import Result
from edgewright.deploy.service import ServiceState
from edgewright.release.manifest import Release
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


# Answers


def test_refusal_is_told_with_the_helpers_word_and_our_advice() -> None:
    with pytest.raises(RefusedError) as refused:
        answered(12, refusal("older")).plan(b"")
    assert refused.value.code == "older"
    assert str(refused.value) == (
        "root@board.test: subject: problem\n"
        "next: if it is to go back: invoke release.sign, then deploy again"
    )


def test_unknown_refusal_is_told_as_it_is() -> None:
    with pytest.raises(RefusedError, match="subject: problem\nnext: its own advice"):
        answered(99, refusal("brand_new")).status()


@pytest.mark.parametrize("said", ["", "Segmentation fault", "{}", "[]", '{"version": 1}', "\0"])
@pytest.mark.parametrize("code", [0, 1, 126, 127, 139, -1])
def test_what_is_no_answer_counts_as_no_helper(code: int, said: str) -> None:
    with pytest.raises(AbsentError):
        answered(code, said).plan(b"")


def test_status_is_read_from_what_is_documented() -> None:
    table = {
        "version": 1,
        "command": "status",
        "helper": HELPER,
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
    now = answered(0, table).status()
    report = documents.status_report(
        deploy.Status(facts=FACTS, edgectl=now, manifest=None),
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
