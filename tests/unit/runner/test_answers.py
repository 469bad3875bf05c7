"""An answer on its way: large ones to a file, a MiB at a time, and no faster than the machine has room for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algodock_common.crowding import Pace
from algodock_runner.clients.answers import IN_MEMORY_BYTES, receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

CHUNK = 64 * 1024


async def body(size: int) -> AsyncIterator[bytes]:
    for number in range(size // CHUNK):
        yield bytes([number % 256]) * CHUNK


async def test_a_large_answer_comes_with_the_pauses_of_its_pace_and_a_small_one_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    slept: list[float] = []

    def pause_s(_: Pace, size: int) -> float:
        asked.append(size)
        return size / 1e9

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(Pace, "pause_s", pause_s)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    size = 3 * IN_MEMORY_BYTES + 5 * CHUNK
    answer = await receive(body(size), "text/plain", limit=size)
    try:
        assert answer.path is not None
        assert answer.path.read_bytes() == b"".join([chunk async for chunk in body(size)])
    finally:
        await answer.discard()
    assert asked == [IN_MEMORY_BYTES + CHUNK] * 3
    assert slept == [one / 1e9 for one in asked]
    asked.clear()
    small = await receive(body(IN_MEMORY_BYTES), "text/plain", limit=size)
    assert (small.size, small.path, asked) == (IN_MEMORY_BYTES, None, [])
