"""Leases and fences: workers that die, sleep past their lease, cannot renew it, or are stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from algodock_runner.domain.tasks import StoredResult, result_key
from algodock_runner.handlers import holding
from algodock_runner.repository import fence
from algodock_runner.repository.claim import Slots, claim

from .behaviours import sleeping

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_runner.handlers.pool import Pool

    from .conftest import Platform


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
    platform.algorithm.behaviour = sleeping(4.5)
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
    platform.algorithm.behaviour = sleeping(60)
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
    platform.algorithm.behaviour = sleeping(60)
    platform.route()
    async with platform.worker(lease_s=0.9):
        view = await platform.submit(input=1)
        await platform.eventually(lambda: stopped(platform))
    (row,) = await platform.rows("SELECT state, attempt, worker_id FROM tasks WHERE id = :id", id=view.id)
    assert (row.state, row.attempt) == ("running", 1)  # nothing was written: the reconciler gives it to another
    assert not await platform.rows("SELECT 1 FROM attempts")


async def test_a_worker_that_is_stopped_hands_back_what_it_runs(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(30)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1)
        await platform.eventually(lambda: called(platform))
        platform.algorithm.behaviour = sleeping(0)
    (row,) = await platform.rows("SELECT state, failures, attempt FROM tasks")
    assert (row.state, row.failures, row.attempt) == ("queued", 0, 1)
    platform.broker.rung.clear()
    await asyncio.sleep(0.05)
    async with platform.worker():
        assert (await platform.ended(view.id, seconds=60)).state == "succeeded"


async def test_a_worker_lets_what_is_nearly_done_end_before_it_stops(platform: Platform) -> None:
    platform.algorithm.behaviour = sleeping(0.4)
    platform.route()
    async with platform.worker(grace_s=60):
        view = await platform.submit(input=1)
        await platform.until(view.id, "running")
    seen = await platform.task(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)
