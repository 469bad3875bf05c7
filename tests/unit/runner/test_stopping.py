"""A worker that is told to stop stops, at whatever moment: also while a bell rings."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from algodock_runner.handlers.holding import Holding


@pytest.mark.parametrize("turns", range(6))
async def test_a_bell_that_rings_does_not_swallow_the_word_to_stop(turns: int) -> None:
    holding = Holding(cast("Any", None), {}, lease_s=60)
    await holding.start()
    await asyncio.sleep(0.01)  # it waits for the bell
    holding.watch_now()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await holding.stop()
