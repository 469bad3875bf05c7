"""Cancelling: waiting tasks at once, running ones when their work has really stopped, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiohttp import web

from algodock_common.errors import Conflict, Unavailable
from algodock_common.events import Limits
from algodock_runner.domain.errors import TaskEnded
from algodock_runner.handlers import cancelling as cancelling_handler
from algodock_runner.handlers import holding
from algodock_runner.repository import fence, lease
from algodock_runner.repository.claim import Slots, claim

from .behaviours import sleeping

if TYPE_CHECKING:
    from uuid import UUID

    from .conftest import Platform


async def running(platform: Platform, **body: Any) -> UUID:
    """Return a task whose call has reached its algorithm."""
    platform.algorithm.behaviour = sleeping(60)
    view = await platform.submit(input=1, **body)

    async def called() -> bool:
        return bool(platform.algorithm.calls)

    await platform.eventually(called, seconds=60)
    return view.id


async def left_by_a_dead_worker(platform: Platform) -> UUID:
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="dead", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    await platform.cancels.cancel(view.id, owner=None)
    await platform.change("UPDATE tasks SET lease_until = now() - interval '1 second'")
    return view.id


async def test_a_waiting_task_is_cancelled_at_once(platform: Platform) -> None:
    view = await platform.submit(input=1)
    assert (await platform.cancels.cancel(view.id, owner="key-1")).state == "cancelled"
    assert (await platform.cancels.cancel(view.id, owner="key-1")).state == "cancelled"  # asking again changes nothing
    assert len(await platform.emitted("task.finished")) == 1


async def test_a_running_task_is_cancelled_when_its_work_has_stopped(platform: Platform) -> None:
    platform.algorithm.cancel_answers = [202] * 1000
    platform.route()
    async with platform.worker():
        task = await running(platform)
        asked = await platform.cancels.cancel(task, owner="key-1")
        assert asked.state == "running"
        assert asked.cancel_requested_at
        await platform.algorithm.told.wait()
        assert (await platform.task(task)).state == "running"  # it said 202: it is still at it
        platform.algorithm.cancel_answers = [202, 200]
        before = len(platform.algorithm.cancelled)
        seen = await platform.ended(task)
    assert (seen.state, seen.attempt) == ("cancelled", 1)  # by who ran it, not by who took it over after its timeout
    assert platform.algorithm.closed == 1
    assert platform.algorithm.cancelled == [str(task)] * (before + 2)


@pytest.mark.parametrize("outcome", ["failed", "handed back", "not started"])
async def test_an_attempt_that_ends_beside_its_cancel_is_not_followed_by_another_and_asked_after(
    platform: Platform, outcome: str
) -> None:
    """A plain function goes on after its call has timed out, or its worker was stopped."""
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        (held,) = await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    await platform.cancels.cancel(view.id, owner=None)
    back = fence.GiveBack(view.id, held.attempt, outcome, wait_s=9, spent=True)  # type: ignore[arg-type]
    async with platform.db.transaction() as tx:
        await fence.give_back(tx, [back])
    async with platform.db.transaction() as tx:
        assert not await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    await platform.reconciler.sweep_once()
    assert (await platform.task(view.id)).state == "running"
    platform.algorithm.cancel_answers = [202, 200]
    platform.route()
    async with platform.worker():
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("cancelled", 2)
    assert platform.algorithm.cancelled == [str(view.id)] * 2
    assert not platform.algorithm.calls
    assert [row.outcome for row in await platform.rows("SELECT outcome FROM attempts")] == [outcome]


async def test_a_task_that_has_ended_cannot_be_cancelled(platform: Platform) -> None:
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    with pytest.raises(TaskEnded) as refused:
        await platform.cancels.cancel(view.id, owner=None)
    assert refused.value.status == 409


async def test_a_worker_that_is_told_looks_at_once(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "WATCH_EVERY_S", 60.0)
    platform.route()
    async with platform.worker() as pool:
        task = await running(platform)
        await platform.cancels.cancel(task, owner=None)
        pool.cancel_asked(uuid4())  # another worker's
        pool.cancel_asked(task)
        seen = await platform.ended(task)
    assert (seen.state, seen.attempt) == ("cancelled", 1)


async def test_who_does_not_answer_may_go_on(platform: Platform) -> None:
    """An async function that blocks its event loop cannot say that it has stopped."""
    hold = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        platform.algorithm.cancelled.append(request.match_info["task"])
        platform.algorithm.told.set()
        await hold.wait()
        return web.Response(status=404)

    platform.algorithm.cancel = silent  # type: ignore[method-assign]
    async with platform.algorithm.served():
        platform.route()
        async with platform.worker():
            task = await running(platform)
            await platform.cancels.cancel(task, owner=None)
            await platform.algorithm.told.wait()
            platform.algorithm.told.clear()
            await platform.algorithm.told.wait()  # it is asked again
            assert (await platform.task(task)).state == "running"
            hold.set()
            assert (await platform.ended(task)).state == "cancelled"


@pytest.mark.parametrize("state", ["gone", "silent"])
async def test_where_nobody_listens_work_may_go_on_until_the_registry_knows_better(
    platform: Platform, state: str
) -> None:
    """A server that is being ended closes its port first, and its threads last."""
    async with platform.worker():
        async with platform.algorithm.served():
            instance = platform.route()
            task = await running(platform)
            platform.algorithm.cancel_answers = [202] * 100
            await platform.cancels.cancel(task, owner=None)
            await platform.algorithm.told.wait()
        asked = await platform.rows("SELECT now() + interval '1.5 seconds' AS until")

        async def waited() -> bool:
            return bool(await platform.rows("SELECT 1 WHERE now() > :until", until=asked[0].until))

        await platform.eventually(waited)
        assert (await platform.task(task)).state == "running"
        platform.route(instance_id=instance.instance_id, state=state)
        assert (await platform.ended(task)).state == "cancelled"


async def test_work_that_goes_on_past_its_timeout_fails_and_is_not_called_cancelled(platform: Platform) -> None:
    platform.algorithm.cancel_answers = [202] * 100
    platform.route()
    async with platform.worker():
        task = await running(platform, timeout=3)
        await platform.cancels.cancel(task, owner=None)
        seen = await platform.ended(task)
    assert seen.state == "failed"
    assert seen.error
    assert seen.error.type == "NotStopped"
    assert "force" in seen.error.message
    assert not platform.restarts.asked


async def test_force_restarts_the_instance_once_if_the_work_goes_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling_handler, "FORCE_AFTER_S", 1.0)
    platform.algorithm.cancel_answers = [202] * 100
    instance = platform.route()
    async with platform.worker():
        task = await running(platform, timeout=1.5)
        await platform.cancels.cancel(task, owner=None, force=True)

        async def asked_after(seconds: float) -> bool:
            (row,) = await platform.rows("SELECT now() - cancel_requested_at AS ago FROM tasks")
            assert not platform.restarts.asked or row.ago.total_seconds() >= 1
            return bool(platform.restarts.asked) and row.ago.total_seconds() >= seconds

        await platform.eventually(lambda: asked_after(3), seconds=60)
        assert (await platform.task(task)).state == "running"  # a restart may take longer than a call
        platform.algorithm.cancel_answers = [202, 404]
        assert (await platform.ended(task)).state == "cancelled"
    ((algorithm, restarted, _),) = platform.restarts.asked
    assert (algorithm, restarted) == ("echo", instance.instance_id)


async def test_force_waits_for_no_restart_that_cannot_be(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling_handler, "FORCE_AFTER_S", 0.5)
    platform.restarts.refusal = Unavailable("the gateway is away")
    platform.algorithm.cancel_answers = [202] * 100
    platform.route()
    async with platform.worker():
        task = await running(platform, timeout=1.5)
        await platform.cancels.cancel(task, owner=None, force=True)
        after = "SELECT 1 FROM tasks WHERE now() > cancel_requested_at + interval '3 seconds'"
        await platform.eventually(lambda: platform.rows(after))
        assert (await platform.task(task)).state == "running"  # it may come back
        platform.restarts.refusal = Conflict("it runs elsewhere")
        seen = await platform.ended(task)
    assert seen.error
    assert (seen.state, seen.error.type) == ("failed", "NotStopped")


async def test_force_may_be_added_later_and_is_not_taken_back(platform: Platform) -> None:
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    for force, kept in ((False, False), (True, True), (False, True)):
        await platform.cancels.cancel(view.id, owner=None, force=force)
        (row,) = await platform.rows("SELECT cancel_force FROM tasks")
        assert row.cancel_force is kept


async def test_a_cancelled_task_of_a_dead_worker_is_taken_over_and_asked_after(platform: Platform) -> None:
    task = await left_by_a_dead_worker(platform)
    await platform.reconciler.sweep_once()
    assert (await platform.task(task)).state == "running"  # nobody knows yet whether it has stopped
    platform.algorithm.cancel_answers = [202] * 1000
    platform.route()
    async with platform.worker():
        await platform.algorithm.told.wait()
        assert (await platform.task(task)).state == "running"
        platform.algorithm.cancel_answers = [202, 404]
        before = len(platform.algorithm.cancelled)
        seen = await platform.ended(task)
    assert (seen.state, seen.attempt) == ("cancelled", 2)
    assert platform.algorithm.cancelled == [str(task)] * (before + 2)
    assert not platform.algorithm.calls
    (lost,) = await platform.rows("SELECT attempt, outcome, worker_id FROM attempts")
    assert (lost.attempt, lost.outcome, lost.worker_id) == (1, "lost", "dead")


async def test_a_cancelled_task_is_taken_over_by_one_worker_only(platform: Platform) -> None:
    task = await left_by_a_dead_worker(platform)
    platform.algorithm.cancel_answers = [202, 202]
    platform.route()
    async with platform.worker(), platform.worker():
        seen = await platform.ended(task)
    assert (seen.state, seen.attempt) == ("cancelled", 2)


async def test_what_was_taken_over_is_held_until_it_has_stopped_or_another_has_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = asyncio.Event()
    renew = lease.renew

    async def noted(to: Any, held: Any, **rest: Any) -> set[UUID]:
        kept = await renew(to, held, **rest)
        if kept:
            renewed.set()
        return kept

    monkeypatch.setattr(lease, "renew", noted)
    platform.algorithm.cancel_answers = [202] * 1000  # it goes on and on
    platform.route(limits=Limits(timeout_s=600))
    task = await left_by_a_dead_worker(platform)
    async with platform.worker() as pool, asyncio.timeout(60):
        await renewed.wait()
        await platform.change("UPDATE tasks SET attempt = attempt + 1, worker_id = 'another'")

        async def let_go() -> bool:
            return not pool._canceller._adopted

        await platform.eventually(let_go)
    assert (await platform.task(task)).state == "running"  # as the other one's


async def test_a_zombies_result_does_not_count_after_its_cancelled_task_was_taken_over(platform: Platform) -> None:
    task = await left_by_a_dead_worker(platform)
    platform.algorithm.cancel_answers = [202] * 50
    platform.route()
    async with platform.worker():
        await platform.algorithm.told.wait()
        late = fence.End(task, 1, "failed", error=None)
        async with platform.db.transaction() as tx:
            assert not await fence.end(tx, [late], before=fence.RUNNING, gateway_url="")
        platform.algorithm.cancel_answers = []
        assert (await platform.ended(task)).state == "cancelled"
