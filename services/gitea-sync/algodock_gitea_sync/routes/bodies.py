"""Request bodies with a limit: refused by their Content-Length before they are read, and while they are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from algodock_gitea_sync.domain.errors import PushTooLarge

if TYPE_CHECKING:
    from starlette.types import Message

__all__ = ["content_length", "limited", "whole_body"]


def content_length(request: Request) -> int | None:
    """Return the Content-Length in bytes; None when there is none (chunked) or it is no number."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def limited(request: Request, max_bytes: int, what: str) -> Request:
    """Return the request with a body that raises once more than ``max_bytes`` of it were read.

    Raises:
        PushTooLarge: at once when its Content-Length is past the limit already.
    """
    refusal = PushTooLarge(f"{what} may have at most {max_bytes} bytes")
    if (content_length(request) or 0) > max_bytes:
        raise refusal
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > max_bytes:
            raise refusal
        return message

    return Request(request.scope, counted)


async def whole_body(request: Request, max_bytes: int, what: str) -> bytes:
    """Return the body.

    Raises:
        PushTooLarge: it has more than ``max_bytes``.
    """
    return await limited(request, max_bytes, what).body()
