"""A service's queue: who waits gets the slots that the process is granted, in order of arrival."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from algodock_common.capacity import Ask, Capacity
from algodock_common.testing import FakeSlots
from algodock_gateway.domain import CallQueueFull, CallWaitedTooLong, SlotsUnknown
from algodock_gateway.domain.gate import Gate


class World:
    """A gate of one process, and the store that it shares with others."""

    def __init__(self) -> None:
        self.slots = FakeSlots()
        self.capacity = Capacity(self.slots, process="gateway", lease_s=1)
        self.slots.listeners.append(self.capacity.told)
        self.gate = Gate("echo", self.capacity.share("echo"))

    async def elsewhere(self, held: int, limit: int) -> None:
        """Have another process hold so many slots."""
        await self.slots.settle("other", [Ask("echo", limit, held, held)], lease_s=30)

    async def until_idle(self) -> None:
        async with asyncio.timeout(60):
            while self.gate.in_flight or self.gate.queued:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    await one.capacity.start()
    yield one
    await one.capacity.stop()


async def test_without_a_limit_everybody_enters_and_the_store_hears_nothing(world: World) -> None:
    assert all(world.gate.enter(None) for _ in range(1000))
    for _ in range(1000):
        world.gate.leave(None)
    await asyncio.sleep(0)
    assert world.slots.asks == 0


async def test_slots_are_given_in_order_of_arrival_and_nobody_slips_past_the_queue(world: World) -> None:
    gate, order = world.gate, []
    await gate.wait(1, 10, 5)

    async def wait(number: int) -> None:
        await gate.wait(1, 10, 5)
        order.append(number)
        assert gate.in_flight == 1
        assert not gate.enter(1)
        gate.leave(1)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(wait(number))
            await asyncio.sleep(0)
        gate.leave(1)
    assert order == [0, 1, 2, 3, 4]
    assert (gate.in_flight, gate.queued) == (0, 0)


async def test_a_full_queue_refuses_at_once(world: World) -> None:
    await world.gate.wait(1, 0, 5)
    with pytest.raises(CallQueueFull) as refused:
        await world.gate.wait(1, 0, 5)
    assert refused.value.headers()["retry-after"] == "1"


async def test_slots_that_others_hold_make_the_queue_full_too(world: World) -> None:
    await world.elsewhere(2, limit=2)
    async with asyncio.timeout(60):
        with pytest.raises(CallQueueFull):
            await world.gate.wait(2, 0, 60)
    assert world.gate.queued == 0


async def test_who_waits_too_long_leaves_the_queue_and_the_slot_goes_to_the_next(world: World) -> None:
    gate = world.gate
    await gate.wait(1, 5, 5)
    with pytest.raises(CallWaitedTooLong):
        await gate.wait(1, 5, 0.01)
    assert gate.queued == 0
    gate.leave(1)
    assert gate.in_flight == 0
    await gate.wait(1, 5, 5)


async def test_a_slot_that_comes_as_its_waiter_is_cancelled_is_not_lost(world: World) -> None:
    gate = world.gate
    await gate.wait(1, 5, 5)
    waiter = asyncio.create_task(gate.wait(1, 5, 5))
    await asyncio.sleep(0)
    gate.leave(1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await world.until_idle()
    await gate.wait(1, 5, 5)


async def test_a_limit_that_grows_lets_more_in(world: World) -> None:
    gate = world.gate
    await gate.wait(1, 5, 5)
    waiters = [asyncio.create_task(gate.wait(1, 5, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave(3)
    await asyncio.gather(*waiters)
    assert gate.in_flight == 3


async def test_while_the_store_is_away_a_strict_service_refuses_who_comes_and_who_waits(world: World) -> None:
    gate = world.gate
    await gate.wait(1, 5, 5)
    waiter = asyncio.create_task(gate.wait(1, 5, 60))
    await asyncio.sleep(0)
    world.slots.away = True
    async with asyncio.timeout(60):
        with pytest.raises(SlotsUnknown):
            await waiter
    with pytest.raises(SlotsUnknown) as refused:
        await gate.wait(1, 5, 60)
    assert refused.value.status == 503
    assert refused.value.headers()["retry-after"] == "1"
    gate.leave(1)
    world.slots.away = False
    async with asyncio.timeout(60):
        while world.capacity.away:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    await gate.wait(1, 5, 5)


async def test_while_the_store_is_away_a_large_limit_goes_on_with_its_last_share(world: World) -> None:
    gate = world.gate
    await gate.wait(80, 5, 5)
    gate.leave(80)
    share = world.capacity.share("echo")
    world.slots.away = True
    world.capacity.ask(share)
    async with asyncio.timeout(60):
        while not world.capacity.away:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    last = share.held
    assert 1 <= last < 80
    await asyncio.sleep(1.1)  # the lease, after which nothing is renewed
    assert sum(gate.enter(80) for _ in range(80)) == last
