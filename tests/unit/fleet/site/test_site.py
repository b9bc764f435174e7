"""A site that only dials out, its server, and what may go wrong between them."""

import asyncio
import http.client
import json
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast
from urllib.parse import urlsplit

import pytest

from edgewright.base.errors import UserError
from edgewright.base.files import locked
from edgewright.base.schema import Document, Part
from edgewright.deploy.install import NextFence
from edgewright.fleet.documents import (
    Invitation,
    SiteAnswer,
    SiteFence,
    SiteQuestion,
    SiteReceipt,
    SiteReport,
    SiteRequest,
    SiteWork,
)
from edgewright.fleet.rollout.controller import Controller, Observation
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.gates import Measured, Numbers, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger, Order
from edgewright.fleet.rollout.people import Role
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.report import status
from edgewright.fleet.rollout.sites import Sites, WithSites
from edgewright.fleet.rollout.states import Goal, Retry, State
from edgewright.fleet.serve import site_api
from edgewright.fleet.serve.authority import CERTIFICATE, Authority, open_authority, pem_of
from edgewright.fleet.serve.server import Listener, listener
from edgewright.fleet.serve.site_api import SiteApi
from edgewright.fleet.site.depot import Depot
from edgewright.fleet.site.enrol import Enrolled, enrol
from edgewright.fleet.site.line import Line, LineError, RefusedError
from edgewright.fleet.site.worker import SiteLeases, SiteWorker
from edgewright.release.manifest import Release, load_release
from tests.boards import make_release
from tests.serving import serving, token_of

DAY = 86400.0
WAIT_SECONDS = 20
SHADOWED = Shadowed(offered=90, agreed=44, differing=1)


@dataclass
class Ovens:
    """The boards of a site, in memory; `holds` keeps them at work."""

    places: Sequence[str]
    fence: Counter[str] = field(default_factory=Counter)
    current: dict[str, str | None] = field(default_factory=lambda: defaultdict(lambda: "old"))
    releases: list[Path] = field(default_factory=list)
    installs: Counter[str] = field(default_factory=Counter)
    staged: Counter[str] = field(default_factory=Counter)
    shadows: dict[str, float] = field(default_factory=dict)  # how long, of each board
    holds: threading.Event | None = None

    def names(self) -> Sequence[str]:
        return self.places

    def with_orders(self, orders: Mapping[str, Order], release: Release | None) -> "Ovens":
        if release is not None:
            self.releases.append(load_release(release.folder).folder)
        return self

    def install(self, claim: Claim, next_fence: NextFence) -> Measured:
        fence = next_fence(self.fence[claim.board])
        assert fence > self.fence[claim.board]
        self.fence[claim.board] = fence
        self.installs[claim.board] += 1
        if self.holds:
            self.holds.wait(WAIT_SECONDS)
        self.current[claim.board] = claim.release
        return Measured(restarts=0)

    def stage(self, claim: Claim, next_fence: NextFence) -> None:
        self.fence[claim.board] = next_fence(self.fence[claim.board])
        self.staged[claim.board] += 1

    def shadow(self, claim: Claim, next_fence: NextFence) -> Shadowed:
        self.fence[claim.board] = next_fence(self.fence[claim.board])
        self.shadows[claim.board] = claim.shadow_s
        return SHADOWED

    def go_back(self, claim: Claim, next_fence: NextFence) -> None:
        self.fence[claim.board] = next_fence(self.fence[claim.board])
        self.current[claim.board] = "old"

    def look(self, board: str) -> Observation:
        return Observation(current=self.current[board], restarts=0, floor=7)

    def opening(self, board: str) -> float:
        return 0.0


