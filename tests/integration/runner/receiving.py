"""A receiver of callbacks, and what tests of callbacks do again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web

from algodock_runner.repository import fence

if TYPE_CHECKING:
    from .conftest import Platform

__all__ = ["Receiver", "delivered", "due_now", "finished", "serving", "stands"]

GATEWAY_URL = "http://gateway.test"


class Receiver:
    """A callback target: keeps what it got and answers what it is told: a status, with a text, or by a function."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Any] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, tuple):
            return web.Response(status=answer[0], text=answer[1])
        result: web.StreamResponse = await answer(request)
        return result


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve on a port of its own; give the URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def finished(platform: Platform, url: str, **body: Any) -> UUID:
    """Have a task that ended, its callback due."""
    view = await platform.submit(input={"x": 1}, callback_url=url, **body)
    async with platform.db.transaction() as tx:
        end = fence.End(view.id, 0, "cancelled")
        assert await fence.end(tx, [end], before=fence.WAITING, gateway_url=GATEWAY_URL)
    return view.id


async def due_now(platform: Platform) -> None:
    """Let the time of the next attempt come."""
    await platform.change("UPDATE callbacks SET next_at = now()")


async def delivered(platform: Platform, **settings: Any) -> None:
    """Send everything that is due."""
    async with platform.sender(**settings) as sender:
        while await sender.send_due():
            await sender.idle()


async def stands(platform: Platform) -> Any:
    """Return how the only callback stands; ``wait_s`` until its next attempt."""
    query = """SELECT state, attempts, last_status, last_error,
        extract(epoch FROM next_at - now())::float8 AS wait_s FROM callbacks"""
    (row,) = await platform.rows(query)
    return row
