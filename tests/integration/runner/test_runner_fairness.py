"""Who goes first and how many at once: priorities, limits over all workers, algorithms beside each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from algodock_common.events import Limits
from algodock_runner.repository.claim import Slots, claim

from .behaviours import Together

if TYPE_CHECKING:
    from .conftest import Platform


async def test_priorities_go_first_and_then_age(platform: Platform) -> None:
    order: list[int] = []

    async def note(request: web.Request) -> web.StreamResponse:
        order.append(await request.json())
        return web.json_response(None)

    platform.algorithm.behaviour = note
    views = [await platform.submit(input=n, priority=5 if n == 3 else 0) for n in range(4)]
    platform.route(limits=Limits(concurrency=1))
    async with platform.worker():
        for view in views:
            await platform.ended(view.id)
    assert order == [3, 0, 1, 2]


async def test_the_declared_concurrency_holds_over_all_workers(platform: Platform) -> None:
    platform.algorithm.behaviour = together = Together(3)
    platform.route(limits=Limits(concurrency=3))
    views = [await platform.submit(input=n) for n in range(20)]
    async with platform.worker(), platform.worker():
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
    assert together.most == 3


async def test_while_redis_is_away_tasks_of_a_service_with_a_limit_wait_unspent_and_all_others_run(
    platform: Platform,
) -> None:
    """Nobody can say how many slots are free; a service without a limit has no need of them."""
    platform.slots.away = True
    platform.route(limits=Limits(concurrency=1))
    platform.route("other")
    async with platform.worker():
        limited = await platform.submit(input=1, max_attempts=1)
        for number in range(3):
            view = await platform.submit(algorithm="other", input=number)
            assert (await platform.ended(view.id)).state == "succeeded"
        assert (await platform.task(limited.id)).state == "queued"
        platform.slots.away = False
        seen = await platform.ended(limited.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)


async def test_claims_at_the_same_moment_never_share_a_task(platform: Platform) -> None:
    for n in range(40):
        await platform.submit(input=n)

    async def take(worker: int) -> list[object]:
        async with platform.db.transaction() as tx:
            taken = await claim(tx, worker_id=f"w{worker}", slots=[Slots("echo", 10, None)], room=10, lease_s=5)
        return [one.id for one in taken]

    taken = [id_ for ids in await asyncio.gather(*(take(n) for n in range(6))) for id_ in ids]
    assert len(taken) == len(set(taken))
    assert len(await platform.rows("SELECT 1 FROM tasks WHERE state = 'running' AND attempt = 1")) == len(taken)


async def test_a_long_queue_of_one_algorithm_does_not_stand_before_the_others(platform: Platform) -> None:
    for n in range(20):
        await platform.submit(algorithm="slow", input=n)
    late = [await platform.submit(algorithm="other", input=n) for n in range(2)]
    async with platform.db.transaction() as tx:
        slots = [Slots("slow", 8, None), Slots("other", 8, None)]
        taken = await claim(tx, worker_id="w", slots=slots, room=4, lease_s=5)
    assert {one.id for one in late} <= {one.id for one in taken}
