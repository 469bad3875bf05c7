"""A keep-alive HTTP/1.1 connection as thin as it gets, so that what is measured is the other side."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Answer", "Connection", "request_bytes"]

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, lower-case headers and a whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # whatever the server said
        """Return the body's JSON."""
        return json.loads(self.body)


def request_bytes(
    method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes = b"", path: str | None = None
) -> bytes:
    """Return a whole request; ``path`` replaces the URL's."""
    parts = urlsplit(url)
    target = path if path is not None else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One connection; a request that finds it closed by the server is sent once more on a new one."""

    def __init__(self, url: str, *, timeout_s: float = 90) -> None:
        """Connect to the URL's host and port when the first request is sent."""
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close; the next request connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, request: bytes) -> Answer:
        """Send a whole request and return the answer.

        Raises:
            OSError: the server is away, or breaks off twice.
        """
        fresh = self._socket is None
        try:
            return self._exchange(request)
        except OSError:
            self.close()
            if fresh:
                raise
        return self._exchange(request)

    def _exchange(self, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        data = self._read_until(b"", b"\r\n\r\n")
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "chunked" in headers.get("transfer-encoding", ""):
            body = self._read_chunks(body)
        else:
            length = int(headers.get("content-length", "0"))
            while len(body) < length:
                body += self._receive()
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(first.split(" ", 2)[1]), headers, body)

    def _read_chunks(self, data: bytes) -> bytes:
        body = b""
        while True:
            data = self._read_until(data, b"\r\n")
            size_line, _, data = data.partition(b"\r\n")
            size = int(size_line.split(b";")[0], 16)
            while len(data) < size + 2:
                data += self._receive()
            if size == 0:
                return body
            body, data = body + data[:size], data[size + 2 :]

    def _read_until(self, data: bytes, mark: bytes) -> bytes:
        while mark not in data:
            data += self._receive()
        return data

    def _receive(self) -> bytes:
        if self._socket is None:
            raise ConnectionResetError("the connection is closed")
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data
