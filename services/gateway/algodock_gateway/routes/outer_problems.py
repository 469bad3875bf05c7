"""Problem documents of other services as the caller should read them: with the path that was asked for here."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Message, Send

__all__ = ["OuterProblems"]

_MOST: Final = 64 * 2**10
"""Bytes of a document that is held back to be changed; a larger one goes on as it comes."""


class OuterProblems:
    """Wraps ``send``: a problem document waits until it is whole, then its ``instance`` is set to ``path``."""

    def __init__(self, send: Send, path: str) -> None:
        """Pass on to ``send``."""
        self._send = send
        self._path = path
        self._head: Message | None = None
        self._body = b""

    @property
    def holds_back(self) -> bool:
        """Whether an answer has begun of which the caller has got nothing yet."""
        return self._head is not None

    async def __call__(self, message: Message) -> None:
        """Pass one message on, or keep it until its answer is whole."""
        if message["type"] == "http.response.start" and _is_problem(message):
            self._head = message
            return
        if self._head is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= _MOST:
            return
        head, body = self._head, self._body
        self._head, self._body = None, b""
        if not more and (ours := _with_instance(body, self._path)) != body:
            headers = [(name, value) for name, value in head["headers"] if name.lower() != b"content-length"]
            head = {**head, "headers": [*headers, (b"content-length", b"%d" % len(ours))]}
            body = ours
        await self._send(head)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _is_problem(head: Message) -> bool:
    if head["status"] < HTTPStatus.BAD_REQUEST:
        return False
    kinds = [value for name, value in head["headers"] if name.lower() == b"content-type"]
    return bool(kinds) and kinds[0].startswith(b"application/problem+json")


def _with_instance(body: bytes, path: str) -> bytes:
    try:
        problem = json.loads(body)
    except ValueError:
        return body  # the answer to a HEAD has none; what cannot be read is the other service's to explain
    if not isinstance(problem, dict):
        return body
    return json.dumps(problem | {"instance": path}, ensure_ascii=False).encode()