@dataclass
class Fleet:
    """Four boards in Lyon, which dials out, and two that the controller reaches."""

    folder: Path
    clock: Callable[[], float] = time.time
    far: tuple[str, ...] = tuple(f"oven-{n}" for n in range(4))
    near: tuple[str, ...] = ("desk-0", "desk-1")

    def __post_init__(self) -> None:
        self.release = make_release(self.folder / "built", root="/opt/edgewright")
        self.ledger = Ledger(open_database(str(self.folder / "ledger.sqlite")), self.clock)
        self.sites = Sites(self.ledger.database, self.clock)
        self.authority: Authority = open_authority(self.folder / "authority")
        self.plan = Plan(
            waves="100%", ends=(6,), salt="s", gates="failures<=0,restarts<=0", soak_s=0,
            releases={"a53-som": self.release.id}, dial_out=("lyon",), lease_s=60, backoff_s=0,
        )  # fmt: skip
        members = [
            Entry(board=board, site=site, wave=1, release=self.release.id, former="old")
            for site, boards in (("lyon", self.far), ("hall", self.near))
            for board in boards
        ]
        order = Order(
            release=self.release.id,
            manifest=self.release.manifest.canonical(),
            signature=b"signature",
        )
        self.ledger.plan("bread", self.plan.model_dump_json(), members, [order])

    def folder_of(self, kind: str, release: str) -> Path:
        assert (kind, release) == ("a53-som", self.release.id)
        return self.release.folder

    @property
    def api(self) -> SiteApi:
        return SiteApi(
            ledger=self.ledger, sites=self.sites, authority=self.authority,
            release_folder=self.folder_of, clock=self.clock,
        )  # fmt: skip

    def where(self, port: int = 0) -> Listener:
        certificate, key = self.authority.server_files(["127.0.0.1"])
        authority = self.folder / "authority" / CERTIFICATE
        return listener(
            f"127.0.0.1:{port}", certificate=certificate, key=key, client_cas=[authority]
        )

    def invitation(self, url: str, site: str) -> Path:
        path = self.folder / f"{site}.json"
        invitation = Invitation(
            site=site, server=url, token=self.sites.invite(site, 60),
            authority=pem_of(self.authority.certificate).decode(),
        )  # fmt: skip
        path.write_text(invitation.to_json())
        return path

    def enrol(self, url: str, site: str = "lyon") -> Enrolled:
        return enrol(self.invitation(url, site), self.folder / f"at-{site}")

    def far_site(self, board: str) -> str | None:
        return "lyon" if board in self.far else None

    def states(self) -> dict[str, State]:
        return {member.board: member.state for member in self.ledger.members("bread")}

    @contextmanager
    def working(self, site: Enrolled, boards: Ovens) -> Iterator[list[str]]:
        """A worker of a site; what it tells."""
        lines = list[str]()
        folder = self.folder / f"files-{site.site}"
        worker = SiteWorker(
            site, boards, folder, parallel=4, board_s=60, tell=lines.append, idle_s=0.1
        )
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        try:
            yield lines
        finally:
            worker.leave()
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(site_api, "POLL_SECONDS", 0.05)
    monkeypatch.setattr("edgewright.fleet.site.worker.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("edgewright.fleet.site.worker.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("edgewright.fleet.site.worker.LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("edgewright.fleet.rollout.sites.POLL_SECONDS", 0.05)
    return Fleet(tmp_path)


def wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lease(site: Enrolled, boards: Sequence[str], room: int = 9) -> SiteWork:
    request = SiteRequest(worker="0" * 16, boards=tuple(boards), room=room, wait_s=0)
    return site.line.ask("/v1/lease", SiteWork, request)


def report(site: Enrolled, attempt: int, fence: int) -> bool:
    body = SiteReport(attempt=attempt, fence=fence, outcome="done")
    return site.line.ask("/v1/report", SiteReceipt, body).counts


def test_a_rollout_goes_to_boards_that_only_their_site_reaches(fleet: Fleet) -> None:
    ovens, desks = Ovens(fleet.far), Ovens(fleet.near)
    with (
        serving(fleet.ledger, fleet.where(), sites=fleet.api) as url,
        fleet.working(fleet.enrol(url), ovens),
    ):
        boards = WithSites(near=desks, sites=fleet.sites, far_site=fleet.far_site)
        controller = Controller(fleet.ledger, "bread", boards, tick_s=0.05)
        assert controller.conduct(lambda name, work: work()) == "done"

    assert set(fleet.states().values()) == {State.DONE}
    assert set(ovens.installs) == set(fleet.far)
    assert set(desks.installs) == set(fleet.near)
    assert [ovens.current[board] for board in fleet.far] == [fleet.release.id] * 4


def test_a_site_whose_windows_are_closed_gets_the_content_ahead(
    tmp_path: Path, fleet: Fleet
) -> None:
    ovens = Ovens([])
    plan = fleet.plan.model_copy(update={"stage_first": True})
    fleet.ledger.end("bread", "done", "")
    entries = [
        Entry(board=board, site="lyon", wave=1, release=fleet.release.id, goal=Goal.STAGE)
        for board in fleet.far
    ]
    fleet.ledger.plan("cake", plan.model_dump_json(), entries, fleet.ledger.orders("bread"))
    fleet.ledger.open_wave("cake", 1)
    with (
        serving(fleet.ledger, fleet.where(), sites=fleet.api) as url,
        fleet.working(fleet.enrol(url), ovens),
    ):
        wait(lambda: all(member.staged for member in fleet.ledger.members("cake")))

    assert ovens.staged == Counter(fleet.far)
    assert not ovens.installs
    assert {member.state for member in fleet.ledger.members("cake")} == {State.READY}


def begin_shadow(fleet: Fleet) -> None:
    """A rollout whose first wave has its shadow."""
    plan = fleet.plan.model_copy(update={"shadow_s": 90.0})
    fleet.ledger.end("bread", "done", "")
    entries = [
        Entry(board=board, site="lyon", wave=1, release=fleet.release.id, goal=Goal.SHADOW)
        for board in fleet.far
    ]
    fleet.ledger.plan("cake", plan.model_dump_json(), entries, fleet.ledger.orders("bread"))
    fleet.ledger.open_wave("cake", 1)


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_what_a_deploy_measured_is_no_report_of_a_shadow(fleet: Fleet, outcome: str) -> None:
    begin_shadow(fleet)
    refuse_report(fleet, {"outcome": outcome, "measured": Measured(restarts=0)})


def test_a_shadow_that_ended_well_says_what_it_came_to(fleet: Fleet) -> None:
    begin_shadow(fleet)
    refuse_report(fleet, {"outcome": "done"})


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_a_shadow_is_no_report_of_a_deploy(fleet: Fleet, outcome: str) -> None:
    fleet.ledger.open_wave("bread", 1)
    refuse_report(fleet, {"outcome": outcome, "shadow": SHADOWED})
    refuse_report(fleet, {"outcome": outcome, "shadow": SHADOWED, "measured": Measured()})


def refuse_report(fleet: Fleet, fields: Mapping[str, object]) -> None:
    """A report that is refused leaves the ledger readable, and the board at work."""
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim, *_) = lease(site, [*fleet.far], room=1).claims
        body = SiteReport.model_validate({"attempt": claim.attempt, "fence": claim.fence, **fields})
        with pytest.raises(RefusedError, match="does not report what"):
            site.line.ask("/v1/report", SiteReceipt, body)
    members = {each.board: each for each in fleet.ledger.members(claim.rollout)}
    assert members[claim.board].state == State.RUNNING
    status(fleet.ledger, claim.rollout)


def test_what_a_shadow_that_failed_came_to_is_no_measurement_of_a_deploy(fleet: Fleet) -> None:
    begin_shadow(fleet)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim, *_) = lease(site, [*fleet.far], room=1).claims
        body = SiteReport(
            attempt=claim.attempt, fence=claim.fence, outcome="failed", shadow=SHADOWED
        )
        assert site.line.ask("/v1/report", SiteReceipt, body).counts

    boards = {each.board: each.measured for each in status(fleet.ledger, "cake").boards}
    assert boards[claim.board] == Measured(shadow=SHADOWED)


