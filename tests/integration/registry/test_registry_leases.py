"""Ports: each instance has one that nobody else has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from algodock_registry import handlers
from algodock_registry.domain import PortRange, PortRangeExhausted, PortTaken
from algodock_registry.repository import Ports

if TYPE_CHECKING:
    from .conftest import Registry


async def test_instances_that_come_at_once_get_different_ports(registry: Registry) -> None:
    made = await asyncio.gather(*(registry.register(algorithm=f"a{n}") for n in range(9)))
    ports = {one.instance.port for one in made}
    assert ports == set(range(8100, 8110)) - {8105}, "8105 is the platform's own"


async def test_registries_of_one_database_take_turns_there(registry: Registry) -> None:
    """Within one process leases wait for each other anyway; another process is met in the database alone."""
    others = [replace(registry, context=replace(registry.context, turns=asyncio.Lock())) for _ in range(3)]
    made = await asyncio.gather(*(one.register(algorithm=f"a{n}") for n in range(3) for one in others))
    assert {one.instance.port for one in made} == set(range(8100, 8110)) - {8105}


async def test_a_thousand_at_once_over_nine_hundred_ports_get_each_port_once(registry: Registry) -> None:
    """Outside programs hold some; who gets none is told so, and when to come again."""
    held = set(range(8200, 8210))
    registry.ports.used = held
    context = replace(registry.context, port_range=PortRange(8100, 8999))
    many = replace(registry, context=context)
    answers = await asyncio.gather(*(many.register(algorithm=f"a{n}") for n in range(1000)), return_exceptions=True)
    ports = [one.instance.port for one in answers if isinstance(one, handlers.Registered)]
    refused = [one for one in answers if isinstance(one, PortRangeExhausted)]
    assert len(ports) == len(set(ports)) == 900 - len(held) - 1, "8105 is the platform's own"
    assert not set(ports) & (held | {8105})
    assert len(ports) + len(refused) == 1000, [one for one in answers if isinstance(one, BaseException)][:3]
    assert {(one.detail, one.retry_after) for one in refused} == {("every port of 8100-8999 on node-1 is in use", 10)}


async def test_a_grpc_services_address_says_so(registry: Registry) -> None:
    made = await registry.register(protocol="grpc", health_path="/demo.Echo")
    assert made.instance.base_url == f"grpc://127.0.0.1:{made.instance.port}"
    assert (await registry.register()).instance.base_url.startswith("http://")


async def test_a_full_range_is_said_so_and_a_freed_port_can_be_had_again(registry: Registry) -> None:
    made = [await registry.register() for _ in range(9)]
    with pytest.raises(PortRangeExhausted, match="8100-8109"):
        await registry.register()
    await handlers.remove(registry.context, made[3].instance.id)
    assert (await registry.register()).instance.port == made[3].instance.port


async def test_a_port_just_freed_is_not_leased_again_at_once(registry: Registry) -> None:
    first = await registry.register()
    await handlers.remove(registry.context, first.instance.id)
    assert (await registry.register()).instance.port == first.instance.port + 1


async def test_a_port_that_was_lost_to_another_program_is_leased_to_nobody_for_a_while(registry: Registry) -> None:
    made = [await registry.register() for _ in range(9)]
    await handlers.remove(registry.context, made[3].instance.id, blocked=True)
    with pytest.raises(PortRangeExhausted):
        await registry.register()
    pinned = await registry.register(pinned_port=made[3].instance.port)
    assert pinned.instance.port == made[3].instance.port, "who asks for it by number has it, when it is free"
    await handlers.remove(registry.context, pinned.instance.id)
    async with registry.context.database.transaction() as tx:
        await Ports(tx.session).block("node-1", made[3].instance.port, timedelta(seconds=-1))
    assert (await registry.register()).instance.port == made[3].instance.port, "and when the while is over, anybody"


async def test_a_port_that_another_program_uses_is_passed_over(registry: Registry) -> None:
    registry.ports.used = {8100, 8101}
    registry.ports.lingering_on = {8102}
    assert (await registry.register()).instance.port == 8103


async def test_another_nodes_ports_are_its_own(registry: Registry) -> None:
    registry.ports.used = set(range(8100, 8110))
    there = await registry.register(node_id="node-2")
    assert there.instance.port == 8100, "what is in use here says nothing of there"


async def test_a_pinned_port_may_lie_anywhere_and_be_lingered_on(registry: Registry) -> None:
    registry.ports.lingering_on = {9000}
    assert (await registry.register(pinned_port=9000)).instance.port == 9000


@pytest.mark.parametrize(
    ("port", "reason"), [(9000, "leased"), (9001, "another program"), (8105, "the platform's own")]
)
async def test_a_pinned_port_that_is_taken_is_refused_with_the_reason(
    registry: Registry, port: int, reason: str
) -> None:
    await registry.register(pinned_port=9000)
    registry.ports.used = {9001}
    with pytest.raises(PortTaken, match=reason):
        await registry.register(pinned_port=port)


async def test_a_port_pinned_within_the_range_is_not_leased_automatically(registry: Registry) -> None:
    await registry.register(pinned_port=8100)
    assert (await registry.register()).instance.port == 8101


async def test_removing_is_repeatable_and_the_unknown_is_gone_already(registry: Registry) -> None:
    made = await registry.register()
    await handlers.remove(registry.context, made.instance.id)
    told = await registry.told()
    await handlers.remove(registry.context, made.instance.id)
    await handlers.remove(registry.context, uuid4())
    assert await registry.told() == told
