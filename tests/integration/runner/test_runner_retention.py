"""What is kept, and for how long: results by age and quota, old tasks, objects that no task names."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from algodock_common.events import AlgorithmChanged, Event
from algodock_common.identifiers import uuid7
from algodock_runner.domain.errors import ResultGone, UnknownTask
from algodock_runner.handlers.sweeper import Sweeper
from algodock_runner.repository import retention
from algodock_runner.repository.claim import Slots, claim
from algodock_runner.settings import TaskSettings

if TYPE_CHECKING:
    from .conftest import Platform

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def sweeper(platform: Platform, **settings: Any) -> Sweeper:
    return Sweeper(platform.db, platform.store, settings=TaskSettings.model_validate(settings), settle_s=0.05)


async def limit(platform: Platform, algorithm: str = "echo", **limits: float) -> None:
    """Have the gateway tell the limits that an owner set."""
    await platform.catalogue.refresh()
    (row,) = await platform.rows("SELECT id, owner FROM algorithms WHERE name = :name", name=algorithm)
    data = {"algorithm_id": row.id, "algorithm": algorithm, "state": "changed", "owner": row.owner, "limits": limits}
    event = Event.of(AlgorithmChanged.model_validate(data), source="/test")
    await platform.catalogue.changed(event.model_copy(update={"sequence": uuid7().int >> 80}))
    await sweeper(platform).sweep_once()  # which lets results know them


async def finished(platform: Platform, count: int = 1, size: int = 100, **body: Any) -> list[UUID]:
    """Return tasks that have succeeded, each with a result of ``size`` bytes that lies in the object store."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(size), content_type="application/octet-stream")

    platform.algorithm.behaviour = answer
    platform.route()
    async with platform.worker():
        ids = [(await platform.submit(**{"input": n} | body)).id for n in range(count)]
        for id_ in ids:
            assert (await platform.ended(id_)).state == "succeeded"
        await platform.eventually(lambda: _all_stored(platform))
    return ids


async def _all_stored(platform: Platform) -> bool:
    return not await platform.rows("SELECT 1 FROM tasks WHERE result_key IS NOT NULL AND result_stored_at IS NULL")


async def gone(platform: Platform, task: UUID) -> ResultGone | None:
    try:
        await platform.desk.result(task, owner=None)
    except ResultGone as error:
        return error
    return None


async def test_a_result_goes_when_its_time_is_over_and_says_so(platform: Platform) -> None:
    await limit(platform, result_ttl_s=3600)
    old, young = await finished(platform, 2)
    await platform.change("UPDATE tasks SET result_expires_at = now() WHERE id = :id", id=old)
    await sweeper(platform).sweep_once()
    assert platform.store.keys == [f"tasks/{young}/1"]
    assert await gone(platform, young) is None
    said = await gone(platform, old)
    assert said
    assert (said.status, said.extra["reason"], said.extra["bytes"]) == (410, "age", 100)
    assert f"{datetime.now(UTC):%Y-%m-%d}" in said.detail
    assert "time was over" in said.detail
    view = await platform.task(old)
    assert (view.state, view.result_bytes, view.result_content_type) == ("succeeded", 100, "application/octet-stream")


async def test_a_result_is_not_removed_before_it_is_stored(platform: Platform) -> None:
    """Whoever writes it behind its row would put it back after the sweeper."""
    await limit(platform, result_ttl_s=3600)
    (task,) = await finished(platform)
    await platform.change("UPDATE tasks SET result_expires_at = now(), result_stored_at = NULL, result_inline = ''")
    await sweeper(platform).sweep_once()
    assert await gone(platform, task) is None


async def test_limits_hold_for_results_that_were_there_before_and_go_with_the_limit(platform: Platform) -> None:
    tasks = await finished(platform, 3)
    platform.route("other")
    others = await finished(platform, 1, algorithm="other")
    query = "SELECT id, result_expires_at - finished_at AS after FROM tasks ORDER BY id"
    for ttl in (3600, 7200):
        await limit(platform, result_ttl_s=ttl)
        rows = {row.id: row.after for row in await platform.rows(query)}
        assert [rows[id_] for id_ in tasks] == [timedelta(seconds=ttl)] * 3
        assert [rows[id_] for id_ in others] == [None]
    await limit(platform)
    assert {row.after for row in await platform.rows(query)} == {None}
    assert not await platform.rows("SELECT 1 FROM algorithms WHERE limits_due")


