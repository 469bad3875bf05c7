"""XML-RPC without blocking the event loop: how a supervisord is spoken to, over a unix socket or TCP."""

from __future__ import annotations

import asyncio
import base64
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from algodock_deployer.clients.processes import DriverUnavailable

__all__ = ["Address", "Fault", "Rpc"]

Fault = xmlrpc.client.Fault
PORT = 9001
"""supervisord's own for TCP, where a URL names none."""


@dataclass(frozen=True)
class Address:
    """Where a server listens: a socket's ``path``, or else a ``host`` and ``port``; ``login`` is ``user:password``."""

    path: Path | None = None
    host: str = ""
    port: int = PORT
    login: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``unix:///run/supervisor.sock`` or ``http://user:password@127.0.0.1:9001``.

        Raises:
            ValueError: it is neither; the URL, which may hold a password, is not in the message.
        """
        parts = urlsplit(url)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        if parts.scheme == "unix" and parts.path:
            return cls(path=Path(unquote(parts.path)), login=login)
        if parts.scheme == "http" and parts.hostname:
            return cls(host=parts.hostname, port=parts.port or PORT, login=login)
        msg = "SUPERVISOR_URL must be like unix:///run/supervisor.sock or http://user:password@127.0.0.1:9001"
        raise ValueError(msg)

    def __str__(self) -> str:
        """Return it without the password."""
        return f"unix://{self.path}" if self.path else f"http://{self.host}:{self.port}"


class Rpc:
    """Calls methods of one XML-RPC server; one connection a call, as supervisord closes it."""

    def __init__(self, address: Address, *, name: str = "the algorithms' supervisord", timeout_s: float = 15) -> None:
        """Connect to ``address`` at each call; errors call the server ``name``."""
        self._address, self._name, self._timeout_s = address, name, timeout_s

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return the method's answer.

        Raises:
            Fault: the server says that the call is wrong.
            DriverUnavailable: nobody answers there.
        """
        body = xmlrpc.client.dumps(arguments, method, encoding="utf-8").encode()
        login = self._address.login
        basic = f"Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if login else ""
        head = (
            f"POST /RPC2 HTTP/1.1\r\nHost: supervisor\r\nContent-Type: text/xml\r\n{basic}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(head.encode() + body)
        except (OSError, TimeoutError) as error:
            msg = f"{self._name} does not answer: {type(error).__name__}: {error}"
            raise DriverUnavailable(msg, retry_after=1) from error
        headers, _, content = answer.partition(b"\r\n\r\n")
        status = headers.split(b" ", 2)[1:2]
        if status == [b"401"]:
            msg = f"{self._name} wants a user name and a password: put them into SUPERVISOR_URL"
            raise DriverUnavailable(msg, retry_after=10)
        if status != [b"200"]:
            msg = f"{self._name} answered {headers[:100]!r}"
            raise DriverUnavailable(msg, retry_after=1)
        (value,), _ = xmlrpc.client.loads(content)
        return value

    async def _exchange(self, request: bytes) -> bytes:
        at = self._address
        connecting = (
            asyncio.open_unix_connection(str(at.path)) if at.path else asyncio.open_connection(at.host, at.port)
        )
        reader, writer = await connecting
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()
