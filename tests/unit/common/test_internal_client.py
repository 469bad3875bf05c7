"""Calls from service to service."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import Depends
from pydantic import SecretStr

from algodock_common.errors import (
    AlgoDockError,
    Conflict,
    NotFound,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
    problem_of,
)
from algodock_common.observability import current_traceparent, span
from algodock_common.settings import SecretSettings
from algodock_common.web import InternalClient, WebSettings, require_service_token, service_app

Answer = Callable[[httpx.Request], httpx.Response]


def problem(error: AlgoDockError, **headers: str) -> httpx.Response:
    return httpx.Response(
        error.status, json=problem_of(error), headers={"content-type": "application/problem+json", **headers}
    )


@pytest.fixture
async def connect(secrets: SecretSettings) -> AsyncIterator[Callable[[Answer], InternalClient]]:
    made: list[InternalClient] = []

    def make(answer: Answer) -> InternalClient:
        made.append(InternalClient("http://registry:8013", secrets, transport=httpx.MockTransport(answer)))
        return made[-1]

    yield make
    for client in made:
        await client.close()


async def test_a_call_carries_token_trace_and_identity(
    connect: Callable[[Answer], InternalClient], secrets: SecretSettings
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"port": 8100})

    with span("deploy", kind="consumer"):
        expected = current_traceparent()
        body = await connect(answer).post(
            "/internal/instances", json={"algorithm": "echo"}, params={"wait": 1, "state": None}, identity="signed"
        )

    (request,) = seen
    assert body == {"port": 8100}
    assert request.headers["authorization"] == f"Bearer {secrets.service_token()}"
    assert request.headers["traceparent"] == expected
    assert request.headers["x-algodock-identity"] == "signed"
    assert str(request.url) == "http://registry:8013/internal/instances?wait=1"


async def test_a_problem_is_raised_as_the_error_that_it_was(connect: Callable[[Answer], InternalClient]) -> None:
    client = connect(lambda _: problem(Conflict("Port 8100 is taken.", port=8100)))

    with pytest.raises(Conflict, match=r"Port 8100 is taken\.") as caught:
        await client.post("/internal/instances", json={})

    assert caught.value.extra == {"port": 8100}


async def test_the_time_to_wait_survives(connect: Callable[[Answer], InternalClient]) -> None:
    with pytest.raises(Unavailable) as caught:
        await connect(lambda _: problem(Unavailable("full"), **{"retry-after": "7"})).get("/internal/routes")

    assert caught.value.retry_after == 7


async def test_an_answer_without_a_body_is_none(connect: Callable[[Answer], InternalClient]) -> None:
    assert await connect(lambda _: httpx.Response(204)).delete("/internal/instances/1") is None


async def test_a_redirect_is_handed_on(connect: Callable[[Answer], InternalClient]) -> None:
    client = connect(lambda _: httpx.Response(307, headers={"location": "http://s3/x"}))

    assert (await client.request("GET", "/internal/tasks/1/result")).headers["location"] == "http://s3/x"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(404, text="<html>"),
        httpx.Response(500, text="oops"),
        httpx.Response(400, text="{", headers={"content-type": "application/problem+json"}),
    ],
)
async def test_nonsense_is_the_upstreams_failure(
    connect: Callable[[Answer], InternalClient], answer: httpx.Response
) -> None:
    with pytest.raises(UpstreamFailed, match="registry:8013"):
        await connect(lambda _: answer).get("/internal/routes")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("refused"), Unavailable),
        (httpx.ConnectTimeout("slow"), Unavailable),
        (httpx.ReadTimeout("slow"), UpstreamTimeout),
        (httpx.ReadError("reset"), Unavailable),
    ],
)
async def test_broken_connections_have_types(
    connect: Callable[[Answer], InternalClient], failure: httpx.TransportError, expected: type[Exception]
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(expected):
        await connect(answer).post("/internal/instances", json={})


async def test_a_stale_connection_is_replaced_for_calls_that_may_be_repeated(
    connect: Callable[[Answer], InternalClient],
) -> None:
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) == 1:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(200, json=1)

    assert await connect(answer).get("/internal/routes") == 1
    calls.clear()
    with pytest.raises(Unavailable):
        await connect(answer).post("/internal/instances", json={})
    assert calls == ["POST"]


async def test_a_refused_service_token_never_looks_like_the_callers_fault(settings: WebSettings) -> None:
    app = service_app("registry", settings)
    app.get("/internal", dependencies=[Depends(require_service_token)])(lambda: 1)
    other = SecretSettings(secret_key=SecretStr("another secret key, long enough for all"))
    async with InternalClient("http://registry", other, transport=httpx.ASGITransport(app)) as client:
        with pytest.raises(UpstreamFailed, match="SECRET_KEY"):
            await client.get("/internal")


async def test_nobody_listening_is_unavailable(secrets: SecretSettings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with InternalClient(f"http://127.0.0.1:{port}", secrets, timeout_s=1) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.get("/internal/routes")


async def test_a_stream_is_read_as_it_comes(connect: Callable[[Answer], InternalClient]) -> None:
    client = connect(lambda _: httpx.Response(200, text="one\ntwo\n"))

    async with client.stream("GET", "/internal/releases/1/build-log") as response:
        assert [line async for line in response.aiter_lines()] == ["one", "two"]


async def test_a_stream_that_cannot_be_had_raises_the_same_errors(connect: Callable[[Answer], InternalClient]) -> None:
    client = connect(lambda _: problem(NotFound("There is no such release.")))

    with pytest.raises(NotFound):
        async with client.stream("GET", "/internal/releases/1/build-log"):
            pytest.fail("the body must not be entered")