async def test_limits_that_change_while_results_learn_of_them_are_due_again(platform: Platform) -> None:
    await limit(platform, result_ttl_s=3600)
    change = "UPDATE algorithms SET limits = jsonb_build_object('result_ttl_s', CAST(:ttl AS int)), limits_due = true"
    await platform.change(change + " WHERE name = 'echo'", ttl=60)
    async with platform.db.transaction() as tx:
        due = await retention.limits_due(tx)
    assert due
    await platform.change(change + " WHERE name = 'echo'", ttl=30)
    async with platform.db.transaction() as tx:
        await retention.limits_applied(tx, *due)
        again = await retention.limits_due(tx)
        assert again
        assert again[0] == due[0]
        assert again[1] != due[1]
        await retention.limits_applied(tx, *again)
        assert await retention.limits_due(tx) is None


async def test_the_oldest_results_go_when_the_quota_is_used_up(platform: Platform) -> None:
    tasks = await finished(platform, 3)
    await limit(platform, result_quota_bytes=350)
    tasks += await finished(platform, 3)
    await sweeper(platform).sweep_once()
    assert [await gone(platform, id_) is not None for id_ in tasks] == [True, True, True, False, False, False]
    said = await gone(platform, tasks[0])
    assert said
    assert (said.extra["reason"], "quota" in said.detail) == ("quota", True)
    assert platform.store.keys == [f"tasks/{id_}/1" for id_ in tasks[3:]]
    await limit(platform, result_quota_bytes=0)
    assert not platform.store.keys


