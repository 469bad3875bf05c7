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