# What workers and servers of an edgewright before shadows say and read


class OlderMeasured(Part):
    before: Numbers | None = None
    after: Numbers | None = None
    restarts: int | None = None
    restarted: int | None = None


class OlderReport(Part):
    attempt: int
    fence: int
    outcome: Literal["done", "failed", "hopeless"]
    reason: str = ""
    measured: OlderMeasured | None = None
    shadow: ClassVar[None] = None  # that our server looks for, and no key


class OlderClaim(Part):
    attempt: int
    rollout: str
    board: str
    goal: Literal["stage", "release", "former"]
    release: str
    fence: int
    tries: int


class OlderWork(Document):
    version: Literal[1] = 1
    claims: tuple[OlderClaim, ...]
    questions: tuple[SiteQuestion, ...]


def test_an_older_worker_reads_its_leases_and_its_reports_count(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        request = SiteRequest(worker="0" * 16, boards=fleet.far, room=1, wait_s=0)
        (claim,) = site.line.ask("/v1/lease", OlderWork, request).claims
        recorded = (
            f'{{"attempt":{claim.attempt},"fence":{claim.fence},"outcome":"done","reason":"",'
            '"measured":{"before":null,"after":{"p95_ms":40.0,"peak_rss_kb":30000,"leak_kb":0.0,'
            '"instructions":null,"right":1.0,"celsius":null},"restarts":0,"restarted":null}}'
        )
        OlderReport.model_validate_json(recorded)
        assert json.loads(post(site, "/v1/report", recorded)) == {"version": 1, "counts": True}
    assert fleet.states()[claim.board] == State.DONE


def test_a_worker_reads_an_older_servers_leases_and_its_reports_are_read_there(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = list[OlderReport]()

    class Noted(OlderReport):
        def model_post_init(self, _: object) -> None:
            reports.append(self)

    monkeypatch.setattr(site_api, "SiteReport", Noted)
    fleet.ledger.open_wave("bread", 1)
    ovens = Ovens(fleet.far)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim,) = lease(site, fleet.far, room=1).claims
        recorded = (
            f'{{"version":1,"claims":[{{"attempt":{claim.attempt},"rollout":"bread",'
            f'"board":"{claim.board}","goal":"release","release":"{claim.release}",'
            f'"fence":{claim.fence},"tries":1}}],"questions":[]}}'
        )
        OlderWork.model_validate_json(recorded)
        answers = iter([SiteWork.model_validate_json(recorded)])
        ask = site.line.ask

        def answer(path: str, kind: type[Any], *body: Any, **options: Any) -> Any:
            if path == "/v1/lease":
                return next(answers, SiteWork(claims=(), questions=()))
            return ask(path, kind, *body, **options)

        monkeypatch.setattr(Line, "ask", lambda line, *all, **options: answer(*all, **options))
        with fleet.working(site, ovens):
            wait(lambda: fleet.states()[claim.board] == State.DONE)

    assert [each.measured for each in reports] == [OlderMeasured(restarts=0)]


def post(site: Enrolled, path: str, text: str) -> bytes:
    """Send these very bytes, as another program would."""
    place, line = urlsplit(site.line.url), site.line
    context = ssl.create_default_context(cafile=line.authority)
    context.load_cert_chain(str(line.certificate), line.key)
    connection = http.client.HTTPSConnection(
        str(place.hostname), place.port, context=context, timeout=WAIT_SECONDS
    )
    with closing(connection):
        connection.request("POST", path, text)
        return connection.getresponse().read()


def test_a_shadow_is_run_by_the_site_which_reports_what_it_came_to(fleet: Fleet) -> None:
    ovens = Ovens([])
    begin_shadow(fleet)
    with (
        serving(fleet.ledger, fleet.where(), sites=fleet.api) as url,
        fleet.working(fleet.enrol(url), ovens),
    ):
        wait(lambda: all(member.shadow for member in fleet.ledger.members("cake")))

    assert ovens.shadows == dict.fromkeys(fleet.far, 90.0)
    assert not ovens.installs
    members = fleet.ledger.members("cake")
    assert {Shadowed.model_validate_json(member.shadow or "") for member in members} == {SHADOWED}
    assert {(member.goal, member.state) for member in members} == {(Goal.RELEASE, State.WAITING)}


def test_a_wave_that_a_gate_refuses_goes_back_at_the_site_too(fleet: Fleet) -> None:
    ovens, desks = Ovens(fleet.far), Ovens(fleet.near)
    looks = Counter[str]()

    def restless(board: str) -> Observation:
        looks[board] += 1
        return Observation(current=ovens.current[board], restarts=3, celsius=61.5)

    ovens.look = restless  # type: ignore[method-assign]
    with (
        serving(fleet.ledger, fleet.where(), sites=fleet.api) as url,
        fleet.working(fleet.enrol(url), ovens),
    ):
        boards = WithSites(near=desks, sites=fleet.sites, far_site=fleet.far_site)
        controller = Controller(fleet.ledger, "bread", boards, tick_s=0.05)
        assert controller.conduct(lambda name, work: work()) == "stopped"

    assert set(looks) == set(fleet.far)
    assert {ovens.current[board] for board in fleet.far} == {"old"}
    results = {member.board: member.result for member in fleet.ledger.members("bread")}
    assert '"celsius":61.5' in str(results["oven-1"])


def test_a_fence_that_no_board_can_have_is_refused(fleet: Fleet) -> None:
    """The ledger's column does not hold it, either."""
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim, *_) = lease(site, [*fleet.far]).claims
        body = SiteFence.model_construct(attempt=claim.attempt, fence=claim.fence, last=10**30)
        with pytest.raises(RefusedError, match="is not understood"):
            site.line.tell("/v1/fence", body)


