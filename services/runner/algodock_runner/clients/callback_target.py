"""The receivers of callbacks: strangers' servers, reached only where they may be, bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address
from yarl import URL

from algodock_common.observability import current_traceparent
from algodock_runner.domain.callbacks import Answer
from algodock_runner.domain.errors import CallbackAddressRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from algodock_runner.domain.addresses import Destinations

__all__ = ["CallbackTarget", "CheckedResolver", "HttpCallbackTarget"]

READ_BYTES = 4 * 1024
READ_S = 1.0
"""How long an answer's body is waited for: it is only looked at, the status says all."""

SAID_CHARACTERS = 1000
ERROR_CHARACTERS = 500
CONNECT_S = 5.0
RESOLVE_S = 5.0
RESOLVERS = 8
IDLE_S = 15.0


class CallbackTarget(Protocol):
    """Posts one callback."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return what became of it; never raises for what a receiver does."""
        ...


class CheckedResolver(AbstractResolver):
    """Resolves a name once and hands on only what was checked: a name cannot change between check and connect."""

    def __init__(
        self,
        destinations: Destinations,
        *,
        look_up: Callable[[str, int, int], Awaitable[list[tuple[int, str]]]] | None = None,
    ) -> None:
        """``look_up`` returns (family, address) pairs; tests give their own."""
        self._destinations = destinations
        self._look_up = look_up or self._getaddrinfo
        # Threads of their own: a name server that hangs holds up nobody but callbacks.
        self._threads = ThreadPoolExecutor(RESOLVERS, "resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses if every one of them may be called.

        Raises:
            CallbackAddressRefused: one of them may not.
            OSError: the name has no address.
        """
        async with asyncio.timeout(RESOLVE_S):
            found = await self._look_up(host, port, family)
        for _, address in found:
            self._destinations.check_address(address)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=one, proto=0, flags=int(socket.AI_NUMERICHOST))
            for one, address in found
        ]

    async def close(self) -> None:
        """Leave the threads; a look-up that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _getaddrinfo(self, host: str, port: int, family: int) -> list[tuple[int, str]]:
        def look_up() -> list[tuple[int, str]]:
            found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            return [(int(one[0]), str(one[4][0])) for one in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)


class HttpCallbackTarget:
    """Callbacks over HTTP: no redirects, no proxy, no cookies; connections to checked addresses are kept a while."""

    def __init__(
        self, destinations: Destinations, *, timeout_s: float, resolver: AbstractResolver | None = None
    ) -> None:
        """Prepare; nothing opens before ``start``."""
        self._destinations = destinations
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session."""
        self._resolver = self._resolver or CheckedResolver(self._destinations)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver, use_dns_cache=False, limit=0, keepalive_timeout=IDLE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
            trace_configs=[_reuse_noted()],
        )

    async def stop(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post it; of the answer's body only the beginning is read."""
        if self._session is None:
            raise RuntimeError("callbacks are not started")
        sent = {"content-type": "application/json", "user-agent": "algodock-callbacks", **headers}
        traceparent = current_traceparent()
        if traceparent is not None:
            sent["traceparent"] = traceparent
        try:
            async with asyncio.timeout(self._timeout.total):
                return await self._post(self._session, self._checked(url), body, sent)
        except CallbackAddressRefused as error:
            return Answer(None, error.detail)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, _clean(f"{type(error).__name__}: {error}", ERROR_CHARACTERS))

    async def _post(self, session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post it; again, on another connection, when a kept one turned out to be closed."""
        for repeated in (False, True):
            noted = SimpleNamespace(reused=False)
            try:
                async with session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                    trace_request_ctx=noted,
                ) as response:
                    said = await _beginning(response)
                    return Answer(response.status, _error(response.status, said), _retry_after(response), said)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if repeated or not noted.reused:
                    raise
        raise AssertionError  # the loop returns or raises

    def _checked(self, url: str) -> URL:
        """Check the URL, and its host as the HTTP client reads it: an address as such meets no resolver."""
        destination = self._destinations.check_url(url)
        read = URL(url)
        host = read.raw_host or ""
        if read.port != destination.port:
            msg = "callback_url: its port can be read in two ways"
            raise CallbackAddressRefused(msg)
        if is_ip_address(host):
            self._destinations.check_address(host)
        return read


def _reuse_noted() -> aiohttp.TraceConfig:
    """Note on each request whether its connection was used before."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of the body. A body that drips or breaks changes nothing: there is a status."""
    read = bytearray()
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(READ_S):
            while len(read) < READ_BYTES and (part := await response.content.read(READ_BYTES - len(read))):
                read += part
    return _clean(bytes(read).decode(errors="replace"), SAID_CHARACTERS)


def _error(status: int, said: str) -> str:
    """Return why it was not taken; empty for 2xx."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    return f"HTTP {status}: {said[:200]}" if said else f"HTTP {status}"


def _clean(text: str, characters: int) -> str:
    """Return what PostgreSQL can store of it."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()[:characters].strip()


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
