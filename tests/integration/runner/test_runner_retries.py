"""What fails, breaks or takes too long: tried again or not, and when it is over."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from algodock_common.events import Limits
from algodock_runner.domain.errors import TaskHasNoResult

from .behaviours import answering, failing_first, sleeping

if TYPE_CHECKING:
    from .conftest import Platform


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_what_would_fail_again_is_not_tried_again(platform: Platform, status: int) -> None:
    problem = json.dumps({"title": "Bad", "detail": "input_data.0: no string", "error": {"type": "ValueError"}})
    platform.algorithm.behaviour = answering(status, problem)
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.state == "failed"
    assert view.error
    assert (view.error.type, view.error.message, view.error.status) == ("ValueError", "input_data.0: no string", status)
    assert len(platform.algorithm.calls) == 1
    with pytest.raises(TaskHasNoResult):
        await platform.desk.result(view.id, owner=None)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_what_may_pass_is_tried_again_after_a_wait(platform: Platform, status: int) -> None:
    platform.algorithm.behaviour = failing_first(1, status)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1)
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM tasks WHERE failures = 1"), 15)
        (row,) = await platform.rows("SELECT state, wakes_at > queued_at AS later FROM tasks")
        assert (row.state, row.later) == ("queued", True)
        await platform.hurry()
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 2)
    (spent,) = await platform.rows("SELECT outcome, error FROM attempts")
    assert (spent.outcome, spent.error["status"]) == ("failed", status)


async def test_an_algorithms_wish_to_wait_is_heard(platform: Platform) -> None:
    platform.algorithm.behaviour = answering(503, **{"retry-after": "1000"})
    platform.route()
    async with platform.worker():
        await platform.submit(input=1)
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM tasks WHERE failures = 1"))
    (row,) = await platform.rows("SELECT extract(epoch FROM wakes_at - queued_at) AS wait_s FROM tasks")
    assert 999 < row.wait_s <= 1000.1


async def test_the_attempts_of_a_task_have_an_end(platform: Platform) -> None:
    platform.algorithm.behaviour = failing_first(99)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=2)
        async with asyncio.timeout(60):
            while (await platform.task(view.id)).state != "failed":
                await platform.hurry()
                await asyncio.sleep(0.05)
    assert len(platform.algorithm.calls) == 2
    (event,) = await platform.emitted("task.finished")
    assert event["data"]["error"]["status"] == 503


async def test_a_broken_connection_is_tried_again(platform: Platform) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.close()
        return web.Response()

    platform.algorithm.behaviour = cut
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        seen = await platform.ended(view.id)
    assert seen.error
    assert (seen.state, seen.error.type) == ("failed", "ConnectionLost")


async def test_a_call_that_breaks_with_its_instances_end_costs_no_attempt(platform: Platform) -> None:
    begun, cut = asyncio.Event(), asyncio.Event()

    async def ended_with_its_instance(request: web.Request) -> web.StreamResponse:
        begun.set()
        await cut.wait()
        assert request.transport
        request.transport.close()
        return web.Response()

    platform.algorithm.behaviour = ended_with_its_instance
    old = platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        await begun.wait()
        platform.algorithm.behaviour = sleeping(0)
        platform.route(instance_id=old.instance_id, state="draining")
        platform.route()
        cut.set()
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM attempts WHERE outcome = 'not started'"))
        await platform.hurry()
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 2)


async def test_an_answer_past_the_timeout_closes_the_call(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(30)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, timeout=1, max_attempts=1)
        seen = await platform.ended(view.id)

        async def closed() -> bool:
            return platform.algorithm.closed == 1

        await platform.eventually(closed)
    assert seen.error
    assert (seen.state, seen.error.type, seen.error.status) == ("failed", "Timeout", 504)


async def test_the_algorithms_own_timeout_holds_without_one_of_the_task(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(30)
    platform.route(limits=Limits(timeout_s=0.2))
    async with platform.worker():
        seen = await platform.ended((await platform.submit(input=1, max_attempts=1)).id)
    assert seen.error
    assert seen.error.type == "Timeout"


async def test_without_a_healthy_instance_a_task_waits_and_no_attempt_is_spent(platform: Platform) -> None:
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        await asyncio.sleep(1.3)
        assert (await platform.task(view.id)).state == "queued"
        platform.route()  # the worker sees the new route, not a second later
        seen = await platform.ended(view.id, seconds=60)
    assert (seen.state, seen.attempt) == ("succeeded", 1)


async def test_an_instance_that_refuses_costs_no_attempt_while_another_is_there(platform: Platform) -> None:
    gone = platform.route(base_url="http://127.0.0.1:9")
    platform.route()
    async with platform.worker():
        views = [await platform.submit(input=n, max_attempts=1) for n in range(6)]
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
    assert platform.table.instance(gone.instance_id).in_flight == 0  # type: ignore[union-attr]


async def test_only_instances_that_refuse_leave_the_task_waiting(platform: Platform) -> None:
    platform.route(base_url="http://127.0.0.1:9")
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM attempts"))
    (row,) = await platform.rows("SELECT state, failures FROM tasks WHERE id = :id", id=view.id)
    assert (row.state, row.failures) == ("queued", 0)


async def test_a_waiting_task_past_its_deadline_expires(platform: Platform) -> None:
    view = await platform.submit(input=1, deadline=datetime.now(UTC) + timedelta(seconds=1))

    async def over() -> bool:
        await platform.reconciler.sweep_once()
        return (await platform.task(view.id)).state == "expired"

    await platform.eventually(over)
    seen = await platform.task(view.id)
    assert seen.error
    assert seen.error.type == "Expired"
    (event,) = await platform.emitted("task.finished")
    assert event["data"]["state"] == "expired"


async def test_a_task_that_nobody_takes_expires_after_the_longest_wait(platform: Platform) -> None:
    view = await platform.submit(input=1)
    await platform.change("UPDATE tasks SET expires_at = now()")
    await platform.reconciler.sweep_once()
    seen = await platform.task(view.id)
    assert seen.error
    assert seen.state == "expired"
    assert "longest wait" in seen.error.message


async def test_a_running_task_past_its_deadline_expires(platform: Platform) -> None:
    """At its deadline, that is: a call may take far longer."""
    platform.algorithm.behaviour = sleeping(600)
    platform.route(limits=Limits(timeout_s=600))
    async with platform.worker():
        view = await platform.submit(input=1, deadline=datetime.now(UTC) + timedelta(seconds=1.5))
        async with asyncio.timeout(60):
            while (seen := await platform.task(view.id)).state != "expired":
                await platform.reconciler.sweep_once()  # or nobody took it in time
                await asyncio.sleep(0.05)
    assert seen.error
    assert seen.error.type == "Expired"
