"""Every command of a deploy, rollback, status, smoke, probe, doctor and more, answered wrongly.

No traceback, nothing read outside of the release, nothing signed but what the engineer named,
nothing raw on the terminal, within memory and time. `pytest -m nightly` asks for 20,000 answers.
"""

import contextlib
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from edgewright.base.errors import EdgewrightError, TargetError
from edgewright.board import catalogue
from edgewright.board.proposal import propose
from edgewright.cli import screens
from edgewright.deploy import access, documents, install, keyring, one_board, service, survey
from edgewright.deploy import smoke as smoke_test
from edgewright.deploy.edgectl import BoardRelease, Edgectl
from edgewright.deploy.install import Deployer
from edgewright.deploy.known_hosts import fingerprint
from edgewright.deploy.one_board import DeploySettings, RollbackSettings
from edgewright.deploy.remote import Board, connect
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.deploy.smoke import Subject
from edgewright.observe.crash.explain import Explainer
from edgewright.observe.crash.fetch import fetch_crashes
from edgewright.observe.doctor import facts
from edgewright.observe.doctor.judge import judge
from edgewright.release import order
from edgewright.release.keys import KeyFolder, Signer
from tests.boards import COMPATIBLE, NAMES, make_release
from tests.checkout import checkout
from tests.hostile import HOST_KEY, hostile_board
from tests.hostile_board import ROOT, Answer, Draw, Hostile, HostileBoard, World, honest
from tests.memory import Memory
from tests.unit.deploy.test_hostile_line import QUICK

CATALOGUE = [
    catalogue.load_board(name, checkout().boards) for name in ("a53-som", "rpi3-arm64", "rpi2")
]
Flow = Callable[["Engineer", Board], list[RenderableType]]
SECRET = b"the secret beside the release"


