"""A store of releases on a web server: read by GET, written by PUT, listed by WebDAV's PROPFIND.

What a server hands out is verified as from any store.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit
from xml.etree.ElementTree import ParseError

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import HashedFile
from edgewright.release import web
from edgewright.release.store import BLOBS, MOST_RELEASES, Contents

LISTING_BYTES = 16 << 20
DEPTH = 2  # folders below one that is listed
PROPFIND = b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'
MISSING = (404, 410)


@dataclass(frozen=True, kw_only=True)
class HttpStore(Contents):
    """A store below a URL."""

    url: str
    authorization: str | None = None  # the header's value

    @property
    def place(self) -> str:
        return self.url

    def alone(self) -> AbstractContextManager[None]:
        """A server has no lock: who writes a pointer reads it again."""
        return nullcontext()

    def read(self, name: str, *, limit: int) -> bytes:
        """A document. Raises UserError for what is missing or larger than `limit`."""
        return self._get(name, limit)

    def _get(self, name: str, limit: int, into: HashedFile | None = None) -> bytes:
        """A document; none of it where it is written into a file."""
        status, content = self._request("GET", name, limit=limit, into=into)
        if status in MISSING:
            raise UserError(f"{self.url}/{name}", "no such file")
        self._require(status, {200}, "GET", name)
        return content

    def copy_blob(self, sha256: str, into: HashedFile, *, limit: int) -> None:
        self._get(f"{BLOBS}/{sha256}", limit, into)

    def exists(self, name: str) -> bool:
        status, _ = self._request("HEAD", name)
        self._require(status, {200, *MISSING}, "HEAD", name)
        return status == 200

    def write(self, name: str, content: bytes) -> None:
        """Replace a document. Raises TargetError if it is another one afterwards."""
        status, _ = self._request("PUT", name, body=content)
        if status in (403, 404, 409):  # WebDAV makes no folder by itself
            for folder in reversed(PurePosixPath(name).parents[:-1]):
                status, _ = self._request("MKCOL", f"{folder.as_posix()}/")
                self._require(status, {200, 201, 301, 405}, "MKCOL", folder.as_posix())
            status, _ = self._request("PUT", name, body=content)
        self._require(status, {200, 201, 204}, "PUT", name)
        status, written = self._request("GET", name, limit=len(content) + 1)
        if status != 200 or written != content:
            raise TargetError(
                f"{self.url}/{name}",
                "is not what was written: somebody else wrote it at the same time, or it was cut",
                next="repeat the command",
            )

    def remove(self, name: str) -> int:
        raise UserError(
            self.url, "nothing is removed over HTTP", next="invoke release.retain where it lies"
        )

    def names(self, folder: str) -> Iterator[str]:
        """Files below a folder, sorted."""
        names: list[str] = []
        folders, entries = [(folder, DEPTH)], 0
        while folders:
            at, depth = folders.pop()
            for name, is_folder in self._entries(at):
                entries += 1
                if entries > MOST_RELEASES:  # folders too: each is another request
                    raise UserError(f"{self.url}/{folder}", f"more than {MOST_RELEASES:,} files")
                if is_folder and depth > 0:
                    folders.append((f"{at}/{name}", depth - 1))
                elif not is_folder and not name.startswith("."):
                    names.append(f"{at}/{name}")
        yield from sorted(names)

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Name, and whether it is a folder, of what lies directly in a folder."""
        status, content = self._request(
            "PROPFIND", f"{folder}/", body=PROPFIND, limit=LISTING_BYTES, depth=True
        )
        if status in MISSING:
            return []
        self._require(status, {207}, "PROPFIND", folder)
        base = unquote(urlsplit(f"{self.url}/{folder}/").path)
        entries = []
        for href, is_folder in self._responses(content, folder):
            path = unquote(urlsplit(href).path)
            name = path.removeprefix(base).rstrip("/")
            if path.startswith(base) and name and "/" not in name and name not in (".", ".."):
                entries.append((name, is_folder))
        return entries

    def _responses(self, content: bytes, folder: str) -> Iterator[tuple[str, bool]]:
        # Entities of XML expand without end: this parser refuses them.
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import fromstring

        try:
            document = fromstring(content)
        except (ParseError, DefusedXmlException, ValueError) as broken:
            raise TargetError(
                f"{self.url}/{folder}", "answers with no listing of WebDAV", facts=[str(broken)]
            ) from broken
        for response in document.iter("{DAV:}response"):
            href = response.findtext("{DAV:}href") or ""
            yield href, next(response.iter("{DAV:}collection"), None) is not None

    def _require(self, status: int, expected: set[int], method: str, name: str) -> None:
        if status in expected:
            return
        facts = [web.status_line(method, status)]
        if status in (401, 403):
            raise UserError(
                f"{self.url}/{name}",
                "does not let this user in",
                facts=facts,
                next="set EDGEWRIGHT_STORE_AUTHORIZATION, as 'Bearer TOKEN'",
            )
        if status in (405, 501):
            raise UserError(
                f"{self.url}/{name}",
                "the server knows no WebDAV, which lists and writes a store",
                facts=facts,
                next="the same command where the store's folder is",
            )
        raise TargetError(
            f"{self.url}/{name}", "is not served", facts=facts, next="repeat the command later"
        )

    def _request(
        self,
        method: str,
        name: str,
        *,
        body: bytes | None = None,
        limit: int = 1 << 16,
        depth: bool = False,
        into: HashedFile | None = None,
    ) -> tuple[int, bytes]:
        """Status and content; no more than `limit` bytes of it are read."""
        headers = {"Depth": "1", "Content-Type": "application/xml"} if depth else {}
        if self.authorization:
            headers["Authorization"] = self.authorization
        url = urlsplit(self.url)._replace(path=self._path(name)).geturl()
        answer = web.repeated(
            lambda: web.request(method, url, headers=headers, limit=limit, body=body, into=into),
            f"{self.url}/{name}",
        )
        return answer.status, answer.content

    def _path(self, name: str) -> str:
        return quote(f"{unquote(urlsplit(self.url).path)}/{name}")


def http_store(url: str, authorization: str | None) -> HttpStore:
    """Raises UserError for what is no URL of a store, and for a secret that would go in clear."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as broken:
        raise UserError(url, f"is no URL: {broken}", next="http(s)://host[:port]/path") from broken
    is_plain = parts.scheme in ("http", "https") and parts.hostname and not parts.query
    if not is_plain or parts.username or parts.fragment:
        raise UserError(
            f"{parts.scheme}://{parts.hostname}",
            "is no URL of a store",
            facts=["expected: http(s)://host[:port]/path, without user, password or query"],
            next="the same command with such a URL; EDGEWRIGHT_STORE_AUTHORIZATION has a password",
        )
    if authorization and not web.is_private(url):
        raise UserError(url, "would get the authorization in clear", next="use https://")
    if authorization:
        web.require_header(authorization)
    return HttpStore(url=url.rstrip("/"), authorization=authorization)
