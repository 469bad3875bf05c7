"""XML-RPC over a unix socket without blocking the event loop: how supervisord is spoken to."""

from __future__ import annotations

import asyncio
import xmlrpc.client
from typing import TYPE_CHECKING, Any

from algodock_deployer.clients.processes import DriverUnavailable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Fault", "UnixRpc"]

Fault = xmlrpc.client.Fault


class UnixRpc:
    """Calls methods of one XML-RPC server on a unix socket; one connection a call, as supervisord closes it."""

    def __init__(self, path: Path, *, timeout_s: float = 15) -> None:
        """Connect to ``path`` at each call."""
        self._path, self._timeout_s = path, timeout_s

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return the method's answer.

        Raises:
            Fault: the server says that the call is wrong.
            DriverUnavailable: nobody answers there.
        """
        body = xmlrpc.client.dumps(arguments, method, encoding="utf-8").encode()
        head = (
            f"POST /RPC2 HTTP/1.1\r\nHost: supervisor\r\nContent-Type: text/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(head.encode() + body)
        except (OSError, TimeoutError) as error:
            msg = f"the algorithms' supervisord does not answer: {type(error).__name__}: {error}"
            raise DriverUnavailable(msg, retry_after=1) from error
        headers, _, content = answer.partition(b"\r\n\r\n")
        status = headers.split(b" ", 2)[1:2]
        if status != [b"200"]:
            msg = f"the algorithms' supervisord answered {headers[:100]!r}"
            raise DriverUnavailable(msg, retry_after=1)
        (value,), _ = xmlrpc.client.loads(content)
        return value

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()
