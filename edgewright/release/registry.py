"""An OCI registry: contents by digest, manifests by tag, and what refers to a manifest.

The distribution specification 1.1, with its fallback for registries of before: where a manifest's
`subject` is not looked at, a tag `sha256-<digest>` has the index of what refers to it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import Field

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import HashedFile
from edgewright.base.schema import Excerpt, parse_json
from edgewright.base.text import visible
from edgewright.release import web
from edgewright.release.registry_login import Login
from edgewright.release.store import MOST_RELEASES

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
MANIFEST_BYTES = 4 << 20  # as registries limit them
LISTING_BYTES = 16 << 20
REDIRECTS = 3
SHOWN_ERRORS = 5


class _Problem(Excerpt):
    code: str = ""
    message: str = ""


class _Problems(Excerpt):
    errors: tuple[_Problem, ...] = ()


class _Tags(Excerpt):
    tags: tuple[str, ...] | None = None


class _Index(Excerpt):
    """Its entries are kept as they are: others wrote some of them."""

    media_type: str = Field(alias="mediaType", pattern=f"^{re.escape(INDEX_TYPE)}$")
    manifests: tuple[dict[str, Any], ...]


class Descriptor(Excerpt):
    """What a manifest says of a content."""

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]

    @property
    def sha256(self) -> str:
        return self.digest.removeprefix("sha256:")


class Manifest(Excerpt):
    """A manifest that a registry has."""

    layers: Annotated[tuple[Descriptor, ...], Field(min_length=1)]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(media_type: str, content: bytes, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": digest_of(content),
        "size": len(content),
        **more,
    }


def to_json(table: Mapping[str, Any]) -> bytes:
    """A document that has the same bytes, and so the same digest, each time."""
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode()


def artifact(
    kind: str, layers: Sequence[Mapping[str, Any]], *, subject: bytes | None = None
) -> bytes:
    """The manifest of an artifact; `subject` is the manifest that it refers to."""
    table = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": kind,
        "config": descriptor(EMPTY_TYPE, EMPTY),
        "layers": layers,
    }
    if subject is not None:
        table["subject"] = descriptor(MANIFEST_TYPE, subject)
    return to_json(table)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One repository of a registry."""

    place: str  # as messages name it
    url: str  # of its host: http(s)://host[:port]
    repository: str
    login: Login

    # Contents

    def has_blob(self, digest: str) -> bool:
        answer = self._ask("HEAD", f"blobs/{digest}")
        self._require(answer, {200, 404}, "HEAD", f"blobs/{digest}")
        return answer.status == 200

    def blob(self, digest: str, *, limit: int, into: HashedFile | None = None) -> bytes:
        """A content; none of it where it is written into a file.

        Raises UserError for what is missing, or larger than `limit` bytes.
        """
        answer = self._fetch(self._url(f"blobs/{digest}"), limit=limit, into=into)
        if answer.status == 404:
            raise UserError(f"{self.place}: {digest}", "no such content")
        self._require(answer, {200}, "GET", f"blobs/{digest}")
        return answer.content

    def put_blob(self, content: bytes) -> None:
        """Upload a content; a line that was cut leaves nothing, and a try begins anew."""
        digest = digest_of(content)

        def once() -> web.Answer:
            start = self._url("blobs/uploads/")
            begun = self._send("POST", start, body=b"")
            if begun.status != 202:
                return begun
            place = urlsplit(urljoin(start, str(begun.headers.get("Location", ""))))
            self._require_reachable(start, place)
            query = f"{place.query}&digest={digest}".lstrip("&")
            url = place._replace(query=query).geturl()
            return self._send("PUT", url, body=content, media_type="application/octet-stream")

        answer = web.repeated(once, f"{self.place}: {digest}")
        self._require(answer, {201}, "upload", f"blobs/{digest}")

    # Manifests

    def tags(self) -> Iterator[str]:
        """All tags of the repository, which anybody may have written."""
        url, count = self._url("tags/list?n=1000"), 0
        while url:
            answer = self._fetch(url)
            if answer.status == 404:  # a repository is there once something is in it
                return
            self._require(answer, {200}, "GET", "tags/list")
            page = parse_json(
                _Tags, answer.content, f"{self.place}: tags", "no list", blame=TargetError
            )
            tags = page.tags or ()
            count += len(tags) + 1
            if count > MOST_RELEASES:
                raise UserError(self.place, f"more than {MOST_RELEASES:,} tags")
            yield from tags
            url = self._next_page(url, answer.headers.get("Link", ""))

    def _next_page(self, url: str, link: str) -> str:
        match = re.fullmatch(r'\s*<([^<>]*)>\s*;\s*rel="?next"?\s*', link)
        if match is None:
            return ""
        following: str = urljoin(url, match[1])
        if _origin(urlsplit(following)) != _origin(urlsplit(url)):
            raise TargetError(self.place, f"lists its tags elsewhere: {visible(following[:200])}")
        return following

    def has_tag(self, tag: str) -> bool:
        answer = self._ask("HEAD", f"manifests/{tag}")
        self._require(answer, {200, 404}, "HEAD", f"manifests/{tag}")
        return answer.status == 200

    def manifest(self, tag: str) -> bytes | None:
        """The manifest that a tag has."""
        answer = self._ask("GET", f"manifests/{tag}", limit=MANIFEST_BYTES)
        self._require(answer, {200, 404}, "GET", f"manifests/{tag}")
        return answer.content if answer.status == 200 else None

    def put_manifest(self, tag: str, content: bytes, media_type: str = MANIFEST_TYPE) -> web.Answer:
        """Tag a manifest; or, where `tag` is its digest, only have it there."""
        answer = self._ask("PUT", f"manifests/{tag}", body=content, media_type=media_type)
        self._require(answer, {201}, "PUT", f"manifests/{tag}")
        return answer

    def delete_manifest(self, digest: str) -> None:
        """Delete a manifest and its tags; one that is not there, too."""
        answer = self._ask("DELETE", f"manifests/{digest}")
        if answer.status == 405:
            raise UserError(
                self.place,
                "deletes nothing: its settings do not allow it",
                facts=[web.status_line("DELETE", 405)],
                next="allow it there: storage.delete.enabled of a docker-registry",
            )
        self._require(answer, {202, 404}, "DELETE", f"manifests/{digest}")

    # What refers to a manifest

    def attach(self, subject: bytes, referrers: Sequence[bytes]) -> None:
        """Put manifests whose subject is `subject`, and have them listed as such."""
        unlisted = [
            manifest
            for manifest in referrers
            if "OCI-Subject" not in self.put_manifest(digest_of(manifest), manifest).headers
        ]
        if unlisted:
            self._change_index(subject, add=unlisted, drop=())

    def detach(self, subject: bytes, referrers: Sequence[bytes]) -> None:
        """Delete what `attach` put."""
        self._change_index(subject, add=(), drop=[digest_of(manifest) for manifest in referrers])
        for manifest in referrers:
            self.delete_manifest(digest_of(manifest))

    def _change_index(self, subject: bytes, *, add: Sequence[bytes], drop: Sequence[str]) -> None:
        """Change the index of the fallback tag; entries of others stay."""
        tag = digest_of(subject).replace(":", "-")
        raw = self.manifest(tag)
        added = [
            descriptor(MANIFEST_TYPE, manifest, artifactType=json.loads(manifest)["artifactType"])
            for manifest in add
        ]
        replaced = {*drop, *(entry["digest"] for entry in added)}
        # Deleting by digest what is no index would delete whatever somebody tagged so.
        entries = (
            parse_json(_Index, raw, f"{self.place}:{tag}", "no index of referrers").manifests
            if raw is not None
            else ()
        )
        listed = [*(entry for entry in entries if entry.get("digest") not in replaced), *added]
        index = to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})
        if listed and index != raw:
            self.put_manifest(tag, index, INDEX_TYPE)
        elif raw is not None and not listed:
            self.delete_manifest(digest_of(raw))

    # Requests

    def _url(self, name: str) -> str:
        return f"{self.url}/v2/{self.repository}/{name}"

    def _ask(
        self,
        method: str,
        name: str,
        *,
        body: bytes | None = None,
        media_type: str = "",
        limit: int = 1 << 16,
    ) -> web.Answer:
        """An answer of the repository; any of these requests may be repeated."""
        url = self._url(name)
        if method == "GET":
            return self._fetch(url, limit=limit)
        return web.repeated(
            lambda: self._send(method, url, body=body, media_type=media_type),
            f"{self.place}: {name}",
        )

    def _fetch(
        self, url: str, *, limit: int = LISTING_BYTES, into: HashedFile | None = None
    ) -> web.Answer:
        """GET, also where a registry keeps its contents on another server."""
        for _ in range(REDIRECTS + 1):
            once = partial(self._send, "GET", url, limit=limit, into=into)
            answer = web.repeated(once, self.place)
            if answer.status not in (301, 302, 303, 307, 308):
                break
            target = urlsplit(urljoin(url, answer.headers.get("Location", "")))
            self._require_reachable(url, target)
            url = target.geturl()
        return answer

    def _require_reachable(self, url: str, target: SplitResult) -> None:
        """Another server must have what HTTPS promises; what it gets is never the login."""
        if _origin(target) != _origin(urlsplit(url)) and target.scheme != "https":
            raise TargetError(self.place, f"leads elsewhere: {visible(target.geturl()[:200])}")

    def _send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        media_type: str = "",
        limit: int = 1 << 16,
        into: HashedFile | None = None,
    ) -> web.Answer:
        """One request, with the login where it is the registry's own."""
        is_own = _origin(urlsplit(url)) == _origin(urlsplit(self.url))

        def once() -> web.Answer:
            headers = {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}, */*"}
            if media_type:
                headers["Content-Type"] = media_type
            if is_own and self.login.header:
                headers["Authorization"] = self.login.header
            return web.request(method, url, headers=headers, limit=limit, body=body, into=into)

        answer = once()
        if answer.status == 401 and is_own and self.login.respond(answer.headers):
            return once()
        return answer

    def _require(self, answer: web.Answer, expected: set[int], method: str, name: str) -> None:
        if answer.status in expected:
            return
        facts = [web.status_line(method, answer.status), *_problems(answer.content)]
        host = urlsplit(self.url).netloc
        if answer.status in (401, 403):
            raise UserError(
                self.place,
                "does not let this user in",
                facts=facts,
                next=f"docker login {host}, or set EDGEWRIGHT_STORE_AUTHORIZATION",
            )
        raise TargetError(
            f"{self.place}: {name}", "is not served", facts=facts, next="repeat the command later"
        )


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _problems(content: bytes) -> list[str]:
    """What a registry says is wrong, if it says so as the specification has it."""
    try:
        problems = parse_json(_Problems, content, "answer", "no list of errors").errors
    except UserError:  # a proxy's page, say: the status is all that is known
        return []
    return [
        visible(f"{problem.code}: {problem.message}")[:200] for problem in problems[:SHOWN_ERRORS]
    ]
