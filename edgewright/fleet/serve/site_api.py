"""What `fleet.serve` answers to sites that dial out: boards to work on, orders, files.

A site is whose certificate it shows. It is told of its own boards alone, and what it reports of
others' is refused; its clock counts for nothing here.
"""

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part, parse_json
from edgewright.fleet.documents import (
    Enrolment,
    EnrolRequest,
    Refusal,
    SiteAnswers,
    SiteClaim,
    SiteFence,
    SiteOrder,
    SiteOrders,
    SiteQuestion,
    SiteReceipt,
    SiteRenewal,
    SiteReport,
    SiteRequest,
    SiteWork,
)
from edgewright.fleet.rollout.gates import Measured, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Ledger, Report, Rollout
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.sites import Sites
from edgewright.fleet.rollout.states import Goal, Outcome, Retry
from edgewright.fleet.serve.authority import Authority, pem_of
from edgewright.release.manifest import MANIFEST, read_manifest

CERTIFICATE_SECONDS = 365 * 86400.0
POLL_SECONDS = 2.0  # between looks for work, while a site waits for it
CLOSED_SECONDS = 60.0  # that a board is left alone whose site says it may not be changed now
QUESTIONS = 16  # at once
BODY_SECONDS = 30.0  # that a request's body may take
ENROL = "/v1/enrol"
SITE = web.RequestKey("site", str)  # that a request is from
Body = TypeVar("Body", bound=Part)


def site_of(sites: Sites, request: web.Request) -> str | None:
    """The site whose certificate TLS has verified."""
    tls = request.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if certificate is None:
        return None
    return sites.of_certificate(hashlib.sha256(certificate).hexdigest())


@dataclass(frozen=True, kw_only=True)
class SiteApi:
    ledger: Ledger
    sites: Sites
    authority: Authority
    release_folder: Callable[[str, str], Path]  # of a kind of boards and a release built for it
    clock: Callable[[], float] = time.time

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(ENROL, self._enrol),
            web.post("/v1/lease", self._lease),
            web.post("/v1/renew", self._renew),
            web.post("/v1/fence", self._fence),
            web.post("/v1/report", self._report),
            web.post("/v1/answers", self._answers),
            web.get("/v1/orders/{rollout}", self._orders),
            web.get("/v1/releases/{release}/{sha256}", self._file),
        ]

    def answers(self, path: str) -> bool:
        """Whether a path is of this interface."""
        return path.startswith(
            ("/v1/lease", "/v1/renew", "/v1/fence", "/v1/report", "/v1/answers")
            + ("/v1/orders/", "/v1/releases/")
        )

    # Enrolment

    async def _enrol(self, request: web.Request) -> web.Response:
        body = await _read(EnrolRequest, request)
        return await asyncio.to_thread(self._admit, body)

    def _admit(self, body: EnrolRequest) -> web.Response:
        site = self.sites.redeem(body.token)
        if site is None:
            return refusal("this token does not count", 403)
        certificate = self.authority.sign_request(body.request, site, CERTIFICATE_SECONDS)
        pem = pem_of(certificate)
        until = certificate.not_valid_after_utc.timestamp()
        self.sites.admit(site, certificate_digest(pem), until)
        return document(Enrolment(site=site, certificate=pem.decode()))

    # Boards

    async def _lease(self, request: web.Request) -> web.Response:
        site, body = request[SITE], await _read(SiteRequest, request)
        deadline = time.monotonic() + body.wait_s
        while request.transport is not None:  # a board leased to a line that ended waits for nobody
            work = await asyncio.to_thread(self._work, site, body)
            if work.claims or work.questions or time.monotonic() >= deadline:
                return document(work, exclude_none=True)  # older workers know fewer keys
            await asyncio.sleep(POLL_SECONDS)
        return document(SiteWork(claims=(), questions=()))

    def _work(self, site: str, body: SiteRequest) -> SiteWork:
        claims: list[Claim] = []
        for rollout in self.ledger.rollouts():
            if not _may_begin(rollout):  # first: plans of all that were ever are long to read
                continue
            plan = Plan.model_validate_json(rollout.plan)
            if site in plan.dial_out:
                claims += self._claim(rollout, plan, site, body, body.room - len(claims))
        questions = self.sites.questions(site, QUESTIONS)
        return SiteWork(
            claims=tuple(map(_site_claim, claims)),
            questions=tuple(SiteQuestion(id=each.id, board=each.board) for each in questions),
        )

    def _claim(
        self, rollout: Rollout, plan: Plan, site: str, body: SiteRequest, room: int
    ) -> tuple[Claim, ...]:
        if plan.per_site:
            room = min(room, plan.per_site - self.ledger.at_work(rollout.name, site))
        if room <= 0:
            return ()
        opened, later = frozenset(body.boards), self.clock() + CLOSED_SECONDS
        claim = partial(
            self.ledger.claim,
            rollout.name,
            worker=f"{site} {body.worker}",
            lease_s=plan.lease_s,
            site=site,
            shadow_s=plan.shadow_s,
        )
        claims = claim(
            limit=room,
            goal=Goal.FORMER if _is_going_back(rollout) else Goal.RELEASE,
            opening=lambda board: 0.0 if board in opened else later,
        )
        if not _is_going_back(rollout):
            for goal in (Goal.STAGE, Goal.SHADOW):
                claims += claim(limit=room - len(claims), goal=goal)
        return claims

    async def _renew(self, request: web.Request) -> web.Response:
        body = await _read(SiteRenewal, request)
        await asyncio.to_thread(self._begin_anew, request[SITE], body)
        return web.Response(status=204)

    def _begin_anew(self, site: str, body: SiteRenewal) -> None:
        for claim in self.ledger.attempts_of(site, body.attempts):
            plan = self._plan(claim)
            # A site that renews for ever would keep its wave from its end.
            self.ledger.renew([claim], plan.lease_s, plan.board_s)

    async def _fence(self, request: web.Request) -> web.Response:
        body = await _read(SiteFence, request)
        return await asyncio.to_thread(self._raised, request[SITE], body)

    def _raised(self, site: str, body: SiteFence) -> web.Response:
        claims = [c for c in self.ledger.attempts_of(site, [body.attempt]) if c.fence == body.fence]
        raised = self.ledger.raise_fence(claims[0], body.last) if claims else None
        if raised is None:
            return refusal("this attempt counts no more", 409)
        return document(SiteFence(attempt=body.attempt, fence=raised.fence, last=body.last))

    async def _report(self, request: web.Request) -> web.Response:
        body = await _read(SiteReport, request)
        counts = await asyncio.to_thread(self._finish, request[SITE], body)
        return document(SiteReceipt(counts=counts))

    def _finish(self, site: str, body: SiteReport) -> bool:
        """An attempt that is over, of another site or under another fence changes nothing."""
        claims = [c for c in self.ledger.attempts_of(site, [body.attempt]) if c.fence == body.fence]
        if not claims:
            return False
        plan = self._plan(claims[0])
        report = Report(
            claim=claims[0],
            outcome=Outcome(body.outcome),
            reason=body.reason,
            result=_result(body, claims[0].goal),
        )
        retry = Retry(tries=plan.tries, backoff_s=plan.backoff_s)
        return not self.ledger.finish([report], retry)

    def _plan(self, claim: Claim) -> Plan:
        return Plan.model_validate_json(self.ledger.rollout(claim.rollout).plan)

    async def _answers(self, request: web.Request) -> web.Response:
        body = await _read(SiteAnswers, request)
        for question, answer in body.answers.items():
            await asyncio.to_thread(self.sites.answer, request[SITE], question, answer)
        return web.Response(status=204)

    # Orders and files

    async def _orders(self, request: web.Request) -> web.Response:
        name = request.match_info["rollout"]
        plan = await asyncio.to_thread(self._plan_of, name)
        if request[SITE] not in plan.dial_out:
            return refusal("no board of this site is in it", 403)
        orders = await asyncio.to_thread(self.ledger.orders, name)
        return document(
            SiteOrders(
                orders=tuple(
                    SiteOrder(
                        release=order.release,
                        manifest=base64.b64encode(order.manifest).decode(),
                        signature=base64.b64encode(order.signature).decode(),
                    )
                    for order in orders
                )
            )
        )

    def _plan_of(self, rollout: str) -> Plan:
        return Plan.model_validate_json(self.ledger.rollout(rollout).plan)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        release, sha256 = request.match_info["release"], request.match_info["sha256"]
        path = await asyncio.to_thread(self._path, request[SITE], release, sha256)
        return refusal("there is no such file", 404) if path is None else web.FileResponse(path)

    def _path(self, site: str, release: str, sha256: str) -> Path | None:
        plans = [Plan.model_validate_json(rollout.plan) for rollout in self.ledger.rollouts()]
        kinds = {id: kind for p in plans if site in p.dial_out for kind, id in p.releases.items()}
        if release not in kinds:
            return None
        folder = self.release_folder(kinds[release], release)
        files = {file.sha256: file.path for file in read_manifest(folder / MANIFEST).files}
        return folder / files[sha256] if sha256 in files else None


