"""What a store of slots promises, held by the one in Redis and by the one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from algodock_common.capacity import Ask, Capacity, Granted, RedisSlots, SlotsAway, SlotStore
from algodock_common.settings import RedisSettings
from algodock_common.testing import FakeSlots

LEASE_S = 30.0


@pytest.fixture(params=["redis", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SlotStore]:
    if request.param == "memory":
        yield FakeSlots()
        return
    settings: RedisSettings = request.getfixturevalue("redis_settings")
    redis = Redis.from_url(settings.url.get_secret_value())
    await redis.set("algodock:slots-born", 1)
    slots = RedisSlots(settings)
    yield slots
    await slots.close()
    await redis.aclose()


@pytest.fixture
def name() -> str:
    return f"a-{uuid4().hex[:8]}"


async def settle(store: SlotStore, holder: str, ask: Ask, lease_s: float = LEASE_S) -> Granted:
    (granted,) = await store.settle(holder, [ask], lease_s=lease_s)
    return granted


async def test_all_holders_together_get_the_limit_and_not_one_more(store: SlotStore, name: str) -> None:
    assert await settle(store, "a", Ask(name, 3, 0, 0, need=2)) == (2, 0, 0)
    assert await settle(store, "b", Ask(name, 3, 0, 0, need=2)) == (1, 0, 1)
    assert await settle(store, "c", Ask(name, 3, 0, 0, need=1)) == (0, 1, 1)
    assert await settle(store, "a", Ask(name, 3, 1, 1)) == (1, 2, 0)
    assert await settle(store, "b", Ask(name, 3, 1, 1, need=1)) == (2, 1, 0)


async def test_who_waits_longest_gets_the_slot_that_becomes_free(store: SlotStore, name: str) -> None:
    await settle(store, "a", Ask(name, 1, 0, 0, need=1))
    for waiting in ("b", "c"):
        assert (await settle(store, waiting, Ask(name, 1, 0, 0, need=1)))[0] == 0
        await asyncio.sleep(0.002)  # Redis counts milliseconds
    assert (await settle(store, "a", Ask(name, 1, 0, 0, need=1)))[0] == 0, "it would have passed b and c"
    assert (await settle(store, "c", Ask(name, 1, 0, 0, need=1)))[0] == 0
    assert (await settle(store, "b", Ask(name, 1, 0, 0, need=1)))[0] == 1


async def test_extra_slots_are_for_times_when_nobody_waits(store: SlotStore, name: str) -> None:
    assert await settle(store, "a", Ask(name, 20, 0, 0, need=1, extra=5)) == (6, 0, 0)
    assert await settle(store, "b", Ask(name, 20, 0, 0, need=15)) == (14, 0, 1)
    assert await settle(store, "a", Ask(name, 20, 1, 1, extra=5)) == (1, 1, 0)


async def test_what_a_dead_holder_had_is_free_when_its_lease_has_run_out(store: SlotStore, name: str) -> None:
    await settle(store, "dead", Ask(name, 1, 0, 0, need=1), lease_s=1)
    assert (await settle(store, "b", Ask(name, 1, 0, 0, need=1), lease_s=1))[0] == 0
    await asyncio.sleep(1.1)
    assert (await settle(store, "b", Ask(name, 1, 0, 0, need=1), lease_s=1))[0] == 1


async def test_a_holder_that_slept_past_its_lease_keeps_only_what_nobody_took(store: SlotStore, name: str) -> None:
    await settle(store, "slow", Ask(name, 20, 0, 0, need=20), lease_s=0.1)
    await asyncio.sleep(0.15)
    assert (await settle(store, "b", Ask(name, 20, 0, 0, need=15)))[0] == 15
    assert (await settle(store, "slow", Ask(name, 20, 20, 2)))[0] == 5


async def test_a_store_that_lost_its_memory_grants_nothing_before_all_had_time_to_say_what_they_hold(
    store: SlotStore, name: str, redis_settings: RedisSettings
) -> None:
    await settle(store, "a", Ask(name, 1, 0, 0, need=1), lease_s=0.3)
    if isinstance(store, FakeSlots):
        store.forget()
    else:
        redis = Redis.from_url(redis_settings.url.get_secret_value())
        await redis.delete("algodock:slots-born", f"algodock:slots:{name}")
        await redis.aclose()
    assert (await settle(store, "b", Ask(name, 1, 0, 0, need=1), lease_s=0.3))[0] == 0
    assert (await settle(store, "a", Ask(name, 1, 1, 1), lease_s=30))[0] == 1
    await asyncio.sleep(0.35)
    assert (await settle(store, "b", Ask(name, 1, 0, 0, need=1), lease_s=0.3))[0] == 0


async def test_many_processes_at_once_never_pass_the_limit_and_none_starves(
    store: SlotStore, name: str, redis_settings: RedisSettings
) -> None:
    stores = [store if isinstance(store, FakeSlots) else RedisSlots(redis_settings) for _ in range(4)]
    processes = [Capacity(one, process=f"p{n}") for n, one in enumerate(stores)]
    running = most = 0
    done = [0] * len(processes)

    async def work(number: int, capacity: Capacity) -> None:
        nonlocal running, most
        for _ in range(25):
            await until(lambda: capacity.take(name, 2, 1))
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            capacity.share(name).leave(2)
            done[number] += 1

    for capacity in processes:
        await capacity.start()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number, capacity in enumerate(processes):
            group.create_task(work(number, capacity))
    for capacity in processes:
        await capacity.stop()
    assert done == [25] * 4
    assert most == 2


async def until(take: Callable[[], Awaitable[int]]) -> None:
    """Ask again until there is a slot, as a worker does when it is told."""
    while not await take():  # noqa: ASYNC110  # a worker is told by a signal; here nobody is
        await asyncio.sleep(0.001)


async def test_a_redis_that_is_not_there_is_said_and_not_waited_for() -> None:
    nowhere = RedisSlots(RedisSettings.model_validate({"url": "redis://127.0.0.1:1/0"}))
    with pytest.raises(SlotsAway):
        await nowhere.settle("a", [Ask("x", 1, 0, 0, need=1)], lease_s=1)
    await nowhere.close()