class Engineer:
    """A user with a key, two releases and a board; what is signed and read is recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        edgectl = folder / "edgectl"
        edgectl.write_bytes(b"#!/bin/sh\nedgectl protocol 2\n")
        options: dict[str, Any] = {"root": ROOT, "edgectl": edgectl}
        self.current = make_release(folder / "work", **options, model=b"model one" * 20_000)
        self.previous = make_release(folder / "work", **options, model=b"model two" * 20_000)
        theirs = make_release(folder / "theirs", **options, model=b"model three")
        attacker = KeyFolder(folder / "theirs" / "attacker")
        strange = attacker.generate().public
        self.policy = SigningPolicy(keys=KeyFolder(folder / "keys"), ask=lambda _: None)
        key = self.policy.keys.generate()
        signer = self.policy.signer(emulated=False)
        secret = folder / "outside" / "secret"
        secret.parent.mkdir()
        secret.write_bytes(SECRET)
        self.colleague = KeyFolder(folder / "theirs" / "keys").generate().public
        lines = [key.public.line, self.colleague.line]
        keys = json.dumps({"schema": 1, "sequence": 1, "keys": lines})
        self.world = World(
            current=self.current,
            previous=self.previous,
            signature=order.sign(self.previous.manifest, signer),
            keys=keys.encode(),
            foreign_keys=keys.replace(self.colleague.line, strange.line).encode(),
            foreign_signature=order.sign(
                theirs.manifest, attacker.open_signer("default", lambda _: None)
            ),
            secret=secret,
            foreign=theirs,
        )
        self.policy.signature_of(self.current, emulated=False)
        self.signed: list[bytes] = []
        self.key = key.public

    @property
    def deployer(self) -> Deployer:
        return Deployer(holder="tester@here", locks=self.folder / "locks")

    def deploy_settings(self, board: Board) -> DeploySettings:
        return DeploySettings(
            target=board.target,
            release=self.current,
            signing=self.policy,
            deployer=self.deployer,
            known_hosts=(),
            smoke_unchanged=True,
            smoke_file=self.folder / "smoke.json",
        )

    def require_signed_as_named(self) -> None:
        """Manifests that were built here; sets of keys that the engineer holds or confirmed."""
        named = {self.key.line, self.colleague.line}
        built = {release.manifest.canonical() for release in (self.current, self.previous)}
        for data in self.signed:
            if data not in built:
                document = json.loads(data)
                assert set(document["keys"]) <= named
                assert tuple(document.get("names", RENAMED)) == RENAMED
                assert set(document["scope"]) == {"boards"}


RENAMED = ("acme,new", *NAMES)


def deploy(engineer: Engineer, board: Board) -> list[RenderableType]:
    report = one_board.deploy_connected(board, engineer.deploy_settings(board))
    assert report.release == engineer.current.id
    return [report.to_json(), *([screens.smoke_screen(report.smoke)] if report.smoke else [])]


def dry_run(engineer: Engineer, board: Board) -> list[RenderableType]:
    signature = engineer.policy.signature_of(engineer.current, emulated=False)
    plan = install.dry_run(board, engineer.current, signature, reserve_bytes=1 << 20)
    report = documents.plan_report(plan, str(board.target))
    return [report.to_json(), *screens.plan_lines(report)]


def rollback(engineer: Engineer, board: Board) -> list[RenderableType]:
    options = RollbackSettings(
        root=ROOT,
        kinds=NAMES,
        releases=engineer.previous.folder.parent,
        signing=engineer.policy,
        deployer=engineer.deployer,
    )
    return [*one_board.rollback(board, options)]


def provision(engineer: Engineer, board: Board) -> list[RenderableType]:
    edgectl = install.ensure_edgectl(board, ROOT, engineer.current)
    signer = engineer.policy.authority(keyring.read(edgectl).public)
    confirmed = [engineer.colleague]
    return [*keyring.provision(edgectl, RENAMED, engineer.key, signer, confirmed=confirmed)]


def revoke(engineer: Engineer, board: Board) -> list[RenderableType]:
    edgectl = install.ensure_edgectl(board, ROOT, engineer.current)
    trusted = keyring.read(edgectl).public
    leaving = [key.id for key in trusted if key != engineer.key] or ["0" * 16]
    signer = engineer.policy.authority(trusted, leaving=leaving)
    return [*keyring.revoke(edgectl, NAMES, leaving, signer)]


def lower_floor(engineer: Engineer, board: Board) -> list[RenderableType]:
    edgectl = install.ensure_edgectl(board, ROOT, engineer.current)
    signer = engineer.policy.authority(keyring.read(edgectl).public)
    keyring.set_floor(edgectl, NAMES, 9, signer, confirmed=[engineer.colleague])
    return []


def forget(engineer: Engineer, board: Board) -> list[RenderableType]:
    edgectl = install.ensure_edgectl(board, ROOT, engineer.current)
    signer = engineer.policy.authority(keyring.read(edgectl).public)
    return [repr(keyring.forget(edgectl, signer))]


def status(engineer: Engineer, board: Board) -> list[RenderableType]:
    state = install.status(board, ROOT)
    running = service.status(board, CATALOGUE[0])
    report = documents.status_report(state, running, str(board.target))
    return [
        report.to_json(),
        screens.status_screen(report),
        *screens.service_lines(running),
    ]


def smoke(engineer: Engineer, board: Board) -> list[RenderableType]:
    report = one_board.smoke_current(board, ROOT, engineer.deployer)
    return [report.to_json(), screens.smoke_screen(report)]


def serve(engineer: Engineer, board: Board) -> list[RenderableType]:
    service.install(board, CATALOGUE[0])
    service.remove(board, CATALOGUE[0])
    return []


def doctor(engineer: Engineer, board: Board) -> list[RenderableType]:
    return [repr(judge(facts.ask(board, ROOT), CATALOGUE[0]))]


def crashes(engineer: Engineer, board: Board) -> list[RenderableType]:
    files = [(file.crash, file.name) for file in fetch_crashes(board, ROOT)]
    explain = Explainer(folders=[engineer.folder]).explain
    return [repr([explain(crash, name, Path(name)) for crash, name in files if crash])]


def probe(engineer: Engineer, board: Board) -> list[RenderableType]:
    surveyed = survey.survey(board, ROOT)
    return [propose(surveyed, str(board.target), CATALOGUE, "new-board").toml]


def each(engineer: Engineer, board: Board) -> list[RenderableType]:
    """Every command of edgectl and edge-infer by itself, whatever the others are answered."""
    edgectl, manifest = Edgectl(board=board, root=ROOT), engineer.current.manifest
    release = BoardRelease(edgectl=edgectl, release="0", right="--fence=1")
    subject = Subject(release=release, manifest=manifest)
    questions: list[Callable[[], object]] = [
        lambda: edgectl.plan(b""),
        lambda: edgectl.begin(b"", holder="h", reserve_bytes=1),
        lambda: edgectl.chunks("0" * 64, 4096),
        lambda: edgectl.receive(1, io.BytesIO(), None),
        lambda: edgectl.seal(1),
        lambda: edgectl.selftest(1, timeout_s=1),
        lambda: edgectl.switch(1, deadline_s=1),
        lambda: edgectl.commit(1),
        lambda: edgectl.revert(1, bad="b"),
        lambda: edgectl.gc(1),
        lambda: edgectl.status(verify=True),
        lambda: edgectl.keys(b"", compatible=COMPATIBLE),
        lambda: keyring.read(edgectl),
        lambda: install.read_board_order(board, ROOT, engineer.previous.id),
        lambda: access.explain(board, ROOT),
        lambda: service.status(board, CATALOGUE[0]),
        lambda: survey.survey(board, ROOT),
        lambda: smoke_test.read_golden(subject.release.edgectl.board, subject.release.folder),
        lambda: smoke_test.judge_budgets(subject.infer("bench"), manifest, board.target),
    ]
    for ask in questions:
        with contextlib.suppress(EdgewrightError):
            ask()
    return []


FLOWS = [
    deploy,
    dry_run,
    rollback,
    provision,
    revoke,
    lower_floor,
    forget,
    status,
    smoke,
    serve,
    probe,
    doctor,
    crashes,
    each,
]


def require_harmless(text: str) -> None:
    assert all(letter.isprintable() or letter in "\n\t" for letter in text), repr(text)[:500]
    assert len(text) < 200_000


def shown(screen: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False, emoji=False)
    console.print(screen)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run(engineer: Engineer, flow: Flow, board: Board) -> None:
    """One command of ours on a board; whatever it ends with is for people to read."""
    try:
        texts = [*map(shown, flow(engineer, board))]
    except EdgewrightError as fault:
        texts = [str(fault), fault.code]
    for text in texts:
        require_harmless(text)


@pytest.fixture
def engineer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engineer:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    engineer = Engineer(tmp_path)
    sign = Signer.sign

    def recorded(self: Signer, data: bytes, comment: str) -> Any:
        engineer.signed.append(data)
        return sign(self, data, comment)

    monkeypatch.setattr(Signer, "sign", recorded)
    return engineer


READS: list[str] = []
_watching = [False]


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching[0] and event == "open" and isinstance(arguments[0], str | bytes):
        path = arguments[0]
        READS.append(path.decode() if isinstance(path, bytes) else path)


sys.addaudithook(_note)


@pytest.fixture
def reads() -> Iterator[list[str]]:
    """Paths that were opened meanwhile."""
    READS.clear()
    _watching[0] = True
    yield READS
    _watching[0] = False


def require_inside(paths: list[str], engineer: Engineer) -> None:
    """Absolute paths are the releases', the keys', the lock's; others are names in a folder."""
    ours = (
        *(str(engineer.folder / name) for name in ("work", "keys", "locks", "smoke", ".smoke")),
        "/proc/self/clear_refs",  # of `Memory`, as is the next
        "/proc/self/status",
        sys.prefix,
        sys.base_prefix,
        str(Path(__file__).parents[3]),
    )
    outside = [path for path in paths if path.startswith("/") and not path.startswith(ours)]
    assert outside == []
    assert not [path for path in paths if ".." in path]


