"""Looks at an instance from outside: does it answer as healthy, and which ports does it listen on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Answer", "HttpProber", "Listener", "Prober"]

MAX_DOCUMENT = 4 * 2**20


@dataclass(frozen=True)
class Answer:
    """What a health check got: a status, or why there was none."""

    status: int | None
    detail: str = ""

    @property
    def healthy(self) -> bool:
        """Return whether the instance says that it can serve."""
        return self.status is not None and self.status < 400  # noqa: PLR2004  # HTTP's line between yes and no


@dataclass(frozen=True)
class Listener:
    """A TCP port that a process listens on."""

    host: str
    port: int


class Prober(Protocol):
    """Looks at instances."""

    async def ask(self, url: str, *, timeout_s: float = 2) -> Answer:
        """Ask a health path once; never raises for what the instance does."""
        ...

    async def document(self, url: str) -> tuple[bytes, str] | None:
        """Return a JSON document and its content type, None when there is none."""
        ...

    async def listeners(self, pid: int) -> Sequence[Listener] | None:
        """Return what the process and its children listen on, None where that cannot be seen."""
        ...


class HttpProber:
    """``Prober`` over HTTP and ``/proc``."""

    def __init__(self) -> None:
        """Nothing is sent; proxies of the environment are not used."""
        self._http = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=httpx.Limits(max_connections=32))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ask(self, url: str, *, timeout_s: float = 2) -> Answer:
        """Ask a health path once."""
        try:
            async with asyncio.timeout(timeout_s), self._http.stream("GET", url) as response:
                return Answer(response.status_code)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return Answer(None, f"{type(error).__name__}: {error}".rstrip(": "))

    async def document(self, url: str) -> tuple[bytes, str] | None:
        """Return a JSON document; what is no JSON, or too large, counts as none."""
        try:
            async with asyncio.timeout(5), self._http.stream("GET", url) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != httpx.codes.OK or "json" not in kind:
                    return None
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_DOCUMENT:
                        return None
                return content, kind
        except (httpx.HTTPError, TimeoutError, OSError):
            return None

    async def listeners(self, pid: int) -> Sequence[Listener] | None:
        """Return what the process and its children listen on, None where that cannot be seen."""
        return await asyncio.to_thread(_listeners, pid)


def _listeners(pid: int) -> list[Listener] | None:
    found: list[Listener] = []
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return found
    for process in processes:
        try:
            connections: list[Any] = process.net_connections(kind="tcp")
        except psutil.AccessDenied:
            return None
        except psutil.Error:
            continue  # it ended in between
        found += [Listener(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]
    return found
