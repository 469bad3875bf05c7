"""A model behind an OpenAI-compatible endpoint, served as an algorithm; the endpoint is a server of our own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from algodock_sdk.algorithm import Algorithm
from algodock_sdk.chat import Chat, Endpoint, EndpointError
from algodock_sdk.server import create_app

KEY = "sk-very-secret"


class Model:
    """Answers ``/v1/chat/completions`` as such servers do; ``answer`` is what a test wants instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], str]] = []
        self.answer: Response | None = None
        self.leaked: list[str] = []
        self.url = ""

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((body, request.headers.get("authorization", "")))
        if self.answer is not None:
            return self.answer
        if body.get("stream"):
            return StreamingResponse(self.parts(), media_type="text/event-stream")
        said = body["messages"][-1]["content"]
        return JSONResponse({"model": body["model"], "choices": [{"message": {"role": "assistant", "content": said}}]})

    async def parts(self) -> AsyncIterator[bytes]:
        yield b": keep alive\n\n"
        for word in ("hel", "lo"):
            yield b"data: " + json.dumps({"choices": [{"delta": {"content": word}}]}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def elsewhere(self, request: Request) -> Response:
        self.leaked.append(request.headers.get("authorization", ""))
        return JSONResponse({})


@asynccontextmanager
async def served(model: Model) -> AsyncIterator[None]:
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", model.complete, methods=["POST"]),
            Route("/elsewhere", model.elsewhere, methods=["GET", "POST"]),
        ]
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        model.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await running


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = Model()
    async with served(model):
        yield model


@asynccontextmanager
async def service(url: str, key: str = KEY) -> AsyncIterator[httpx.AsyncClient]:
    chat = Chat(Endpoint(url, "tiny", key, "OPENAI_API_KEY", 5))
    app = create_app(Algorithm.of(chat, name="chat", description="tiny"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
    await chat.close()


async def test_a_conversation_goes_to_the_endpoint_and_its_answer_comes_back_as_it_is(model: Model) -> None:
    async with service(model.url) as client:
        asked = {"messages": [{"role": "user", "content": "你好", "name": "me"}], "temperature": 0.2, "batch_id": "b"}
        answer = await client.post("/predict", json=asked)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"] == "你好"
        prompt = await client.post("/predict", json={"prompt": "hi", "model": "tiny"})
        assert prompt.json()["choices"][0]["message"]["content"] == "hi"
        assert (await client.get("/health")).json()["status"] == "ok"
        assert "messages" in (await client.get("/info")).json()["input_schema"]["properties"]
    body, authorization = model.asked[0]
    assert body == {
        "model": "tiny", "messages": [{"role": "user", "content": "你好", "name": "me"}], "temperature": 0.2
    }  # fmt: skip
    assert authorization == f"Bearer {KEY}"


async def test_a_streamed_answer_comes_part_by_part(model: Model) -> None:
    async with service(model.url) as client:
        answer = await client.post("/predict", json={"prompt": "hi", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    assert [name for name, _ in events] == ["event: output", "event: output", "event: done"]
    words = [json.loads(data.removeprefix("data: "))["choices"][0]["delta"]["content"] for _, data in events[:2]]
    assert words == ["hel", "lo"]
    assert model.asked[0][0]["stream"] is True


async def test_without_a_key_none_is_sent(model: Model) -> None:
    async with service(model.url, key="") as client:
        await client.post("/predict", json={"prompt": "hi"})
    assert model.asked[0][1] == ""


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed_so_that_the_key_goes_nowhere_else(model: Model, status: int) -> None:
    model.answer = RedirectResponse("/elsewhere", status)
    async with service(model.url) as client:
        answer = await client.post("/predict", json={"prompt": "hi"})
    assert answer.status_code == 502
    assert "redirects are not followed" in answer.json()["detail"]
    assert not model.leaked


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (JSONResponse({"error": {"message": f"bad key {KEY}"}}, 401), 502, "the key (OPENAI_API_KEY): bad key ***"),
        (JSONResponse({"error": {"message": "temperature is too high"}}, 400), 422, "temperature is too high"),
        (JSONResponse({"error": "slow down"}, 429), 429, "slow down"),
        (JSONResponse({"detail": "no such model"}, 404), 502, "answered 404"),
        (Response("boom", 500), 502, "answered 500: boom"),
        (Response("<html>", 200, media_type="text/html"), 502, "no JSON"),
    ],
)  # fmt: skip
async def test_what_the_endpoint_will_not_do_is_said_without_the_key(
    model: Model, answer: Response, status: int, said: str
) -> None:
    model.answer = answer
    async with service(model.url) as client:
        got = await client.post("/predict", json={"prompt": "hi"})
    assert got.status_code == status
    assert said in got.json()["detail"]
    assert KEY not in got.text


async def test_a_stream_that_fails_ends_in_an_error_event(model: Model) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b'data: {"error": {"message": "out of memory"}}\n\n'

    for answer, said in (
        (StreamingResponse(breaks(), media_type="text/event-stream"), "out of memory"),
        (JSONResponse({}), "does not answer with one"),
        (JSONResponse({"error": {"message": "no"}}, 401), "refuses the key"),
    ):
        model.answer = answer
        async with service(model.url) as client:
            got = await client.post("/predict", json={"prompt": "hi", "stream": True})
        assert "event: error" in got.text
        assert said in got.text


async def test_an_endpoint_that_is_away_is_said() -> None:
    async with service("http://127.0.0.1:9/v1") as client:
        answer = await client.post("/predict", json={"prompt": "hi"})
    assert answer.status_code == 503
    assert "http://127.0.0.1:9/v1 cannot be reached" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "messages"),
        ({"messages": [], "prompt": "x"}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages[0].role"),
        ({"prompt": "x", "model": "another"}, "model"),
    ],
)
async def test_wrong_input_is_refused_before_the_endpoint_is_asked(
    model: Model, body: dict[str, Any], path: str
) -> None:
    async with service(model.url) as client:
        answer = await client.post("/predict", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path
    assert not model.asked


WHOLE = {"ALGODOCK_CHAT_ENDPOINT": "https://host/v1/", "ALGODOCK_CHAT_MODEL": "m"}


def test_the_endpoint_is_read_from_the_environment() -> None:
    environment = {**WHOLE, "ALGODOCK_CHAT_SECRET": "K", "K": KEY, "ALGODOCK_CHAT_TIMEOUT": "7.5"}
    found = Endpoint.of(environment)
    assert (found.url, found.model, found.key, found.timeout_s) == ("https://host/v1", "m", KEY, 7.5)
    assert KEY not in repr(found)
    assert Endpoint.of(WHOLE).key == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ALGODOCK_CHAT_ENDPOINT": "file:///etc/passwd"}, "http or https"),
        ({"ALGODOCK_CHAT_ENDPOINT": "https://me@host/v1"}, "without a user"),
        ({"ALGODOCK_CHAT_ENDPOINT": "https://host/v1?x=1"}, "no query"),
        ({"ALGODOCK_CHAT_MODEL": ""}, "names the model"),
        ({"ALGODOCK_CHAT_SECRET": "K"}, "algodock secret set NAME K"),
        ({"ALGODOCK_CHAT_SECRET": "K", "K": "a\r\nHost: b"}, "no HTTP header"),
    ],
)
def test_an_endpoint_that_is_described_wrongly_is_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(EndpointError, match=said):
        Endpoint.of({**WHOLE, **change})
