"""The one way from containers to the platform: a listener on their bridge's gateway address that takes heartbeats only.

It is there while there are containers, hands what it takes to the address that other programs beat to, and knows one
path and one method. Requests are parsed by ``h11``, which refuses what two servers could read differently.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from errno import EADDRINUSE
from http import HTTPStatus
from ipaddress import IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11
import httpx
import structlog

from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.processes import DriverUnavailable
from algodock_deployer.domain.errors import EngineRefused

if TYPE_CHECKING:
    from pathlib import Path

    from algodock_deployer.clients.docker_engine import Engine

__all__ = ["ContainerHeartbeats", "HeartbeatForward"]

NETWORK: Final = "bridge"
"""The engine's network of containers that name none, as ours."""
LOOK_EVERY_S: Final = 30.0
"""An address may come later, or change with the engine's settings."""
HEAD_BYTES: Final = 8 * 2**10
BODY_BYTES: Final = 16 * 2**10
READ_BYTES: Final = 16 * 2**10
UNREAD_BYTES: Final = 2**20
PATIENCE_S: Final = 10.0
ANSWER_S: Final = 5.0
CONNECTIONS: Final = 128
CONNECTIONS_EACH: Final = 8
PASSED_ON: Final = (b"authorization", b"content-type")
PASSED_BACK: Final = ("content-type", "retry-after", "www-authenticate")

log = structlog.get_logger()


@dataclass(frozen=True)
class _Answer:
    """What the sender gets."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @classmethod
    def problem(cls, status: HTTPStatus, detail: str, *headers: tuple[str, str]) -> _Answer:
        """Return a refusal as a problem document (RFC 9457)."""
        said = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
        return cls(status, (("content-type", "application/problem+json"), *headers), json.dumps(said).encode())


class HeartbeatForward:
    """Takes ``POST`` of the target's path and nothing else, one request a connection, and hands it to ``target``."""

    def __init__(
        self, target: str, *, patience_s: float = PATIENCE_S, connections_each: int = CONNECTIONS_EACH
    ) -> None:
        """``target`` is an ``http://`` URL. A sender has ``patience_s`` for all of its request, and for reading."""
        self._target = target
        self.path = urlsplit(target).path
        self._patience_s = patience_s
        self._each = connections_each
        self._senders = IPv4Network("0.0.0.0/32")
        self._server: asyncio.Server | None = None
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()

    async def open(self, host: str, port: int, senders: IPv4Network) -> int:
        """Listen at ``host``, for ``senders`` alone; return the port, chosen by the kernel where ``port`` is 0.

        Raises:
            OSError: the address is not this machine's, or the port is taken.
        """
        self._senders = senders
        self._server = await asyncio.start_server(self._connected, host, port)
        self._http = httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, follow_redirects=False)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Listen no more, and end what is under way: the next beat comes by itself."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, unless it is nobody's that may, or one too many."""
        peer: str = writer.get_extra_info("peername")[0]
        # Without this, whoever routes the bridge's address by this machine would reach it, too.
        if ip_address(peer) not in self._senders or self._open[peer] >= self._each or len(self._tasks) >= CONNECTIONS:
            writer.transport.abort()
            return
        self._open[peer] += 1
        task = asyncio.create_task(self._serve(reader, writer), name="container-heartbeat")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
            if not task.cancelled() and task.exception() is not None:
                log.error("heartbeat_not_forwarded", error=repr(task.exception()))

        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            with suppress(ConnectionError, TimeoutError):
                answer = await self._answer(connection, reader)
                if answer is not None:
                    async with asyncio.timeout(self._patience_s):
                        await _send(connection, answer, reader, writer)
        finally:
            writer.transport.abort()

    async def _answer(self, connection: h11.Connection, reader: asyncio.StreamReader) -> _Answer | None:
        try:
            async with asyncio.timeout(self._patience_s):
                taken = await self._take(connection, reader)
        except TimeoutError:
            return _Answer.problem(
                HTTPStatus.REQUEST_TIMEOUT, f"The request did not come within {self._patience_s:g} s."
            )
        except h11.RemoteProtocolError as error:
            return _Answer.problem(HTTPStatus(error.error_status_hint), f"This is no HTTP request: {error}.")
        return await self._forward(*taken) if isinstance(taken, tuple) else taken

    async def _take(
        self, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> tuple[dict[bytes, bytes], bytes] | _Answer | None:
        """Return the headers to hand on and the body, or why not; None for a connection without a request."""
        request = await _next(connection, reader)
        if not isinstance(request, h11.Request):
            return None
        if request.target != self.path.encode("ascii"):
            return _Answer.problem(HTTPStatus.NOT_FOUND, f"Only {self.path} is here.")
        if request.method != b"POST":
            return _Answer.problem(HTTPStatus.METHOD_NOT_ALLOWED, "A heartbeat is a POST.", ("allow", "POST"))
        headers = dict(request.headers)
        too_large = _Answer.problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A heartbeat has at most {BODY_BYTES} bytes; leave metrics out."
        )
        if int(headers.get(b"content-length", b"0")) > BODY_BYTES:  # h11 has seen that it is a number
            return too_large
        body = b""
        while isinstance(event := await _next(connection, reader), h11.Data):
            body += event.data
            if len(body) > BODY_BYTES:
                return too_large
        return {name: headers[name] for name in PASSED_ON if name in headers}, body

    async def _forward(self, headers: dict[bytes, bytes], body: bytes) -> _Answer:
        if self._http is None:  # closed meanwhile
            return _away("The platform ends.")
        try:
            answer = await self._http.post(self._target, headers=headers, content=body)
        except httpx.RequestError as error:
            log.info("heartbeat_not_taken", error=repr(error))
            return _away("The registry cannot be reached; beat on.")
        back = tuple((name, answer.headers[name]) for name in PASSED_BACK if name in answer.headers)
        return _Answer(answer.status_code, back, answer.content)


