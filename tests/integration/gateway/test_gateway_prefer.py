"""Calls that prefer to become tasks: answered with their place, or with the result when it comes in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from algodock_common.events import Event, TaskFinished

if TYPE_CHECKING:
    from tests.integration.gateway.running import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASYNC = {"prefer": "respond-async"}


async def end(gateway: Gateway, task_id: UUID, state: Any, **more: Any) -> None:
    gateway.peers.tasks[task_id].update(state=state, **more)
    finished = TaskFinished(id=task_id, state=state, algorithm="echo")
    await gateway.worker.publish(Event[TaskFinished].of(finished, source="/worker"))


async def waiting_call(gateway: Gateway, prefer: str = "wait=20") -> tuple[asyncio.Task[Any], UUID]:
    """Begin a call that waits; return it and its task."""
    gateway.peers.submitted.clear()
    call = gateway.api.post("/ai/echo/predict", json={"x": 1}, headers={"prefer": prefer}, follow_redirects=False)
    running = asyncio.create_task(call)
    async with asyncio.timeout(60):
        await gateway.peers.submitted.wait()
    return running, UUID(gateway.peers.calls[-1][0])


@pytest.mark.parametrize("prefer", ["respond-async", "respond-async, wait=0", "wait=0"])
async def test_a_call_becomes_a_task_and_is_told_its_place(gateway: Gateway, prefer: str) -> None:
    answer = await gateway.api.post("/ai/echo/predict", content=b'{"x": 1}', headers={"prefer": prefer})
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["state"], task["algorithm"]) == ("queued", "echo")
    assert answer.headers["location"] == f"/api/v1/tasks/{task['id']}"
    assert answer.headers["preference-applied"] == prefer
    assert gateway.peers.calls[-1][:2] == (task["id"], "admin")
    assert gateway.peers.calls[-1][3] == b'{"x": 1}'
    assert (await gateway.api.get(answer.headers["location"])).json()["id"] == task["id"]


async def test_a_form_passes_as_it_is(gateway: Gateway) -> None:
    files = {"image": ("x.png", b"\x89PNG" * 50_000, "image/png")}
    answer = await gateway.api.post("/ai/echo/predict", files=files, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    _, _, type_, body = gateway.peers.calls[-1]
    assert type_ is not None
    assert type_.startswith("multipart/form-data; boundary=")
    assert b"\x89PNG" * 50_000 in body


async def test_a_result_that_comes_in_time_is_the_answer(gateway: Gateway) -> None:
    call, task_id = await waiting_call(gateway, "respond-async, wait=20")
    gateway.peers.results[task_id] = ("text/csv", b"a;b")
    await end(gateway, task_id, "succeeded")
    answer = await call
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (
        200,
        "text/csv; charset=utf-8",
        b"a;b",
    )
    assert answer.headers["preference-applied"] == "respond-async, wait=20"
    assert answer.headers["content-location"] == f"/api/v1/tasks/{task_id}/result"


async def test_a_large_result_is_pointed_to_for_a_get(gateway: Gateway) -> None:
    call, task_id = await waiting_call(gateway)
    await end(gateway, task_id, "succeeded")
    answer = await call
    assert (answer.status_code, answer.headers["location"]) == (303, f"http://objects/tasks/{task_id}")


async def test_a_result_that_does_not_come_in_time_leaves_its_place(gateway: Gateway) -> None:
    answer = await gateway.api.post("/ai/echo/predict", json={}, headers={"prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.headers["location"].startswith("/api/v1/tasks/")


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [
        ("failed", {"type": "Invalid input", "message": "x: must be a number", "status": 422}, 422),
        ("failed", {"type": "ValueError", "message": "boom", "status": 500}, 500),
        ("failed", {"type": "Teapot", "message": "short and stout", "status": 418}, 418),
        ("failed", {"type": "WorkerLost", "message": "gone", "status": None}, 502),
        ("expired", {"type": "Expired", "message": "too late", "status": None}, 504),
        ("cancelled", {"type": "Cancelled", "message": "stopped", "status": None}, 409),
    ],
)
async def test_a_failure_in_time_is_the_answer(gateway: Gateway, state: str, error: Any, status: int) -> None:
    call, task_id = await waiting_call(gateway)
    await end(gateway, task_id, state, error=error)
    answer = await call
    assert answer.status_code == status
    problem = answer.json()
    assert (problem["detail"], problem["status"], problem["task_id"]) == (error["message"], status, str(task_id))


async def test_what_the_runner_refuses_is_said(gateway: Gateway) -> None:
    answer = await gateway.api.post("/ai/unknown/predict", json={}, headers=ASYNC)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no such algorithm"


async def test_a_task_needs_a_key_like_a_call(gateway: Gateway) -> None:
    before = len(gateway.peers.calls)
    answer = await gateway.open.post("/ai/echo/predict", json={}, headers=ASYNC)
    assert answer.status_code == 401
    assert len(gateway.peers.calls) == before


@pytest.mark.parametrize(
    ("method", "path", "prefer"),
    [
        ("POST", "/ai/nobody/predict", "return=minimal"),
        ("POST", "/ai/nobody/other", "respond-async"),
        ("GET", "/ai/nobody/predict", "respond-async"),
        ("POST", "/ai/nobody/predict?a=1", "respond-async"),
    ],
)
async def test_what_cannot_be_a_task_stays_a_call(gateway: Gateway, method: str, path: str, prefer: str) -> None:
    before = len(gateway.peers.calls)
    answer = await gateway.api.request(method, path, headers={"prefer": prefer})
    assert answer.status_code == 404  # there is no such algorithm to call
    assert "preference-applied" not in answer.headers
    assert len(gateway.peers.calls) == before


async def test_a_rerun_is_asked_for_in_the_callers_name(gateway: Gateway) -> None:
    task_id = uuid4()
    answer = await gateway.api.post(f"/api/v1/tasks/{task_id}/rerun", json={"version": "abcdef0"})
    assert answer.status_code == 202
    told = answer.json()
    assert (told["rerun_of"], told["version"], told["owner"]) == (str(task_id), "abcdef0", "admin")
