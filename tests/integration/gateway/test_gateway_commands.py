"""What is done to a service through the gateway: commands, deploys, uploads, and their operations."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from algodock_common.events import ServiceCommand
from algodock_common.identifiers import uuid7
from tests.integration.gateway.running import Gateway, refused_early
from tests.integration.gateway.upstream import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_a_command_is_an_operation_and_a_message_and_ends_with_the_deployers_word(gateway: Gateway) -> None:
    name, algorithm_id = await gateway.algorithm()
    stories: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("stop", "stopping", {"state": "kept", "serving": False, "service_status": "stopped"}, "succeeded"),
        ("start", "starting", {"state": "live", "service_status": "running"}, "succeeded"),
        ("restart", "starting", {"state": "failed", "service_status": "running", "reason": "why"}, "failed"),
    )
    for sequence, (action, shown, told, end) in enumerate(stories, start=1):
        got = await gateway.api.post(f"/api/v1/services/{action}/{name}")
        assert (got.status_code, got.json()["success"], got.json()["status"]) == (202, True, shown)
        assert got.json()["service_id"] == str(algorithm_id)
        async with asyncio.timeout(60):
            while (command := await gateway.commands.get()).algorithm != name:
                pass
        assert (command.action, str(command.operation_id)) == (action, got.json()["operation_id"])
        await gateway.release(name, algorithm_id, sequence, **told)
        ended = partial(_ended, gateway, command.operation_id)
        await until(ended, seconds=60)
        assert await ended() == end
    versions = "SELECT count(*) FROM algorithm_versions WHERE algorithm_id = $1"
    assert await gateway.database.fetchval(versions, algorithm_id) == 3


async def _ended(gateway: Gateway, operation_id: UUID) -> str | None:
    query = "SELECT state FROM operations WHERE id = $1 AND finished_at IS NOT NULL"
    state: str | None = await gateway.database.fetchval(query, operation_id)
    return state


async def test_an_instances_restart_is_commanded_once_however_often_it_is_asked_for(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    body = {"operation_id": str(uuid4()), "instance_id": str(uuid4()), "reason": "it goes on"}
    for _ in range(2):
        assert (await gateway.inside.post(f"/internal/services/{name}/restart", json=body)).status_code == 202
    assert (await gateway.inside.post("/internal/services/nobody/restart", json=body)).status_code == 404
    await gateway.api.post(f"/api/v1/services/stop/{name}")
    heard: list[ServiceCommand] = []
    async with asyncio.timeout(60):
        while not heard or heard[-1].action != "stop":
            command = await gateway.commands.get()
            heard += [command] if command.algorithm == name else []
    assert [one.action for one in heard] == ["restart", "stop"]
    assert (str(heard[0].operation_id), heard[0].actor) == (body["operation_id"], "runner")
    assert heard[0].arguments == {"instance_id": body["instance_id"], "reason": "it goes on"}
    assert (await gateway.api.post(f"/internal/services/{name}/restart", json=body)).status_code == 401


async def test_rollback_and_removal_are_commands(gateway: Gateway) -> None:
    name, algorithm_id = await gateway.algorithm()
    release = str(uuid7())
    got = await gateway.api.post(f"/api/v1/services/rollback/{name}", json={"release_id": release})
    assert got.status_code == 202
    removed = await gateway.api.delete(f"/api/v1/services/{algorithm_id}")
    assert (removed.json()["success"], removed.json()["service_id"]) == (True, str(algorithm_id))
    seen: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(60):
        while len(seen) < 2:
            command = await gateway.commands.get()
            if command.algorithm == name:
                seen[command.action] = command.arguments
    assert seen == {"rollback": {"release_id": release}, "remove": {}}


async def test_a_canary_is_asked_for_and_promoted(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    path = f"/api/v1/services/canary/{name}"
    assert (await gateway.api.put(path, json={"commit": "a" * 40, "percent": 20})).status_code == 204
    assert gateway.peers.canaries == {"a" * 40: 20}
    for wrong in ({"commit": "main"}, {"commit": "a" * 40, "percent": 100}, {"percent": 5}):
        assert (await gateway.api.put(path, json=wrong)).status_code == 422
    assert (await gateway.api.post(f"/api/v1/services/promote/{name}")).status_code == 202
    async with asyncio.timeout(60):
        while (command := await gateway.commands.get()).algorithm != name:
            pass
    assert command.action == "promote"


async def test_scaling_is_a_command_and_a_number_that_cannot_be_is_422(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    for wrong in (
        {"instances": 0},
        {"instances": 65},
        {"instances": "many"},
        {"instance": 2},
        {},
        {"rule": {"min": 3, "max": 2}},
        {"instances": 2, "rule": {"max": 2}},
    ):
        assert (await gateway.api.post(f"/api/v1/services/scale/{name}", json=wrong)).status_code == 422
    got = await gateway.api.post(f"/api/v1/services/scale/{name}", json={"instances": 3})
    assert (got.status_code, got.json()["success"]) == (202, True)
    async with asyncio.timeout(60):
        while (command := await gateway.commands.get()).algorithm != name:
            pass
    assert (command.action, command.arguments) == ("scale", {"instances": 3})


async def test_deploy_from_gitea_answers_at_once_and_with_wait_at_the_end(gateway: Gateway) -> None:
    name, algorithm_id = await gateway.algorithm()
    release = {"id": str(uuid7()), "commit": "c" * 40, "state": "building", "reason": "", "steps": []}
    gateway.peers.releases[name] = [release]
    body = {
        "algorithm_id": str(algorithm_id), "repo_url": "https://git.example.com/x/y.git", "branch": "main",
        "service_config": {"name": name, "port": 8001, "host": "0.0.0.0", "timeout": 30},  # noqa: S104
    }  # fmt: skip
    got = await gateway.api.post("/api/v1/services/deploy-from-gitea", json=body)
    assert got.status_code == 202
    answered = got.json()
    assert (answered["success"], answered["status"], answered["release_id"]) == (True, "deploying", release["id"])
    assert answered["error"] is None
    assert any("0.0.0.0" in note for note in answered["notes"])  # noqa: S104

    async def end(state: str, reason: str) -> None:
        await asyncio.sleep(0.2)
        release.update(state=state, reason=reason)
        await gateway.release(name, algorithm_id, 50, state=state, service_status="running", reason=reason)

    for state, reason, success, status in (("live", "", True, "running"), ("failed", "SyntaxError", False, "failed")):
        release.update(state="building", reason="")
        ending = asyncio.create_task(end(state, reason))
        waited = await gateway.api.post("/api/v1/services/deploy-from-gitea?wait=20", json=body)
        await ending
        assert waited.status_code == 200
        assert (waited.json()["success"], waited.json()["status"]) == (success, status)
        assert waited.json()["error"] == (reason or None)


async def test_an_upload_becomes_one_commit_and_makes_its_algorithm(gateway: Gateway) -> None:
    name = f"a-{uuid4().hex[:8]}"
    files = [("files", ("main.py", b"print(1)")), ("files", ("data/x.txt", b"2"))]
    got = await gateway.api.post("/api/v1/gitea/repos/upload", data={"algorithm_id": name}, files=files)
    assert got.status_code == 200, got.text
    assert (got.json()["success"], got.json()["files"]) == (True, ["main.py", "data/x.txt"])
    assert gateway.peers.uploads[-1] == (name, {"main.py": b"print(1)", "data/x.txt": b"2"})
    assert (await gateway.api.post("/api/v1/gitea/repos/upload", data={"algorithm_id": name})).status_code in (400, 422)
    key = gateway.credentials["api_key"]
    head = f"authorization: Bearer {key}\r\ncontent-type: multipart/form-data; boundary=x"
    assert await refused_early(gateway, "/api/v1/gitea/repos/upload", head) == 413
