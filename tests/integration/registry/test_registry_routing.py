"""Routing: what a release changes, in which order routers are told, and what the snapshot holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from algodock_common.events import Limits
from algodock_registry import handlers
from algodock_registry.domain import UnknownName

if TYPE_CHECKING:
    from .conftest import Registry


async def test_a_switch_tells_routers_of_the_new_before_the_old_with_growing_epochs(registry: Registry) -> None:
    old = await registry.ready()
    new = await registry.register()
    await registry.release(new)
    told = (await registry.told())[-2:]
    assert [(one, state) for one, state, _ in told] == [(new.instance.id, "ready"), (old.instance.id, "draining")]
    epochs = [epoch for _, _, epoch in await registry.told()]
    assert epochs == sorted(set(epochs)), "each change has an epoch of its own"
    epoch, snapshot = await registry.routes()
    assert epoch == epochs[-1]
    assert snapshot[old.instance.id].epoch == epoch


async def test_an_event_that_comes_again_or_late_changes_nothing(registry: Registry) -> None:
    old = await registry.register()
    await registry.release(old, sequence=5)
    new = await registry.register()
    await registry.release(new, sequence=7)
    told = await registry.told()
    await registry.release(new, sequence=7)
    await registry.release(old, sequence=5)
    assert await registry.told() == told
    assert await registry.state(new) == "ready"


async def test_a_kept_release_gives_its_port_back(registry: Registry) -> None:
    one = await registry.ready()
    release = one.instance.release_id
    await registry.release(state="draining", release_id=release)
    assert await registry.state(one) == "ready"
    await registry.release(state="kept", release_id=release)
    assert await registry.state(one) == "gone"
    assert (await registry.register(pinned_port=one.instance.port)).instance.port == one.instance.port


async def test_a_failed_release_leaves_the_one_that_serves_alone(registry: Registry) -> None:
    serving = await registry.ready()
    failed = await registry.register()
    await registry.release(state="failed", release_id=failed.instance.release_id)
    assert await registry.states() == {serving.instance.id: "ready", failed.instance.id: "gone"}


async def test_a_stop_drains_all_instances(registry: Registry) -> None:
    one = await registry.ready()
    await registry.release(serving=False, service_status="stopping", release_id=one.instance.release_id)
    assert await registry.state(one) == "draining"


async def test_new_limits_reach_routers_though_no_state_changes(registry: Registry) -> None:
    one = await registry.ready()
    before = len(await registry.told())
    await registry.release(one, limits=Limits(timeout_s=7).model_dump())
    assert [(i, s) for i, s, _ in (await registry.told())[before:]] == [(one.instance.id, "ready")]
    _, snapshot = await registry.routes()
    assert snapshot[one.instance.id].as_event().limits.timeout_s == 7


async def test_changes_at_once_get_epochs_in_the_order_of_their_commits(registry: Registry) -> None:
    made = [await registry.register(algorithm=f"a{n}") for n in range(8)]
    await asyncio.gather(*(registry.release(one) for one in made))
    epoch, snapshot = await registry.routes()
    assert epoch == 16
    assert sorted(one.epoch for one in snapshot.values()) == list(range(9, 17))


async def test_the_snapshot_is_without_what_is_gone(registry: Registry) -> None:
    one, two = await registry.ready(algorithm="one"), await registry.ready(algorithm="two")
    await handlers.remove(registry.context, one.instance.id)
    _, snapshot = await registry.routes()
    assert set(snapshot) == {two.instance.id}


async def test_discovery_names_who_is_ready_and_tells_down_from_unknown(registry: Registry) -> None:
    one = await registry.ready()
    await registry.register()
    assert [found.id for found in await handlers.discover(registry.context, "echo")] == [one.instance.id]
    await handlers.remove(registry.context, one.instance.id)
    assert await handlers.discover(registry.context, "echo") == []
    with pytest.raises(UnknownName):
        await handlers.discover(registry.context, "never-heard-of")


async def test_a_service_that_runs_elsewhere_is_served_when_it_is_well(registry: Registry) -> None:
    service = handlers.ExternalService("far", uuid4(), "http://10.0.0.5:9000/")
    registry.probe.ill["http://10.0.0.5:9000"] = "no"
    made = await handlers.register_external(registry.context, service)
    assert await registry.state(made) == "silent"
    registry.probe.ill.clear()
    again = await handlers.register_external(registry.context, service)
    assert (again.instance.id, again.token) == (made.instance.id, made.token)
    assert await registry.state(made) == "ready"
    assert [state for _, state, _ in await registry.told()] == ["silent", "ready"]


async def test_routers_are_told_which_configuration_an_instance_runs_with(registry: Registry) -> None:
    one = await registry.register()
    assert one.instance.as_event().config_version is None
    await registry.release(one, config_version=7)
    _, snapshot = await registry.routes()
    assert snapshot[one.instance.id].as_event().config_version == 7
    told = await registry.told()
    await registry.release(one, config_version=7, sequence=2)
    assert await registry.told() == told, "nothing changed, nothing is told"
    await registry.release(one, config_version=8, sequence=3)
    assert len(await registry.told()) == len(told) + 1
