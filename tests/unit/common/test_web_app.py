"""What every service's HTTP has in common: problems, health, the service token, traces, metrics."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import BaseModel, SecretStr
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from algodock_common.errors import Conflict, TooManyRequests, Unavailable
from algodock_common.observability import current_traceparent, setup_tracing
from algodock_common.observability.tracing import use_exporters
from algodock_common.settings import SecretSettings, TelemetrySettings
from algodock_common.web import (
    Identity,
    WebSettings,
    current_identity,
    require_service_token,
    service_app,
    sign_identity,
)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Body(BaseModel):
    """A request's body."""

    count: int
    inner: dict[str, int] = {}


def routes() -> APIRouter:
    router = APIRouter()

    @router.post("/items/{item}")
    async def item(item: int, body: Body, limit: Annotated[int, Query(ge=1)] = 1) -> dict[str, Any]:
        return {"item": item, "count": body.count, "limit": limit, "traceparent": current_traceparent()}

    @router.get("/taken")
    async def taken() -> None:
        raise Conflict("Port 8100 is taken.", port=8100)

    @router.get("/busy")
    async def busy() -> None:
        raise TooManyRequests("The queue is full.", retry_after=2)

    @router.get("/bug")
    async def bug() -> None:
        raise RuntimeError("postgresql://user:hunter2@db refused")

    @router.get("/torn")
    async def torn() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("the source broke")

        return StreamingResponse(body())

    @router.get("/internal", dependencies=[Depends(require_service_token)])
    async def internal() -> str:
        return "in"

    @router.get("/who")
    async def who(identity: Annotated[Identity, Depends(current_identity)]) -> dict[str, Any]:
        return {"key_id": identity.key_id, "name": identity.name, "roles": identity.roles}

    return router


@pytest.fixture
def app(settings: WebSettings) -> FastAPI:
    app = service_app("registry", settings)
    app.include_router(routes())
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client:
        yield client


async def test_a_typed_error_becomes_its_problem(client: httpx.AsyncClient) -> None:
    response = await client.get("/taken")

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["detail"], problem["instance"], problem["port"]) == ("Port 8100 is taken.", "/taken", 8100)
    assert len(problem["trace_id"]) == 32


async def test_a_limit_says_when_to_come_again(client: httpx.AsyncClient) -> None:
    response = await client.get("/busy")

    assert (response.status_code, response.headers["retry-after"]) == (429, "2")


async def test_invalid_input_is_told_by_field_and_its_value_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.post("/items/7?limit=0", json={"count": "hunter2", "inner": {"a/b": "x"}})

    problem = response.json()
    assert response.status_code == 422
    assert {(error["in"], error["pointer"]) for error in problem["errors"]} == {
        ("query", "#/limit"),
        ("body", "#/count"),
        ("body", "#/inner/a~1b"),
    }
    assert "body #/count: " in problem["detail"]
    assert "hunter2" not in response.text


