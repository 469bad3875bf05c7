"""What a call says while it works: when it becomes a stream, what is in it, and what it costs who does not listen."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from algodock_sdk import progress
from algodock_sdk.algorithm import Algorithm
from algodock_sdk.heartbeat import Load
from algodock_sdk.problems import Problem
from algodock_sdk.server import create_app
from algodock_sdk.talk import Talk, event

LISTENS = {"accept": "text/event-stream, application/json"}
log = logging.getLogger("author")


@pytest.fixture(autouse=True)
def informed() -> Iterator[None]:
    """Log from INFO, as the command does, and forget the handler again."""
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    root.setLevel(logging.INFO)
    yield
    root.setLevel(before)
    root.handlers[:] = handlers


def client(predict: Callable[..., Any], load: Load | None = None) -> httpx.AsyncClient:
    app = create_app(Algorithm.of(predict, name="test"), load=load)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def said(predict: Callable[..., Any], **headers: str) -> list[tuple[str, Any]]:
    answer = await client(predict).post("/predict", headers=LISTENS | headers)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    found = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def plain() -> dict[str, int]:
    progress(0.5, "half")
    log.info("loaded %s", "it")
    return {"a": 1}


async def asynchronous() -> dict[str, int]:
    progress(0.5, "half")
    log.info("loaded %s", "it")
    await asyncio.sleep(0)
    return {"a": 1}


@pytest.mark.parametrize("predict", [plain, asynchronous])
async def test_a_function_that_says_something_is_streamed_to_who_listens(predict: Callable[..., Any]) -> None:
    load = Load()
    async with client(predict, load) as http:
        answer = await http.post("/predict", headers=LISTENS)
    assert "event: done" in answer.text
    assert (load.in_flight, load.calls, load.failures) == (0, 1, 0)
    assert await said(predict) == [
        ("progress", {"progress": 0.5, "message": "half"}),
        ("log", {"level": "INFO", "logger": "author", "message": "loaded it"}),
        ("done", {"outputs": 0, "result": {"a": 1}}),
    ]


@pytest.mark.parametrize("predict", [plain, asynchronous])
async def test_who_does_not_listen_gets_the_answer_alone(predict: Callable[..., Any]) -> None:
    answer = await client(predict).post("/predict")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"a": 1}


async def test_a_function_that_says_nothing_is_answered_as_ever() -> None:
    def predict() -> dict[str, int]:
        log.debug("too fine")
        return {"a": 1}

    answer = await client(predict).post("/predict", headers=LISTENS)
    assert answer.json() == {"a": 1}


async def test_a_generators_words_stand_between_its_items_and_its_logs_only_where_asked_for() -> None:
    def predict() -> Iterator[Any]:
        progress(message="first")
        yield {"n": 1}
        log.info("between")
        yield {"progress": 0.9}
        progress(1)

    assert await said(predict) == [
        ("progress", {"message": "first"}),
        ("output", {"n": 1}),
        ("log", {"level": "INFO", "logger": "author", "message": "between"}),
        ("progress", {"progress": 0.9}),
        ("progress", {"progress": 1.0}),
        ("done", {"outputs": 1}),
    ]
    assert [name for name, _ in await said(predict, accept="*/*")] == [
        "progress",
        "output",
        "progress",
        "progress",
        "done",
    ]


async def test_an_async_generator_may_hold_a_timeout_over_its_items() -> None:
    async def predict() -> AsyncIterator[int]:
        async with asyncio.timeout(60):
            for number in range(3):
                progress(number / 3)
                yield number

    assert [name for name, _ in await said(predict)] == ["progress", "output"] * 3 + ["done"]


async def test_a_file_behind_progress_keeps_its_type() -> None:
    def predict() -> bytes:
        progress(0.1)
        return b"\x89PNG\r\n\x1a\n" + b"\0" * 8

    *_, (name, done) = await said(predict)
    assert (name, done["content_type"]) == ("done", "image/png")
    assert base64.b64decode(done["base64"]).startswith(b"\x89PNG")


async def test_a_failure_behind_progress_is_an_error_event(caplog: pytest.LogCaptureFixture) -> None:
    def predict(kind: str = "") -> None:
        progress(0.1)
        if kind == "problem":
            raise Problem(429, "Busy", "come later")
        log.info("before")
        msg = "too hot"
        raise ValueError(msg)

    load = Load()
    answer = await client(predict, load).post("/predict", headers=LISTENS)
    assert (load.in_flight, load.failures) == (0, 1)
    found = await said(predict)
    assert [name for name, _ in found] == ["progress", "log", "error"]
    assert found[-1][1]["error"] == {"type": "ValueError", "message": "too hot"}
    assert "Traceback" not in answer.text
    assert any("too hot" in str(record.exc_info) for record in caplog.records)
    problem = await client(predict).post("/predict", headers=LISTENS, json={"kind": "problem"})
    assert '"status":429' in problem.text


async def test_a_response_of_ones_own_cannot_follow_what_was_said() -> None:
    def predict() -> PlainTextResponse:
        progress(0.1)
        return PlainTextResponse("no", status_code=404)

    assert [name for name, _ in await said(predict)] == ["progress", "error"]


async def test_a_function_that_returns_a_generator_after_it_spoke_is_streamed_on() -> None:
    def predict() -> Iterator[int]:
        progress(0.1)
        return (number for number in range(2))

    assert [name for name, _ in await said(predict)] == ["progress", "output", "output", "done"]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_progress_is_a_fraction(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction from 0 to 1"):
        progress(fraction)


def test_outside_of_a_call_it_costs_nothing() -> None:
    progress(0.5, "nobody hears")
    progress()


async def test_calls_at_the_same_time_hear_only_themselves() -> None:
    barrier = threading.Barrier(2)

    def predict(name: str) -> str:
        barrier.wait(10)
        for _ in range(20):
            progress(message=name)
        return name

    async with client(predict) as http:
        one, two = await asyncio.gather(
            *(http.post("/predict", headers=LISTENS, json={"name": name}) for name in ("one", "two"))
        )
    assert (one.text.count('"one"'), one.text.count('"two"')) == (21, 0)
    assert (two.text.count('"one"'), two.text.count('"two"')) == (0, 21)


async def test_a_wrong_log_line_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def predict() -> int:
        log.info("%d", "no number")
        log.info("fine")
        return 1

    assert [data.get("message") for name, data in await said(predict) if name == "log"] == ["fine"]


async def test_of_what_nobody_reads_the_oldest_is_dropped() -> None:
    talk = Talk(logs=True)
    for number in range(1500):
        talk.say(event("log", str(number).encode()))
    await talk.spoken()
    await asyncio.sleep(0)
    words = talk.take()
    assert len(words) == 1000
    assert words[-1] == b"event: log\ndata: 1499\n\n"
    assert talk.take() == []
