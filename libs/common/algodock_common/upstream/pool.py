"""A pool of connections to instances and services, one stack of idle ones per origin."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from algodock_common.upstream.connection import Connection
from algodock_common.upstream.errors import CannotConnect, ConnectionBroke

__all__ = ["Origin", "Pool"]

CONNECT_S: Final = 3.0
IDLE_S: Final = 1.5
"""Seconds an idle connection is kept: well below what common servers allow (uvicorn and Node.js 5 s,
gunicorn 2 s), so that a request never meets a connection that its server is just closing."""
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
PEEK_AFTER_S: Final = 0.2
SWEEP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instance or a service listens; ``prefix`` is put before every path."""

    host: str
    port: int
    tls: bool = False
    prefix: bytes = b""
    authority: bytes = field(default=b"", compare=False)

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Read ``http(s)://host[:port][/path]``.

        Raises:
            ValueError: it is no such URL.
        """
        parts = urlsplit(base_url)
        # Checked as it came: what stands in it goes into the head of every request.
        if _VISIBLE.fullmatch(base_url) is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"not a base URL: {base_url!r}"
            raise ValueError(msg)
        tls = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=parts.port or (443 if tls else 80),
            tls=tls,
            prefix=parts.path.rstrip("/").encode("ascii"),
            authority=parts.netloc.rpartition("@")[2].encode("ascii"),
        )


class Pool:
    """Connections by origin. ``take`` one for an exchange, ``give_back`` it after."""

    def __init__(self, *, connect_s: float = CONNECT_S, idle_s: float = IDLE_S) -> None:
        """Make an empty pool; times are in seconds."""
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._idle: dict[Origin, list[Connection]] = {}
        self._origins: dict[str, Origin] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def origin(self, base_url: str) -> Origin:
        """Return the origin of a base URL, parsed once.

        Raises:
            CannotConnect: it is no base URL.
        """
        origin = self._origins.get(base_url)
        if origin is None:
            if len(self._origins) > 4096:  # noqa: PLR2004  # instances come and go with every release
                self._origins.clear()
            try:
                origin = self._origins[base_url] = Origin.of(base_url)
            except ValueError as error:
                raise CannotConnect(str(error)) from error
        return origin

    def take_idle(self, origin: Origin) -> Connection | None:
        """Return an idle connection to ``origin`` if there is one that may be used."""
        idle = self._idle.get(origin)
        if idle:
            now = asyncio.get_running_loop().time()
            while idle:
                connection = idle.pop()  # the warmest
                if connection.lost:
                    continue
                rested = now - connection.idle_since
                if rested > self._allowed(connection) or (rested > PEEK_AFTER_S and connection.ended()):
                    self._discard(connection)
                    continue
                return connection
        return None

    async def take(self, origin: Origin) -> Connection:
        """Return a connection to ``origin`` on which nothing was sent: an idle one, or a new one.

        Raises:
            CannotConnect: there is none to be had within the connect timeout.
        """
        return self.take_idle(origin) or await self._connect(origin)

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for another exchange if it may have one, else close it."""
        connection.relax()
        if not connection.reusable or self._closed:
            self._discard(connection)
            return
        connection.busy = False
        connection.idle_since = asyncio.get_running_loop().time()
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = []
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Close every idle connection; those in use are closed when they come back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connections in self._idle.values():
            for connection in connections:
                self._discard(connection)
        self._idle.clear()
        await asyncio.sleep(0)  # lets the transports close

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, origin)
        try:
            async with asyncio.timeout(self._connect_s):
                if origin.tls:
                    await loop.create_connection(lambda: connection, origin.host, origin.port, ssl=self._tls_context())
                else:
                    await self._connect_plain(loop, connection, origin)
        except (OSError, TimeoutError) as error:
            raise CannotConnect(f"{origin.host}:{origin.port}: {error!r}") from error
        return connection

    async def _connect_plain(self, loop: asyncio.AbstractEventLoop, connection: Connection, origin: Origin) -> None:
        """Connect with a socket of our own, because ``ended`` looks into it before it is used again."""
        failure: OSError | None = None
        for family, address in await _addresses(loop, origin):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)  # noqa: FBT003  # the socket API's own signature
                await loop.sock_connect(sock, address)
                await loop.create_connection(lambda: connection, sock=sock)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                connection.socket = sock
                return
        raise failure if failure is not None else OSError("no address")

    def _allowed(self, connection: Connection) -> float:
        promised = connection.keep_alive_s
        return self._idle_s if promised is None else min(self._idle_s, promised / 2)

    def _discard(self, connection: Connection) -> None:
        connection.fail(ConnectionBroke("discarded"))
        connection.relax()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now, left = loop.time(), 0
        for origin, connections in list(self._idle.items()):
            keep = []
            for connection in connections:
                if connection.lost or now - connection.idle_since > self._allowed(connection):
                    self._discard(connection)
                else:
                    keep.append(connection)
            if keep:
                connections[:] = keep
                left += len(keep)
            else:
                del self._idle[origin]
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if left else None

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


async def _addresses(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[tuple[int, Any]]:
    """Return where to connect; an address is taken as it stands, only a name costs a look-up in a thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, origin.host)
        except OSError:
            continue
        return [(family, (origin.host, origin.port))]
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]
