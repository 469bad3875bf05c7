"""Commands to many services, groups, weights and builds as events, at a whole gateway."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.gateway.running import Gateway

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def fresh(gateway: Gateway) -> None:
    gateway.peers.services.clear()
    gateway.peers.fleet.states.clear()


async def _begin(gateway: Gateway, **body: Any) -> dict[str, Any]:
    got = await gateway.api.post("/api/v1/services/batch", json=body)
    assert got.status_code == 202, got.text
    begun: dict[str, Any] = got.json()
    return begun


async def test_each_service_gets_its_command_and_answers_for_itself(gateway: Gateway) -> None:
    names = [(await gateway.algorithm())[0] for _ in range(3)]
    begun = await _begin(gateway, action="restart", services=[*names, "none"])
    assert [one["state"] for one in begun["results"]] == ["accepted", "accepted", "accepted", "refused"]
    assert (begun["success"], begun["state"], begun["open"], begun["failed"]) == (False, "running", 3, 1)
    async with asyncio.timeout(60):
        commands = [await gateway.commands.get() for _ in names]
    assert {one.algorithm for one in commands} == set(names)
    assert {one.action for one in commands} == {"restart"}
    ids = [UUID(one["operation_id"]) for one in begun["results"][:3]]
    assert {one.operation_id for one in commands} == set(ids)

    path = f"/api/v1/services/batches/{begun['batch_id']}"
    gateway.peers.fleet.states |= {ids[0]: ("done", ""), ids[1]: ("running", "")}
    shown = (await gateway.api.get(path)).json()
    assert [one["state"] for one in shown["results"]] == ["succeeded", "running", "accepted", "refused"]
    waiting = asyncio.create_task(gateway.api.get(path, params={"wait": 30}))
    gateway.peers.fleet.states |= {ids[1]: ("failed", "it exits"), ids[2]: ("done", "")}
    ended = (await waiting).json()
    assert (ended["state"], ended["succeeded"], ended["failed"], ended["open"]) == ("partly failed", 2, 2, 0)
    assert ended["results"][1]["reason"] == "it exits"

    gateway.peers.fleet.states.clear()  # the deployer forgets; the batch does not
    assert (await gateway.api.get(path)).json() == ended


async def test_all_means_those_for_which_it_makes_sense(gateway: Gateway) -> None:
    runs, stopped = [(await gateway.algorithm())[0] for _ in range(2)]
    gateway.peers.services[stopped]["status"] = "stopped"
    begun = await _begin(gateway, action="stop", all=True)
    assert {one["name"]: one["state"] for one in begun["results"]} == {runs: "accepted", stopped: "skipped"}
    async with asyncio.timeout(60):
        assert (await gateway.commands.get()).algorithm == runs


async def test_a_group_is_made_listed_and_commanded(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    gateway.peers.fleet.known = {name}
    made = await gateway.api.post("/api/v1/service-groups", json={"name": "vision", "services": [name]})
    assert made.status_code == 201, made.text
    assert made.json()["owner"]
    assert (await gateway.api.post("/api/v1/service-groups", json={"name": "vision"})).status_code == 409
    gateway.peers.services[name]["group"] = "vision"
    listed = (await gateway.api.get("/api/v1/services", params={"group": "vision"})).json()["services"]
    assert [one["name"] for one in listed] == [name]
    assert not (await gateway.api.get("/api/v1/services", params={"group": "other"})).json()["services"]
    begun = await _begin(gateway, action="redeploy", group="vision")
    assert [one["state"] for one in begun["results"]] == ["accepted"]
    async with asyncio.timeout(60):
        assert (await gateway.commands.get()).action == "redeploy"
    changed = await gateway.api.patch("/api/v1/service-groups/vision", json={"remove": [name]})
    assert changed.json()["services"] == []
    assert (await gateway.api.delete("/api/v1/service-groups/vision")).status_code == 204
    assert (await gateway.api.get("/api/v1/service-groups/vision")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "restart"}, 422),
        ({"action": "restart", "all": True, "group": "g"}, 422),
        ({"action": "remove", "all": True}, 422),
        ({"action": "restart", "services": ["x"], "force": True}, 422),
        ({"action": "restart", "group": "no-such-group"}, 404),
    ],
)
async def test_a_batch_that_cannot_be_is_refused_as_a_whole(
    gateway: Gateway, body: dict[str, Any], status: int
) -> None:
    got = await gateway.api.post("/api/v1/services/batch", json=body)
    assert got.status_code == status
    assert got.json()["detail"]
    assert gateway.commands.empty()


async def test_an_unknown_batch_is_404(gateway: Gateway) -> None:
    assert (await gateway.api.get(f"/api/v1/services/batches/{uuid4()}")).status_code == 404


async def test_an_instance_is_weighed_and_the_last_one_is_drained_only_by_force(gateway: Gateway) -> None:
    one = uuid4()
    shown = {"instance_id": str(one), "algorithm": "x", "host": "h", "port": 1, "state": "ready", "weight": 1}
    gateway.peers.registered.instances = {one: {**shown, "epoch": 3}}
    path = f"/api/v1/registry/instances/{one}/weight"
    assert (await gateway.api.put(path, json={"weight": 5})).json()["weight"] == 5
    refused = await gateway.api.put(path, json={"weight": 0})
    assert refused.status_code == 409
    assert "last" in refused.json()["detail"]
    assert (await gateway.api.put(path, json={"weight": 0, "force": True})).json()["weight"] == 0
    assert (await gateway.api.put(path, json={"weight": -1})).status_code == 422
    assert (await gateway.api.put(path.replace(str(one), str(uuid4())), json={"weight": 1})).status_code == 404


async def test_a_build_is_told_as_events_to_who_accepts_them_from_where_it_was_left(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    gateway.peers.releases[name] = [{"id": str(uuid4()), "commit": "c" * 40, "state": "building"}]
    path = f"/api/v1/services/build-log/{name}"
    assert (await gateway.api.get(path)).text.startswith("built ")
    accepts = {"accept": "text/event-stream", "last-event-id": "7"}
    for told, first in (
        (await gateway.api.get(path, headers=accepts), 8),
        (await gateway.api.get(path, params={"sse": 1}), 1),
    ):
        assert told.headers["content-type"].startswith("text/event-stream")
        assert told.text == f"id: {first}\ndata: built\n\n"
    assert (await gateway.api.get(path, headers=accepts | {"last-event-id": "x"})).status_code == 422
