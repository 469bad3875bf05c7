"""A load generator for machines without wrk: raw asyncio protocols, each sending as soon as it was answered."""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

__all__ = ["run"]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class _Caller(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self.answers = 0
        self.failures = 0
        self._request = request
        self._data = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by inheritance
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not mark or (length is not None and len(body) < int(length[1])):
            return
        self._data = b""
        self.answers += 1
        self.failures += b" 200 " not in head[:20]
        self._transport.write(self._request)


def run(url: str, request: bytes, connections: int, seconds: float) -> float:
    """Return the requests a second that one process gets through.

    Raises:
        RuntimeError: a call was not answered with 200.
    """
    return uvloop.run(_run(url, request, connections, seconds))


async def _run(url: str, request: bytes, connections: int, seconds: float) -> float:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    made = [await loop.create_connection(lambda: _Caller(request), host, port) for _ in range(connections)]
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    answers = sum(caller.answers for _, caller in made)
    failures = sum(caller.failures for _, caller in made)
    for transport, _ in made:
        transport.abort()
    if failures or not answers:
        raise RuntimeError(f"{failures} of {answers} calls to {url} were not answered with 200")
    return answers / took