@pytest.mark.parametrize("flow", FLOWS)
def test_an_honest_board_gets_through(engineer: Engineer, flow: Flow) -> None:
    """What the hostile answers are made of leads to the end of each command."""

    class Honest(Hostile):
        def answer(self, argv: Any) -> Any:
            return honest(argv, self.world)

    flow(engineer, HostileBoard(Honest(lambda strategy: 1, engineer.world)))


def test_an_object_is_sent_once_however_often_it_is_asked_for(engineer: Engineer) -> None:
    """Each time would hold it in memory once more."""

    class Greedy(Hostile):
        def answer(self, argv: Any) -> Any:
            code, output, errors = honest(argv, self.world)
            if argv[1] == "begin":
                answer = json.loads(output)
                output = json.dumps(answer | {"missing": answer["missing"] * 1000}).encode()
            return code, output, errors

    board = HostileBoard(Greedy(lambda strategy: 1, engineer.world))
    with pytest.raises(TargetError, match="asks for a file twice"):
        deploy(engineer, board)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_board_with_a_release_and_a_key_of_its_own_gets_no_signature(
    engineer: Engineer, flow: Flow
) -> None:
    """Its answers are right in form and agree with each other, to the end."""

    class Liar(Hostile):
        def answer(self, argv: Any) -> Any:
            world = self.world
            lies = replace(
                world,
                previous=world.foreign,
                signature=world.foreign_signature,
                keys=world.foreign_keys,
            )
            return honest(argv, lies)

    run(engineer, flow, HostileBoard(Liar(lambda strategy: 1, engineer.world)))
    engineer.require_signed_as_named()
    assert not any(SECRET in sent for sent in engineer.world.sent)


