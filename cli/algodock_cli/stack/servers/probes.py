"""Asks a server whether it is ready in the first words of its own protocol: no driver is imported for that."""

from __future__ import annotations

import socket
import struct
from urllib.parse import unquote, urlsplit

__all__ = ["kafka_answers", "postgres_answers", "redis_answers", "s3_answers"]

_TIMEOUT_S = 1.0


def _ask(host: str, port: int, question: bytes, answer_bytes: int) -> bytes:
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(question)
            return connection.recv(answer_bytes)
    except OSError:
        return b""


def postgres_answers(url: str) -> bool:
    """Say whether the server asks for a password: while it starts or recovers it answers with an error."""
    parts = urlsplit(url)
    words = ["user", unquote(parts.username or ""), "database", parts.path.lstrip("/")]
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    answer = _ask(parts.hostname or "", parts.port or 5432, struct.pack("!i", len(body) + 4) + body, 1)
    return answer == b"R"


def redis_answers(url: str) -> bool:
    """Say whether the server takes the password and answers PING."""
    parts = urlsplit(url)
    question = b"PING\r\n"
    if parts.password:
        user = unquote(parts.username or "default").encode()
        question = b"AUTH %s %s\r\n%s" % (user, unquote(parts.password).encode(), question)
    return b"+" in _ask(parts.hostname or "", parts.port or 6379, question, 64)


def kafka_answers(bootstrap: str) -> bool:
    """Say whether the first broker answers ApiVersions (key 18, version 0)."""
    host, _, port = bootstrap.split(",", maxsplit=1)[0].rpartition(":")
    request = struct.pack("!hhih", 18, 0, 1, -1)
    return len(_ask(host, int(port), struct.pack("!i", len(request)) + request, 4)) > 0


def s3_answers(endpoint: str) -> bool:
    """Say whether something speaks HTTP there; without a signature any answer will do."""
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    question = f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    if parts.scheme == "https":
        question = ""  # a TLS server says nothing first: the connection is the answer
        return _connects(parts.hostname or "", port)
    return _ask(parts.hostname or "", port, question.encode(), 8).startswith(b"HTTP/")


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True
