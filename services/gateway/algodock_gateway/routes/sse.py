"""Server-sent events as a response: each part leaves at once, and a reader who leaves is forgotten at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

__all__ = ["EventStream"]

_HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class EventStream(Response):
    """Sends ``parts`` as they come; ``close`` is called when the answer is over, however it ended."""

    def __init__(self, parts: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        """Nothing is read before it is sent."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]  # nobody knows it
        self._parts = parts
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and watch for the reader's leaving meanwhile."""
        del scope
        sending = asyncio.create_task(self._send(send), name="event-stream")
        leaving = asyncio.create_task(_left(receive), name="event-stream-reader")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            self._close()
            await asyncio.wait({sending, leaving})
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error  # the head is out: the broken connection tells it

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
