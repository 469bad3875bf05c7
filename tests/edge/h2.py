"""One HTTP/2 request without TLS, frame by frame: Python's standard clients speak HTTP/1 only."""

from __future__ import annotations

import socket

__all__ = ["h2_get"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _END_STREAM, _END_HEADERS = 0, 1, 4, 1, 4
_STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
"""RFC 7541's static table; others nginx writes out: ``08 03`` and three digits."""


def h2_get(port: int, path: str, *, seconds: float = 60) -> tuple[int, str]:
    """Return status and body of ``GET path``."""
    head = b"\x82\x86" + _literal(4, path) + _literal(1, f"127.0.0.1:{port}")  # GET, http, :path, :authority
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        connection.sendall(_frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, head))
        status, body = 0, b""
        with connection.makefile("rb") as stream:
            while True:
                start = stream.read(9)
                assert len(start) == 9, "the connection ended within the answer"
                payload = stream.read(int.from_bytes(start[:3], "big"))
                kind, flags = start[3], start[4]
                if kind == _HEADERS:
                    block = payload.lstrip(b"\x20\x3f\xe1\x1f")  # a change of the table's size may come before
                    status = _STATUSES.get(block[0]) or int(block[2:5])
                elif kind == _DATA:
                    body += payload
                if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                    return status, body.decode()


def _literal(index: int, value: str) -> bytes:
    raw = value.encode("ascii")
    assert len(raw) < 127
    return bytes([index, len(raw)]) + raw


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
