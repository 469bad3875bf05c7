"""Big files over HTTP: resumed after an interruption, checked for room, and never from an address inside."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from algodock_deployer.clients.addresses import CheckedResolver, check_address, origin_of
from algodock_deployer.clients.files import drop, size_of
from algodock_deployer.domain.errors import DiskFull, ModelDamaged, ModelNotFound, ModelRefused, ModelSourceAway

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Downloads", "check_room"]

BLOCK: Final = 2**20
TRIES: Final = 5
REDIRECTS: Final = 5
CONNECT_S: Final = 10.0
SILENCE_S: Final = 60.0
DOCUMENT_BYTES: Final = 32 * 2**20
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
SAID: Final = 200
PARTIAL, RANGE_WRONG = 206, 416


class _Passing(Exception):  # what may be better at the next try
    """Why a try failed."""


class Downloads:
    """Fetches files; follows redirects by itself, because each one is another address to check.

    Loopback and link-local addresses (where the platform's own servers and clouds' metadata are) are refused unless
    their origin is ``trusted``: the hubs and proxies that the platform itself was told of. Private networks are not:
    models lie on companies' own servers.
    """

    def __init__(self, trusted: Iterable[str] = (), *, min_free_bytes: int = 0, pause_s: float = 0.5) -> None:
        """``trusted`` are URLs; ``pause_s`` is the pause before the second try, twice as long before each later one."""
        proxies = (url for name, url in urllib.request.getproxies().items() if name != "no")
        self._trusted = {origin_of(url) for url in (*trusted, *proxies) if url}
        self._min_free, self._pause_s = min_free_bytes, pause_s

    async def document(self, url: str) -> tuple[Any, Mapping[str, str]]:
        """Return a JSON document and its headers.

        Raises:
            ReleaseFailure: it is not there, refused, no JSON, or its server is away.
        """
        async with self._session() as session:
            for last in (False, False, True):
                try:
                    async with self._opened(session, "GET", url, {}) as response:
                        body = await response.content.read(DOCUMENT_BYTES)
                        return json.loads(body), response.headers
                except (_Passing, aiohttp.ClientError, OSError, TimeoutError) as error:
                    await self._rest(error, url, 1, last=last)
                except ValueError as error:
                    msg = f"{url} answered something that is no JSON: is it a hub?"
                    raise ModelSourceAway(msg) from error
        raise AssertionError  # the loop returns or raises

    async def head(self, url: str) -> Mapping[str, str]:
        """Return the headers of a file, of the first answer: behind a redirect they are another server's.

        Raises:
            ReleaseFailure: as ``document``.
        """
        async with self._session() as session:
            for last in (False, False, True):
                try:
                    async with self._opened(session, "HEAD", url, {}, follow=False) as response:
                        return response.headers
                except (_Passing, aiohttp.ClientError, OSError, TimeoutError) as error:
                    await self._rest(error, url, 1, last=last)
        raise AssertionError  # the loop returns or raises

    async def fetch(self, url: str, path: Path, *, size: int | None, same: bool) -> int:
        """Write what ``url`` has to ``path``, going on where an earlier try stopped; return the bytes that came now.

        ``same`` says that the URL always means the same bytes (its checksum is known), so that a part from earlier
        is a part of it. ``size`` in bytes, where it is known.

        Raises:
            ReleaseFailure: not there, refused, too large for the disk, of another size, or its server is away.
        """
        if not same:
            drop(path)
        came = 0
        async with self._session() as session:
            for number in range(1, TRIES + 1):
                before = size_of(path)
                try:
                    await self._append(session, url, path, size)
                except (_Passing, aiohttp.ClientError, TimeoutError, OSError) as error:
                    came += max(0, size_of(path) - before)
                    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                        drop(path)
                        msg = f"the disk below {path.parent.parent} is full; {url} did not fit"
                        raise DiskFull(msg) from error
                    await self._rest(error, url, number, last=number == TRIES)
                    continue
                came += max(0, size_of(path) - before)
                if size is not None and size_of(path) != size:
                    got = size_of(path)
                    drop(path)
                    msg = f"{url} has {got} bytes, and should have {size}"
                    raise ModelDamaged(msg)
                return came
        raise AssertionError  # the loop returns or raises

    async def _append(self, session: aiohttp.ClientSession, url: str, path: Path, size: int | None) -> None:
        have = size_of(path)
        if size is not None and have >= size:
            if have == size:
                return
            drop(path)
            have = 0
        headers = {"range": f"bytes={have}-"} if have else {}
        async with self._opened(session, "GET", url, headers) as response:
            if response.status == RANGE_WRONG:
                drop(path)
                raise _Passing("what was there already is no part of it")
            goes_on = response.status == PARTIAL
            to_come = response.content_length
            if to_come is not None:
                check_room(path.parent, to_come, self._min_free, url)
            with path.open("ab" if goes_on else "wb") as file:
                await self._write(response, file, path, url)

    async def _write(self, response: aiohttp.ClientResponse, file: BinaryIO, path: Path, url: str) -> None:
        written = 0
        async for block in response.content.iter_chunked(BLOCK):
            await asyncio.to_thread(file.write, block)
            written += len(block)
            if written % (64 * BLOCK) < len(block):
                check_room(path.parent, 0, self._min_free, url)

    async def _rest(self, error: Exception, url: str, number: int, *, last: bool) -> None:
        """Wait before the next try.

        Raises:
            ModelSourceAway: there is none.
        """
        if last:
            said = (str(error) or type(error).__name__).splitlines()[0][:SAID]
            msg = f"{url} cannot be fetched: {said}. Is its server up, and does this machine reach it?"
            raise ModelSourceAway(msg) from error
        await asyncio.sleep(self._pause_s * 2 ** (number - 1))

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=CheckedResolver(self._trusted), use_dns_cache=False, limit=4),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
            headers={"user-agent": "algodock", "accept-encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=True,
        )

    def _opened(
        self, session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str], *, follow: bool = True
    ) -> _Opened:
        return _Opened(self, session, method, url, headers, follow=follow)

    def check(self, url: str) -> None:
        """Check a URL that is about to be asked; its name is checked when it is resolved.

        Raises:
            ModelRefused: no http(s), or an address that models do not come from.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ModelRefused(f"{url} is no http(s) URL")
        if origin_of(url) in self._trusted:
            return
        try:
            address = ip_address(parts.hostname)
        except ValueError:
            return
        check_address(parts.hostname, address)


