"""The claim by itself: what is due, whose turn it is, and how many may run; whatever other checks stand before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from algodock_runner.repository.claim import Slots, claim, due

if TYPE_CHECKING:
    from uuid import UUID

    from .conftest import Platform


async def claimed(platform: Platform, *slots: Slots, room: int = 9) -> list[UUID]:
    async with platform.db.transaction() as tx:
        return [one.id for one in await claim(tx, worker_id="w", slots=slots, room=room, lease_s=60)]


async def test_only_what_is_due_is_claimed(platform: Platform) -> None:
    ready, waits, late, stopped = [(await platform.submit(input=n)).id for n in range(4)]
    await platform.change("UPDATE tasks SET wakes_at = now() + interval '1 h' WHERE id = :id", id=waits)
    await platform.change("UPDATE tasks SET expires_at = now() WHERE id = :id", id=late)
    await platform.change("UPDATE tasks SET cancel_requested_at = now() WHERE id = :id", id=stopped)
    echo = Slots("echo", 9, None)
    assert await due(platform.db, [echo]) == {"echo": 1}
    assert await claimed(platform, echo) == [ready]
    assert await claimed(platform, echo) == []


async def test_a_higher_priority_goes_before_another_algorithms_turn(platform: Platform) -> None:
    low = [(await platform.submit(algorithm="other", input=n)).id for n in range(3)]
    high = [(await platform.submit(algorithm="slow", input=n, priority=5)).id for n in range(3)]
    slots = Slots("slow", 9, None), Slots("other", 9, None)
    assert set(await claimed(platform, *slots, room=4)) == {*high, low[0]}


async def test_what_runs_counts_against_a_limit_whoever_runs_it(platform: Platform) -> None:
    """Also where Redis has forgotten who holds which slot."""
    for n in range(6):
        await platform.submit(input=n)
    assert len(await claimed(platform, Slots("echo", 2, 3))) == 2
    assert len(await claimed(platform, Slots("echo", 3, 3))) == 1
    assert not await claimed(platform, Slots("echo", 3, 3))
    assert not await claimed(platform, Slots("echo", 3, 2))  # a limit that became smaller


async def test_two_that_claim_at_the_same_moment_do_not_both_find_the_last_slot(platform: Platform) -> None:
    for n in range(4):
        await platform.submit(input=n)
    echo = Slots("echo", 2, 2)

    waiting = """SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"""

    async def second_waits() -> object:
        return await platform.rows(waiting)

    async with platform.db.transaction() as tx:
        assert len(await claim(tx, worker_id="first", slots=[echo], room=2, lease_s=60)) == 2
        second = asyncio.create_task(claimed(platform, echo))
        await platform.eventually(second_waits)
    assert await second == []


async def test_instances_that_declare_no_concurrency_get_so_many_each(platform: Platform) -> None:
    now = most = 0
    full, go_on = asyncio.Event(), asyncio.Event()

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now >= 4:
            full.set()
        await go_on.wait()
        now -= 1
        return web.json_response(None)

    platform.algorithm.behaviour = count
    for _ in range(2):
        platform.route()
    async with platform.worker(per_instance=2):
        views = [await platform.submit(input=n) for n in range(10)]
        async with asyncio.timeout(60):
            await full.wait()
        await asyncio.sleep(0.2)  # time for one too many
        go_on.set()
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
    assert most == 4
