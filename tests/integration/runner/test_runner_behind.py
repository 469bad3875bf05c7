"""Results written behind their rows: readable at once, in the object store soon, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from aiohttp import web

from algodock_common.storage import ObjectStoreUnavailable
from algodock_runner.clients.results import PlainResults
from algodock_runner.domain.errors import TaskHasNoResult
from algodock_runner.domain.landing import Landing
from algodock_runner.domain.tasks import Unstored
from algodock_runner.handlers import behind
from algodock_runner.handlers.behind import Behind
from algodock_runner.repository import results as results_rows

if TYPE_CHECKING:
    from algodock_runner.clients.answers import Answer

    from .conftest import Behaviour, Platform

PICTURE = b"\x89PNG" + bytes(1000)


def answering(body: bytes, content_type: str) -> Behaviour:
    async def behaviour(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return behaviour


async def unwritten(platform: Platform) -> int:
    (row,) = await platform.rows("SELECT count(*) FROM tasks WHERE result_key IS NOT NULL AND result_stored_at IS NULL")
    return int(row[0])


async def written(platform: Platform) -> bool:
    return not await unwritten(platform)


async def age(platform: Platform) -> None:
    """Let six seconds pass for every result."""
    await platform.change("UPDATE tasks SET finished_at = finished_at - interval '6 s'")


async def test_a_result_is_readable_before_its_object_is_there_and_the_row_lets_go_of_it_then(
    platform: Platform,
) -> None:
    platform.algorithm.behaviour = answering(PICTURE, "image/png")
    platform.route()
    platform.store.available = False
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
        result = await platform.desk.result(view.id, owner=None)
        assert (view.state, result.inline, result.stored) == ("succeeded", PICTURE, False)
        with pytest.raises(ObjectStoreUnavailable):
            await platform.desk.link(result)
        (event,) = await platform.emitted("task.finished")
        assert event["data"]["result"] is None
        assert event["data"]["result_bytes"] == len(PICTURE)
        platform.store.available = True
        await platform.eventually(lambda: written(platform))
    result = await platform.desk.result(view.id, owner=None)
    assert (result.inline, result.stored) == (None, True)
    assert await platform.store.get(result.key) == PICTURE
    found = await platform.store.stat(result.key)
    assert found is not None
    assert found.content_type == "image/png"


async def test_a_link_to_an_unwritten_result_writes_it(platform: Platform) -> None:
    platform.route()
    platform.store.available = False
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
        result = await platform.desk.result(view.id, owner=None)
        platform.store.available = True
        assert result.key in await platform.desk.link(result)
        assert json.loads(await platform.store.get(result.key)) == {"got": 1}


async def test_a_full_backlog_pushes_back_and_after_the_outage_every_object_is_there(platform: Platform) -> None:
    platform.limits = platform.limits.model_copy(update={"behind_backlog": 3})
    platform.route()
    platform.store.available = False
    async with platform.worker(slots=1):
        views = [await platform.submit(input=number) for number in range(6)]
        for view in views[:3]:
            assert (await platform.ended(view.id)).state == "succeeded"
            assert (await platform.desk.result(view.id, owner=None)).inline is not None
        waiting = await platform.until(views[3].id, "running")
        await asyncio.sleep(0.5)
        assert (await platform.task(waiting.id)).state == "running"
        with pytest.raises(TaskHasNoResult):
            await platform.desk.result(waiting.id, owner=None)
        platform.store.available = True
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
        await platform.eventually(lambda: written(platform))
    assert platform.store.keys == sorted(f"tasks/{view.id}/1" for view in views)
    assert len(platform.algorithm.calls) == 6


async def test_the_backlog_is_bounded_by_bytes_too(platform: Platform) -> None:
    limits = platform.limits.model_copy(update={"behind_backlog_bytes": 1000, "behind_result_bytes": 600})
    one = Behind(platform.db, PlainResults(platform.store), limits=limits)
    assert one.has_room(600)
    assert not one.has_room(601)
    one.write(Unstored(UUID(int=1), "tasks/1/1", "text/plain", bytes(600)))
    assert one.has_room(400)
    assert not one.has_room(401)


async def test_while_many_tasks_run_objects_wait_a_moment_and_not_longer(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "TASKS_FIRST_S", 1.5)
    one = Behind(platform.db, PlainResults(platform.store), limits=platform.limits)
    await one.start()
    try:
        one.running(behind.MANY_TASKS)
        one.write(Unstored(UUID(int=1), "tasks/1/1", "text/plain", b"x"))
        began = time.monotonic()
        await asyncio.sleep(0.2)
        assert not platform.store.keys or time.monotonic() - began > 1  # a stall that long says nothing

        async def keys() -> object:
            return platform.store.keys

        await platform.eventually(keys)  # its time is over
        monkeypatch.setattr(behind, "TASKS_FIRST_S", 600)
        one.write(Unstored(UUID(int=2), "tasks/2/1", "text/plain", b"x"))
        one.running(behind.MANY_TASKS - 1)  # for a moment
        one.running(behind.MANY_TASKS)
        await asyncio.sleep(2 * behind.CALM_AFTER_S)
        assert len(platform.store.keys) == 1
        one.running(behind.MANY_TASKS - 1)

        async def both() -> bool:
            return len(platform.store.keys) == 2

        await platform.eventually(both)
    finally:
        await one.stop()


async def test_no_more_wait_than_land_in_time_and_who_must_wait_goes_on_when_some_have_landed(
    platform: Platform,
) -> None:
    one = Behind(platform.db, PlainResults(platform.store), limits=platform.limits)
    platform.store.available = False
    number = 0
    while one.has_room(1):
        one.write(Unstored(UUID(int=number), f"tasks/{number}/1", "text/plain", b"x"))
        number += 1
    assert number == Landing().may_wait < platform.limits.behind_backlog
    waiting = [asyncio.create_task(one.room(1)) for _ in range(5)]
    waiting[1].cancel()
    assert not await one.room(platform.limits.behind_result_bytes + 1)  # the object goes first
    await one.start()
    try:
        _, still = await asyncio.wait(waiting, timeout=0.2)
        assert len(still) == 4
        platform.store.available = True
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(task for task in waiting if task is not waiting[1])) == [True] * 4
    finally:
        await one.stop()


async def test_once_the_backlog_is_full_tasks_end_again_many_at_once(platform: Platform) -> None:
    """One by one each would cost a commit of its own."""

    class Gated(PlainResults):
        gate = asyncio.Semaphore(0)

        async def put(self, key: str, answer: Answer) -> None:
            await self.gate.acquire()
            await super().put(key, answer)

    limits = platform.limits.model_copy(update={"behind_backlog": 20})
    results = Gated(platform.store)
    one = Behind(platform.db, results, limits=limits)
    for number in range(20):
        one.write(Unstored(UUID(int=number), f"tasks/{number}/1", "text/plain", b"x"))
    waiting = [asyncio.create_task(one.room(1)) for _ in range(5)]

    async def landed(count: int) -> int:
        """Let so many land, and return how many tasks go on then."""
        left = len(one._held) - count
        for _ in range(count):
            results.gate.release()

        async def are() -> bool:
            return len(one._held) == left

        await platform.eventually(are)
        for _ in range(3):  # who goes on was told in the same turn of the loop
            await asyncio.sleep(0)
        return sum(task.done() for task in waiting)

    await one.start()
    try:
        assert await landed(2) == 0  # there is room for two
        assert not one.has_room(1)
        assert await landed(1) == 3
        assert one.has_room(1)
    finally:
        for task in waiting:
            task.cancel()
        for _ in range(20):
            results.gate.release()
        await one.stop()


async def test_a_task_past_its_deadline_does_not_wait_for_room(platform: Platform) -> None:
    platform.limits = platform.limits.model_copy(update={"behind_backlog": 1})
    platform.route()
    platform.store.available = False
    async with platform.worker(slots=1):
        first = await platform.submit(input=1)
        assert (await platform.ended(first.id)).state == "succeeded"
        second = await platform.submit(input=2, deadline=datetime.now(UTC) + timedelta(seconds=2))

        async def over() -> bool:
            await platform.reconciler.sweep_once()  # or nobody took it in time
            return (await platform.task(second.id)).state == "expired"

        await platform.eventually(over)
        platform.store.available = True


async def test_what_a_dead_worker_left_unwritten_another_one_writes(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.route()
    platform.store.available = False
    async with platform.worker():
        views = [await platform.ended((await platform.submit(input=number)).id) for number in range(5)]
    platform.store.available = True
    assert await unwritten(platform) == 5  # it is gone, and its queue with it
    monkeypatch.setattr(behind, "SWEEP_EVERY_S", 0.05)
    async with platform.worker(), platform.worker():
        await asyncio.sleep(0.3)
        assert await unwritten(platform) == 5  # who committed them may still come to it
        await age(platform)
        await platform.eventually(lambda: written(platform))
    assert platform.store.keys == sorted(f"tasks/{view.id}/1" for view in views)
    for number, view in enumerate(views):
        assert (await platform.desk.result(view.id, owner=None)).inline == b'{"got": %d}' % number  # small JSON stays


async def test_an_object_that_cannot_be_written_does_not_keep_the_others_from_it(platform: Platform) -> None:
    class Choosy(PlainResults):
        refused = ""

        async def put(self, key: str, answer: object) -> None:
            if key == self.refused:
                raise RuntimeError("a bug")
            await super().put(key, answer)  # type: ignore[arg-type]  # it is an answer

    platform.route()
    platform.store.available = False
    async with platform.worker():
        views = [await platform.ended((await platform.submit(input=number)).id) for number in range(3)]
    platform.store.available = True
    await age(platform)
    results = Choosy(platform.store)
    results.refused = f"tasks/{views[0].id}/1"
    sweeper = Behind(platform.db, results, limits=platform.limits)
    with pytest.raises(RuntimeError):
        await sweeper.sweep_once()
    assert await unwritten(platform) == 1
    results.refused = ""
    assert await sweeper.sweep_once() == 1
    assert await written(platform)


async def test_a_result_that_was_removed_is_not_written_again(platform: Platform) -> None:
    platform.route()
    platform.store.available = False
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    platform.store.available = True
    await age(platform)
    await platform.change("UPDATE tasks SET result_removed_at = now() WHERE id = :id", id=view.id)
    assert await Behind(platform.db, PlainResults(platform.store), limits=platform.limits).sweep_once() == 0
    assert not platform.store.keys


async def test_what_is_written_is_noted_when_the_database_is_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.route()
    failing = 2
    noted = results_rows.stored

    async def flaky(*given: object) -> None:
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise ConnectionResetError("PostgreSQL is being restarted")
        await noted(*given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(results_rows, "stored", flaky)
    monkeypatch.setattr(behind, "LONGEST_WAIT_S", 0.1)
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
        await platform.eventually(lambda: written(platform))
    assert failing < 0
    assert replace(await platform.desk.result(view.id, owner=None), inline=None).stored
