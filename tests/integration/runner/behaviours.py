"""How algorithms of these tests behave: what they answer, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from .conftest import Behaviour


def answering(status: int, text: str = "", **headers: str) -> Behaviour:
    async def behaviour(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={"content-type": "application/problem+json", **headers})

    return behaviour


def sleeping(seconds: float) -> Behaviour:
    async def behaviour(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.json_response({"slept": seconds})

    return behaviour


def failing_first(times: int, status: int = 503) -> Behaviour:
    left = times

    async def behaviour(_: web.Request) -> web.StreamResponse:
        nonlocal left
        left -= 1
        return web.Response(status=status) if left >= 0 else web.json_response({"ok": True})

    return behaviour


class Together:
    """Answers nobody before ``at_once`` calls were open together, however late they come; ``most`` ever were."""

    def __init__(self, at_once: int) -> None:
        self.most = 0
        self._at_once, self._open = at_once, 0
        self._full = asyncio.Event()

    async def __call__(self, _: web.Request) -> web.StreamResponse:
        self._open += 1
        self.most = max(self.most, self._open)
        if self._open == self._at_once:
            self._full.set()
        await self._full.wait()
        await asyncio.sleep(0.05)
        self._open -= 1
        return web.json_response(None)
