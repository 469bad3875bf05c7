"""Running tasks: claimed with a lease, called, stored, ended once; and every way in which that goes wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from algodock_common.events import Limits
from algodock_common.storage import ObjectStoreFailed
from algodock_runner.clients.results import PlainResults
from algodock_runner.domain.errors import TaskHasNoResult
from algodock_runner.domain.tasks import StoredResult, result_key
from algodock_runner.handlers import holding
from algodock_runner.handlers.attempt import Attempt
from algodock_runner.repository import fence
from algodock_runner.repository.claim import Slots, claim

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_runner.clients.answers import Answer
    from algodock_runner.handlers.pool import Pool

    from .conftest import Platform


def answering(status: int, text: str = "", **headers: str) -> object:
    async def behaviour(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={"content-type": "application/problem+json", **headers})

    return behaviour


def sleeping(seconds: float) -> object:
    async def behaviour(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.json_response({"slept": seconds})

    return behaviour


def failing_first(times: int, status: int = 503) -> object:
    left = times

    async def behaviour(_: web.Request) -> web.StreamResponse:
        nonlocal left
        left -= 1
        return web.Response(status=status) if left >= 0 else web.json_response({"ok": True})

    return behaviour


async def test_a_task_ends_in_a_result_with_its_release(platform: Platform) -> None:
    instance = platform.route()
    async with platform.worker():
        view = await platform.submit(input={"x": [1, 2]}, idempotency_key="k", metadata={"a": "b"})
        seen = await platform.ended(view.id)

    assert seen.state == "succeeded", seen
    assert (seen.attempt, seen.release_id, seen.commit) == (1, instance.release_id, "c" * 40)
    assert seen.result_url == f"http://gateway.test/api/v1/tasks/{view.id}/result"
    stored = await platform.desk.result(view.id, owner="key-1")
    assert stored.key == f"tasks/{view.id}/1"
    assert stored.inline == await platform.store.get(stored.key) == b'{"got": {"x": [1, 2]}}'
    (event,) = await platform.emitted("task.finished")
    assert event["data"]["result"] == {"got": {"x": [1, 2]}}
    assert (event["data"]["idempotency_key"], event["data"]["metadata"]) == ("k", {"a": "b"})
    (call,) = platform.algorithm.calls
    assert (call["x-algodock-task"], call["x-algodock-attempt"]) == (str(view.id), "1")


async def test_work_without_a_bell_is_found_all_the_same(platform: Platform) -> None:
    platform.route()
    platform.broker.away = True
    async with platform.worker():
        await platform.ended((await platform.submit(input=1)).id)
    assert not platform.broker.rung


async def test_a_large_answer_lies_in_the_object_store_with_its_type(platform: Platform) -> None:
    async def picture(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x89PNG" + bytes(3_000_000), content_type="image/png")

    platform.algorithm.behaviour = picture
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert (view.result_content_type, view.result_bytes) == ("image/png", 3_000_004)
    stored = await platform.desk.result(view.id, owner=None)
    assert stored.inline is None
    assert len(await platform.store.get(stored.key)) == 3_000_004
    assert "tasks" in await platform.desk.link(stored)
    (event,) = await platform.emitted("task.finished")
    assert "result" not in event["data"] or event["data"]["result"] is None


@pytest.mark.parametrize("body", [b"", b"[" * 3000, b'{"a": NaN}', b'"\\ud800"', b"[" * 300 + b"]" * 300])
async def test_an_answer_that_only_calls_itself_json_is_kept_as_it_is(platform: Platform, body: bytes) -> None:
    async def wrong(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    platform.algorithm.behaviour = wrong
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.state == "succeeded"
    assert await platform.store.get(f"tasks/{view.id}/1") == body


@pytest.mark.parametrize("body", [b"{not json", b"{", b'{"a": 1}}', b'"\xff"', b"<html>", b" "])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_an_answer_that_is_called_json_and_is_none_fails_the_task_once(
    platform: Platform, body: bytes, content_type: str
) -> None:
    async def wrong(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"content-type": content_type})

    platform.algorithm.behaviour = wrong
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.error
    assert (view.state, view.error.type, view.attempt) == ("failed", "InvalidAnswer", 1)
    assert not platform.store.keys


async def test_an_answer_that_is_no_json_and_says_so_is_kept(platform: Platform) -> None:
    async def text(_: web.Request) -> web.StreamResponse:
        return web.Response(text="{")

    platform.algorithm.behaviour = text
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert (view.state, view.result_content_type) == ("succeeded", "text/plain; charset=utf-8")


async def test_whatever_json_an_algorithm_answers_its_task_succeeds_and_its_event_says_what_it_can(
    platform: Platform,
) -> None:
    texts = [
        r'"\u0000"',
        r'"\ud83d\ude00"',
        "9" * 400,
        '{"a":1,"a":2}',
        "-0",
        " \n1\t",
        "null",
        "1e999",
        "[" * 190 + "]" * 190,
    ]
    answers = [text.encode() for text in texts]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answers[await request.json()], content_type="application/json")

    platform.algorithm.behaviour = answer
    platform.route()
    async with platform.worker():
        views = [await platform.submit(input=number) for number in range(len(answers))]
        for view, body in zip(views, answers, strict=True):
            assert (await platform.ended(view.id)).state == "succeeded", (body, await platform.task(view.id))
            assert (await platform.desk.result(view.id, owner=None)).size == len(body)
    events = {event["data"]["id"]: event["data"] for event in await platform.emitted("task.finished")}
    said = [events[str(view.id)]["result"] for view in views]
    assert said[:7] == ["\0", "😀", int("9" * 400), {"a": 2}, 0, 1, None]
    assert json.dumps(said[8]) == "[" * 190 + "]" * 190


async def test_a_large_input_reaches_the_algorithm_whole(platform: Platform) -> None:
    async def length(request: web.Request) -> web.StreamResponse:
        return web.json_response(len((await request.json())["text"]))

    platform.algorithm.behaviour = length
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input={"text": "x" * 3_000_000})).id)
    assert (await platform.desk.result(view.id, owner=None)).inline == b"3000000"


async def test_an_answer_past_the_limit_fails_the_task_once(platform: Platform) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    platform.algorithm.behaviour = endless
    platform.route()
    limits = platform.limits.model_copy(update={"max_result_bytes": 2_000_000})
    platform.limits = limits
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.state == "failed"
    assert view.error
    assert view.error.type == "ResultTooLarge"
    assert view.attempt == 1


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_what_would_fail_again_is_not_tried_again(platform: Platform, status: int) -> None:
    problem = json.dumps({"title": "Bad", "detail": "input_data.0: no string", "error": {"type": "ValueError"}})
    platform.algorithm.behaviour = answering(status, problem)  # type: ignore[assignment]  # made above
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
    platform.algorithm.behaviour = failing_first(1, status)  # type: ignore[assignment]
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
    platform.algorithm.behaviour = answering(503, **{"retry-after": "1000"})  # type: ignore[assignment]
    platform.route()
    async with platform.worker():
        await platform.submit(input=1)
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM tasks WHERE failures = 1"))
    (row,) = await platform.rows("SELECT extract(epoch FROM wakes_at - queued_at) AS wait_s FROM tasks")
    assert 999 < row.wait_s <= 1000.1


async def test_the_attempts_of_a_task_have_an_end(platform: Platform) -> None:
    platform.algorithm.behaviour = failing_first(99)  # type: ignore[assignment]
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
        platform.algorithm.behaviour = sleeping(0)  # type: ignore[assignment]
        platform.route(instance_id=old.instance_id, state="draining")
        platform.route()
        cut.set()
        await platform.eventually(lambda: platform.rows("SELECT 1 FROM attempts WHERE outcome = 'not started'"))
        await platform.hurry()
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 2)


async def test_an_answer_past_the_timeout_closes_the_call(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(30)  # type: ignore[assignment]
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
    platform.algorithm.behaviour = sleeping(30)  # type: ignore[assignment]
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
    platform.algorithm.behaviour = sleeping(600)  # type: ignore[assignment]
    platform.route(limits=Limits(timeout_s=600))
    async with platform.worker():
        view = await platform.submit(input=1, deadline=datetime.now(UTC) + timedelta(seconds=1.5))
        async with asyncio.timeout(60):
            while (seen := await platform.task(view.id)).state != "expired":
                await platform.reconciler.sweep_once()  # or nobody took it in time
                await asyncio.sleep(0.05)
    assert seen.error
    assert seen.error.type == "Expired"


async def test_priorities_go_first_and_then_age(platform: Platform) -> None:
    order: list[int] = []

    async def note(request: web.Request) -> web.StreamResponse:
        order.append(await request.json())
        return web.json_response(None)

    platform.algorithm.behaviour = note
    views = [await platform.submit(input=n, priority=5 if n == 3 else 0) for n in range(4)]
    platform.route(limits=Limits(concurrency=1))
    async with platform.worker():
        for view in views:
            await platform.ended(view.id)
    assert order == [3, 0, 1, 2]


async def test_the_declared_concurrency_holds_over_all_workers(platform: Platform) -> None:
    now, most = 0, 0
    full = asyncio.Event()

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()  # however late the workers come to it
        await asyncio.sleep(0.05)
        now -= 1
        return web.json_response(None)

    platform.algorithm.behaviour = count
    platform.route(limits=Limits(concurrency=3))
    views = [await platform.submit(input=n) for n in range(20)]
    async with platform.worker(), platform.worker():
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
    assert most == 3


async def test_while_redis_is_away_tasks_of_a_service_with_a_limit_wait_unspent_and_all_others_run(
    platform: Platform,
) -> None:
    """Nobody can say how many slots are free; a service without a limit has no need of them."""
    platform.slots.away = True
    platform.route(limits=Limits(concurrency=1))
    platform.route("other")
    async with platform.worker():
        limited = await platform.submit(input=1, max_attempts=1)
        for number in range(3):
            view = await platform.submit(algorithm="other", input=number)
            assert (await platform.ended(view.id)).state == "succeeded"
        assert (await platform.task(limited.id)).state == "queued"
        platform.slots.away = False
        seen = await platform.ended(limited.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)


async def test_claims_at_the_same_moment_never_share_a_task(platform: Platform) -> None:
    for n in range(40):
        await platform.submit(input=n)

    async def take(worker: int) -> list[object]:
        async with platform.db.transaction() as tx:
            taken = await claim(tx, worker_id=f"w{worker}", slots=[Slots("echo", 10, None)], room=10, lease_s=5)
        return [one.id for one in taken]

    taken = [id_ for ids in await asyncio.gather(*(take(n) for n in range(6))) for id_ in ids]
    assert len(taken) == len(set(taken))
    assert len(await platform.rows("SELECT 1 FROM tasks WHERE state = 'running' AND attempt = 1")) == len(taken)


async def test_a_long_queue_of_one_algorithm_does_not_stand_before_the_others(platform: Platform) -> None:
    for n in range(20):
        await platform.submit(algorithm="slow", input=n)
    late = [await platform.submit(algorithm="other", input=n) for n in range(2)]
    async with platform.db.transaction() as tx:
        slots = [Slots("slow", 8, None), Slots("other", 8, None)]
        taken = await claim(tx, worker_id="w", slots=slots, room=4, lease_s=5)
    assert {one.id for one in late} <= {one.id for one in taken}


async def stored(platform: Platform) -> bool:
    return not await platform.rows("SELECT 1 FROM tasks WHERE result_stored_at IS NULL")


async def test_a_dead_workers_task_is_run_again_by_another(platform: Platform) -> None:
    platform.route()
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="dead", slots=[Slots("echo", 1, None)], room=1, lease_s=0.2)
    assert (await platform.task(view.id)).state == "running"
    await asyncio.sleep(0.3)
    async with platform.worker():
        await platform.reconciler.sweep_once()
        seen = await platform.ended(view.id, seconds=60)
        await platform.eventually(lambda: stored(platform))
    assert (seen.state, seen.attempt) == ("succeeded", 2)
    (lost,) = await platform.rows("SELECT outcome, worker_id FROM attempts")
    assert (lost.outcome, lost.worker_id) == ("lost", "dead")
    await platform.store.put(f"tasks/{view.id}/1", b"what the first one stores when it is not dead after all")
    result = await platform.desk.result(view.id, owner=None)
    assert await platform.store.get(result.key) == b'{"got": 1}'


async def test_a_task_that_loses_every_worker_fails_in_the_end(platform: Platform) -> None:
    view = await platform.submit(input=1)
    await platform.change("UPDATE tasks SET lost = 10")
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="dead", slots=[Slots("echo", 1, None)], room=1, lease_s=0.01)
    await asyncio.sleep(0.05)
    await platform.reconciler.sweep_once()
    seen = await platform.task(view.id)
    assert seen.error
    assert (seen.state, seen.error.type) == ("failed", "WorkerLost")


@pytest.mark.parametrize("claimed_again", [True, False])
async def test_a_zombies_late_write_changes_nothing(platform: Platform, claimed_again: bool) -> None:  # noqa: FBT001
    view = await platform.submit(input=1)
    slots = [Slots("echo", 1, None)]
    async with platform.db.transaction() as tx:
        (zombie,) = await claim(tx, worker_id="zombie", slots=slots, room=1, lease_s=0.01)
    await asyncio.sleep(0.05)
    await platform.reconciler.sweep_once()
    if claimed_again:
        async with platform.db.transaction() as tx:
            await claim(tx, worker_id="second", slots=slots, room=1, lease_s=60)
    before = await platform.task(view.id)
    late = fence.End(view.id, zombie.attempt, "failed", error=None)
    back = fence.GiveBack(view.id, zombie.attempt, "failed", wait_s=9, spent=True)
    async with platform.db.transaction() as tx:
        assert await fence.end(tx, [late], before=fence.RUNNING, gateway_url="") == {}
        assert await fence.give_back(tx, [back]) == set()
    assert await platform.task(view.id) == before
    assert not await platform.emitted("task.finished")


async def test_a_result_that_does_not_count_leaves_no_object(platform: Platform) -> None:
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        (zombie,) = await claim(tx, worker_id="zombie", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    await platform.change("UPDATE tasks SET attempt = attempt + 1, worker_id = 'another'")
    result = StoredResult(result_key(view.id, zombie.attempt), "text/plain", 1, b"x", stored=False)
    async with platform.worker() as pool:
        await pool._ledger.write(fence.End(view.id, zombie.attempt, "succeeded", result=result))
    assert not platform.store.keys  # a worker that stops has written what it held


async def test_a_task_longer_than_its_lease_runs_once(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(4.5)  # type: ignore[assignment]
    platform.route()
    async with platform.worker(lease_s=3):
        view = await platform.submit(input=1)
        async with asyncio.timeout(60):
            while (seen := await platform.task(view.id)).state != "succeeded":
                await platform.reconciler.sweep_once()
                await asyncio.sleep(0.1)
    assert seen.attempt == 1
    assert len(platform.algorithm.calls) == 1


async def called(platform: Platform) -> bool:
    return bool(platform.algorithm.calls)


async def stopped(platform: Platform) -> bool:
    return bool(platform.algorithm.closed)


async def idle(pool: Pool) -> bool:
    return not pool.running


async def test_a_lost_lease_stops_the_work(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal tells that another has the task: the end of the old lease is not waited for."""
    monkeypatch.setattr(holding, "WATCH_EVERY_S", 3600.0)
    platform.algorithm.behaviour = sleeping(60)  # type: ignore[assignment]
    platform.route()
    async with platform.worker(lease_s=0.9) as pool:
        view = await platform.submit(input=1)
        await platform.eventually(lambda: called(platform))
        await platform.change("UPDATE tasks SET attempt = attempt + 1, worker_id = 'another'")
        await platform.eventually(lambda: stopped(platform))
        await platform.eventually(lambda: idle(pool))
    assert (await platform.task(view.id)).state == "running"


