"""The whole gateway: who gets in, what it keeps, tells and passes on."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from algodock_common.errors import Unavailable
from algodock_common.events import Event, InstanceChanged, TaskFinished
from algodock_common.identifiers import uuid7
from algodock_common.upstream import Pool
from algodock_gateway.routes.relay import Peer, Relay
from tests.integration.gateway.running import Gateway, free_socket, refused_early
from tests.integration.gateway.upstream import Upstream, answer, answering, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_health_and_documents_are_open_and_need_nothing_from_elsewhere(gateway: Gateway) -> None:
    async with asyncio.timeout(60):  # a group's first member waits for others before it is ready
        while (await gateway.open.get("/ready")).status_code != 200:  # noqa: ASYNC110  # another process tells
            await asyncio.sleep(0.1)
    for path in ("/api/health", "/health", "/docs", "/redoc", "/openapi.json", "/asyncapi", "/asyncapi.json"):
        assert (await gateway.open.get(path)).status_code == 200, path
    for page in ("/docs", "/redoc"):
        text = (await gateway.open.get(page)).text
        assert "https://" not in text
        for part in text.split('"'):
            if part.startswith("/docs/assets/"):
                assert (await gateway.open.get(part)).status_code == 200
    assert (await gateway.open.get("/docs/assets/..%2Fcore.py")).status_code in (401, 404)


async def test_an_algorithm_is_made_once_and_told_to_all(gateway: Gateway) -> None:
    name = f"a-{uuid4().hex[:8]}"
    answers = await asyncio.gather(*(gateway.api.post("/api/v1/algorithms", json={"name": name}) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [200, 200, 200, 200, 201]
    assert len({one.json()["id"] for one in answers}) == 1
    assert answers[0].json()["clone_url"] == f"http://gateway/git/algodock/{name}.git"
    async with asyncio.timeout(60):
        while (told := await gateway.algorithms.get()).algorithm != name:
            pass
    assert (str(told.algorithm_id), told.state, told.owner) == (answers[0].json()["id"], "created", "admin")
    listed = (await gateway.inside.get("/internal/algorithms")).json()["algorithms"]
    assert [one["owner"] for one in listed if one["algorithm"] == name] == ["admin"]
    for given in (name, answers[0].json()["id"].upper()):
        assert (await gateway.api.get(f"/api/v1/algorithms/{given}")).json()["name"] == name


async def test_an_algorithms_limits_are_its_owners_and_told_to_all(gateway: Gateway) -> None:
    name, algorithm_id = await gateway.algorithm()
    path = f"/api/v1/algorithms/{name}"
    limits = {"queue": 5, "result_ttl_s": 60.5}
    assert (await gateway.api.patch(path, json={"limits": limits})).json()["limits"] == limits | {
        "result_quota_bytes": None
    }
    changed = await gateway.api.patch(path, json={"limits": {"queue": None, "result_quota_bytes": 10**12}})
    kept = {"result_ttl_s": 60.5, "result_quota_bytes": 10**12}
    assert (changed.status_code, changed.json()["limits"]) == (200, {"queue": None} | kept)
    assert (await gateway.api.get(path)).json()["limits"] == {"queue": None} | kept
    async with asyncio.timeout(60):
        while (told := await gateway.algorithms.get()).algorithm != name or not told.limits.result_quota_bytes:
            pass
    assert (told.algorithm_id, told.state, told.limits.model_dump(exclude_none=True)) == (algorithm_id, "changed", kept)
    listed = (await gateway.inside.get("/internal/algorithms")).json()["algorithms"]
    assert [one["limits"] for one in listed if one["algorithm"] == name] == [kept]
    assert (await gateway.api.post("/api/v1/algorithms", json={"name": name})).json()["limits"] == {
        "queue": None
    } | kept

    for wrong in ({"queue": -1}, {"queue": "many"}, {"result_ttl_s": 0}, {"result_quota_bytes": 2**63}, {"other": 1}):
        assert (await gateway.api.patch(path, json={"limits": wrong})).status_code == 422, wrong
    assert (await gateway.api.patch(path, json={})).status_code == 422
    assert (await gateway.api.patch("/api/v1/algorithms/nobody", json={"limits": {}})).status_code == 404


@pytest.mark.parametrize("name", ["Echo", "-a", "a_b", "a.b", "a" * 64, "config", "../x", ""])
async def test_a_name_that_is_no_dns_label_is_422(gateway: Gateway, name: str) -> None:
    got = await gateway.api.post("/api/v1/algorithms", json={"name": name})
    assert got.status_code == 422
    assert got.json()["detail"]


async def test_the_unknown_is_404_and_the_never_deployed_too(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm(deployed=False)
    for path in ("status", "start", "stop"):
        for given in (name, "no-such", "a%00b", str(uuid4())):
            method = "GET" if path == "status" else "POST"
            got = await gateway.api.request(method, f"/api/v1/services/{path}/{given}")
            assert got.status_code == 404, (path, given)
            assert got.headers["content-type"] == "application/problem+json"
    assert (await gateway.api.get(f"/api/v1/services/releases/{name}")).json() == {"releases": []}


async def test_logs_and_build_logs_pass_as_json_text_and_events(gateway: Gateway) -> None:
    name, _ = await gateway.algorithm()
    assert len((await gateway.api.get(f"/api/v1/services/logs/{name}?lines=7")).json()["lines"]) == 7
    followed = await gateway.api.get(f"/api/v1/services/logs/{name}?follow=1")
    assert followed.headers["content-type"].startswith("text/event-stream")
    assert followed.text.count("data: line") == 3
    assert (await gateway.api.get(f"/api/v1/services/build-log/{name}")).status_code == 404
    release = {"id": str(uuid7()), "commit": "c" * 40, "state": "live", "reason": "", "steps": []}
    gateway.peers.releases[name] = [release]
    assert (await gateway.api.get(f"/api/v1/services/build-log/{name}")).text == f"built {release['id']}"
    assert (await gateway.api.get(f"/api/v1/services/build-log/{name}?release_id={uuid4()}")).status_code == 404


async def test_a_task_is_submitted_in_its_callers_name_and_its_poll_is_woken(gateway: Gateway) -> None:
    made = await gateway.api.post("/api/v1/tasks", json={"algorithm": "echo", "input": {}})
    assert made.status_code == 202
    assert made.json()["metadata"]["owner"] == "admin"
    task_id = UUID(made.json()["id"])
    loop = asyncio.get_running_loop()
    poll = asyncio.create_task(gateway.api.get(f"/api/v1/tasks/{task_id}?wait=30"))
    await asyncio.sleep(0.3)
    gateway.peers.tasks[task_id]["state"] = "succeeded"
    started = loop.time()
    await gateway.worker.publish(
        Event[TaskFinished].of(TaskFinished(id=task_id, state="succeeded", algorithm="echo"), source="/worker")
    )
    assert (await poll).json()["state"] == "succeeded"
    assert loop.time() - started < 25, "it waited to its own end"
    got = await gateway.api.get(f"/api/v1/tasks/{task_id}/result", follow_redirects=False)
    assert (got.status_code, got.headers["location"]) == (307, f"http://objects/tasks/{task_id}")
    assert (await gateway.api.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 202
    assert (await gateway.api.get(f"/api/v1/tasks/{uuid4()}")).status_code == 404


async def test_a_poll_without_its_event_still_sees_the_end(gateway: Gateway) -> None:
    task_id = UUID((await gateway.api.post("/api/v1/tasks", json={"algorithm": "echo"})).json()["id"])
    assert (await gateway.api.get(f"/api/v1/tasks/{task_id}?wait=0.2")).json()["state"] == "queued"
    poll = asyncio.create_task(gateway.api.get(f"/api/v1/tasks/{task_id}?wait=20"))
    await asyncio.sleep(0.2)
    gateway.peers.tasks[task_id]["state"] = "failed"
    async with asyncio.timeout(60):
        assert (await poll).json()["state"] == "failed"


async def test_git_needs_a_key_as_password_and_a_first_push_makes_the_algorithm(gateway: Gateway) -> None:
    name = f"a-{uuid4().hex[:8]}"
    path = f"/git/algodock/{name}.git"
    refused = await gateway.open.get(f"{path}/info/refs?service=git-receive-pack")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    wrong = await gateway.open.get(f"{path}/info/refs", auth=("git", "wrong"))
    assert wrong.status_code == 401
    auth = ("anybody", gateway.credentials["api_key"])
    assert (await gateway.open.get(f"{path}/info/refs?service=git-upload-pack", auth=auth)).status_code == 200
    assert (await gateway.api.get(f"/api/v1/algorithms/{name}")).status_code == 404
    assert (await gateway.open.get(f"{path}/info/refs?service=git-receive-pack", auth=auth)).status_code == 200
    await asyncio.sleep(1.1)  # the directory asks for a name it has missed once a second
    assert (await gateway.api.get(f"/api/v1/algorithms/{name}")).status_code == 200

    async def pack() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    pushed = await gateway.open.post(f"{path}/git-receive-pack", auth=auth, content=pack())
    assert (pushed.status_code, pushed.content) == (200, b"packed")
    assert gateway.peers.git[-1] == (f"algodock/{name}.git/git-receive-pack", "admin", 5_000_000)


@pytest.mark.parametrize("length", [f"content-length: {2 * 2**30}", "transfer-encoding: chunked"])
async def test_the_forges_413_for_two_gigabytes_comes_back_before_they_are_read(gateway: Gateway, length: str) -> None:
    name, _ = await gateway.algorithm(deployed=False)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.http.port)
    auth = base64.b64encode(f"anybody:{gateway.credentials['api_key']}".encode()).decode()
    head = f"POST /git/algodock/{name}.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Basic {auth}\r\n"
    writer.write(f"{head}{length}\r\n\r\n".encode())
    part = b"x" * 2**20
    if "chunked" in length:
        part = b"%x\r\n%b\r\n" % (len(part), part)
    sent = 0

    async def push() -> None:
        nonlocal sent
        for _ in range(2048):
            writer.write(part)
            await writer.drain()
            sent += 1

    pushing = asyncio.create_task(push())
    async with asyncio.timeout(60):
        status = await reader.readline()
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    assert status.startswith(b"HTTP/1.1 413")
    assert sent < 1024, "it was answered only after most of it was read"
    async with asyncio.timeout(60):
        assert b"application/problem+json" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_webhooks_pass_without_a_key_as_raw_as_they_came_and_heartbeats_with_their_own_token(
    gateway: Gateway,
) -> None:
    raw = b'{"ref":  "refs/heads/main" }'
    got = await gateway.open.post("/api/v1/gitea/webhook", content=raw, headers={"x-gitea-signature": "x"})
    assert (got.status_code, gateway.peers.webhooks[-1]) == (200, raw)
    unsigned = await gateway.open.post("/api/v1/gitea/webhook", content=raw)
    assert (unsigned.status_code, unsigned.headers["content-type"]) == (401, "application/problem+json")
    assert unsigned.json()["instance"] == "/api/v1/gitea/webhook", "the path that was asked for, not the inner one"
    assert await refused_early(gateway, "/api/v1/gitea/webhook", "x: y") == 413
    beat = await gateway.open.post("/api/v1/registry/heartbeat", headers={"authorization": "Bearer adi_own"})
    assert (beat.status_code, gateway.peers.beats[-1]) == (204, "Bearer adi_own")


async def test_a_service_elsewhere_is_registered_and_shown_and_called(gateway: Gateway) -> None:
    name = f"a-{uuid4().hex[:8]}"
    upstream = Upstream(answering(answer(b"from elsewhere")))
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{upstream.port}/base"
    made = await gateway.api.post("/api/v1/registry/services", json={"name": name, "url": url})
    assert made.status_code == 201
    assert made.json()["heartbeat_url"].endswith("/api/v1/registry/heartbeat")
    assert (await gateway.api.post(f"/ai/{name}/predict")).status_code == 503
    gateway.peers.epoch += 1
    instance = InstanceChanged(
        instance_id=UUID(made.json()["instance_id"]), algorithm_id=UUID(made.json()["service_id"]), algorithm=name,
        node_id="elsewhere", host="127.0.0.1", port=upstream.port, base_url=url, state="ready",
        epoch=gateway.peers.epoch,
    )  # fmt: skip
    gateway.peers.instances.append(instance)
    await gateway.registry.publish(Event[InstanceChanged].of(instance, source="/registry"))

    async def called() -> bool:
        return (await gateway.api.post(f"/ai/{name}/predict")).status_code == 200

    await until(called, seconds=60)
    got = await gateway.api.post(f"/ai/{name}/predict")
    assert got.content == b"from elsewhere"
    assert upstream.requests[0].line == "POST /base/predict HTTP/1.1"
    status = (await gateway.api.get(f"/api/v1/services/status/{name}")).json()
    assert (status["status"], status["health"]) == ("running", "healthy")
    assert status["api_url"] == made.json()["api_url"] == f"https://dock.test/ai/{name}", (
        "links begin where people come in"
    )
    assert made.json()["heartbeat_url"] == "https://dock.test/api/v1/registry/heartbeat"
    assert name in [one["name"] for one in (await gateway.api.get("/api/v1/services")).json()["services"]]
    wish = {"operation_id": str(uuid4()), "instance_id": str(instance.instance_id), "reason": "it goes on"}
    refused = await gateway.inside.post(f"/internal/services/{name}/restart", json=wish)
    assert (refused.status_code, "cannot be restarted from here" in refused.text) == (409, True)
    recorded = "SELECT count(*) FROM algorithm_calls WHERE algorithm = $1 AND status = 200"
    await until(lambda: gateway.database.fetchval(recorded, name))
    text = (await gateway.api.get("/metrics")).text
    assert f'algodock_call_seconds_count{{algorithm="{name}",status="200"}} 2.0' in text
    key = f"algodock:router:gateway:{gateway.settings.platform.node_id}:{gateway.settings.http.port}"

    async def acknowledged() -> bool:
        return bool(json.loads(await gateway.redis.get(key) or "{}").get("epoch") == gateway.peers.epoch)

    await until(acknowledged)
    server.close()


async def test_a_service_that_is_away_is_503_and_says_which(gateway: Gateway) -> None:
    sock, port = free_socket()
    sock.close()
    pool = Pool()
    relay = Relay(pool, "token")
    scope: dict[str, Any] = {"method": "GET", "headers": [], "client": None, "scheme": "http", "path": "/x"}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pytest.fail("nothing was answered")

    with pytest.raises(Unavailable, match="The runner cannot be reached"):
        await relay(
            scope, receive, send, peer=Peer("The runner", f"http://127.0.0.1:{port}"), target=b"/x", timeout_s=1
        )
    await pool.close()
    assert (await gateway.open.get("/ready")).status_code == 200
