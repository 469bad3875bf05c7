"""An answer as it is read from an instance: head, body, and how it ends. ``Connection`` adds the wire."""

from __future__ import annotations

from typing import Final

import httptools

from algodock_common.upstream.errors import BadAnswer

__all__ = ["Answer"]

HEAD_BYTES: Final = 64 * 1024
"""The longest head that an answer may have."""

_INFORMATIONAL: Final = 200  # below it an answer is only an announcement
_SWITCHING: Final = 101
_LAST: Final = 599


class Answer:
    """The answer to one request after another: ``expect`` begins the next one.

    ``status`` and ``headers`` (names in lower case) are there once ``answering`` is true, all of
    the body once ``complete`` is.
    """

    __slots__ = (
        "_chunks", "_framed", "_head_bytes", "_head_done", "_head_only", "_parser", "_size",
        "complete", "headers", "keep_alive", "keep_alive_s", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.keep_alive_s: float | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._size = 0
        self.expect(head_only=False)

    def expect(self, *, head_only: bool) -> None:
        """Forget the last answer; ``head_only`` says that the request is a HEAD, whose answer has no body."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self._head_only = head_only
        self._head_done = False
        self._head_bytes = 0
        self._framed = False

    @property
    def answering(self) -> bool:
        """Say whether the answer's head is there."""
        return self._head_done

    def header(self, name: bytes) -> str:
        """Return the first header of this name (in lower case), an empty text without one."""
        return next((value.decode("latin-1").strip() for key, value in self.headers if key == name), "")

    # httptools calls what follows.

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.complete:
            raise BadAnswer("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case as ASGI wants it."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES:
            raise BadAnswer(f"the answer's head is longer than {HEAD_BYTES} bytes")
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif name == b"keep-alive":
            self.keep_alive_s = _promised(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; an informational answer is not the answer yet."""
        self.status = self._parser.get_status_code()
        if self.status < _INFORMATIONAL:
            return
        if self.status > _LAST:
            raise BadAnswer(f"there is no status {self.status}")
        self._head_done = True
        if self._head_only:  # the parser expects a body that will not come, so this connection ends here
            self.complete = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if not self._head_only:
            self._chunks.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self.status < _INFORMATIONAL:
            if self.status == _SWITCHING:
                raise BadAnswer("the instance switched protocols unasked")
            self.headers = []
            self._head_bytes = 0
            return
        if not self._head_only:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()


def _promised(value: bytes) -> float | None:
    """Return the seconds of a ``Keep-Alive: timeout=…`` header."""
    for part in value.split(b","):
        name, _, seconds = part.strip().partition(b"=")
        if name.lower() == b"timeout" and seconds.isdigit():
            return float(seconds)
    return None