async def test_two_sweepers_remove_every_result_once(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await limit(platform, result_ttl_s=3600)
    await finished(platform, 30)
    await platform.change("UPDATE tasks SET result_expires_at = now()")
    removed: list[str] = []
    remove = platform.store.remove

    async def note(key: str) -> None:
        removed.append(key)
        await remove(key)

    monkeypatch.setattr(platform.store, "remove", note)
    await asyncio.gather(*(sweeper(platform).sweep_once() for _ in range(4)))
    assert len(removed) == len(set(removed)) == 30


async def age(platform: Platform, key: str) -> None:
    """Have an object be old."""
    stored = platform.store._objects[key]
    object.__setattr__(stored.info, "modified_at", LONG_AGO)


async def test_objects_that_no_task_names_go_when_they_are_old(platform: Platform) -> None:
    (task,) = await finished(platform, 1, input={"text": "x" * 40_000})
    held = await platform.submit(algorithm="slow", input={"text": "y" * 40_000})
    async with platform.db.transaction() as tx:
        await claim(tx, worker_id="w", slots=[Slots("slow", 1, None)], room=1, lease_s=60)
    nobody = uuid4()
    orphans = [f"tasks/{nobody}/input", f"tasks/{task}/2", f"tasks/{held.id}/7", f"tasks/{nobody}/1"]
    named = [f"tasks/{task}/1", f"tasks/{task}/input", f"tasks/{held.id}/input"]
    others = [f"tasks/{held.id}/1", "tasks/notes", f"tasks/{nobody}/other", f"bundles/{nobody}/input"]
    young = f"tasks/{uuid4()}/input"
    for key in (*orphans, *others, young):
        await platform.store.put(key, b"x")
    for key in (*orphans, *named, *others):
        await age(platform, key)
    await sweeper(platform).sweep_orphans()
    assert sorted(platform.store.keys) == sorted([*named, *others, young])


async def test_an_object_whose_removal_failed_is_removed_later(platform: Platform) -> None:
    await limit(platform, result_ttl_s=3600)
    (task,) = await finished(platform)
    await platform.change("UPDATE tasks SET result_expires_at = now()")
    platform.store.available = False
    await sweeper(platform).sweep_once()
    assert await gone(platform, task)
    platform.store.available = True
    await age(platform, f"tasks/{task}/1")
    await sweeper(platform).sweep_orphans()
    assert not platform.store.keys


async def test_old_tasks_go_with_everything_of_theirs_and_nothing_of_others(platform: Platform) -> None:
    big = {"text": "x" * 40_000}
    old, kept, waits = await finished(platform, 3, input=big)
    for number, id_ in ((1, old), (2, waits)):  # ids tell when a task was made
        await platform.change("UPDATE tasks SET id = :new WHERE id = :id", id=id_, new=UUID(int=number))
    await platform.change("UPDATE tasks SET finished_at = now() - interval '8 days' WHERE id <> :kept", kept=kept)
    await platform.change("INSERT INTO callbacks (task_id, owner, url) SELECT id, owner, 'http://x' FROM tasks")
    await platform.change("UPDATE callbacks SET state = 'delivered' WHERE task_id <> :waits", waits=UUID(int=2))
    await platform.change("INSERT INTO attempts (task_id, attempt, outcome) SELECT id, 9, 'lost' FROM tasks")
    # Another task was run again from the input of the old one.
    await platform.change("UPDATE tasks SET body_key = :key WHERE id = :kept", key=f"tasks/{old}/input", kept=kept)
    never, week = sweeper(platform), sweeper(platform, keep_days=7)
    await never.sweep_once()
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 3
    await week.sweep_once()
    assert {row.id for row in await platform.rows("SELECT id FROM tasks")} == {kept, UUID(int=2)}
    for table in ("attempts", "callbacks"):
        assert not await platform.rows(f"SELECT 1 FROM {table} WHERE task_id = :id", id=UUID(int=1))  # noqa: S608
    with pytest.raises(UnknownTask):
        await platform.desk.result(UUID(int=1), owner=None)
    assert f"tasks/{old}/1" not in platform.store.keys
    assert f"tasks/{old}/input" in platform.store.keys
    assert f"tasks/{kept}/1" in platform.store.keys
    await platform.change("UPDATE callbacks SET state = 'failed'")
    await week.sweep_once()
    assert [row.id for row in await platform.rows("SELECT id FROM tasks")] == [kept]
    for key in platform.store.keys:
        await age(platform, key)
    await week.sweep_orphans()
    assert sorted(platform.store.keys) == sorted([f"tasks/{old}/input", f"tasks/{kept}/1"])


async def test_an_old_task_stays_until_its_result_is_stored(platform: Platform) -> None:
    """Else whoever writes the object behind the row would write what no task names."""
    (task,) = await finished(platform)
    old = "UPDATE tasks SET id = :new, finished_at = now() - interval '8 days', result_stored_at = NULL WHERE id = :id"
    await platform.change(old, id=task, new=UUID(int=1))
    await sweeper(platform, keep_days=7).sweep_once()
    assert await platform.rows("SELECT 1 FROM tasks")
    await platform.change("UPDATE tasks SET result_stored_at = now()")
    await sweeper(platform, keep_days=7).sweep_once()
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_the_input_of_a_task_that_goes_stays_for_a_rerun_that_comes(platform: Platform) -> None:
    """The rerun has read the row, the row goes, the sweeper looks, the rerun commits, the sweeper removes."""
    (old,) = await finished(platform, 1, input={"text": "x" * 40_000})
    key = f"tasks/{old}/input"
    await age(platform, key)
    await platform.change("UPDATE tasks SET id = :new, body_key = NULL, body = ''", new=UUID(int=1))
    one = Sweeper(platform.db, platform.store, settings=TaskSettings(), settle_s=0.5)
    looked = asyncio.Event()
    unnamed = one._unnamed

    async def look(keys: Any) -> list[str]:
        found = await unnamed(keys)
        looked.set()
        return found

    one._unnamed = look  # type: ignore[method-assign]
    sweep = asyncio.create_task(one.sweep_orphans())
    await looked.wait()
    await platform.change("UPDATE tasks SET body_key = :key, body = NULL", key=key)
    await sweep
    assert key in platform.store.keys
    await platform.change("UPDATE tasks SET body_key = NULL, body = ''")
    await one.sweep_orphans()
    assert key not in platform.store.keys


async def test_nothing_that_a_task_names_is_swept_while_tasks_come_and_go(platform: Platform) -> None:
    """Every object counts as old here: only what rows say keeps it."""
    platform.route()
    stop = asyncio.Event()
    sweeps = 0

    async def sweep() -> None:
        nonlocal sweeps
        one = sweeper(platform, orphan_age_s=1e-6)
        while not stop.is_set():
            await one.sweep_orphans()
            sweeps += 1
            await asyncio.sleep(0)  # while nothing is stored, a sweep of the fake one lets nobody else run

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(100_000), content_type="image/png")

    platform.algorithm.behaviour = answer
    async with platform.worker():
        tasks = [(await platform.submit(input=n)).id for n in range(60)]
        sweeping = [asyncio.create_task(sweep()) for _ in range(2)]
        for id_ in tasks:
            assert (await platform.ended(id_)).state == "succeeded"

        async def swept() -> bool:
            return sweeps > 5

        await platform.eventually(swept)
        stop.set()
        await asyncio.gather(*sweeping)
    for id_ in tasks:
        stored = await platform.desk.result(id_, owner=None)
        assert len(await platform.store.get(stored.key)) == 100_000
