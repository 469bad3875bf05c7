"""Calls for a service that sleeps: one question, all wait, and nobody for ever."""

from __future__ import annotations

import asyncio
import time

from algodock_common.events import InstanceChanged
from algodock_common.identifiers import uuid7
from algodock_common.routing import RoutingTable
from algodock_gateway.clients.fakes import FakeDeployer
from algodock_gateway.handlers.waking import Waking


class World:
    def __init__(self, *, wait_s: float = 30) -> None:
        self.table, self.deployer = RoutingTable(), FakeDeployer()
        self.deployer.known["echo"] = {}
        self.waking = Waking(self.table, self.deployer, wait_s=wait_s)

    def ready(self, name: str = "echo") -> None:
        self.table.apply(
            InstanceChanged(
                instance_id=uuid7(), algorithm_id=uuid7(), algorithm=name, node_id="n", host="127.0.0.1", port=1,
                base_url="http://127.0.0.1:1", state="ready", epoch=1,
            )
        )  # fmt: skip


async def test_calls_at_the_same_time_share_one_question_and_all_go_on_when_it_is_there() -> None:
    world = World()
    world.deployer.asleep.add("echo")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        calls = [group.create_task(world.waking.wait("echo")) for _ in range(50)]
        while not world.deployer.woken:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        world.ready("other")
        world.ready()
    assert world.deployer.woken == ["echo"]


async def test_what_does_not_come_is_not_waited_for_nor_asked_for_again_at_once() -> None:
    world = World()
    async with asyncio.timeout(60):
        for _ in range(10):
            await world.waking.wait("echo")
            await world.waking.wait("unknown")
    assert world.deployer.woken == ["echo"]


async def test_the_wait_is_bounded() -> None:
    world = World(wait_s=0.05)
    world.deployer.asleep.add("echo")
    began = time.monotonic()
    async with asyncio.timeout(60):
        await world.waking.wait("echo")
    assert time.monotonic() - began >= 0.05


async def test_a_caller_that_leaves_takes_nobody_with_it() -> None:
    world = World()
    world.deployer.asleep.add("echo")
    first, second = (asyncio.create_task(world.waking.wait("echo")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world.ready()
    async with asyncio.timeout(60):
        await second
