"""What of a cancelled task's work still runs: coroutines stop, threads are waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from algodock_sdk.algorithm import Algorithm
from algodock_sdk.server import create_app
from algodock_sdk.works import Works

TASK = {"x-algodock-task": "0199-task"}


def client(predict: Callable[..., Any]) -> httpx.AsyncClient:
    app = create_app(Algorithm.of(predict, name="test"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Let a test's thread end, at the latest with the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_an_async_function_is_cancelled() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def predict() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with client(predict) as http:
        call = asyncio.create_task(http.post("/predict", headers=TASK))
        await begun.wait()
        answer = await http.post("/cancel/0199-task")
        assert (answer.status_code, answer.json()) == (200, {"task": "0199-task", "state": "stopped"})
        assert cancelled.is_set()
        assert (await call).status_code == 499
        assert (await http.post("/cancel/0199-task")).status_code == 404


async def test_a_plain_function_goes_on_and_is_said_to_until_it_ends(release: threading.Event) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def predict() -> str:
        loop.call_soon_threadsafe(begun.set)
        release.wait(30)
        return "done"

    async with client(predict) as http:
        call = asyncio.create_task(http.post("/predict", headers=TASK))
        await begun.wait()
        answer = await http.post("/cancel/0199-task")
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert (await call).status_code == 499  # its caller is not kept waiting
        assert (await http.post("/cancel/0199-task")).status_code == 202
        asked = asyncio.create_task(http.post("/cancel/0199-task"))
        await http.get("/health")  # the cancel, asked before, waits now
        release.set()
        assert (await asked).status_code == 200
        assert (await http.post("/cancel/0199-task")).status_code == 404


async def test_a_generator_stops_between_its_steps(release: threading.Event) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    steps: list[int] = []

    def predict() -> Iterator[int]:
        for step in range(1000):
            steps.append(step)
            loop.call_soon_threadsafe(begun.set)
            release.wait(30)
            yield step

    async with client(predict) as http:
        call = asyncio.create_task(http.post("/predict", headers=TASK))
        await begun.wait()
        assert (await http.post("/cancel/0199-task")).status_code == 202
        release.set()
        await call
        assert (await http.post("/cancel/0199-task")).status_code == 404
    assert len(steps) == 1


async def test_a_call_of_a_cancelled_task_does_not_begin() -> None:
    called = False

    async def predict() -> None:
        nonlocal called
        called = True

    async with client(predict) as http:
        assert (await http.post("/cancel/0199-task")).status_code == 404
        late = await http.post("/predict", headers=TASK)
        assert (late.status_code, late.json()["code"]) == (409, "task-cancelled")
        assert not called
        assert (await http.post("/predict", headers={"x-algodock-task": "another"})).status_code == 200
        assert (await http.post("/predict")).status_code == 200


async def test_a_thread_that_has_not_begun_does_not_begin_after_a_cancel() -> None:
    works = Works()
    work = works.begin("t")
    assert await works.cancel("t", wait_s=0.01) is False
    begun: list[int] = []
    with pytest.raises(asyncio.CancelledError):
        work.in_thread(lambda: begun.append(1))
    assert not begun
    work.end()
    assert await works.cancel("t", wait_s=0.01) is None


async def test_two_calls_of_a_task_are_both_waited_for() -> None:
    works = Works()
    first, second = works.begin("t"), works.begin("t")
    first.end()
    assert await works.cancel("t", wait_s=0.01) is False
    second.end()
    assert await works.cancel("t", wait_s=0.01) is None


async def test_an_async_generator_that_nobody_reads_any_more_is_closed() -> None:
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def predict() -> AsyncIterator[int]:
        try:
            begun.set()
            await asyncio.sleep(60)
            yield 1
        finally:
            closed.set()

    app = create_app(Algorithm.of(predict, name="test"))
    hang_up = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    headers = [(name.encode(), value.encode()) for name, value in TASK.items()]
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
        "headers": headers, "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
    }  # fmt: skip
    call = asyncio.create_task(app(scope, receive, send))
    await begun.wait()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        assert (await http.post("/cancel/0199-task")).status_code == 200  # though its caller has not hung up
        assert closed.is_set()
        hang_up.set()
        await call
        assert (await http.post("/cancel/0199-task")).status_code == 404
