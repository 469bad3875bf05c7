"""The receivers of callbacks: strangers' servers, reached only where they may be, bounded in time and size."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address
from yarl import URL

from algodock_common.observability import current_traceparent
from algodock_runner.domain.addresses import check_address, check_callback_url
from algodock_runner.domain.callbacks import Answer
from algodock_runner.domain.errors import CallbackAddressRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["CallbackTarget", "CheckedResolver", "HttpCallbackTarget"]

READ_BYTES = 16 * 1024
CONNECT_S = 5.0
RESOLVE_S = 5.0


class CallbackTarget(Protocol):
    """Posts one callback."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return what became of it; never raises for what a receiver does."""
        ...


async def _getaddrinfo(host: str, port: int, family: int) -> list[tuple[int, str]]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [(int(one[0]), str(one[4][0])) for one in found]


class CheckedResolver(AbstractResolver):
    """Resolves a name once and hands on only what was checked: a name cannot change between check and connect."""

    def __init__(
        self,
        *,
        allow_private: bool,
        look_up: Callable[[str, int, int], Awaitable[list[tuple[int, str]]]] = _getaddrinfo,
    ) -> None:
        """``look_up`` returns (family, address) pairs; tests give their own."""
        self._allow_private = allow_private
        self._look_up = look_up

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
            check_address(address, allow_private=self._allow_private)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=one, proto=0, flags=int(socket.AI_NUMERICHOST))
            for one, address in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


class HttpCallbackTarget:
    """Callbacks over HTTP: a new connection each, no redirects, no proxy, no cookies."""

    def __init__(self, *, allow_private: bool, timeout_s: float, resolver: AbstractResolver | None = None) -> None:
        """Prepare; nothing opens before ``start``."""
        self._allow_private = allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        self._resolver = resolver or CheckedResolver(allow_private=allow_private)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post it; the answer's body is read up to a bound and thrown away."""
        if self._session is None:
            raise RuntimeError("callbacks are not started")
        sent = {"content-type": "application/json", "user-agent": "algodock-callbacks", **headers}
        traceparent = current_traceparent()
        if traceparent is not None:
            sent["traceparent"] = traceparent
        try:
            self._check(url)
            async with self._session.post(
                url, data=body, headers=sent, timeout=self._timeout, allow_redirects=False
            ) as response:
                return Answer(response.status, await _said(response), _retry_after(response))
        except CallbackAddressRefused as error:
            return Answer(None, error.detail)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, f"{type(error).__name__}: {error}"[:500])

    def _check(self, url: str) -> None:
        """Check the host as the HTTP client reads it: an address as such meets no resolver."""
        check_callback_url(url, allow_private=self._allow_private)
        host = URL(url).host or ""
        if is_ip_address(host):
            check_address(host, allow_private=self._allow_private)


async def _said(response: aiohttp.ClientResponse) -> str:
    """Return why it was not taken: status and the beginning of the body; empty for 2xx."""
    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        return ""  # the status is the answer; the body is not even read
    said = await response.content.read(READ_BYTES)
    text = said[:200].decode(errors="replace").replace("\0", "\ufffd").strip()
    return f"HTTP {response.status}: {text}" if text else f"HTTP {response.status}"


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
