"""The routing table and its feed: order of events, snapshots, the choice of an instance, acknowledgements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from algodock_common.events import Event, InstanceChanged, Limits
from algodock_common.identifiers import uuid7
from algodock_common.routing import ROUTER_KEY, RouteSnapshot, RoutingFeed, RoutingTable

ALGORITHM = uuid7()


def changed(
    instance: UUID, state: str = "ready", *, epoch: int = 1, port: int = 8100, **more: object
) -> InstanceChanged:
    return InstanceChanged.model_validate(
        {
            "instance_id": instance,
            "algorithm_id": ALGORITHM,
            "algorithm": "echo",
            "node_id": "n",
            "host": "127.0.0.1",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}",
            "state": state,
            "epoch": epoch,
            **more,
        }
    )


def snapshot(epoch: int, *instances: InstanceChanged) -> RouteSnapshot:
    return RouteSnapshot(epoch=epoch, instances=list(instances))


def test_a_ready_instance_is_picked_and_counted_until_released() -> None:
    table, one = RoutingTable(), uuid7()
    assert table.pick("echo") is None
    table.apply(changed(one))
    picked = table.pick("echo")
    assert picked is not None
    assert (picked.id, picked.in_flight) == (one, 1)
    table.release(picked)
    assert picked.in_flight == 0


def test_only_ready_instances_with_weight_are_picked() -> None:
    table = RoutingTable()
    for state in ("starting", "silent", "draining"):
        table.apply(changed(uuid7(), state))
    table.apply(changed(uuid7(), weight=0))
    assert table.pick("echo") is None


def test_an_older_or_repeated_event_changes_nothing() -> None:
    table, one = RoutingTable(), uuid7()
    assert table.apply(changed(one, "draining", epoch=5))
    assert not table.apply(changed(one, "ready", epoch=4))
    assert not table.apply(changed(one, "ready", epoch=5))
    assert table.pick("echo") is None


def test_what_is_gone_does_not_come_back_by_a_late_event() -> None:
    table, one, never_seen = RoutingTable(), uuid7(), uuid7()
    table.apply(changed(one))
    assert table.apply(changed(one, "gone", epoch=3))
    assert not table.apply(changed(one, epoch=2))
    assert not table.apply(changed(never_seen, "gone", epoch=3))
    assert not table.apply(changed(never_seen, epoch=2))
    assert table.pick("echo") is None


def test_the_least_loaded_for_its_weight_is_picked_and_equals_take_turns() -> None:
    table, small, large = RoutingTable(), uuid7(), uuid7()
    table.apply(changed(small, weight=1, port=1))
    table.apply(changed(large, weight=3, port=2))
    counts = {small: 0, large: 0}
    for _ in range(8):
        picked = table.pick("echo")
        assert picked is not None
        counts[picked.id] += 1
    assert counts == {small: 2, large: 6}


def test_of_uneven_weights_each_has_its_share_of_few_calls_too() -> None:
    """One call at a time, as at a quiet service: what is in flight says nothing then."""
    table, live, canary = RoutingTable(), uuid7(), uuid7()
    table.apply(changed(live, weight=9, port=1))
    table.apply(changed(canary, weight=1, port=2))
    route = table.route("echo")
    assert route is not None
    seen = []
    for _ in range(100):
        looked = route.pick()
        assert looked is not None
        route.take_back(looked)  # no idle connection: the next choice is the same one
        picked = table.pick("echo")
        assert picked is looked
        seen.append(picked.id)
        table.release(picked)
    assert seen.count(canary) == 10
    assert all(seen[start : start + 10].count(canary) == 1 for start in range(0, 100, 10)), "evenly spread"
    suspect = table.instance(live)
    assert suspect is not None
    suspect.suspect()
    again = table.pick("echo")
    assert again is not None
    assert again.id == canary, "who does not answer is passed over"


def test_turns_are_taken_among_idle_equals() -> None:
    table = RoutingTable()
    for port in (1, 2, 3):
        table.apply(changed(uuid7(), port=port))
    seen = set()
    for _ in range(3):
        picked = table.pick("echo")
        assert picked is not None
        seen.add(picked.port)
        table.release(picked)
    assert seen == {1, 2, 3}


def test_avoided_and_suspected_instances_are_passed_over_while_there_is_another() -> None:
    table, one, two = RoutingTable(), uuid7(), uuid7()
    table.apply(changed(one, port=1))
    table.apply(changed(two, port=2))
    suspect = table.instance(one)
    assert suspect is not None
    suspect.suspect()
    assert {picked.id for picked in (table.pick("echo"), table.pick("echo")) if picked} == {two}
    last = table.pick("echo", avoid={two})
    assert last is suspect
    assert table.pick("echo", avoid={one, two}) is None


def test_a_snapshot_drops_what_it_lacks_but_not_what_is_newer_than_it() -> None:
    table, old, new = RoutingTable(), uuid7(), uuid7()
    table.apply(changed(old, epoch=3))
    table.apply(changed(new, epoch=5, port=9))
    assert table.load(snapshot(4))
    assert table.instance(old) is None
    assert table.instance(new) is not None
    assert table.epoch == 4


def test_only_a_snapshot_raises_the_epoch_and_it_applies_what_is_newer() -> None:
    table, one = RoutingTable(), uuid7()
    table.apply(changed(one, epoch=7))
    assert table.epoch == 0
    assert table.load(snapshot(9, changed(one, "draining", epoch=9)))
    assert table.epoch == 9
    assert table.pick("echo") is None
    assert not table.load(snapshot(9, changed(one, "draining", epoch=9)))


def test_a_registry_that_began_anew_is_believed() -> None:
    table, old, new = RoutingTable(), uuid7(), uuid7()
    table.load(snapshot(40, changed(old, epoch=40)))
    table.load(snapshot(2, changed(new, epoch=2)))
    assert table.epoch == 2
    picked = table.pick("echo")
    assert picked is not None
    assert picked.id == new


def test_draining_tells_what_is_in_flight_and_the_last_release_is_heard() -> None:
    table, one, told = RoutingTable(), uuid7(), []
    table.listen(lambda: told.append(dict(table.draining())))
    table.apply(changed(one))
    call = table.pick("echo")
    assert call is not None
    table.apply(changed(one, "draining", epoch=2))
    assert told[-1] == {str(one): 1}
    table.release(call)
    assert told[-1] == {str(one): 0}
    table.apply(changed(one, "gone", epoch=3))
    assert told[-1] == {}


def test_a_call_on_an_instance_that_went_is_released_without_harm() -> None:
    table, one = RoutingTable(), uuid7()
    table.apply(changed(one))
    call = table.pick("echo")
    assert call is not None
    table.apply(changed(one, "gone", epoch=2))
    table.release(call)
    assert call.in_flight == 0


def test_the_newest_ready_instances_limits_hold() -> None:
    table = RoutingTable()
    table.apply(changed(uuid7(), epoch=2, limits=Limits(concurrency=8)))
    table.apply(changed(uuid7(), epoch=1, limits=Limits(concurrency=4)))
    table.apply(changed(uuid7(), "starting", epoch=3, limits=Limits(concurrency=1)))
    route = table.route("echo")
    assert route is not None
    assert route.concurrency == 8


class Registry:
    """A registry whose snapshot tests set; ``down`` makes it fail."""

    def __init__(self) -> None:
        self.snapshot: RouteSnapshot = snapshot(0)
        self.reads = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, path: str, /) -> object:
        assert path == "/internal/routes"
        self.reads += 1
        answer = self.snapshot.model_dump(mode="json")
        await self.gate.wait()
        if self.down:
            raise ConnectionError("down")
        return answer


class Redis:
    """Keys in a dict; ``written`` wakes whoever waits for the next write."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.written = asyncio.Condition()

    async def set(self, name: str, value: str, *, ex: int) -> None:
        assert ex == 10
        async with self.written:
            self.keys[name] = json.loads(value)
            self.written.notify_all()

    async def delete(self, name: str, /) -> None:
        self.keys.pop(name, None)

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(60), self.written:
            await self.written.wait_for(lambda: condition(self.keys.get(ROUTER_KEY + "r1", {})))
        value: dict[str, Any] = self.keys[ROUTER_KEY + "r1"]
        return value