async def test_malformed_json_is_a_bad_request(client: httpx.AsyncClient) -> None:
    response = await client.post("/items/7", content=b"{", headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert response.json()["type"].endswith(":bad-request")


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(client: httpx.AsyncClient) -> None:
    missing, wrong = await client.get("/nowhere"), await client.put("/taken")

    assert (missing.status_code, missing.json()["detail"]) == (404, "There is nothing at /nowhere.")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert wrong.json()["detail"] == "PUT is not possible at /taken."


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ConnectionRefusedError("postgresql://user:hunter2@db refused"), 503, "away"),
        (asyncpg.AdminShutdownError("terminating hunter2"), 503, "away"),
        (asyncpg.CannotConnectNowError("hunter2 is starting up"), 503, "away"),
        (OSError(errno.ENOSPC, "No space left on hunter2"), 503, "short"),
        (asyncpg.DeadlockDetectedError("hunter2"), 503, "short"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/hunter2"), 500, "unexpectedly"),
        (asyncpg.UndefinedTableError("no hunter2"), 500, "unexpectedly"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_may_pass_is_told_from_what_is_broken(
    app: FastAPI, client: httpx.AsyncClient, error: Exception, status: int, says: str
) -> None:
    """A caller that gets 503 comes again: nothing of its request was accepted."""

    @app.get("/stands-on-it")
    async def failing() -> None:
        raise error

    response = await client.get("/stands-on-it")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in response.headers) is (status == 503)
    assert says in response.json()["detail"]
    assert "hunter2" not in response.text


async def test_an_unexpected_error_shows_nothing_of_the_inside(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    response = await client.get("/bug")

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in response.text
    assert "Traceback" not in response.text
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (entry,) = [line for line in logged if line["event"] == "unexpected error"]
    assert "RuntimeError" in entry["exception"]
    assert entry["trace_id"] == response.json()["trace_id"]


async def test_an_answer_that_breaks_halfway_breaks_the_connection(client: httpx.AsyncClient) -> None:
    with pytest.raises(RuntimeError, match="the source broke"):
        await client.get("/torn")


async def test_internal_routes_want_the_service_token(client: httpx.AsyncClient, secrets: SecretSettings) -> None:
    right = {"authorization": f"Bearer {secrets.service_token()}"}
    wrong = {"authorization": f"Bearer {'0' * 64}"}

    assert (await client.get("/internal", headers=right)).json() == "in"
    for headers in ({}, wrong, {"authorization": secrets.service_token()}, {"authorization": "Bearer "}):
        response = await client.get("/internal", headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"


async def test_the_gateways_identity_header_says_who_asks(client: httpx.AsyncClient, secrets: SecretSettings) -> None:
    assert secrets.identity_private_key is not None
    header = sign_identity(Identity("k1", "Ada", ("admin",)), secrets.identity_private_key)

    response = await client.get("/who", headers={"x-algodock-identity": header})

    assert response.json() == {"key_id": "k1", "name": "Ada", "roles": ["admin"]}
    assert (await client.get("/who")).status_code == 401
    assert (await client.get("/who", headers={"x-algodock-identity": header[:-4] + "AAAA"})).status_code == 401


async def test_the_trace_goes_on_from_the_traceparent_header(settings: WebSettings, tmp_path: Path) -> None:
    app = service_app("registry", settings)
    setup_tracing(TelemetrySettings(sample_ratio=0, traces_dir=tmp_path), service="registry")
    app.include_router(routes())
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client:
            answer = await client.post("/items/7", json={"count": 1}, headers={"traceparent": PARENT})
            await client.get("/health", headers={"traceparent": PARENT})
    finally:
        use_exporters("unknown", 0.0)

    (file,) = tmp_path.iterdir()
    (line,) = [json.loads(text) for text in file.read_text().splitlines()]
    assert answer.json()["traceparent"] == f"00-{line['trace_id']}-{line['span_id']}-01"
    assert (line["trace_id"], line["parent_span_id"]) == (PARENT[3:35], PARENT[36:52])
    assert (line["name"], line["attributes"]["http.response.status_code"]) == ("POST /items/{item}", 200)


async def test_metrics_count_by_route_template(client: httpx.AsyncClient) -> None:
    await client.post("/items/7", json={"count": 1})
    await client.get("/secret-looking-path")

    text = (await client.get("/metrics")).text

    assert 'route="/items/{item}",status="200"' in text
    assert "secret-looking-path" not in text


async def test_health_answers_while_a_dependency_is_down(settings: WebSettings) -> None:
    async def down() -> None:
        raise Unavailable("the broker cannot be reached")

    app = service_app("registry", settings, checks={"kafka": down})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client:
        assert (await client.get("/health")).json() == {"status": "ok", "service": "registry"}


async def test_ready_names_each_dependency_and_its_state(
    settings: WebSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algodock_common.web.health.CHECK_TIMEOUT_S", 0.05)

    async def well() -> None:
        return

    async def down() -> None:
        raise Unavailable("the broker cannot be reached")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def leaks() -> None:
        raise OSError("postgresql://user:hunter2@db")

    checks = {"redis": well, "kafka": down, "s3": hangs, "postgres": leaks}
    app = service_app("registry", settings, checks=checks)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client:
        response = await client.get("/ready")

    states = response.json()["checks"]
    assert response.status_code == 503
    assert states["redis"]["state"] == "ok"
    assert states["kafka"] == {"state": "failed", "error": "the broker cannot be reached"}
    assert states["s3"] == {"state": "failed", "error": "no answer within 0.05 s"}
    assert states["postgres"] == {"state": "failed", "error": "OSError"}


async def test_ready_is_200_when_all_is_well(client: httpx.AsyncClient) -> None:
    response = await client.get("/ready")

    assert (response.status_code, response.json()["status"]) == (200, "ready")


async def test_documents_are_served_only_where_they_are_asked_for(
    settings: WebSettings, client: httpx.AsyncClient
) -> None:
    public = service_app("gateway", settings, docs=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(public), base_url="http://gateway") as other:
        assert (await other.get("/openapi.json")).status_code == 200
    assert (await client.get("/openapi.json")).status_code == 404


async def test_raw_asgi_paths_are_left_to_their_own_handler_but_not_their_exceptions(settings: WebSettings) -> None:
    async def raw(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # the ASGI signature
        assert current_traceparent() is None
        raise RuntimeError("inside")

    app = service_app("gateway", settings, untraced=("/ai/",))
    app.mount("/ai", raw)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        response = await client.get("/ai/echo/predict")

    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")


def test_identity_keys_that_are_none_are_refused(secrets: SecretSettings) -> None:
    del secrets
    with pytest.raises(Exception, match="not a raw Ed25519 key"):
        sign_identity(Identity("k1", "Ada"), SecretStr("nonsense"))
