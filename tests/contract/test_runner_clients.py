"""The runner's outside: each fake keeps what the real one promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from algodock_common.errors import NotFound, Unavailable
from algodock_common.settings import ObjectStoreSettings, SecretSettings
from algodock_common.storage import MinioObjectStore, ObjectStoreUnavailable
from algodock_common.testing import FakeObjectStore
from algodock_common.upstream import Pool as Upstream
from algodock_common.web import Identity, InternalClient
from algodock_runner.clients.answers import Answer
from algodock_runner.clients.gateway import FakeGateway, Gateway, HttpGateway, NoCallbackSecret
from algodock_runner.clients.restarts import FakeRestarts, HttpRestarts
from algodock_runner.clients.results import PlainResults, Results, SignedResults
from algodock_runner.domain.algorithms import KnownAlgorithm
from algodock_runner.domain.errors import UnknownCaller

SECRETS = SecretSettings(secret_key="s" * 40)
ALGORITHM = KnownAlgorithm(uuid4(), "echo", "created", "admin", {"queue": 5})
PERSON = Identity("key-1", "admin", ("admin",))


class GatewayHttp:
    """What the gateway's internal HTTP answers, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[dict[str, str]] = []
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.away:
            msg = "away"
            raise httpx.ConnectError(msg)
        problem = {"content-type": "application/problem+json"}
        if request.url.path == "/internal/keys/verify":
            if b"good-key" in request.content:
                return httpx.Response(200, json={"key_id": "key-1", "name": "admin", "roles": ["admin"]})
            return httpx.Response(401, json={"title": "Unauthorized", "detail": "no"}, headers=problem)
        if request.url.path == "/internal/keys/key-1/callback-secret":
            return httpx.Response(200, json={"secret": "whsec_BBBB", "secrets": ["whsec_BBBB", "whsec_AAAA"]})
        if request.url.path == "/internal/algorithms":
            one = {"algorithm_id": str(ALGORITHM.id), "algorithm": "echo", "state": "created", "owner": "admin"}
            limits = {"queue": 5, "result_ttl_s": None}
            return httpx.Response(200, json={"algorithms": [one | {"limits": limits}]})
        if request.url.path == "/internal/services/echo/restart":
            self.bodies.append(json.loads(request.content))
            return httpx.Response(202, json={})
        return httpx.Response(404, json={"title": "Not found", "detail": "no"}, headers=problem)


@pytest.fixture
async def http_gateway() -> AsyncIterator[tuple[HttpGateway, GatewayHttp]]:
    server = GatewayHttp()
    async with InternalClient("http://gateway", SECRETS, transport=httpx.MockTransport(server)) as client:
        yield HttpGateway(client), server


@pytest.fixture(params=["real", "fake"])
def gateway(request: pytest.FixtureRequest, http_gateway: tuple[HttpGateway, GatewayHttp]) -> Gateway:
    if request.param == "real":
        return http_gateway[0]
    fake = FakeGateway()
    fake.keys["good-key"], fake.secrets["key-1"], fake.known = PERSON, ("whsec_BBBB", "whsec_AAAA"), [ALGORITHM]
    return fake


async def test_a_gateway_tells_whose_key_it_is(gateway: Gateway) -> None:
    assert await gateway.verify_key("good-key") == PERSON
    with pytest.raises(UnknownCaller):
        await gateway.verify_key("bad-key")


async def test_a_gateway_tells_the_valid_callback_secrets(gateway: Gateway) -> None:
    assert await gateway.callback_secrets("key-1") == ("whsec_BBBB", "whsec_AAAA")
    with pytest.raises(NoCallbackSecret):
        await gateway.callback_secrets("key-2")


async def test_a_gateway_tells_its_algorithms(gateway: Gateway) -> None:
    assert await gateway.algorithms() == [ALGORITHM]


