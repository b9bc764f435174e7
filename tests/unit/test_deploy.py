"""Facts in, plan out; and the plan carried out in this machine's own shell, cut everywhere."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright import deploy, smoke
from edgewright.audit import TargetFacts
from edgewright.deploy import BoardState, Plan, entries_of, parse_state, plan_deploy
from edgewright.errors import TargetError
from edgewright.probe import APPLETS
from edgewright.release import Release
from edgewright.remote import Board, ConnectionLostError
from tests.boards import COMPATIBLE, LocalBoard, documents, make_release, program

FACTS = TargetFacts(
    machine="armv7l",
    userland_bits=32,
    cpu_features=frozenset({"neon", "vfpv4"}),
    libc=(2, 31),
    free_bytes=10**9,
    memory_kb=2 * 1024**2,
    applets=frozenset(APPLETS),
)
Make = Callable[..., Release]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "board" / "edgewright"


@pytest.fixture
def make(tmp_path: Path, root: Path) -> Make:
    """Releases for the board at `root`."""

    def one(name: str = "one", **changes: Any) -> Release:
        return make_release(tmp_path / name, root=str(root), model=name.encode(), **changes)

    return one


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("planned"), root="/opt/edgewright")


def plan(release: Release, state: BoardState, **facts: Any) -> Plan:
    return plan_deploy(release, replace(FACTS, **facts), state, reserve_bytes=1000, board="b")


def install(release: Release, board: Board | None = None, **options: Any) -> deploy.Outcome:
    return deploy.deploy(board or LocalBoard(), release, reserve_bytes=0, **options)


def current(root: Path) -> str:
    """The id of the current release, every byte of which is checked."""
    link = (root / "current").readlink()
    state = deploy.read_state(LocalBoard(), str(root))
    assert str(link) == f"releases/{state.current}"
    manifest = deploy.read_board_manifest(LocalBoard(), str(root), link.name)
    deploy._require_sound(LocalBoard(), str(root), manifest)
    return link.name


# Plan


@given(data=st.data())
def test_plan_sends_what_the_board_lacks_and_nothing_else(planned: Release, data: Any) -> None:
    entries = {entry.sha256: entry for entry in entries_of(planned.manifest)}
    held = data.draw(st.sets(st.sampled_from(sorted(entries))))
    state = BoardState(
        compatible=data.draw(st.sampled_from([None, COMPATIBLE])),
        current=data.draw(st.sampled_from([None, planned.id, "0" * 16])),
        objects=frozenset(held),
        whole=data.draw(st.booleans()),
    )
    made = plan(planned, state)
    assert {entry.sha256 for entry in made.upload} == set(entries) - held
    assert made.bytes == sum(entries[name].bytes for name in set(entries) - held)
    assert made.switch == (state.current != planned.id)
    assert made.is_noop == (
        not made.upload
        and state.whole
        and state.current == planned.id
        and state.compatible is not None
    )


@given(free=st.integers(min_value=0, max_value=10**6))
def test_plan_refuses_exactly_when_space_is_short(planned: Release, free: int) -> None:
    entries = entries_of(planned.manifest)
    needed = sum(entry.bytes for entry in entries) + 1000
    needed += deploy.BLOCK * (len(entries) + 2 * len(planned.manifest.files))
    if free >= needed:
        assert plan(planned, BoardState(), free_bytes=free).upload
        return
    with pytest.raises(TargetError, match="no space") as refused:
        plan(planned, BoardState(), free_bytes=free)
    assert str(refused.value) == (
        f"b: no space for release {planned.id}\n"
        f"  expected: {needed:,} bytes free ({sum(e.bytes for e in entries):,} to send, "
        "1,000 in reserve)\n"
        f"  found: {free:,} bytes free\n"
        "next: make room on the board, or lower deploy.reserve_mb in its profile"
    )


def test_a_current_release_needs_no_space(planned: Release) -> None:
    held = frozenset(entry.sha256 for entry in entries_of(planned.manifest))
    state = BoardState(compatible=COMPATIBLE, current=planned.id, objects=held, whole=True)
    assert plan(planned, state, free_bytes=0).is_noop


def test_plan_refuses_a_board_of_another_kind(planned: Release) -> None:
    with pytest.raises(TargetError) as refused:
        plan(planned, BoardState(compatible="acme,other"))
    assert str(refused.value) == (
        f"b: is not a board for release {planned.id}\n"
        "  expected: compatible acme,board\n"
        "  found: acme,other\n"
        "next: invoke boards; or, if the board has become another kind, "
        "remove /opt/edgewright/board on it"
    )


# Facts


def test_state_of_an_empty_board_is_empty() -> None:
    assert parse_state("", (), "") == BoardState()


def test_state_believes_no_name_only_hashes(planned: Release) -> None:
    entries = entries_of(planned.manifest)
    lines = [f"{e.sha256}  store/sha256/{e.sha256}" for e in entries[1:]]
    lines.append(f"{'f' * 64}  store/sha256/{entries[0].sha256}")
    state = parse_state("current abc\nrelease abc\n" + "\n".join(lines), entries, planned.id)
    assert state.objects == {entry.sha256 for entry in entries[1:]}
    assert (state.current, state.releases, state.whole) == ("abc", ("abc",), False)


def test_board_without_a_command_is_refused_before_anything_is_pushed(
    make: Make, root: Path
) -> None:
    facts = replace(FACTS, applets=FACTS.applets - {"sha256sum", "df"})
    with pytest.raises(TargetError) as refused:
        deploy.require_fit(LocalBoard(), make(), facts)
    assert str(refused.value) == (
        "root@board.test: lacks commands that a deploy needs\n"
        "  command: df\n"
        "  command: sha256sum\n"
        "next: enable them in the board's busybox"
    )


def test_program_for_another_machine_is_refused_before_anything_is_pushed(
    make: Make, root: Path
) -> None:
    foreign = (Path(__file__).parent.parent / "data" / "elf" / "client").read_bytes()
    board = LocalBoard()
    with pytest.raises(TargetError, match="is not for this board's machine") as refused:
        install(make(edge_infer=foreign), board)
    assert "root@board.test: bin/edge-infer: " in str(refused.value)
    assert not root.exists()
    assert len(board.sent) == 1


# Apply


def test_first_deploy_makes_the_layout(make: Make, root: Path) -> None:
    release, sent = make(), []
    outcome = install(release, on_bytes=lambda done, total: sent.append((done, total)))
    assert not outcome.unchanged
    assert outcome.plan.former is None
    assert current(root) == release.id
    assert (root / "board").read_text() == f"{COMPATIBLE}\n"
    assert not (root / "previous").exists()
    assert not (root / "lock").is_symlink()
    assert list((root / "tmp").iterdir()) == []
    tool = root / "current" / "bin" / "edge-infer"
    assert tool.stat().st_mode & 0o777 == 0o755
    assert tool.stat().st_nlink == 2
    assert sent[-1] == (outcome.plan.bytes, outcome.plan.bytes)


def test_same_release_again_sends_nothing(make: Make, root: Path) -> None:
    release = make()
    install(release)
    board, bytes_sent = LocalBoard(), []
    outcome = install(release, board, on_bytes=lambda *sent: bytes_sent.append(sent))
    assert outcome.unchanged
    assert bytes_sent == []
    assert not any(deploy.RECEIVE in argv for argv in board.sent)


def test_next_release_sends_only_what_differs(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    install(first)
    outcome = install(second)
    assert [entry.path for entry in outcome.plan.upload] == [
        "model/card.json",
        "model/model.ort",
        "manifest.json",
    ]
    assert current(root) == second.id
    assert (root / "previous").readlink().name == first.id


def test_third_release_pushes_the_first_out(make: Make, root: Path) -> None:
    releases = [make(name) for name in ("one", "two", "three")]
    removed = [install(release).removed for release in releases]
    assert removed == [(), (), (releases[0].id,)]
    assert {path.name for path in (root / "releases").iterdir()} == {r.id for r in releases[1:]}
    kept = {e.sha256 for release in releases[1:] for e in entries_of(release.manifest)}
    assert {path.name for path in (root / "store" / "sha256").iterdir()} == kept


def test_dry_run_changes_nothing(make: Make, root: Path) -> None:
    plan = deploy.dry_run(LocalBoard(), make(), reserve_bytes=0)
    assert plan.switch
    assert not root.exists()


def test_damaged_object_is_sent_again(make: Make, root: Path) -> None:
    release = make()
    install(release)
    (root / "current" / "model" / "model.ort").write_bytes(b"rot")
    outcome = install(release)
    assert [entry.path for entry in outcome.plan.upload] == ["model/model.ort"]
    assert current(root) == release.id


def test_board_of_another_kind_is_left_alone(make: Make, root: Path) -> None:
    install(make())
    before = sorted(root.rglob("*"))
    with pytest.raises(TargetError, match="is not a board for release"):
        install(make("two", compatible="acme,other"))
    assert sorted(root.rglob("*")) == before


# Smoke before the switch, rollback


def test_failed_smoke_keeps_the_former_release(make: Make, root: Path) -> None:
    good = make("good")
    install(good)
    wrong = documents()
    wrong["selftest"]["passed"] = False
    bad = make("bad", edge_infer=program(wrong, exit_code=0))
    with pytest.raises(TargetError, match="smoke test failed"):
        install(bad, gate=smoke.gate(bad.manifest))
    assert current(root) == good.id
    assert not (root / "previous").exists()
    assert not (root / "lock").is_symlink()


def test_smoke_runs_in_the_inactive_folder(make: Make, root: Path) -> None:
    release, seen = make(), []

    def gate(board: Board, folder: str) -> None:
        seen.append((folder, (root / "current").exists()))

    install(release, gate=gate)
    assert seen == [(f"{root}/releases/{release.id}", False)]


def test_rollback_goes_back_and_forth(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    install(first)
    install(second)
    assert deploy.rollback(LocalBoard(), str(root)) == (second.id, first.id)
    assert current(root) == first.id
    assert deploy.rollback(LocalBoard(), str(root)) == (first.id, second.id)


def test_rollback_without_a_previous_release(make: Make, root: Path) -> None:
    release = make()
    install(release)
    with pytest.raises(TargetError) as refused:
        deploy.rollback(LocalBoard(), str(root))
    assert str(refused.value) == (
        f"root@board.test: no previous release to go back to\n  current: {release.id}"
    )


def test_rollback_to_a_damaged_release_is_refused(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    install(first)
    install(second)
    (root / "previous" / "model" / "model.ort").write_bytes(b"rot")
    with pytest.raises(TargetError, match=f"release {first.id} is damaged on the board"):
        deploy.rollback(LocalBoard(), str(root))
    assert current(root) == second.id


def test_status_of_a_bare_board_and_of_one_in_use(make: Make, root: Path) -> None:
    bare = deploy.status(LocalBoard(), str(root))
    assert (bare.state, bare.manifest, bare.objects) == (BoardState(), None, 0)
    release = make()
    install(release)
    used = deploy.status(LocalBoard(), str(root))
    assert used.manifest == release.manifest
    assert used.objects == len(entries_of(release.manifest))
    assert used.holder is None


def test_manifest_changed_on_the_board_is_not_believed(make: Make, root: Path) -> None:
    release = make()
    install(release)
    path = root / "current" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"board": "other"}))
    with pytest.raises(TargetError, match="changed after the release was made"):
        deploy.status(LocalBoard(), str(root))


# Cut anywhere


@pytest.mark.parametrize("how", ["before", "half", "after"])
def test_cut_at_every_command_leaves_a_whole_release_and_the_next_deploy_converges(
    make: Make, root: Path, how: str
) -> None:
    first, second = make("one"), make("two")
    install(first)
    start = root.parent / "start"
    shutil.copytree(root, start, symlinks=True)
    whole = LocalBoard()
    install(second, whole)
    for cut_at in range(1, len(whole.sent) + 1):
        shutil.rmtree(root)
        shutil.copytree(start, root, symlinks=True)
        with pytest.raises(ConnectionLostError, match="connection lost"):
            install(second, LocalBoard(cut_at=cut_at, how=how))
        assert current(root) in (first.id, second.id)
        install(second)
        assert current(root) == second.id
        assert not (root / "lock").is_symlink()


def test_cut_upload_is_not_taken_for_a_whole_one(make: Make, root: Path) -> None:
    first = make("one")
    install(first)
    upload = 4  # probe, state, prepare, first upload
    with pytest.raises(ConnectionLostError):
        install(make("two"), LocalBoard(cut_at=upload, how="half"))
    assert current(root) == first.id
    assert list((root / "tmp").glob("*.part"))
    assert install(make("two")).plan.switch
    assert not list((root / "tmp").glob("*.part"))


def test_bytes_that_arrive_damaged_are_refused(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make()
    monkeypatch.setattr(deploy, "_content", lambda release, entry: b"something else")
    with pytest.raises(TargetError, match="arrived damaged") as refused:
        install(release)
    assert "root@board.test: bin/edge-infer: arrived damaged\n  expected: " in str(refused.value)
    assert not (root / "current").exists()


# Lock


def test_second_deployer_is_refused(make: Make, root: Path) -> None:
    def gate(board: Board, folder: str) -> None:
        install(make("two"))

    with pytest.raises(TargetError) as refused:
        install(make("one"), gate=gate)
    lines = str(refused.value).splitlines()
    assert lines[0] == "root@board.test: somebody else is deploying"
    assert lines[1].startswith("  holder: ")
    assert lines[2] == "next: wait for it to end, then run the same command again"
    assert not (root / "current").exists()


def test_lock_of_a_dead_deployer_is_taken_over(make: Make, root: Path) -> None:
    root.mkdir(parents=True)
    (root / "lock").symlink_to("someone@somewhere/01234567/another-boot/1/2")
    release = make()
    install(release)
    assert current(root) == release.id
    assert not (root / "lock").is_symlink()


def test_deployer_that_lost_its_lock_does_not_switch(make: Make, root: Path) -> None:
    def gate(board: Board, folder: str) -> None:
        (root / "lock").unlink()
        (root / "lock").symlink_to("someone@somewhere/01234567/this-boot/1/2")

    with pytest.raises(TargetError, match="the lock was lost before the switch"):
        install(make(), gate=gate)
    assert not (root / "current").exists()
    assert (root / "lock").is_symlink()
