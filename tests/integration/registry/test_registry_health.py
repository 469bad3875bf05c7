"""Beats and probes: who is silent, who is back, and who is not believed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from algodock_registry import handlers
from algodock_registry.clients.deployer import DeployedInstance, DeployedService
from algodock_registry.domain import WrongInstanceToken
from algodock_registry.handlers import BeatBook, Repair

if TYPE_CHECKING:
    from .conftest import Registry

HOUR = timedelta(hours=1)


async def test_three_looks_in_vain_make_an_instance_silent_and_a_good_one_brings_it_back(registry: Registry) -> None:
    one = await registry.ready()
    registry.probe.ill[one.instance.base_url] = "connection refused"
    await registry.look(times=2)
    assert await registry.state(one) == "ready"
    await registry.look()
    assert await registry.state(one) == "silent"
    registry.probe.ill.clear()
    await registry.look()
    assert await registry.state(one) == "ready"
    assert [state for _, state, _ in await registry.told()] == ["starting", "ready", "silent", "ready"]


async def test_a_good_look_in_between_begins_the_count_anew(registry: Registry) -> None:
    one = await registry.ready()
    for ill in (True, True, False, True, True):
        registry.probe.ill = {one.instance.base_url: "no"} if ill else {}
        await registry.look()
    assert await registry.state(one) == "ready"


async def test_only_who_is_due_and_serves_is_looked_at(registry: Registry) -> None:
    await registry.ready(algorithm="fresh")
    await registry.register(algorithm="starting")
    wait_s = await handlers.look(registry.context)
    assert registry.probe.asked == []
    assert 9 < wait_s <= 10


async def test_an_instance_on_another_nodes_loopback_is_not_probed_from_here(registry: Registry) -> None:
    there = await registry.ready(algorithm="there", node_id="node-2")
    routed = await registry.ready(algorithm="routed", node_id="node-2", host="10.0.0.7")
    await registry.look(times=3)
    assert {url.removesuffix("/health") for url in registry.probe.asked} == {routed.instance.base_url}
    assert await registry.state(there) == "ready"


async def test_beats_keep_the_probe_away_and_a_missed_one_brings_it(registry: Registry) -> None:
    one = await registry.ready(sends_heartbeats=True)
    beats = BeatBook(registry.context)
    beats.note(one.token, "ok", {"in_flight": 2})
    await beats.write()
    row = await registry.row(one)
    assert (row.status, row.metrics, row.missed) == ("ok", {"in_flight": 2}, 0)
    assert await handlers.look(registry.context) == pytest.approx(10, abs=1)
    assert registry.probe.asked == []
    registry.probe.ill[one.instance.base_url] = "no"
    await registry.look(times=3)
    assert await registry.state(one) == "silent"


async def test_a_beat_brings_the_silent_back_at_once(registry: Registry) -> None:
    one = await registry.ready(sends_heartbeats=True)
    registry.probe.ill[one.instance.base_url] = "no"
    await registry.look(times=3)
    beats = BeatBook(registry.context)
    beats.note(one.token, "", {})
    await beats.write()
    assert await registry.state(one) == "ready"


async def test_a_beat_does_not_make_ready_who_has_not_passed_its_probe(registry: Registry) -> None:
    starting = await registry.register()
    beats = BeatBook(registry.context)
    beats.note(starting.token, "ok", {})
    await beats.write()
    assert await registry.state(starting) == "starting"


async def test_the_beat_of_a_gone_instance_is_refused_once_that_is_known(registry: Registry) -> None:
    one = await registry.ready()
    await handlers.remove(registry.context, one.instance.id)
    beats = BeatBook(registry.context)
    beats.note(one.token, "ok", {})
    await beats.write()
    with pytest.raises(WrongInstanceToken, match="gone"):
        beats.note(one.token, "ok", {})
    assert await registry.state(one) == "gone"


async def test_beats_survive_a_database_that_is_away(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await registry.ready()
    beats = BeatBook(registry.context)
    beats.note(one.token, "ok", {})
    with monkeypatch.context() as away:
        away.setattr(type(registry.context.database), "transaction", _away)
        with pytest.raises(ConnectionError):
            await beats.write()
    await beats.write()
    assert (await registry.row(one)).status == "ok"


def _away(_self: object) -> object:
    raise ConnectionError


async def _repair(registry: Registry, rounds: int = 1, *, full: bool = False) -> None:
    repair = Repair(registry.context, keep_gone=HOUR, forget_silent=HOUR)
    repair._round = 11 if full else 0
    for _ in range(rounds):
        await repair.round()
        repair._round = 11 if full else 0


async def test_a_lost_live_event_is_made_up_for_within_a_round(registry: Registry) -> None:
    old, new = await registry.ready(), await registry.register()
    registry.deployer.services["echo"] = DeployedService(
        status="running", instances=[DeployedInstance(instance_id=new.instance.id)]
    )
    registry.deployer.releases[new.instance.release_id or uuid4()] = "live"
    await registry.age(timedelta(seconds=6))
    await _repair(registry)
    assert await registry.states() == {old.instance.id: "ready", new.instance.id: "ready"}
    await _repair(registry, rounds=2, full=True)
    assert await registry.states() == {old.instance.id: "draining", new.instance.id: "ready"}


async def test_a_start_whose_release_never_came_back_is_ended_after_two_answers(registry: Registry) -> None:
    lost = await registry.register()
    await registry.age(timedelta(seconds=6))
    await _repair(registry)
    assert await registry.state(lost) == "starting"
    await _repair(registry, rounds=2)
    assert await registry.state(lost) == "gone"


async def test_a_start_that_is_on_its_way_is_left_alone(registry: Registry) -> None:
    slow = await registry.register()
    registry.deployer.releases[slow.instance.release_id or uuid4()] = "checking"
    await registry.age(timedelta(minutes=30))
    await _repair(registry, rounds=3)
    assert await registry.state(slow) == "starting"


async def test_who_came_by_a_beat_and_fell_silent_is_forgotten_but_not_who_was_registered(registry: Registry) -> None:
    beating = await handlers.register_external(
        registry.context, handlers.ExternalService("far", uuid4(), "http://10.0.0.5:9000")
    )
    quiet = await handlers.register_external(
        registry.context, handlers.ExternalService("far", uuid4(), "http://10.0.0.6:9000")
    )
    beats = BeatBook(registry.context)
    beats.note(beating.token, "", {})
    await beats.write()
    registry.probe.ill = {"http://10.0.0.5:9000": "no", "http://10.0.0.6:9000": "no"}
    await registry.look(times=3)
    await registry.age(2 * HOUR)
    await _repair(registry, full=True)
    assert await registry.states("far") == {beating.instance.id: "gone", quiet.instance.id: "silent"}
    await registry.age(2 * HOUR)
    await _repair(registry, full=True)
    assert await registry.states("far") == {quiet.instance.id: "silent"}, "rows of the gone are deleted in the end"