def _may_begin(rollout: Rollout) -> bool:
    """What the controller asks itself before it begins a board."""
    is_wanted = rollout.wish == "run" or (rollout.wish == "abort" and _is_going_back(rollout))
    return is_wanted and not rollout.is_over


def _is_going_back(rollout: Rollout) -> bool:
    return rollout.phase.endswith("goes back")


def _site_claim(claim: Claim) -> SiteClaim:
    return SiteClaim.model_validate(
        {name: value for name, value in asdict(claim).items() if name != "site"}
        | {"goal": Goal(claim.goal).value, "shadow_s": claim.shadow_s or None}
    )


def _result(body: SiteReport, goal: Goal) -> str | None:
    """What the ledger keeps of an attempt; a site may not report that of another goal."""
    is_shadow = goal is Goal.SHADOW
    result: Measured | Shadowed | None = body.shadow if is_shadow else body.measured
    other = body.measured if is_shadow else body.shadow
    is_missing = is_shadow and body.outcome == "done" and result is None
    if other is not None or is_missing:
        raise UserError("request", f"does not report what '{goal}' comes to")
    return result.model_dump_json() if result is not None else None


async def _read(kind: type[Body], request: web.Request) -> Body:
    return parse_json(kind, await body_of(request), "request", "is not understood")


async def body_of(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout for one that does not come to its end."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def certificate_digest(pem: bytes) -> str:
    """The SHA-256 of a certificate as TLS shows it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def document(answer: Document, *, status: int = 200, exclude_none: bool = False) -> web.Response:
    text = answer.model_dump_json(exclude_none=exclude_none)
    return web.Response(text=text, content_type="application/json", status=status)


def refusal(message: str, status: int, next: str | None = None) -> web.Response:
    return document(Refusal(message=message, next=next), status=status)
