"""The runner's signals on a real Redis: work is announced and ends are told, as the rows have them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from algodock_common.signals import TASK_CANCEL, TASK_FINISHED, TASK_READY, Signals
from algodock_runner.handlers.bell import Bell
from algodock_runner.repository.claim import Slots, claim

if TYPE_CHECKING:
    import pytest

    from algodock_common.settings import RedisSettings

    from .conftest import Platform


async def test_an_end_is_told_as_the_task_is_read_and_a_bell_wakes_a_worker_that_hears_no_event(
    platform: Platform, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()
    rung: asyncio.Queue[bytes] = asyncio.Queue()
    signals = Signals(redis_settings)
    signals.subscribe(TASK_FINISHED, told.put_nowait)
    signals.subscribe(TASK_READY, rung.put_nowait)
    await signals.start()
    platform.broker.away = True
    bell = Bell(platform.broker, source="/runner", signals=signals)
    monkeypatch.setattr(platform.db, "_signals", signals)
    try:
        async with asyncio.timeout(60):
            while rung.empty():  # until the listener is there
                bell.ring(["echo"])
                await asyncio.sleep(0.02)
        assert await rung.get() == b"echo"
        platform.route()
        async with platform.worker(), asyncio.timeout(60):
            ran = await platform.submit(input=1, callback_url="http://127.0.0.1:9999/", metadata={"a": "ü\n"})
            heard = json.loads(await told.get())
            assert heard == json.loads((await platform.task(ran.id)).model_dump_json())
            assert (heard["state"], heard["callback"]) == ("succeeded", {"state": "pending", "attempts": 0})
            stopped = await platform.submit(algorithm="other", input=1)
            await platform.cancels.cancel(stopped.id, owner=None)
            heard = json.loads(await told.get())
            assert (heard["id"], heard["state"]) == (str(stopped.id), "cancelled")
    finally:
        await signals.stop()


async def test_a_cancel_of_what_runs_is_told_to_the_workers(
    platform: Platform, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()
    signals = Signals(redis_settings)
    signals.subscribe(TASK_CANCEL, told.put_nowait)
    await signals.start()
    monkeypatch.setattr(platform.db, "_signals", signals)
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    try:
        async with asyncio.timeout(60):
            while told.empty():  # until the listener is there
                await platform.cancels.cancel(view.id, owner=None)
                await asyncio.sleep(0.02)
        assert await told.get() == str(view.id).encode()
    finally:
        await signals.stop()