async def test_a_worker_that_cannot_renew_its_leases_stops_its_work_by_its_own_clock(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from PostgreSQL it hears from nobody that another has the task by now."""

    async def away(*_: object, **__: object) -> set[UUID]:
        msg = "nobody listens"
        raise ConnectionRefusedError(msg)

    monkeypatch.setattr("algodock_runner.repository.lease.renew", away)
    platform.algorithm.behaviour = sleeping(60)  # type: ignore[assignment]
    platform.route()
    async with platform.worker(lease_s=0.9):
        view = await platform.submit(input=1)
        await platform.eventually(lambda: stopped(platform))
    (row,) = await platform.rows("SELECT state, attempt, worker_id FROM tasks WHERE id = :id", id=view.id)
    assert (row.state, row.attempt) == ("running", 1)  # nothing was written: the reconciler gives it to another
    assert not await platform.rows("SELECT 1 FROM attempts")


async def test_a_worker_that_is_stopped_hands_back_what_it_runs(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(30)  # type: ignore[assignment]
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1)
        await platform.eventually(lambda: called(platform))
        platform.algorithm.behaviour = sleeping(0)  # type: ignore[assignment]
    (row,) = await platform.rows("SELECT state, failures, attempt FROM tasks")
    assert (row.state, row.failures, row.attempt) == ("queued", 0, 1)
    platform.broker.rung.clear()
    await asyncio.sleep(0.05)
    async with platform.worker():
        assert (await platform.ended(view.id, seconds=60)).state == "succeeded"


async def test_a_worker_lets_what_is_nearly_done_end_before_it_stops(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(0.4)  # type: ignore[assignment]
    platform.route()
    async with platform.worker(grace_s=60):
        view = await platform.submit(input=1)
        await platform.until(view.id, "running")
    seen = await platform.task(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)


async def test_no_task_succeeds_before_its_large_result_can_be_read(platform: Platform) -> None:
    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    platform.route()
    view = await platform.submit(input=1)
    platform.store.available = False
    async with platform.worker(lease_s=3):
        await platform.until(view.id, "running")
        await asyncio.sleep(4)  # longer than its lease
        assert (await platform.task(view.id)).state == "running"
        assert not platform.store.keys
        platform.store.available = True
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)
    assert len(platform.algorithm.calls) == 1  # the work was not done again
    assert platform.store.keys == [f"tasks/{view.id}/1"]


async def test_a_result_that_the_object_store_refuses_fails_the_task_with_its_word(platform: Platform) -> None:
    class Refusing(PlainResults):
        async def put(self, key: str, answer: Answer) -> None:
            raise ObjectStoreFailed(f"The object store refused {key} of {answer.size} bytes (AccessDenied).")

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    platform.route()
    async with platform.worker(results=Refusing(platform.store)):
        seen = await platform.ended((await platform.submit(input=1)).id)
    assert seen.error
    assert (seen.state, seen.error.type, seen.attempt) == ("failed", "ResultNotStored", 1)
    assert "AccessDenied" in seen.error.message


async def test_a_large_result_that_cannot_be_stored_waits_until_the_deadline(platform: Platform) -> None:
    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        (held,) = await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    platform.route()
    platform.store.available = False
    async with platform.worker() as pool, asyncio.timeout(60):
        outcome = await Attempt(replace(held, deadline_in_s=1.5), pool._tools).run()
    assert isinstance(outcome, fence.End)
    assert (outcome.task_id, outcome.state, outcome.result) == (view.id, "expired", None)


async def test_an_outcome_that_cannot_be_written_does_not_keep_its_neighbours_from_it(platform: Platform) -> None:
    platform.route()
    async with platform.worker() as pool:
        views = [await platform.submit(input=n) for n in range(3)]
        for view in views:
            await platform.ended(view.id)
        wrong = await platform.submit(algorithm="slow", input=1)
        await platform.change(
            "UPDATE tasks SET state='running', attempt=1, lease_until=now() WHERE id=:id", id=wrong.id
        )
        bad = fence.End(wrong.id, 1, "no such state")  # type: ignore[arg-type]  # what a bug would write
        last = await platform.submit(input="last")
        with pytest.raises(Exception, match="check constraint"):
            await pool._ledger.write(bad)
        assert (await platform.ended(last.id)).state == "succeeded"


async def test_all_bells_are_rung_again_for_work_that_is_left(platform: Platform) -> None:
    platform.broker.away = True
    await platform.submit(input=1)

    async def lost() -> bool:
        return platform.broker.lost == ["echo"]

    await platform.eventually(lost)
    platform.broker.away = False
    await platform.reconciler.ring_all()
    await platform.rung("echo")
