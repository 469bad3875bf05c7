"""What a running algorithm says reaches a real Redis, and nothing of it holds the work up."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from algodock_common.signals import Signals
from algodock_common.task_stream import KEPT_S, TASK_MOVED, progress_key, stream_key
from algodock_runner.handlers import progress as writing
from algodock_runner.handlers.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from algodock_common.settings import RedisSettings

    from .conftest import Platform


@pytest.fixture
async def redis(redis_settings: RedisSettings) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_settings.url.get_secret_value())
    await client.flushall()
    yield client
    await client.aclose()


@asynccontextmanager
async def running(client: Redis, signals: Signals | None = None) -> AsyncIterator[Progress]:
    progress = Progress(client, signals)
    await progress.start()
    try:
        yield progress
    finally:
        await progress.stop()


async def entries(client: Redis, task_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    found: Any = await client.xrange(stream_key(task_id))
    return [(fields[b"kind"].decode(), json.loads(fields[b"data"])) for _, fields in found]


def streaming(kind: str, *parts: bytes, hold: asyncio.Event | None = None, end: bool = True) -> Any:
    """Answer with parts, of which the last waits for ``hold``; without ``end`` the connection breaks then."""

    async def behaviour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": kind})
        await response.prepare(request)
        for part in parts[:-1]:
            await response.write(part)
        if hold is not None:
            await hold.wait()
        await response.write(parts[-1])
        if not end and request.transport is not None:
            request.transport.abort()
        return response

    return behaviour


async def test_what_is_said_reaches_redis_while_the_algorithm_works(
    platform: Platform, redis: Redis, redis_settings: RedisSettings
) -> None:
    begin, hold = asyncio.Event(), asyncio.Event()
    speaks = streaming(
        "text/event-stream",
        b'event: progress\ndata: {"progress": 0.5, "message": "half"}\n\nevent: log\ndata: {"message": "hi"}\n\n',
        b'event: output\ndata: {"a": 1}\n\nevent: done\ndata: {"result": [1, 2]}\n\n',
        hold=hold,
    )

    async def behaviour(request: web.Request) -> web.StreamResponse:
        await begin.wait()
        response: web.StreamResponse = await speaks(request)
        return response

    platform.algorithm.behaviour = behaviour
    platform.route()
    told: asyncio.Queue[bytes] = asyncio.Queue()
    signals = Signals(redis_settings)
    signals.subscribe(TASK_MOVED, told.put_nowait)
    await signals.start()

    async def heard() -> bool:
        return (await redis.pubsub_numsub("algodock:signal:task.moved"))[0][1] > 0

    async with running(redis, signals) as progress, platform.worker(progress=progress):
        await platform.eventually(heard)
        view = await platform.submit(input=1)
        async with asyncio.timeout(60):
            assert await told.get() == str(view.id).encode()  # it runs
            begin.set()
            assert await told.get() == str(view.id).encode()  # something was said

        async def both() -> bool:
            return len(await entries(redis, view.id)) == 2

        await platform.eventually(both)
        assert await entries(redis, view.id) == [
            ("progress", {"attempt": 1, "progress": 0.5, "message": "half"}),
            ("log", {"attempt": 1, "level": "INFO", "message": "hi"}),
        ]
        last = await redis.get(progress_key(view.id))
        assert last is not None
        assert json.loads(last) == {"attempt": 1, "progress": 0.5, "message": "half"}
        assert 0 < await redis.ttl(stream_key(view.id)) <= KEPT_S
        assert (await platform.task(view.id)).state == "running"
        hold.set()
        seen = await platform.ended(view.id)
    await signals.stop()
    assert (seen.state, seen.result_content_type) == ("succeeded", "application/json")
    assert json.loads((await platform.desk.result(view.id, owner=None)).inline or b"") == [1, 2]
    assert (await entries(redis, view.id))[-1] == ("output", {"attempt": 1, "output": {"a": 1}})
    assert platform.algorithm.calls[0]["Accept"].startswith("text/event-stream, application/json")


async def test_lines_of_json_are_read_too(platform: Platform, redis: Redis) -> None:
    platform.algorithm.behaviour = streaming(
        "application/x-ndjson", b'{"progress": 0.1}\n{"par', b't": 1}\n{"whole": 2}'
    )
    platform.route()
    async with running(redis) as progress, platform.worker(progress=progress):
        seen = await platform.ended((await platform.submit(input=1)).id)
    assert json.loads((await platform.desk.result(seen.id, owner=None)).inline or b"") == {"whole": 2}
    assert [kind for kind, _ in await entries(redis, seen.id)] == ["progress", "output", "output"]


@pytest.mark.parametrize(
    ("kind", "end"), [("text/event-stream", True), ("text/event-stream", False), ("application/x-ndjson", False)]
)
async def test_a_stream_that_breaks_off_is_a_lost_connection_and_tried_again(
    platform: Platform, kind: str, *, end: bool
) -> None:
    platform.algorithm.behaviour = streaming(kind, b"data: 1\n\n" if "event" in kind else b"1\n", b"", end=end)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1)

        async def tried() -> list[Any]:
            return await platform.rows("SELECT outcome, error->>'type' AS type FROM attempts")

        await platform.eventually(tried)
        assert [(one.outcome, one.type) for one in await tried()] == [("failed", "ConnectionLost")]
        assert (await platform.task(view.id)).state == "queued"


async def test_an_error_event_fails_the_task_with_its_type_and_message(platform: Platform) -> None:
    problem = {"status": 500, "detail": "ValueError: bad", "error": {"type": "ValueError", "message": "bad"}}
    platform.algorithm.behaviour = streaming(
        "text/event-stream", b"data: 1\n\n", f"event: error\ndata: {json.dumps(problem)}\n\n".encode()
    )
    platform.route()
    async with platform.worker():
        seen = await platform.ended((await platform.submit(input=1)).id)
    assert seen.state == "failed"
    assert seen.error
    assert (seen.error.type, seen.error.message) == ("ValueError", "ValueError: bad")
    assert len(platform.algorithm.calls) == 1


async def test_without_redis_the_work_goes_on_and_what_was_said_is_dropped(platform: Platform) -> None:
    platform.algorithm.behaviour = streaming(
        "text/event-stream", b'event: progress\ndata: {"progress": 0.5}\n\n', b"event: done\ndata: 1\n\n"
    )
    platform.route()
    before = writing.SAID.labels("progress", "dropped")._value.get()
    nowhere = Redis.from_url("redis://127.0.0.1:1")
    async with running(nowhere) as progress, platform.worker(progress=progress):
        seen = await platform.ended((await platform.submit(input=1)).id)
    assert seen.state == "succeeded"
    assert writing.SAID.labels("progress", "dropped")._value.get() == before + 1


async def test_who_says_too_much_is_cut_short_and_the_last_progress_still_comes(
    platform: Platform, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BURST", 5.0)
    view = await platform.submit(input=1)
    async with running(redis) as progress:
        sink = progress.sink(view.id, 2)
        for number in range(50):
            sink.say("log", {"message": str(number)})
        for number in range(50):
            sink.say("progress", {"progress": number})

        async def last() -> bool:
            found = await redis.get(progress_key(view.id))
            return found is not None and json.loads(found)["progress"] == 49

        await platform.eventually(last)
        sink.say("progress", {"progress": 50})
        sink.close()
    said = await entries(redis, view.id)
    assert [kind for kind, _ in said].count("log") < 10
    assert said[-1][1]["progress"] == 50
    assert sum(data.get("dropped", 0) for _, data in said) + [kind for kind, _ in said].count("log") == 50


async def test_an_entry_that_is_too_large_says_how_large_it_was(platform: Platform, redis: Redis) -> None:
    view = await platform.submit(input=1)
    async with running(redis) as progress:
        progress.sink(view.id, 1).say("output", {"output": ["x" * 20_000]})
        progress.sink(view.id, 1).say("log", {"level": "INFO", "message": "y" * 20_000})
    (_, output), (_, log) = await entries(redis, view.id)
    assert output == {"attempt": 1, "omitted_bytes": output["omitted_bytes"]}
    assert output["omitted_bytes"] > 20_000
    assert log["message"] == "y" * 1000


async def test_no_more_waits_than_there_is_room_for(
    platform: Platform, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WAITING", 10)
    view = await platform.submit(input=1)
    async with running(redis) as progress:
        sink = progress.sink(view.id, 1)
        for number in range(30):
            sink.say("output", {"output": number})
    assert len(await entries(redis, view.id)) == 10