class _Opened:
    """One request with its redirects, as a context."""

    def __init__(  # what a request has
        self,
        downloads: Downloads,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        follow: bool,
    ) -> None:
        self._downloads, self._session, self._method, self._url = downloads, session, method, url
        self._headers, self._follow = headers, follow
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        url = self._url
        for _ in range(REDIRECTS + 1):
            self._downloads.check(url)
            try:
                response = await self._session.request(self._method, url, headers=self._headers, allow_redirects=False)
            except aiohttp.InvalidURL as error:
                raise ModelRefused(f"{url} is no http(s) URL") from error
            self._response = response
            if not 300 <= response.status < 400:  # noqa: PLR2004  # HTTP's redirects
                _judge(response, url)
                return response
            if not self._follow:
                return response
            location = response.headers.get("location", "")
            response.release()
            url = urljoin(url, location)
        raise ModelRefused(f"{self._url} redirects more than {REDIRECTS} times")

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.close()


def _judge(response: aiohttp.ClientResponse, url: str) -> None:
    status = response.status
    if status < 400 or status == RANGE_WRONG:  # noqa: PLR2004  # HTTP's errors
        return
    response.close()
    if status in AGAIN:
        raise _Passing(f"it answered {status}")
    if status in {401, 403}:
        raise ModelRefused(f"{url} answered {status}: a wrong name, a private file, or a licence to accept")
    if status in {404, 410}:
        raise ModelNotFound(f"{url} is not there ({status})")
    raise ModelRefused(f"{url} answered {status}")


def check_room(folder: Path, wanted: int, spare: int, what: str) -> None:
    """See to it that ``wanted`` bytes fit below ``folder`` and ``spare`` are left then.

    Raises:
        DiskFull: with how much is wanted and free.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + spare:
        raise DiskFull(
            f"{what} wants {wanted // 2**20} MiB, and {free // 2**20} MiB are free below {folder} "
            f"({spare // 2**20} of them are kept free)"
        )
