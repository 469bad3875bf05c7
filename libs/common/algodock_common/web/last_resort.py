"""Where an exception ends that nobody handled: as a problem document, as long as the caller can still be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.errors import AlgoDockError
from algodock_common.web.problems import problem_response, unexpected_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

__all__ = ["answered"]


async def answered(scope: Scope, receive: Receive, send: Send, serve: Callable[[Send], Awaitable[None]]) -> int:
    """Run ``serve`` and return the status that was answered; what it raises becomes a problem, without traceback.

    After the head has gone out the exception goes on: only a broken connection can still tell the caller.
    """
    status = 0

    async def noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await serve(noting)
    except Exception as error:
        if status:
            raise
        path = scope["path"]
        problem = error if isinstance(error, AlgoDockError) else unexpected_error(error, path=path)
        await problem_response(problem, instance=path)(scope, receive, noting)
    return status
