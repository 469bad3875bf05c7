"""Instances that behave as a test says, byte by byte: TCP servers and the conversations they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Conversation", "Request", "Upstream", "answer", "answering", "read_head", "read_request", "until"]

Conversation = Callable[["Upstream", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def until(condition: Callable[[], Awaitable[object] | object], *, seconds: float = 60) -> None:
    """Wait until ``condition()``, or what it awaits, is true."""
    async with asyncio.timeout(seconds):
        while True:
            seen = condition()
            if await seen if isinstance(seen, Awaitable) else seen:
                return
            await asyncio.sleep(0.01)


@dataclass
class Request:
    """What an instance read of one request."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


async def read_head(reader: asyncio.StreamReader) -> Request | None:
    """Read a request up to its body; None when the connection ends first."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *rest = head.strip().split("\r\n")
    pairs = [tuple(one.split(": ", 1)) for one in rest]
    return Request(line, [(name, value) for name, value in pairs], b"")


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read a whole request, by length or in chunks."""
    request = await read_head(reader)
    if request is None:
        return None
    if request.header("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            request.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        request.body = await reader.readexactly(int(request.header("content-length") or 0))
    return request


@dataclass
class Upstream:
    """An instance: a TCP server that holds the conversation a test gives it."""

    conversation: Conversation
    port: int = 0
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[Request] = field(default_factory=list)

    async def listen(self) -> asyncio.Server:
        """Start to serve on a free port."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.conversation(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed.set()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.close()


def answering(*parts: bytes, close: bool = False) -> Conversation:
    """Answer every request with these bytes."""

    async def conversation(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            upstream.requests.append(request)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if close:
                return
        upstream.closed.set()

    return conversation


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body