class Events:
    """The bus: keeps the handler and hands events to it."""

    handler: Callable[[Event[InstanceChanged]], Awaitable[None]]

    def subscribe(
        self, event: type[InstanceChanged], handler: Callable[[Event[InstanceChanged]], Awaitable[None]], /
    ) -> None:
        assert event is InstanceChanged
        self.handler = handler

    async def send(self, data: InstanceChanged) -> None:
        await self.handler(Event[InstanceChanged].of(data, source="/registry"))


class World:
    """A feed with its surroundings."""

    def __init__(self) -> None:
        self.registry, self.redis, self.events, self.table = Registry(), Redis(), Events(), RoutingTable()
        self.feed = RoutingFeed(self.events, self.registry, self.table, self.redis, "r1", reread_s=30, beat_s=30)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.registry.gate.set()
    await world.feed.stop()


async def test_the_first_snapshot_fills_the_table_and_is_acknowledged(world: World) -> None:
    one = uuid7()
    world.registry.snapshot = snapshot(4, changed(one))
    await world.feed.start()
    await world.feed.check()
    assert world.table.pick("echo") is not None
    assert await world.redis.until(lambda key: key.get("epoch") == 4) == {"epoch": 4, "draining": {}}


async def test_an_event_acts_at_once_but_its_epoch_is_acknowledged_only_after_a_snapshot(world: World) -> None:
    await world.feed.start()
    await world.redis.until(lambda key: key.get("epoch") == 0)
    world.registry.gate.clear()
    one = uuid7()
    world.registry.snapshot = snapshot(2, changed(one, epoch=2))
    await world.events.send(changed(one, epoch=2))
    assert world.table.pick("echo") is not None
    assert world.table.epoch == 0
    world.registry.gate.set()
    await world.redis.until(lambda key: key.get("epoch") == 2)