def be_hostile(engineer: Engineer, flow: Flow, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=20_000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), emulated=st.booleans())
    def hostile(data: st.DataObject, emulated: bool) -> None:
        engineer.world.order = b""
        board = HostileBoard(
            Hostile(data.draw, engineer.world), emulated=emulated and flow is deploy
        )
        run(engineer, flow, board)
        assert not any(SECRET in sent for sent in engineer.world.sent)
        engineer.require_signed_as_named()
        engineer.world.sent.clear()
        engineer.signed.clear()

    make_tables_of_unicode()
    with Memory() as memory:
        begin = time.monotonic()
        hostile()
        seconds = time.monotonic() - begin
    counts = f"{engineer.world.wrong:,} wrong answers of {engineer.world.calls:,}"
    print(f"{flow.__name__}: {counts} in {seconds:.0f} s, {memory.grown >> 20} MiB more memory")
    assert memory.grown < 200 << 20


@settings(max_examples=1, database=None)
@given(text=st.text())
def make_tables_of_unicode(text: str) -> None:
    """Hypothesis makes them once in a folder, before its first text, which takes 200 MiB."""


@pytest.mark.parametrize("flow", FLOWS)
def test_a_hostile_board_gets_nothing(engineer: Engineer, reads: list[str], flow: Flow) -> None:
    be_hostile(engineer, flow, 30)
    require_inside(reads, engineer)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(20))
def test_twenty_thousand_hostile_answers_get_nothing(
    engineer: Engineer, reads: list[str], part: int
) -> None:
    for flow in itertools.cycle(FLOWS):
        be_hostile(engineer, flow, 150 if flow is each else 50)
        require_inside(reads, engineer)
        reads.clear()
        if flow is FLOWS[-1] and engineer.world.wrong >= 1_000:
            return


class Recorded(Hostile):
    """Keeps its answers, to be given once more over a line."""

    def __init__(self, draw: Draw, world: World) -> None:
        super().__init__(draw, world)
        self.answers: list[Answer] = []

    def answer(self, argv: Sequence[str]) -> Answer:
        self.answers.append(super().answer(argv))
        return self.answers[-1]


class OfTheSameKey(HostileBoard):
    """Shows the host key that the board behind the line shows."""

    @property
    def host_key(self) -> str:
        return fingerprint(HOST_KEY.asbytes())


HOW = st.tuples(st.integers(0, 15), st.integers(0, 3))
LOST = ((0, b"", b""), 0, 0)  # what comes to a command that was not asked without a line


def test_a_hostile_board_gets_nothing_over_ssh(
    engineer: Engineer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over a real connection, with delays, cuts and answers in pieces."""
    monkeypatch.setenv("HOME", str(tmp_path))

    @settings(
        max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data(), flow=st.sampled_from(FLOWS))
    def hostile(data: st.DataObject, flow: Flow) -> None:
        # All is drawn before the line comes into it: what is asked there depends on how fast this
        # machine is, and Hypothesis takes draws that depend on that for a fault of the test.
        engineer.world.order = b""
        recorded = Recorded(data.draw, engineer.world)
        run(engineer, flow, OfTheSameKey(recorded))
        deeds = iter([(answer, *data.draw(HOW)) for answer in recorded.answers])

        def answer(channel: paramiko.Channel, command: str) -> None:
            do(channel, *next(deeds, LOST))

        with (
            contextlib.suppress(TargetError),  # the line is lost as it is made
            hostile_board(tmp_path / "board", answer) as target,
            connect(target, timeouts=QUICK) as board,
        ):
            run(engineer, flow, board)
        engineer.require_signed_as_named()

    hostile()


def do(channel: paramiko.Channel, answer: Answer, how: int, pause: int) -> None:
    """Answer late, in part, without an exit code or not at all."""
    code, output, errors = answer
    time.sleep(pause / 20)
    if how == 0:
        channel.get_transport().close()
    elif how == 1:
        channel.sendall(output[:1])
    else:
        channel.sendall(output)
        channel.sendall_stderr(errors)
        channel.send_exit_status(code & 0xFF)