class ContainerHeartbeats:
    """The forward at the address by which containers reach this machine, while they are there.

    The port is kept in ``<folder>/heartbeats``: containers outlive the deployer, and beat on to the next one.
    """

    def __init__(self, folder: Path, engine: Engine, target: str) -> None:
        """``target`` is where other programs beat to. Nothing is asked or opened before ``open``."""
        self._note = folder / "heartbeats"
        self._engine = engine
        self._forward = HeartbeatForward(target)
        self._lock = asyncio.Lock()
        self._gateway = ""
        self._url = ""
        self._look_at = 0.0
        self._why = ""

    async def state(self) -> str:
        """Return why containers send no heartbeats, for ``/ready``; nothing where they can, or where there are none."""
        return self._why

    async def open(self) -> str:
        """Listen, if that is not done; return the URL for containers, an empty string where there cannot be one."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._look_at:
                await self._look()
                self._look_at = now + LOOK_EVERY_S
            return self._url

    async def close(self) -> None:
        """Listen no more."""
        async with self._lock:
            if self._url:
                log.info("container_heartbeats_closed", url=self._url)
            await self._end()
            self._look_at, self._why = 0.0, ""

    async def _end(self) -> None:
        await self._forward.close()
        self._gateway = self._url = ""

    async def _look(self) -> None:
        """See that the forward listens at the network's address as it is now."""
        try:
            gateway, senders = await self._network()
            if gateway != self._gateway:
                await self._end()
                port = await self._listen(gateway, senders)
                self._gateway, self._url = gateway, f"http://{gateway}:{port}{self._forward.path}"
                log.info("container_heartbeats_open", url=self._url)
        except DriverUnavailable as error:  # what listens, listens on
            self._say("" if self._url else error.detail)
        except (EngineRefused, OSError) as error:
            await self._end()
            self._say(error.detail if isinstance(error, EngineRefused) else str(error))
        else:
            self._say("")

    def _say(self, reason: str) -> None:
        """Keep why not; said in the log once, and in ``/ready`` as long as it is so."""
        why = f"containers send no heartbeats and are probed: {reason}" if reason else ""
        if why and why != self._why:
            log.warning("container_heartbeats_closed", reason=reason)
        self._why = why

    async def _network(self) -> tuple[str, IPv4Network]:
        """Return the address by which containers reach this machine, and theirs.

        Raises:
            EngineRefused: there is no such network, or it has no IPv4 gateway, or it may be another machine's.
        """
        if not self._engine.url.startswith("unix://"):
            raise EngineRefused(f"the engine at {self._engine.url} may be another machine's")
        async with self._engine.use() as docker:
            network: dict[str, Any] = await (await docker.networks.get(NETWORK)).show()
        for one in (network.get("IPAM") or {}).get("Config") or ():
            if one.get("Subnet") and one.get("Gateway"):
                senders = ip_network(one["Subnet"], strict=False)
                if isinstance(senders, IPv4Network):
                    return one["Gateway"], senders
        raise EngineRefused(f"the engine's network {NETWORK} has no IPv4 gateway")

    async def _listen(self, gateway: str, senders: IPv4Network) -> int:
        """Listen at the port of last time; at another where that is taken, which containers learn when they start."""
        try:
            before = int(self._note.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            before = 0
        if not 0 < before < 2**16:
            before = 0  # a damaged note is none
        try:
            port = await self._forward.open(gateway, before, senders)
        except OSError as error:
            if error.errno != EADDRINUSE or not before:
                raise
            log.warning("container_heartbeats_moved", port=before, reason="another program has it")
            port = await self._forward.open(gateway, 0, senders)
        if port != before:
            write_whole(self._note, str(port), 0o600)
        return port


def _away(detail: str) -> _Answer:
    return _Answer.problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, ("retry-after", "1"))


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    """Return the request's next part."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(READ_BYTES))
    return event


async def _send(
    connection: h11.Connection, answer: _Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send the answer and the end; read on what still comes, because a reset would take the answer along."""
    length = [] if answer.status == HTTPStatus.NO_CONTENT else [("content-length", str(len(answer.body)))]
    head = h11.Response(status_code=answer.status, headers=[*answer.headers, *length, ("connection", "close")])
    for event in (head, h11.Data(data=answer.body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    writer.write_eof()
    await writer.drain()
    unread = UNREAD_BYTES
    while unread > 0 and (more := await reader.read(READ_BYTES)):
        unread -= len(more)