async def test_a_reading_that_began_before_the_event_is_not_taken_for_its_proof(world: World) -> None:
    await world.feed.start()
    world.registry.gate.clear()
    early = asyncio.create_task(world.feed.refresh())  # reads epoch 0
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    one = uuid7()
    world.registry.snapshot = snapshot(3, changed(one, epoch=3))
    await world.events.send(changed(one, epoch=3))
    world.registry.gate.set()
    await early
    await world.redis.until(lambda key: key.get("epoch") == 3)


async def test_a_drain_is_shown_with_its_calls_in_flight_until_they_end(world: World) -> None:
    one = uuid7()
    world.registry.snapshot = snapshot(1, changed(one))
    await world.feed.start()
    call = world.table.pick("echo")
    assert call is not None
    await world.events.send(changed(one, "draining", epoch=2))
    await world.redis.until(lambda key: key.get("draining") == {str(one): 1})
    world.table.release(call)
    await world.redis.until(lambda key: key.get("draining") == {str(one): 0})


async def test_a_registry_that_is_down_leaves_the_table_and_shows_in_the_check(world: World) -> None:
    one = uuid7()
    world.registry.snapshot = snapshot(1, changed(one))
    await world.feed.start()
    world.registry.down = True
    with pytest.raises(ConnectionError):
        await world.feed.refresh()
    assert world.table.pick("echo") is not None
    with pytest.raises(RuntimeError, match="down"):
        await world.feed.check()


async def test_callers_at_the_same_time_share_one_reading(world: World) -> None:
    await asyncio.gather(*(world.feed.refresh() for _ in range(20)))
    assert world.registry.reads == 1


async def test_stopping_removes_the_acknowledgement(world: World) -> None:
    await world.feed.start()
    await world.redis.until(lambda key: key.get("epoch") == 0)
    await world.feed.stop()
    assert world.redis.keys == {}
