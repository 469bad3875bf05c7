"""What waits, and in which order it runs: versions, depths, concurrency, priorities, turns."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiohttp import web

from algodock_common.events import Limits, TaskRequest
from algodock_runner.domain.errors import IdempotencyConflict, QueueFull
from algodock_runner.handlers.depth import QueueDepths

from .behaviours import Together, sleeping
from .serving import served

if TYPE_CHECKING:
    from .conftest import Platform

OLD, NEW = "a" * 40, "b" * 40


async def batch(platform: Platform, count: int, **body: Any) -> None:
    request = TaskRequest.model_validate({"algorithm": "slow", "input": 1} | body)
    for _ in range(count // 1000 + 1):
        await platform.submission.submit_all([request] * min(count, 1000), owner="key-1")


@pytest.mark.parametrize("named", ["commit", "beginning", "release"])
async def test_a_task_runs_on_the_version_that_it_names(platform: Platform, named: str) -> None:
    for commit in (OLD, NEW):
        route = platform.route(commit=commit)
    version = {"commit": NEW, "beginning": NEW[:7].upper(), "release": str(route.release_id)}[named]
    async with platform.worker():
        views = [await platform.ended((await platform.submit(input=n, version=version)).id) for n in range(6)]
    assert {(view.state, view.release_id, view.commit) for view in views} == {("succeeded", route.release_id, NEW)}
    assert views[0].version == version.lower()


async def test_a_version_that_nobody_serves_fails_and_says_what_serves(platform: Platform) -> None:
    route = platform.route(commit=OLD)
    async with platform.worker():
        view = await platform.submit(input=1, version=NEW[:7])
        await platform.until(view.id, "queued")
        await platform.eventually(lambda: due(platform, view.id))
        view = await platform.ended(view.id)
    assert view.state == "failed"
    assert view.error is not None
    assert view.error.type == "VersionNotServing"
    assert OLD[:12] in view.error.message
    assert str(route.release_id) in view.error.message
    assert not platform.algorithm.calls


@pytest.mark.parametrize("state", ["starting", "silent"])
async def test_a_version_that_is_on_its_way_is_waited_for(platform: Platform, state: Any) -> None:
    platform.route(commit=OLD)
    coming = platform.route(commit=NEW, state=state)
    async with platform.worker():
        view = await platform.submit(input=1, version=NEW)
        for _ in range(3):  # looked at again and again, and never spent
            await platform.eventually(lambda: due(platform, view.id))
        assert (await platform.task(view.id)).state in {"queued", "running"}
        assert await platform.rows("SELECT 1 FROM tasks WHERE failures = 0")
        platform.epoch += 1
        platform.table.apply(coming.model_copy(update={"state": "ready", "epoch": platform.epoch}))

        async def ended() -> bool:
            await platform.hurry()  # each time: a worker that looked before may put it back only now
            return (await platform.task(view.id)).state == "succeeded"

        await platform.eventually(ended)
    assert (await platform.task(view.id)).commit == NEW


async def due(platform: Platform, task_id: Any) -> bool:
    """Let a task that waits for its next attempt be due; say whether it was waiting."""
    waits = await platform.rows("SELECT 1 FROM tasks WHERE id = :id AND wakes_at IS NOT NULL", id=task_id)
    await platform.hurry()
    return bool(waits)


@pytest.mark.parametrize("version", ["abc", "main", "v1.0", "abcdef", "0123456-zz", "a" * 66, "'; --abcdef"])
async def test_a_version_that_is_no_commit_and_no_release_is_refused(platform: Platform, version: str) -> None:
    async with served(platform) as client:
        answer = await client.post("/internal/tasks", json={"algorithm": "echo", "version": version})
    assert answer.status_code == 422
    assert "version" in answer.json()["detail"]


async def test_all_that_is_said_of_a_task_is_kept(platform: Platform) -> None:
    soon, later = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(hours=2)
    view = await platform.submit(
        input={"a": 1},
        params={"b": 2},
        version=NEW,
        callback_url="http://127.0.0.1/x",
        idempotency_key="k",
        priority=-3,
        not_before=soon,
        deadline=later,
        timeout=7.5,
        max_attempts=9,
        metadata={"who": "me"},
    )
    (row,) = await platform.rows("SELECT * FROM tasks")
    assert view.state == row.state == "accepted"
    assert bytes(row.body) == b'{"a":1,"b":2}'
    assert (row.version, row.callback_url, row.idempotency_key) == (NEW, "http://127.0.0.1/x", "k")
    assert (row.priority, row.timeout_s, row.max_attempts, row.metadata) == (-3, 7.5, 9, {"who": "me"})
    assert (row.not_before, row.wakes_at, row.deadline, row.expires_at) == (soon, soon, later, later)
    (event,) = await platform.emitted("task.accepted")
    assert event["data"]["state"] == "accepted"


async def test_a_full_queue_refuses_and_says_when_to_come_again(platform: Platform) -> None:
    platform.registry.declared["echo"] = 3
    await platform.depths.refresh()
    first = await platform.submit(input=0, idempotency_key="first")
    for n in range(2):
        await platform.submit(input=n)
    await platform.submit(algorithm="other", input=1)  # a neighbour's queue is its own
    async with served(platform) as client:
        answer = await client.post("/internal/tasks", json={"algorithm": "echo", "input": 1})
        many = await client.post("/internal/tasks", json={"tasks": [{"algorithm": a} for a in ("echo", "other")]})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "3 tasks" in answer.json()["detail"]
    assert [(one.get("error") or {}).get("status") for one in many.json()["tasks"]] == [429, None]
    # What was accepted stays accepted, also when nothing more is.
    assert (await platform.submit(input=0, idempotency_key="first")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await platform.submit(input=1, idempotency_key="first")


async def test_a_queue_takes_tasks_again_when_some_have_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algodock_runner.handlers.depth.COUNTED_S", 0.0)
    platform.registry.declared["echo"] = 2
    await platform.depths.refresh()
    views = [await platform.submit(input=n) for n in range(2)]
    with pytest.raises(QueueFull):
        await platform.submit(input=2)
    platform.route()
    async with platform.worker():
        for view in views:
            await platform.ended(view.id)
    await platform.submit(input=3)


async def test_the_owners_word_on_the_depth_goes_before_the_manifests(platform: Platform) -> None:
    platform.registry.declared["echo"] = 100
    await platform.depths.refresh()
    await platform.submit(algorithm="other", input=1)  # all three are known now
    await platform.change("""UPDATE algorithms SET limits = '{"queue": 1}' WHERE name = 'echo'""")
    await platform.submit(input=1)
    with pytest.raises(QueueFull):
        await platform.submit(input=2)


async def test_a_registry_that_is_away_leaves_the_depths_as_they_were(platform: Platform) -> None:
    depths = QueueDepths(platform.db, platform.registry)
    platform.registry.declared["echo"] = 7
    await depths.start()
    known = await platform.submission._catalogue.resolve("echo")

    async def read() -> bool:
        return depths.depth(known) == 7

    await platform.eventually(read)
    await depths.stop()
    assert depths.depth(await platform.submission._catalogue.resolve("other")) == 100_000


async def test_two_workers_together_keep_an_algorithms_concurrency(platform: Platform) -> None:
    # One worker of three slots gives an algorithm two: the second one has its time to come.
    platform.algorithm.behaviour = together = Together(3)
    platform.route(limits=Limits(concurrency=3, timeout_s=20))
    views = [await platform.submit(input=n) for n in range(30)]
    async with platform.worker(slots=3), platform.worker(slots=3):
        for view in views:
            assert (await platform.ended(view.id)).state == "succeeded"
    assert together.most == 3
    workers = await platform.rows("SELECT DISTINCT worker_id FROM tasks")
    assert len(workers) == 2, "the second one had nothing to do"


async def test_higher_priorities_go_first_and_equal_ones_by_age(platform: Platform) -> None:
    order: list[int] = []

    async def noted(request: web.Request) -> web.StreamResponse:
        order.append(await request.json())
        return web.json_response({})

    platform.algorithm.behaviour = noted
    for n, priority in enumerate([0, 5, -100, 5, 100, 0]):
        await platform.submit(input=n, priority=priority)
    async with platform.worker() as pool:
        platform.route(limits=Limits(concurrency=1, timeout_s=20))
        pool.ring("echo")
        await platform.eventually(lambda: asyncio.sleep(0, len(order) == 6), seconds=60)
    assert order == [4, 1, 3, 0, 5, 2]


@pytest.mark.parametrize("concurrency", [None, 1000])
async def test_ten_thousand_slow_tasks_do_not_stand_before_another_algorithms(
    platform: Platform, concurrency: int | None
) -> None:
    slow_s = 3.0
    platform.algorithm.behaviour = sleeping(slow_s)
    async with platform_of_other() as other:
        await batch(platform, 10_000)
        platform.route("slow", limits=Limits(concurrency=concurrency, timeout_s=20))
        platform.route("other", base_url=other)
        async with platform.worker(slots=16):
            running = "SELECT 1 FROM tasks WHERE state = 'running' AND algorithm = 'slow'"
            await platform.eventually(lambda: platform.rows(running), seconds=60)
            took = []
            for n in range(5):
                begun = time.monotonic()
                view = await platform.submit(algorithm="other", input=n)
                await platform.ended(view.id)
                took.append(time.monotonic() - begun)
    assert max(took) < slow_s, took
    waiting = await platform.rows("SELECT count(*) AS n FROM tasks WHERE state = 'queued' AND algorithm = 'slow'")
    assert waiting[0].n > 9_000


def platform_of_other() -> Any:
    from contextlib import asynccontextmanager

    from .conftest import Algorithm

    @asynccontextmanager
    async def serving() -> Any:
        one = Algorithm()
        async with one.served():
            yield one.base_url

    return serving()


async def test_fifty_submits_with_one_key_and_fifty_bodies_make_one_task(platform: Platform) -> None:
    key = uuid4().hex
    answers = await asyncio.gather(
        *(platform.submit(input=n, idempotency_key=key) for n in range(50)), return_exceptions=True
    )
    made = [one for one in answers if not isinstance(one, BaseException)]
    assert len(made) == 1
    assert sum(isinstance(one, IdempotencyConflict) for one in answers) == 49
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 1


async def test_a_key_counts_after_the_tasks_end(platform: Platform) -> None:
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, idempotency_key="k")
        await platform.ended(view.id)
    again = await platform.submit(input=1, idempotency_key="k")
    assert (again.id, again.state) == (view.id, "succeeded")
    with pytest.raises(IdempotencyConflict):
        await platform.submit(input=2, idempotency_key="k")
