"""A service's slots and queue."""

from __future__ import annotations

import asyncio

import pytest

from algodock_gateway.domain import CallQueueFull, CallWaitedTooLong
from algodock_gateway.domain.gate import Gate


async def test_without_a_limit_everybody_enters() -> None:
    gate = Gate("echo")
    assert all(gate.enter(None) for _ in range(1000))


async def test_slots_are_given_in_order_of_arrival_and_nobody_slips_past_the_queue() -> None:
    gate, order = Gate("echo"), []
    assert gate.enter(1)

    async def wait(number: int) -> None:
        await gate.wait(1, 10, 5)
        order.append(number)
        assert not gate.enter(1)
        gate.leave(1)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(wait(number))
            await asyncio.sleep(0)
        gate.leave(1)
    assert order == [0, 1, 2, 3, 4]
    assert (gate.in_flight, gate.queued) == (0, 0)


async def test_a_full_queue_refuses_at_once() -> None:
    gate = Gate("echo")
    gate.enter(1)
    with pytest.raises(CallQueueFull) as refused:
        await gate.wait(1, 0, 5)
    assert refused.value.headers()["retry-after"] == "1"


async def test_who_waits_too_long_leaves_the_queue_and_the_slot_goes_to_the_next() -> None:
    gate = Gate("echo")
    gate.enter(1)
    with pytest.raises(CallWaitedTooLong):
        await gate.wait(1, 5, 0.01)
    assert gate.queued == 0
    gate.leave(1)
    assert gate.in_flight == 0


async def test_a_slot_that_comes_as_its_waiter_is_cancelled_is_not_lost() -> None:
    gate = Gate("echo")
    gate.enter(1)
    waiter = asyncio.create_task(gate.wait(1, 5, 5))
    await asyncio.sleep(0)
    gate.leave(1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (gate.in_flight, gate.queued) == (0, 0)
    assert gate.enter(1)


async def test_a_limit_that_grows_lets_more_in() -> None:
    gate = Gate("echo")
    gate.enter(1)
    waiters = [asyncio.create_task(gate.wait(1, 5, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave(3)
    await asyncio.gather(*waiters)
    assert gate.in_flight == 3
