"""The service around an algorithm, called in process."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel
from starlette.responses import PlainTextResponse

from algodock_sdk.algorithm import Algorithm
from algodock_sdk.heartbeat import Load
from algodock_sdk.server import create_app


def client(predict: Callable[..., Any], load: Load | None = None) -> httpx.AsyncClient:
    app = create_app(Algorithm.of(predict, name="test"), load=load)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def echo(input_data: list[str], batch_id: str = "") -> dict[str, Any]:
    return {"input_data": input_data, "batch_id": batch_id}


async def test_json_in_json_out() -> None:
    answer = await client(echo).post("/predict", json={"input_data": ["这是一个测试文本"], "batch_id": "test_001"})
    assert answer.status_code == 200
    assert answer.json() == {"input_data": ["这是一个测试文本"], "batch_id": "test_001"}
    assert "这" in answer.text


async def test_wrong_input_is_a_problem_with_the_fields_path() -> None:
    answer = await client(echo).post("/predict", json={"input_data": ["a", 5]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["path"] == "input_data[1]"
    assert "input_data[1]" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"[1]", b"3", b"null", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_a_problem(body: bytes) -> None:
    answer = await client(echo).post("/predict", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body: ")


async def test_another_content_type_is_refused() -> None:
    answer = await client(echo).post("/predict", content=b"x", headers={"content-type": "image/png"})
    assert answer.status_code == 415


async def test_an_empty_body_is_enough_where_all_has_a_default() -> None:
    def predict(seconds: float = 0.5) -> float:
        return seconds

    assert (await client(predict).post("/predict")).json() == 0.5


async def test_an_exception_is_told_by_type_and_message_and_its_traceback_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def predict() -> None:
        msg = "no such bucket"
        raise KeyError(msg)

    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client(predict).post("/predict", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["error"] == {"type": "KeyError", "message": "'no such bucket'"}
    assert problem["trace_id"] == trace
    assert "Traceback" not in answer.text
    assert "Traceback" in caplog.text
    assert trace in caplog.text


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {"a": object()}])
async def test_a_result_without_json_is_a_problem_not_a_broken_body(value: object) -> None:
    answer = await client(lambda: value).post("/predict")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] in {"ValueError", "TypeError"}


async def test_results_of_many_types_become_json() -> None:
    class Model(BaseModel):
        day: dt.date
        data: bytes

    @dataclasses.dataclass
    class Data:
        x: int

    def predict() -> dict[str, Any]:
        return {
            "model": Model(day=dt.date(2026, 1, 2), data=b"hi"),
            "data": Data(1),
            "float": np.float32(0.5),
            "array": np.array([1.5, 2]),
            "set": {1},
            "picture": np.zeros((2, 2, 3), np.uint8),
        }

    result = (await client(predict).post("/predict")).json()
    picture = result.pop("picture")
    assert picture["content_type"] == "image/png"
    assert picture["$file"].startswith("data:image/png;base64,")
    assert result.pop("model") == {
        "day": "2026-01-02",
        "data": {"$file": "data:application/octet-stream;base64,aGk=", "content_type": "application/octet-stream"},
    }
    assert result == {"data": {"x": 1}, "float": 0.5, "array": [1.5, 2.0], "set": [1]}


async def test_multipart_parts_fill_parameters_by_name() -> None:
    def predict(image: bytes, labels: list[str], k: int, text: str, more: list[bytes]) -> dict[str, Any]:
        return {"image": len(image), "labels": labels, "k": k, "text": text, "more": len(more)}

    answer = await client(predict).post(
        "/predict",
        files=[("image", ("a.bin", b"123")), ("more", ("b.bin", b"4"))],
        data={"labels": ["1", "b"], "k": "3", "text": "4"},
    )
    assert answer.json() == {"image": 3, "labels": ["1", "b"], "k": 3, "text": "4", "more": 1}


async def test_a_list_in_one_multipart_field_is_that_list() -> None:
    answer = await client(echo).post("/predict", files={"x": b""}, data={"input_data": '["a", "b"]'})
    assert answer.json()["input_data"] == ["a", "b"]


async def test_a_file_for_a_parameter_that_takes_none_is_refused_by_its_name() -> None:
    answer = await client(echo).post("/predict", files={"input_data": b"\xff\xfe"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "input_data"


async def test_malformed_multipart_is_a_problem() -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert (await client(echo).post("/predict", content=b"garbage", headers=headers)).status_code == 422
    headers = {"content-type": "multipart/form-data"}
    assert (await client(echo).post("/predict", content=b"garbage", headers=headers)).status_code == 422


async def test_bytes_become_the_body_with_their_content_type() -> None:
    answer = await client(lambda: b"%PDF-1.7").post("/predict")
    assert answer.content == b"%PDF-1.7"
    assert answer.headers["content-type"] == "application/pdf"


async def test_a_response_of_the_authors_own_goes_out_as_it_is() -> None:
    answer = await client(lambda: PlainTextResponse("teapot", 418)).post("/predict")
    assert (answer.status_code, answer.text) == (418, "teapot")


async def test_ignored_names_stand_in_a_header() -> None:
    answer = await client(echo).post("/predict", json={"input_data": [], "tresh": 1, "阈值": 2})
    assert answer.headers["x-algodock-ignored"] == "tresh,\\u9608\\u503c"


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_a_generator_is_streamed() -> None:
    def predict(n: int) -> Generator[Any, None, str]:
        for i in range(n):
            yield {"progress": i / n, "message": "on it"}
            yield {"token": i}
        return "whole"

    answer = await client(predict).post("/predict", json={"n": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer.text) == [
        ("progress", {"progress": 0.0, "message": "on it"}),
        ("output", {"token": 0}),
        ("progress", {"progress": 0.5, "message": "on it"}),
        ("output", {"token": 1}),
        ("done", {"outputs": 2, "result": "whole"}),
    ]


async def test_a_stream_that_fails_ends_with_an_error() -> None:
    closed = []

    async def predict() -> AsyncIterator[int]:
        try:
            yield 1
            msg = "too hot"
            raise ValueError(msg)
        finally:
            closed.append(True)

    load = Load()
    found = events((await client(predict, load).post("/predict")).text)
    assert [name for name, _ in found] == ["output", "error"]
    assert found[1][1]["error"] == {"type": "ValueError", "message": "too hot"}
    assert closed
    assert (load.in_flight, load.calls, load.failures) == (0, 1, 1)


async def test_a_slow_function_does_not_hold_up_the_health() -> None:
    started, end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def predict() -> int:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(end.wait(), loop).result(10)
        return 1

    async with client(predict) as http:
        call = asyncio.create_task(http.post("/predict"))
        async with asyncio.timeout(60):
            await started.wait()
        health = (await http.get("/health")).json()
        end.set()
        assert (await call).json() == 1
    assert health == {"status": "ok", "name": "test", "in_flight": 1}


async def test_a_call_is_cancelled_when_its_caller_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cancelled = asyncio.Event()

    async def predict() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_: object) -> None:
        pass

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "headers": [],
        "query_string": b"",
        "app": None,
    }
    app = create_app(Algorithm.of(predict, name="test"))
    async with asyncio.timeout(60):
        await app(scope, receive, send)
    assert cancelled.is_set()


async def test_info_and_openapi_say_what_is_taken() -> None:
    http = client(echo)
    info = (await http.get("/info")).json()
    assert info["name"] == "test"
    assert info["input_schema"]["required"] == ["input_data"]
    document = (await http.get("/openapi.json")).json()
    assert document["servers"] == [{"url": "."}]
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "input_data" in body["properties"]


async def test_the_page_loads_nothing_and_escapes_what_the_author_wrote() -> None:
    def predict(a: str = "</script><script>alert(1)</script>") -> str:
        """<img src=x onerror=alert(1)>."""
        return a

    page = (await client(predict).get("/docs")).text
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "https://" not in page
    assert 'src="' not in page


async def test_the_unknown_and_the_wrong_method_are_problems() -> None:
    http = client(echo)
    for answer, status in ((await http.get("/nothing"), 404), (await http.get("/predict"), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
