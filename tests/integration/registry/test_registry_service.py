"""The whole service as a process: HTTP, Kafka in, Kafka out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from algodock_common.events import Event, InstanceChanged, ReleaseChanged
from algodock_common.messaging import Bus
from algodock_common.settings import KafkaSettings, SecretSettings

SECRET = "s" * 40


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def service(server_environment: dict[str, str]) -> Iterator[str]:
    port = _free_port()
    environment = (
        dict(os.environ)
        | server_environment
        | {"HTTP_PORT": str(port), "SECRET_KEY": SECRET, "ALGODOCK_NODE_ID": "here", "PORT_RANGE": "18100-18149"}
    )
    process = subprocess.Popen([sys.executable, "-m", "algodock_registry"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(15)


def _wait_ready(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail("the registry was not ready within a minute")


@pytest.fixture
async def http(service: str) -> AsyncIterator[httpx.AsyncClient]:
    token = SecretSettings(secret_key=SECRET).service_token()
    async with httpx.AsyncClient(base_url=service, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


async def _register(http: httpx.AsyncClient, **changed: object) -> dict[str, Any]:
    body = {
        "algorithm_id": str(uuid4()),
        "algorithm": f"echo-{uuid4().hex[:6]}",
        "release_id": str(uuid4()),
        "commit": "c" * 40,
        "node_id": "here",
        "limits": {"timeout_s": 7},
    } | changed
    answer = await http.post("/internal/instances", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return body | made


async def test_a_live_release_reaches_routers_and_the_snapshot(
    http: httpx.AsyncClient, kafka_settings: KafkaSettings
) -> None:
    secrets = SecretSettings(secret_key=SECRET)
    deployer = Bus(kafka_settings, secrets, service="deployer")
    router = Bus(kafka_settings, secrets, service="gateway")
    heard: asyncio.Queue[Event[InstanceChanged]] = asyncio.Queue()
    router.subscribe(InstanceChanged, heard.put)
    await asyncio.gather(deployer.start(), router.start())
    await asyncio.gather(deployer.wait_connected(), router.wait_connected())
    try:
        made = await _register(http)
        release = ReleaseChanged(
            release_id=made["release_id"],
            algorithm_id=made["algorithm_id"],
            algorithm=made["algorithm"],
            state="live",
            service_status="running",
            instances=[made["instance_id"]],
        )
        await deployer.publish(Event[ReleaseChanged].of(release, source="/deployer"))
        async with asyncio.timeout(60):
            while True:
                event = await heard.get()
                if event.data.instance_id == UUID(made["instance_id"]) and event.data.state == "ready":
                    break
    finally:
        await asyncio.gather(deployer.stop(), router.stop())
    snapshot = (await http.get("/internal/routes")).json()
    route = next(one for one in snapshot["instances"] if one["instance_id"] == made["instance_id"])
    assert route["state"] == "ready"
    assert route["epoch"] == event.data.epoch <= snapshot["epoch"]
    found = (await http.get(f"/discover/{made['algorithm']}")).json()
    assert [(one["host"], one["port"]) for one in found["instances"]] == [("127.0.0.1", made["port"])]


async def test_an_instances_token_opens_its_heartbeat_and_nothing_else(http: httpx.AsyncClient, service: str) -> None:
    made = await _register(http)
    async with httpx.AsyncClient(base_url=service, headers={"authorization": f"Bearer {made['token']}"}) as instance:
        assert (await instance.post("/heartbeat")).status_code == 204
        assert (await instance.post("/heartbeat", json={"status": "ok", "metrics": {"load": 0.5}})).status_code == 204
        assert (await instance.post("/heartbeat", json={"metrics": {"load": "much"}})).status_code == 422
        for never_kept in (
            {"status": "a\0b"}, {"status": "\ud800"}, {"metrics": {"a\0b": 1}}, {"metrics": {"load": float("nan")}},
        ):  # fmt: skip
            body, kind = json.dumps(never_kept), {"content-type": "application/json"}
            refused = await instance.post("/heartbeat", content=body, headers=kind)
            assert refused.status_code == 422, "beats are written together: it would hold up everybody's"
            assert next(iter(never_kept)) in refused.json()["detail"]
        for path in ("/internal/routes", "/internal/instances", "/discover/echo"):
            assert (await instance.get(path)).status_code == 401
        assert (await instance.delete(f"/internal/instances/{made['instance_id']}")).status_code == 401
    listed = await _eventually_seen(http, made)
    assert (listed["status"], listed["metrics"]) == ("ok", {"load": 0.5})


async def _eventually_seen(http: httpx.AsyncClient, made: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = await http.get("/internal/instances", params={"algorithm": made["algorithm"]})
            (row,) = answer.json()["instances"]
            if row["seen_at"]:
                found: dict[str, Any] = row
                return found
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic YTpi"])
async def test_a_heartbeat_without_an_instances_token_is_refused(service: str, token: str) -> None:
    async with httpx.AsyncClient(base_url=service) as stranger:
        answer = await stranger.post("/heartbeat", headers={"authorization": token})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_the_service_token_is_no_instances_token(http: httpx.AsyncClient) -> None:
    assert (await http.post("/heartbeat")).status_code == 401


async def test_wrong_input_is_a_problem_that_says_why(http: httpx.AsyncClient) -> None:
    made = await _register(http, pinned_port=18500)
    taken = await http.post(
        "/internal/instances",
        json={
            "algorithm_id": str(uuid4()),
            "algorithm": "echo",
            "release_id": str(uuid4()),
            "node_id": "here",
            "pinned_port": made["port"],
        },
    )
    assert (taken.status_code, taken.json()["detail"]) == (409, "port 18500 of here is leased to another instance")
    external = {"name": "far", "algorithm_id": str(uuid4()), "url": str(http.base_url)}
    refused = await http.post("/internal/external", json=external)
    assert refused.status_code == 422
    assert "platform itself" in refused.json()["detail"]
    assert (await http.get("/discover/never-heard-of")).status_code == 404
    for zero in (
        await http.get("/discover/a%00b"),
        await http.post("/internal/external", json=external | {"url": "http://10.0.0.1", "health_path": "/a\0b"}),
    ):
        assert zero.status_code == 422
        assert "zero byte" in zero.json()["detail"]


async def test_a_removed_instance_leaves_the_snapshot_and_its_port_is_free(http: httpx.AsyncClient) -> None:
    made = await _register(http, pinned_port=18501)
    for _ in range(2):
        assert (await http.delete(f"/internal/instances/{made['instance_id']}")).status_code == 204
    ids = {one["instance_id"] for one in (await http.get("/internal/routes")).json()["instances"]}
    assert made["instance_id"] not in ids
    await _register(http, pinned_port=18501)
