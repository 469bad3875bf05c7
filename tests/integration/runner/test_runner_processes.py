"""Both processes as they run in production, on real servers; only the gateway and the registry are told by a fake."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from algodock_common.settings import ObjectStoreSettings, SecretSettings
from algodock_common.storage import MinioObjectStore
from algodock_common.web import IDENTITY_HEADER, Identity, new_identity_keys, sign_identity

if TYPE_CHECKING:
    from algodock_common.database import Database

    from .conftest import Algorithm

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="
NAME = f"echo-{uuid4().hex[:6]}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Peers:
    """The gateway's and the registry's internal HTTP, and a receiver of callbacks."""

    algorithm_url: str
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, ids = request.path, {"algorithm_id": str(uuid4()), "algorithm": NAME}
        if path == "/callback":
            self.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
            self.called.set()
            return web.Response(status=204)
        if path == "/internal/algorithms":
            return web.json_response({"algorithms": [ids | {"state": "created", "owner": "admin"}]})
        if path == "/internal/keys/verify":
            return web.json_response({"key_id": "key-1", "name": "admin", "roles": ["admin"]})
        if path.endswith("/callback-secret"):
            return web.json_response({"secrets": [SECRET]})
        assert path == "/internal/routes"
        place = {"node_id": "n", "host": "127.0.0.1", "port": 1, "base_url": self.algorithm_url, "state": "ready"}
        one = ids | place | {"instance_id": str(uuid4()), "epoch": 1, "sequence": "1", "commit": "c" * 40}
        return web.json_response({"epoch": 1, "instances": [one]})


@dataclass
class Runner:
    """The two processes, and a client as the gateway would be."""

    http: httpx.AsyncClient
    peers: Peers
    environment: dict[str, str]
    ports: dict[str, int]
    folder: Path
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, which: str) -> None:
        words = ["-m", "algodock_runner", *(["worker"] if which == "worker" else [])]
        environment = self.environment | {"HTTP_PORT": str(self.ports[which])}
        with (self.folder / f"{which}.log").open("ab") as log:
            self.processes[which] = await asyncio.create_subprocess_exec(
                sys.executable, *words, env=environment, stdout=log, stderr=log
            )
        await self.healthy(which)

    async def healthy(self, which: str) -> None:
        async with asyncio.timeout(120), httpx.AsyncClient() as client:
            while True:
                assert self.processes[which].returncode is None, (self.folder / f"{which}.log").read_text()
                try:
                    if (await client.get(f"http://127.0.0.1:{self.ports[which]}/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    async def end(self, which: str, how: signal.Signals) -> float:
        started, process = time.monotonic(), self.processes[which]
        if process.returncode is None:
            process.send_signal(how)
        await process.wait()
        return time.monotonic() - started

    async def submit(self, **body: Any) -> dict[str, Any]:
        answer = await self.http.post("/internal/tasks", json={"algorithm": NAME} | body)
        assert answer.status_code == 202, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def until(self, task_id: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while True:
                view: dict[str, Any] = (await self.http.get(f"/internal/tasks/{task_id}")).json()
                if view["state"] in states:
                    return view
                await asyncio.sleep(0.002)


@asynccontextmanager
async def peers_of(algorithm: Algorithm) -> AsyncIterator[tuple[Peers, str]]:
    peers = Peers(algorithm.base_url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", peers.answer)
    site = web.AppRunner(app, shutdown_timeout=0.1)
    await site.setup()
    await web.TCPSite(site, "127.0.0.1", 0).start()
    try:
        yield peers, f"http://127.0.0.1:{site.addresses[0][1]}"
    finally:
        await site.cleanup()


@pytest.fixture
async def runner(
    database: Database,  # noqa: ARG001  # migrated and empty
    algorithm: Algorithm,
    server_environment: dict[str, str],
    tmp_path: Path,
) -> AsyncIterator[Runner]:
    private, public = new_identity_keys()
    async with peers_of(algorithm) as (peers, url):
        environment = dict(os.environ) | server_environment
        environment |= {"GATEWAY_URL": url, "REGISTRY_URL": url, "IDENTITY_PUBLIC_KEY": public}
        environment |= {"ALGODOCK_DATA_DIR": str(tmp_path), "CALLBACK_ALLOW_PRIVATE": "true", "WORKER_LEASE_S": "5"}
        environment |= {"OTEL_SAMPLE_RATIO": "1", "OTEL_TRACES_DIR": str(tmp_path / "traces")}
        secret = environment.setdefault("SECRET_KEY", "s" * 40)
        headers = {
            "authorization": f"Bearer {SecretSettings(secret_key=secret).service_token()}",
            IDENTITY_HEADER: sign_identity(Identity("key-1", "admin", ("admin",)), private),
        }
        ports = {"api": free_port(), "worker": free_port()}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['api']}", headers=headers, timeout=30) as http:
            one = Runner(http, peers, environment, ports, tmp_path)
            try:
                await asyncio.gather(one.start("api"), one.start("worker"))
                yield one
            finally:
                for which in one.processes:
                    await one.end(which, signal.SIGKILL)


def spans_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.glob("*") for line in path.read_text().splitlines()]


async def test_from_submit_to_callback_in_one_trace(runner: Runner) -> None:
    trace = uuid4().hex
    runner.http.headers["traceparent"] = f"00-{trace}-{'1' * 16}-01"
    view = await runner.submit(input={"x": 1}, callback_url=f"{runner.environment['GATEWAY_URL']}/callback")
    done = await runner.until(view["id"], "succeeded")
    result = await runner.http.get(f"/internal/tasks/{view['id']}/result")
    assert (result.status_code, result.json()) == (200, {"got": {"x": 1}})
    assert result.headers["content-type"].startswith("application/json")
    linked = await runner.http.get(f"/internal/tasks/{view['id']}/result", params={"link": True})
    assert linked.status_code == 307
    async with asyncio.timeout(60):
        await runner.peers.called.wait()
    headers, raw = runner.peers.got[0]
    assert Webhook(SECRET).verify(raw, headers)["data"]["id"] == view["id"]
    assert headers["traceparent"].split("-")[1] == trace
    assert done["commit"] == "c" * 40
    for which in ("worker", "api"):
        assert await runner.end(which, signal.SIGTERM) < 60
    names = {span["name"] for span in spans_of(runner.folder / "traces") if span["trace_id"] == trace}
    assert {"POST /internal/tasks", f"task {NAME}", "POST /predict", "callback"} <= names, names


async def test_a_large_result_is_a_redirect_to_the_object_store(runner: Runner) -> None:
    view = await runner.submit(input={"text": "x" * 2_000_000})
    await runner.until(view["id"], "succeeded")
    answer = await runner.http.get(f"/internal/tasks/{view['id']}/result")
    assert answer.status_code == 307
    async with httpx.AsyncClient() as anybody:
        read = await anybody.get(answer.headers["location"])
    assert len(read.json()["got"]["text"]) == 2_000_000
    assert read.headers["content-type"].startswith("application/json")


async def test_a_killed_worker_loses_no_task(runner: Runner, algorithm: Algorithm) -> None:
    killed = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await killed.wait()
        return web.json_response({"ok": True})

    algorithm.behaviour = slow
    views = [await runner.submit(input=n) for n in range(10)]
    for view in views:
        await runner.until(view["id"], "running")
    await runner.end("worker", signal.SIGKILL)
    killed.set()
    await runner.start("worker")
    for view in views:
        done = await runner.until(view["id"], "succeeded", "failed")
        assert (done["state"], done["attempt"]) == ("succeeded", 2)


async def test_a_worker_killed_after_the_commit_leaves_a_result_that_is_read_and_then_written(runner: Runner) -> None:
    await runner.end("worker", signal.SIGTERM)
    (runner.folder / "result.behind").touch()
    runner.environment["ALGODOCK_FAILPOINTS"] = str(runner.folder)
    await runner.start("worker")
    view = await runner.submit(input={"x": 1})
    done = await runner.until(view["id"], "succeeded")
    assert await runner.processes["worker"].wait() == -signal.SIGKILL
    result = await runner.http.get(f"/internal/tasks/{view['id']}/result")
    assert (result.status_code, result.json()) == (200, {"got": {"x": 1}})
    store = MinioObjectStore(ObjectStoreSettings())
    key = f"tasks/{view['id']}/1"
    assert await store.stat(key) is None
    await runner.start("worker")
    async with asyncio.timeout(60):
        while (written := await store.stat(key)) is None:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.05)
    assert (written.size, done["attempt"]) == (len(result.content), 1)
    await store.close()


async def test_a_stopped_worker_hands_its_tasks_back_within_its_grace(runner: Runner, algorithm: Algorithm) -> None:
    async def endless(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(600)
        return web.Response()

    algorithm.behaviour = endless
    view = await runner.submit(input=1)
    await runner.until(view["id"], "running")
    assert await runner.end("worker", signal.SIGTERM) < 120
    assert (await runner.until(view["id"], "queued"))["attempt"] == 1


WRONG = [
    (b"{no json", 400, "JSON"),
    (b'{"algorithm": NaN}', 400, "NaN"),
    (b"[" * 100_000, 400, "JSON"),
    (b"[]", 422, "valid dictionary"),
    (b'{"input": 1}', 422, "algorithm"),
    (b'{"algorithm": "x", "inptu": 1}', 422, "inptu"),
    (b'{"algorithm": "x", "max_attempts": 0}', 422, "max_attempts"),
    (b'{"algorithm": "x", "callback_url": "ftp://x/"}', 422, "callback_url"),
    (b'{"algorithm": "no-such-thing"}', 404, "no-such-thing"),
    (b'{"algorithm": "\\u0000"}', 422, "NUL"),
]


async def test_wrong_requests_are_problems_that_say_why(runner: Runner) -> None:
    for body, status, says in WRONG:
        answer = await runner.http.post("/internal/tasks", content=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert says in answer.json()["detail"]
    for path in (f"/internal/tasks/{uuid4()}", f"/internal/tasks/{uuid4()}/result"):
        assert (await runner.http.get(path)).status_code == 404
    assert (await runner.http.get("/internal/tasks", params={"state": "no-such"})).status_code == 422
    keyed = {"algorithm": NAME, "input": 1, "idempotency_key": "k"}
    first = await runner.http.post("/internal/tasks", json=keyed)
    again = await runner.http.post("/internal/tasks", json=keyed)
    other = await runner.http.post("/internal/tasks", json=keyed | {"input": 2})
    assert [first.status_code, again.status_code, other.status_code] == [202, 200, 409]
    assert first.json()["id"] == again.json()["id"]
    forced = await runner.http.post(f"/internal/tasks/{first.json()['id']}/cancel", json={"force": "perhaps"})
    assert forced.status_code == 422
    page = (await runner.http.get("/internal/tasks", params={"algorithm": NAME})).json()
    assert [one["id"] for one in page["tasks"]] == [first.json()["id"]]


async def test_strangers_are_not_let_in(runner: Runner) -> None:
    del runner.http.headers[IDENTITY_HEADER]
    assert (await runner.http.post("/internal/tasks", json={"algorithm": NAME})).status_code == 401
    runner.http.headers["authorization"] = "Bearer wrong"
    assert (await runner.http.get("/internal/tasks")).status_code == 401
