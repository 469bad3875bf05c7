"""Weights: routers are told of them, one that drains is not discovered, and the last one is not drained by mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from algodock_common.events import Limits
from algodock_registry import handlers
from algodock_registry.domain import LastInstance, UnknownName
from algodock_registry.routes import RegisteredServicesAnswer

if TYPE_CHECKING:
    from .conftest import Registry


async def test_a_weight_reaches_routers_and_stays(registry: Registry) -> None:
    one, other = await registry.register(), await registry.register(release_id=uuid4())
    await registry.release(one, other)
    await handlers.weigh(registry.context, one.instance.id, 5)
    last = (await registry.told())[-1]
    assert last[:2] == (one.instance.id, "ready")
    epoch, routes = await registry.routes()
    assert (routes[one.instance.id].weight, routes[one.instance.id].epoch, last[2]) == (5, epoch, epoch)
    before = await registry.told()
    await handlers.weigh(registry.context, one.instance.id, 5)
    assert await registry.told() == before, "nothing changed: nobody is told"
    await registry.release(one, other)
    assert (await registry.row(one)).weight == 5


async def test_a_release_gives_weights_to_its_instances_and_to_a_canary_that_keeps_its_own_limits(
    registry: Registry,
) -> None:
    live, canary = await registry.register(), await registry.register(release_id=uuid4(), limits=Limits(timeout_s=7))
    await registry.release(live)
    weights = {live.instance.id: 9, canary.instance.id: 1}
    await registry.release(live, canary, weights=weights, config_version=3)
    rows = [await registry.row(one) for one in (live, canary)]
    assert [(one.state, one.weight, one.config_version) for one in rows] == [("ready", 9, 3), ("ready", 1, None)]
    assert rows[1].limits["timeout_s"] == 7
    await registry.release(live, weights={live.instance.id: 1})
    rows = [await registry.row(one) for one in (live, canary)]
    assert [(one.state, one.weight) for one in rows] == [("ready", 1), ("draining", 1)]


async def test_an_instance_without_weight_drains_and_comes_back(registry: Registry) -> None:
    one, other = await registry.register(), await registry.register(release_id=uuid4())
    await registry.release(one, other)
    await handlers.weigh(registry.context, one.instance.id, 0)
    assert [found.id for found in await handlers.discover(registry.context, "echo")] == [other.instance.id]
    found = await handlers.find_instances(registry.context, algorithm=None, node_id=None, gone=False)
    listed = RegisteredServicesAnswer.of(found).services
    assert [(service.name, service.ready, len(service.instances)) for service in listed] == [("echo", 1, 2)]
    await handlers.weigh(registry.context, one.instance.id, 1)
    assert len(await handlers.discover(registry.context, "echo")) == 2


async def test_the_last_instance_is_drained_only_by_force(registry: Registry) -> None:
    one = await registry.ready()
    with pytest.raises(LastInstance, match="force"):
        await handlers.weigh(registry.context, one.instance.id, 0)
    assert (await registry.row(one)).weight == 1
    await handlers.weigh(registry.context, one.instance.id, 0, force=True)
    assert not await handlers.discover(registry.context, "echo")


async def test_an_instance_that_is_not_there_has_no_weight(registry: Registry) -> None:
    one = await registry.ready()
    await handlers.remove(registry.context, one.instance.id)
    for nobody in (uuid4(), one.instance.id):
        with pytest.raises(UnknownName):
            await handlers.weigh(registry.context, nobody, 1)