def test_an_invitation_counts_once(fleet: Fleet) -> None:
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        invitation = fleet.invitation(url, "lyon")
        site = enrol(invitation, fleet.folder / "first")
        assert (site.site, lease(site, []).claims) == ("lyon", ())
        assert (fleet.folder / "first" / "site.key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(RefusedError, match="this token does not count"):
            enrol(invitation, fleet.folder / "second")


def test_a_server_of_another_authority_gets_no_token(fleet: Fleet, tmp_path: Path) -> None:
    stranger = open_authority(tmp_path / "stranger")
    certificate, key = stranger.server_files(["127.0.0.1"])
    where = listener("127.0.0.1:0", certificate=certificate, key=key)
    with (
        serving(fleet.ledger, where, sites=fleet.api) as url,
        pytest.raises(LineError, match="is not reached"),
    ):
        fleet.enrol(url)
    assert fleet.sites.dismiss("lyon") == 1  # the invitation is not used up


def test_a_site_gets_and_finishes_its_own_boards_alone(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        lyon, paris = fleet.enrol(url), fleet.enrol(url, "paris")
        assert lease(paris, [*fleet.far, *fleet.near]).claims == ()
        claims = lease(lyon, [*fleet.far, *fleet.near]).claims
        assert {claim.board for claim in claims} == set(fleet.far)

        assert not report(paris, claims[0].attempt, claims[0].fence)  # forged
        assert fleet.states()[claims[0].board] == State.RUNNING
        (question,) = fleet.sites.ask({"oven-0": "lyon"}).values()
        assert not fleet.sites.answer("paris", question, SiteAnswer(current="x"))
        with pytest.raises(RefusedError, match="no board of this site"):
            paris.line.ask("/v1/orders/bread", SiteWork)
        file = fleet.release.manifest.files[0].sha256
        with pytest.raises(RefusedError, match="404"):
            paris.line.fetch(f"/v1/releases/{fleet.release.id}/{file}", 0, 1, lambda _: None)


def test_who_is_no_site_gets_nothing(fleet: Fleet) -> None:
    """Neither without a certificate, nor with an operator's token."""
    token = token_of(fleet.ledger, Role.OPERATOR)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        assert fleet.sites.dismiss("lyon") == 1
        with pytest.raises(RefusedError, match="no site has this certificate"):
            lease(site, fleet.far)
        place = urlsplit(url)
        context = ssl.create_default_context(cafile=site.line.authority)
        for path in ("/v1/lease", "/v1/report", "/v1/orders/bread"):
            line = http.client.HTTPSConnection(
                str(place.hostname), place.port, context=context, timeout=WAIT_SECONDS
            )
            line.request("POST", path, "{}", {"Authorization": f"Bearer {token}"})
            assert line.getresponse().status in (401, 405)
            line.close()


def test_a_replayed_report_has_no_effect(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim,) = lease(site, ["oven-0"]).claims
        assert not report(site, claim.attempt, claim.fence - 1)
        assert report(site, claim.attempt, claim.fence)
        before = fleet.ledger.events("bread")
        assert not report(site, claim.attempt, claim.fence)
        assert fleet.ledger.events("bread") == before
        assert fleet.states()["oven-0"] == State.DONE


def test_a_report_after_the_lease_is_dropped(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (old,) = lease(site, ["oven-0"]).claims
        later = Ledger(fleet.ledger.database, lambda: time.time() + 61)
        assert later.expire("bread", Retry(backoff_s=-61), worker="c", apart=["lyon"]) == 1
        (new,) = lease(site, ["oven-0"]).claims
        assert new.fence > old.fence

        assert not report(site, old.attempt, old.fence)
        assert not report(site, old.attempt, new.fence)
        assert fleet.states()["oven-0"] == State.RUNNING
        assert report(site, new.attempt, new.fence)


def test_a_worker_whose_lease_ended_begins_no_deploy(fleet: Fleet) -> None:
    """Its fence may still be above the board's: nobody else has come to it meanwhile."""
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (work,) = lease(site, ["oven-0"]).claims
        claim = Claim(
            **work.model_dump(exclude_none=True) | {"goal": Goal(work.goal), "site": "lyon"}
        )
        leases = SiteLeases(line=site.line)
        assert leases.raise_fence(claim, 0) == claim

        later = Ledger(fleet.ledger.database, lambda: time.time() + 61)
        assert later.expire("bread", Retry(), worker="c", apart=["lyon"]) == 1
        assert leases.raise_fence(claim, 0) is None


def test_a_board_whose_answer_nobody_understands_keeps_no_other_silent(fleet: Fleet) -> None:
    ovens = Ovens(fleet.far)
    look = ovens.look

    def misread(board: str) -> Observation:
        if board == "oven-1":
            raise ValueError("no number")
        return look(board)

    ovens.look = misread  # type: ignore[method-assign]
    with (
        serving(fleet.ledger, fleet.where(), sites=fleet.api) as url,
        fleet.working(fleet.enrol(url), ovens),
    ):
        numbers = fleet.sites.ask({"oven-0": "lyon", "oven-1": "lyon"})
        answers = fleet.sites.wait([*numbers.values()])

    assert answers[numbers["oven-0"]].current == "old"
    assert answers[numbers["oven-1"]].problem == "a bug: ValueError: no number"


def test_a_controller_does_not_cut_what_a_site_is_at_work_on(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        (claim,) = lease(site, ["oven-0"]).claims
        assert fleet.ledger.expire("bread", Retry(), worker="c", apart=["lyon"]) == 0
        assert report(site, claim.attempt, claim.fence)


def test_two_workers_of_one_site_have_no_board_at_once(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    first, second = Ovens(fleet.far), Ovens(fleet.far)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        with fleet.working(site, first), fleet.working(site, second):
            wait(lambda: sum(s == State.DONE for s in fleet.states().values()) == 4)
    assert first.installs + second.installs == Counter(fleet.far)


def test_a_line_that_is_lost_is_taken_up_again(fleet: Fleet) -> None:
    """The server ends while boards are at work, which come to their end meanwhile."""
    fleet.ledger.open_wave("bread", 1)
    ovens = Ovens(fleet.far, holds=threading.Event())
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        working = fleet.working(site, ovens)
        lines = working.__enter__()
        wait(lambda: ovens.installs == Counter(fleet.far))
    wait(lambda: any("is not reached" in line for line in lines))
    assert ovens.holds is not None
    ovens.holds.set()
    wait(lambda: set(ovens.current.values()) == {fleet.release.id})
    assert {fleet.states()[board] for board in fleet.far} == {State.RUNNING}

    with serving(fleet.ledger, fleet.where(urlsplit(url).port or 0), sites=fleet.api):
        wait(lambda: sum(s == State.DONE for s in fleet.states().values()) == 4)
        working.__exit__(None, None, None)
    assert ovens.installs == Counter(fleet.far)


@pytest.mark.usefixtures("fleet")
def test_the_sites_clock_counts_for_nothing(tmp_path: Path) -> None:
    """The ledger's clock is half a day ahead of the site's."""
    (tmp_path / "ahead").mkdir()
    fleet = Fleet(tmp_path / "ahead", clock=lambda: time.time() + DAY / 2)
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        with fleet.working(site, Ovens(fleet.far)):
            wait(lambda: sum(s == State.DONE for s in fleet.states().values()) == 4)


def test_an_expired_certificate_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_api, "CERTIFICATE_SECONDS", -60.0)
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        with fleet.working(site, Ovens(fleet.far)) as lines:
            wait(lambda: bool(lines))
        assert "the certificate of this site ended on" in lines[0]
    assert State.RUNNING not in fleet.states().values()


def test_a_request_for_work_whose_line_ended_gets_no_board(fleet: Fleet) -> None:
    """It waits for work; a worker that was restarted has another one under way."""

    class Ended(dict[object, object]):
        transport = None

        async def read(self) -> bytes:
            request = SiteRequest(worker="0" * 16, boards=fleet.far, room=4, wait_s=30)
            return request.model_dump_json().encode()

    fleet.ledger.open_wave("bread", 1)
    (handler,) = (
        route.handler for route in fleet.api.routes() if route.path.startswith("/v1/lease")
    )

    answer = asyncio.run(cast(Any, handler)(Ended({site_api.SITE: "lyon"})))

    assert json.loads(answer.text)["claims"] == []
    assert State.RUNNING not in fleet.states().values()


def test_a_board_whose_window_is_closed_is_left_alone(fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        claims = lease(fleet.enrol(url), ["oven-2"]).claims
    assert [claim.board for claim in claims] == ["oven-2"]


@pytest.mark.parametrize("wish", ["pause", "abort"])
def test_no_board_is_leased_against_an_operators_wish(wish: str, fleet: Fleet) -> None:
    fleet.ledger.open_wave("bread", 1)
    fleet.ledger.wish("bread", wish, "anna")
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        assert lease(fleet.enrol(url), fleet.far).claims == ()


def test_a_file_is_fetched_once_and_what_was_cut_goes_on(fleet: Fleet) -> None:
    manifest = fleet.release.manifest
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        site = fleet.enrol(url)
        depot = Depot(folder=fleet.folder / "depot", line=site.line)
        big = max(manifest.files, key=lambda file: file.bytes)
        content = (fleet.release.folder / big.path).read_bytes()
        part = fleet.folder / "depot" / "objects" / f"{big.sha256}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(content[: len(content) // 2])
        assert depot.release(manifest.canonical()).manifest == manifest
        assert not list(part.parent.glob("*.part"))
    again = depot.release(manifest.canonical())  # the server has ended
    assert (again.folder / big.path).read_bytes() == content


def test_a_site_keeps_no_more_files_than_it_may(fleet: Fleet) -> None:
    other = make_release(fleet.folder / "other", root="/opt/edgewright", model=b"other")
    parts = fleet.folder / "depot" / "objects"
    folders = {fleet.release.id: fleet.release.folder, other.id: other.folder}

    class Files:
        """A line that has the files of both releases."""

        def fetch(self, source: str, start: int, end: int, take: Callable[[bytes], None]) -> None:
            release, sha256 = source.split("/")[-2:]
            folder = folders[release]
            names = {f.sha256: f.path for f in load_release(folder).manifest.files}
            take((folder / names[sha256]).read_bytes()[start:end])

    depot = Depot(folder=fleet.folder / "depot", line=cast(Line, Files()), kept_bytes=0)
    depot.release(fleet.release.manifest.canonical())
    (parts / f"{'0' * 64}.part").write_bytes(b"of a file that nobody goes on with")
    depot.release(other.manifest.canonical())

    assert [path.name for path in (fleet.folder / "depot" / "releases").iterdir()] == [other.id]
    assert {path.name for path in parts.iterdir()} == {f.sha256 for f in other.manifest.files}
    again = depot.release(fleet.release.manifest.canonical())
    assert load_release(again.folder).id == fleet.release.id


def test_workers_of_one_machine_fetch_one_after_the_other(fleet: Fleet) -> None:
    """Two processes would write into the same part, and both would throw it away."""
    folder = fleet.folder / "depot"
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        depot = Depot(folder=folder, line=fleet.enrol(url).line)
        manifest = fleet.release.manifest.canonical()
        fetch = threading.Thread(target=depot.release, args=(manifest,), daemon=True)
        with locked(folder / ".lock"):
            fetch.start()
            fetch.join(0.5)
            assert not (folder / "objects").exists()
        fetch.join(WAIT_SECONDS)
    assert (folder / "releases" / fleet.release.id).is_dir()


def test_another_file_than_the_manifests_is_refused(fleet: Fleet) -> None:
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        depot = Depot(folder=fleet.folder / "depot", line=fleet.enrol(url).line)
        file = fleet.release.folder / fleet.release.manifest.files[0].path
        file.write_bytes(bytes(len(file.read_bytes())))
        with pytest.raises(RefusedError, match="sent another file"):
            depot.release(fleet.release.manifest.canonical())
    assert not (fleet.folder / "depot" / "releases" / fleet.release.id).exists()


def test_a_full_disk_is_no_fault_of_the_line(fleet: Fleet) -> None:
    """A line that is lost is tried again without end, and names the server."""
    objects = fleet.folder / "depot" / "objects"
    objects.mkdir(parents=True)
    for file in fleet.release.manifest.files:
        (objects / f"{file.sha256}.part").symlink_to("/dev/full")
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        depot = Depot(folder=fleet.folder / "depot", line=fleet.enrol(url).line)
        with pytest.raises(UserError, match=r"\.part: no space left on device"):
            depot.release(fleet.release.manifest.canonical())


def test_no_more_of_a_file_is_kept_than_its_manifest_says(fleet: Fleet) -> None:
    with serving(fleet.ledger, fleet.where(), sites=fleet.api) as url:
        depot = Depot(folder=fleet.folder / "depot", line=fleet.enrol(url).line)
        for each in fleet.release.manifest.files:
            with (fleet.release.folder / each.path).open("ab") as file:
                file.write(bytes(1 << 20))
        release = depot.release(fleet.release.manifest.canonical())

    assert release.id == fleet.release.id


def test_an_authority_without_its_certificate_is_told(tmp_path: Path) -> None:
    first = open_authority(tmp_path / "a")
    assert open_authority(tmp_path / "a").certificate == first.certificate
    (tmp_path / "a" / CERTIFICATE).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_authority(tmp_path / "a")
