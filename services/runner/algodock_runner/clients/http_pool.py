"""The worker's one pool of HTTP connections: to instances and to the object store."""

from __future__ import annotations

import aiohttp

__all__ = ["HttpPool"]

KEEP_ALIVE_S = 2.0  # below what servers usually keep (5 s): a pooled connection is not one that they just closed


class HttpPool:
    """An aiohttp session that begins when the event loop runs. No cookies, no proxy, nothing unpacked."""

    def __init__(self, limit: int) -> None:
        """At most ``limit`` connections at once."""
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Return the session.

        Raises:
            RuntimeError: the pool is not started.
        """
        if self._session is None:
            raise RuntimeError("the HTTP pool is not started")
        return self._session

    async def start(self) -> None:
        """Open it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
