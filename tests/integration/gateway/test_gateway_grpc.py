"""What the edge asks of the gateway: may this gRPC call pass? Every answer is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from algodock_common.web.problems import install_problem_handlers
from algodock_gateway.handlers.directory import Directory
from algodock_gateway.handlers.grpc_calls import GrpcCalls
from algodock_gateway.routes.internal import make_internal
from tests.integration.gateway.conftest import KEY, World
from tests.integration.gateway.upstream import until

pytestmark = pytest.mark.timeout(300)

METHOD = "/demo.Echo/Say"


class Asked:
    """A gateway's internal routes, and a client that is the edge."""

    def __init__(self, world: World, client: httpx.AsyncClient) -> None:
        self.world = world
        self.client = client

    async def may(self, name: str, authorization: str | None = f"Bearer {KEY}") -> int:
        headers = {"x-edge-service": name, "x-edge-method": METHOD}
        shown = {} if authorization is None else {"x-edge-authorization": authorization}
        return (await self.client.get("/internal/edge/authorise", headers=headers | shown)).status_code


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    world = World(express=False)
    calls = GrpcCalls(world.keys, Directory(world.sources), world.desk, world.book)
    app = FastAPI()
    app.state.service_token = "token"
    install_problem_handlers(app)
    unused = cast("Any", None)
    app.include_router(make_internal(unused, unused, unused, unused, calls))
    async with (
        world.serving(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway", headers={"authorization": "Bearer token"}
        ) as client,
    ):
        yield Asked(world, client)


async def test_a_call_with_a_key_may_pass_and_is_recorded(asked: Asked) -> None:
    asked.world.route(1, scheme="grpc")
    assert await asked.may("echo") == 204
    record = await asked.world.record()
    assert (record.algorithm, record.method, record.path, record.status) == ("echo", "GRPC", METHOD, 200)
    assert record.key_id is not None
    assert record.algorithm_id is not None


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic d3Jvbmc="])
async def test_a_call_without_a_valid_key_may_not_pass_and_is_recorded(asked: Asked, authorization: str | None) -> None:
    asked.world.route(1, scheme="grpc")
    assert await asked.may("echo", authorization) == 401
    record = await asked.world.record()
    assert (record.algorithm, record.path, record.status, record.key_id) == ("", METHOD, 401, None)


async def test_a_service_that_sleeps_is_woken_and_one_that_is_down_is_left_to_the_edge(asked: Asked) -> None:
    """The edge finds nobody there and says UNAVAILABLE by itself; the record says what was so."""
    asked.world.deployer.known["stopped"] = {}
    assert await asked.may("stopped") == 204
    record = await asked.world.record()
    assert (record.algorithm, record.status, record.error) == ("stopped", 503, "no-instance")
    await until(lambda: asked.world.deployer.woken == ["stopped"])


async def test_health_by_name_tells_ready_from_down_from_unknown(asked: Asked) -> None:
    asked.world.route(1, scheme="grpc")
    answer = await asked.client.get("/internal/edge/health/echo")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "echo", "instances": 1})
    assert (await asked.client.get("/internal/edge/health/stopped")).status_code == 503
    assert (await asked.client.get("/internal/edge/health/other")).status_code == 404


async def test_nobody_but_the_edge_may_ask(asked: Asked) -> None:
    for path in ("/internal/edge/authorise", "/internal/edge/health/echo"):
        got = await asked.client.get(path, headers={"authorization": f"Bearer {KEY}", "x-edge-service": "echo"})
        assert got.status_code == 401
    assert not asked.world.sources.records
