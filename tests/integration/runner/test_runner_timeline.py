"""Timelines out of real rows: who served which attempt with which configuration, and why it went on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiohttp import web

from algodock_runner.domain.errors import UnknownTask
from algodock_runner.repository import timeline as rows
from algodock_runner.repository.claim import Slots, claim

from .behaviours import failing_first

if TYPE_CHECKING:
    from .conftest import Platform


async def test_a_retried_task_tells_who_served_each_attempt(platform: Platform) -> None:
    platform.algorithm.behaviour = failing_first(1)
    instance = platform.route(config_version=3)
    async with platform.worker():
        view = await platform.submit(input=1)

        async def waits() -> bool:
            return bool(await platform.rows("SELECT 1 FROM attempts"))

        await platform.eventually(waits)
        between = await platform.desk.timeline(view.id, owner="key-1")
        assert [one.state for one in between.transitions] == ["accepted", "queued", "running", "queued"]
        assert between.transitions[-1].resumes_at is not None
        await platform.hurry()
        seen = await platform.ended(view.id)

    found = await platform.desk.timeline(view.id, owner="key-1")
    assert (found.state, found.attempt) == ("succeeded", 2)
    assert [(one.index, one.state, one.attempt) for one in found.transitions] == [
        (0, "accepted", 0),
        (1, "queued", 0),
        (2, "running", 1),
        (3, "queued", 1),
        (4, "running", 2),
        (5, "succeeded", 2),
    ]
    for one in found.transitions[2:]:
        assert (one.instance_id, one.release_id) == (instance.instance_id, instance.release_id)
        assert (one.commit, one.config_version) == ("c" * 40, 3)
        assert one.worker_id is not None
    back = found.transitions[3]
    assert (back.reason, back.error and back.error.status) == ("failed", 503)
    times = [one.at for one in found.transitions]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (seen.created_at, seen.finished_at)
    rest = await platform.desk.timeline(view.id, owner="key-1", after=3)
    assert rest.transitions == found.transitions[4:]


async def test_a_lost_lease_is_on_the_timeline_with_the_instance_that_had_it(platform: Platform) -> None:
    hold = asyncio.Event()

    async def behaviour(_: web.Request) -> web.StreamResponse:
        await hold.wait()
        return web.json_response({})

    platform.algorithm.behaviour = behaviour
    instance = platform.route(config_version=5)
    async with platform.worker(lease_s=0.9):
        view = await platform.submit(input=1)

        async def running() -> bool:
            found = await platform.desk.timeline(view.id, owner=None)
            last = found.transitions[-1]
            return last.state == "running" and last.instance_id is not None

        await platform.eventually(running)  # it is told while the task runs
        assert (await platform.task(view.id)).release_id == instance.release_id

        async def swept() -> bool:
            await platform.change("UPDATE tasks SET lease_until = now() - interval '1 second'")
            await platform.reconciler.sweep_once()  # each time: its worker may renew the lease between the two
            return len((await platform.desk.timeline(view.id, owner=None)).transitions) > 3

        await platform.eventually(swept)
        found = await platform.desk.timeline(view.id, owner=None)
        hold.set()
    began, lost = (next(one for one in found.transitions if one.index == index) for index in (2, 3))
    assert (lost.state, lost.reason, lost.error and lost.error.type) == ("queued", "lost", "WorkerLost")
    for one in (began, lost):
        assert (one.instance_id, one.release_id) == (instance.instance_id, instance.release_id)
        assert (one.commit, one.config_version) == ("c" * 40, 5)


async def test_another_attempt_says_nothing_of_the_instance_before_it(platform: Platform) -> None:
    view = await platform.submit(input=1)
    await platform.change("UPDATE tasks SET instance_id = gen_random_uuid(), commit = 'old', config_version = 1")
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    last = (await platform.desk.timeline(view.id, owner=None)).transitions[-1]
    assert (last.state, last.instance_id, last.commit, last.config_version) == ("running", None, "", None)


async def test_a_cancelled_task_that_was_to_begin_later_was_never_queued(platform: Platform) -> None:
    view = await platform.submit(input=1, not_before=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    await platform.cancels.cancel(view.id, owner="key-1")
    found = await platform.desk.timeline(view.id, owner="key-1")
    assert [(one.index, one.state) for one in found.transitions] == [(0, "accepted"), (2, "cancelled")]


async def test_nobody_reads_the_timeline_of_anothers_task(platform: Platform) -> None:
    view = await platform.submit(input=1)
    with pytest.raises(UnknownTask):
        await platform.desk.timeline(view.id, owner="key-2")
    with pytest.raises(UnknownTask):
        await platform.desk.timeline(uuid4(), owner=None)


async def test_a_timeline_of_very_many_attempts_comes_in_parts(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ATTEMPTS_AT_ONCE", 2)
    view = await platform.submit(input=1)
    await platform.change("UPDATE tasks SET attempt = 5, claimed_at = now()")
    await platform.change(
        "INSERT INTO attempts (task_id, attempt, outcome, started_at)"
        " SELECT id, number, 'not started', now() FROM tasks, generate_series(1, 5) AS number"
    )
    seen, after = [], -1
    for _ in range(5):
        part = await platform.desk.timeline(view.id, owner=None, after=after)
        seen += [one.index for one in part.transitions]
        if part.next is None:
            break
        after = part.next
    assert seen == list(range(12))


async def test_how_tasks_stand_changes_with_every_step(platform: Platform) -> None:
    platform.route()
    view = await platform.submit(input=1)
    before = await platform.desk.standing([view.id, uuid4()])
    assert before == {view.id: "queued/0"}
    async with platform.worker():
        await platform.ended(view.id)
    assert await platform.desk.standing([view.id]) == {view.id: "succeeded/1"}
