"""Results of earlier tasks as files of a later one, named by their keys."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from algodock_common.storage import ObjectStoreUnavailable

if TYPE_CHECKING:
    from algodock_runner.domain.tasks import TaskView

    from .conftest import Platform

NOBODYS = "01a22109-5c1e-7000-8000-000000000000"
PICTURE = b"\x89PNG\r\n\x1a\n a picture"

AGAIN = "SELECT 1 FROM tasks WHERE id = :id AND attempt = 1 AND state = 'queued'"


async def picture(_: web.Request) -> web.StreamResponse:
    return web.Response(body=PICTURE, content_type="image/png")


async def a_picture(platform: Platform, **body: Any) -> str:
    """Run a task whose result is a picture; return the result's key."""
    behaviour, platform.algorithm.behaviour = platform.algorithm.behaviour, picture
    view = await platform.ended((await platform.submit(**body)).id)
    platform.algorithm.behaviour = behaviour
    return (await platform.desk.result(view.id, owner=None)).key


async def got(platform: Platform, view: TaskView) -> Any:
    ended = await platform.ended(view.id, 60)
    assert ended.state == "succeeded", ended.error
    stored = await platform.desk.result(view.id, owner=None)
    return json.loads(stored.inline or await platform.store.get(stored.key))["got"]


async def test_a_result_becomes_the_file_that_its_key_names(platform: Platform) -> None:
    platform.route()
    url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    async with platform.worker():
        key = await a_picture(platform)
        given = {"image": {"$file": key}, "more": [{"$file": key}, {"$file": "data:,kept"}, {"deep": {"$file": key}}]}
        plain = await got(platform, await platform.submit(input=given | {"low": 4}))
        large = await got(platform, await platform.submit(input={"image": {"$file": key}, "text": "x" * 100_000}))
    file = {"$file": url}
    assert plain == {"image": file, "more": [file, {"$file": "data:,kept"}, {"deep": file}], "low": 4}
    assert large == {"image": file, "text": "x" * 100_000}


@pytest.mark.parametrize(
    "key", ["models/secret.bin", "../credentials.json", "tasks/nothing", f"tasks/{NOBODYS}/1", f"tasks/{NOBODYS}/input"]
)
async def test_what_is_no_result_fails_the_task_without_a_call(platform: Platform, key: str) -> None:
    platform.route()
    await platform.store.put("models/secret.bin", b"not yours")
    async with platform.worker():
        view = await platform.ended((await platform.submit(input={"image": {"$file": key}}, max_attempts=3)).id)
    assert (view.state, view.attempt) == ("failed", 1)
    assert view.error is not None
    assert view.error.type == "InvalidInput"
    assert f"$file: '{key}' is neither a data URL nor the key of a result of yours" in view.error.message
    assert platform.algorithm.calls == []


async def test_anothers_result_and_an_attempt_that_has_none_are_nobodys(platform: Platform) -> None:
    platform.route()
    async with platform.worker():
        key = await a_picture(platform)
        for owner, named in (("key-2", key), ("key-1", key.removesuffix("/1") + "/7")):
            view = await platform.ended((await platform.submit(owner, input={"image": {"$file": named}})).id)
            assert view.error is not None
            assert "nor the key of a result of yours" in view.error.message, view


async def test_a_task_without_a_result_and_a_removed_result_are_told_apart(platform: Platform) -> None:
    platform.route()
    async with platform.worker():
        key = await a_picture(platform)
        waiting = await platform.submit(not_before="2099-01-01T00:00:00Z")
        early = await platform.ended((await platform.submit(input={"$file": f"tasks/{waiting.id}/0"})).id)
        await platform.change("UPDATE tasks SET result_removed_at = now() WHERE result_key = :key", key=key)
        late = await platform.ended((await platform.submit(input={"$file": key})).id)
    assert early.error is not None
    assert "that task is accepted and has no result" in early.error.message
    assert late.error is not None
    assert "that result was removed at" in late.error.message


async def test_files_that_are_too_large_together_are_refused(platform: Platform) -> None:
    platform.limits = platform.limits.model_copy(update={"max_input_bytes": len(PICTURE) + 1})
    platform.route()
    async with platform.worker():
        keys = [await a_picture(platform) for _ in range(2)]
        one = await platform.ended((await platform.submit(input={"$file": keys[0]})).id)
        both = await platform.ended((await platform.submit(input=[{"$file": key} for key in keys])).id)
    assert one.state == "succeeded"
    assert both.error is not None
    assert f"{2 * len(PICTURE)} bytes; {len(PICTURE) + 1} are allowed" in both.error.message


async def test_while_the_object_store_is_away_the_task_waits(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.route()
    async with platform.worker():
        key = await a_picture(platform)
        stored = "SELECT 1 FROM tasks WHERE result_key = :key AND result_stored_at IS NOT NULL"
        await platform.eventually(lambda: platform.rows(stored, key=key), 60)
        get = platform.store.get
        failures: list[str] = []

        async def away(wanted: str) -> bytes:
            if not failures:
                failures.append(wanted)
                msg = "The object store cannot be reached."
                raise ObjectStoreUnavailable(msg, retry_after=1)
            return await get(wanted)

        monkeypatch.setattr(platform.store, "get", away)
        view = await platform.submit(input={"image": {"$file": key}}, max_attempts=1)
        await platform.eventually(lambda: platform.rows(AGAIN, id=view.id), 60)
        await platform.change("UPDATE tasks SET wakes_at = now() WHERE id = :id", id=view.id)
        await platform.reconciler.sweep_once()
        assert "image" in await got(platform, view)
    assert failures == [key]