async def test_a_restart_is_asked_for_and_a_refusal_told() -> None:
    server, fake = GatewayHttp(), FakeRestarts()
    instance, operation = uuid4(), uuid4()
    async with InternalClient("http://gateway", SECRETS, transport=httpx.MockTransport(server)) as client:
        for restarts in (HttpRestarts(client), fake):
            await restarts.restart("echo", instance, operation_id=operation, reason="it goes on")
        with pytest.raises(NotFound):
            await HttpRestarts(client).restart("other", instance, operation_id=operation, reason="it goes on")
    assert server.bodies == [{"operation_id": str(operation), "instance_id": str(instance), "reason": "it goes on"}]
    assert fake.asked == [("echo", instance, operation)]
    fake.refusal = NotFound("no such service")
    with pytest.raises(NotFound):
        await fake.restart("echo", instance, operation_id=operation, reason="it goes on")


async def test_what_is_known_is_not_asked_again_and_a_failure_is(
    http_gateway: tuple[HttpGateway, GatewayHttp],
) -> None:
    gateway, server = http_gateway
    await asyncio.gather(*(gateway.verify_key("good-key") for _ in range(5)))
    assert server.asked == ["/internal/keys/verify"]
    server.away = True
    with pytest.raises(Unavailable):
        await gateway.callback_secrets("key-1")
    server.away = False
    assert await gateway.callback_secrets("key-1") == ("whsec_BBBB", "whsec_AAAA")


@pytest.fixture(params=["signed", "plain"])
async def results(
    request: pytest.FixtureRequest, object_store_settings: ObjectStoreSettings
) -> AsyncIterator[tuple[Results, Any]]:
    if request.param == "plain":
        fake = FakeObjectStore()
        yield PlainResults(fake), fake
        return
    store, pool = MinioObjectStore(object_store_settings), Upstream()
    await store.ensure_bucket()
    yield SignedResults(object_store_settings, store, pool), store
    await pool.close()
    await store.close()


@pytest.mark.parametrize("data", [b"", b'{"a": 1}', bytes(300_000)])
async def test_a_result_is_stored_with_its_type(results: tuple[Results, Any], data: bytes) -> None:
    put, store = results
    key = f"tasks/{uuid4()}/1"
    await put.put(key, Answer("application/json; charset=utf-8", data, None, len(data)))
    info = await store.stat(key)
    assert await store.get(key) == data
    assert info.content_type == "application/json; charset=utf-8"


async def test_a_large_result_is_stored_from_its_file(results: tuple[Results, Any], tmp_path: Any) -> None:
    put, store = results
    path, key = tmp_path / "large", f"tasks/{uuid4()}/1"
    path.write_bytes(bytes(6_000_000))
    await put.put(key, Answer("image/png", None, path, 6_000_000))
    assert (await store.stat(key)).size == 6_000_000


async def test_a_store_that_is_away_may_be_tried_again(object_store_settings: ObjectStoreSettings) -> None:
    dead = object_store_settings.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    store, pool = MinioObjectStore(dead), Upstream()
    try:
        with pytest.raises(ObjectStoreUnavailable) as failed:
            await SignedResults(dead, store, pool).put("tasks/x/1", Answer("text/plain", b"x", None, 1))
        assert failed.value.retryable
    finally:
        await pool.close()
        await store.close()


async def test_a_bucket_that_is_gone_is_made_again(object_store_settings: ObjectStoreSettings) -> None:
    fresh = object_store_settings.model_copy(update={"bucket": f"b-{uuid4().hex[:12]}"})
    store, pool = MinioObjectStore(fresh), Upstream()
    try:
        put, answer = SignedResults(fresh, store, pool), Answer("text/plain", b"x", None, 1)
        with pytest.raises(ObjectStoreUnavailable):
            await put.put("tasks/x/1", answer)
        await put.put("tasks/x/1", answer)
        assert await store.get("tasks/x/1") == b"x"
    finally:
        await pool.close()
        await store.close()
