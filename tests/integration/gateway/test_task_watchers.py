"""One watcher, without HTTP: signs of life, a runner or a Redis that is away, a task that goes, very long timelines."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from algodock_common.errors import NotFound, Unavailable
from algodock_common.identifiers import uuid7
from algodock_common.task_stream import stream_key
from algodock_gateway.clients.live import RedisLive
from algodock_gateway.domain.task_events import HEARTBEAT, RETRY, Cursor
from algodock_gateway.handlers import task_events
from algodock_gateway.handlers.task_events import TaskEvents, Watcher
from algodock_gateway.handlers.task_watch import Watch
from algodock_gateway.handlers.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from algodock_common.settings import RedisSettings

TASK = uuid7()


class History:
    """A runner that answers two steps at a time, unless it is told to fail."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.reads = 0
        self.asked = asyncio.Event()
        self.move("accepted", 0)

    def move(self, state: str, attempt: int) -> None:
        self.steps.append({"index": len(self.steps), "state": state, "attempt": attempt})

    async def task(self, task_id: UUID, *, identity: str, place: bool = False) -> dict[str, Any]:
        assert (identity, place) == ("me", False)
        return {"id": str(task_id), "state": self.steps[-1]["state"]}

    async def timeline(self, task_id: UUID, *, identity: str, after: int) -> dict[str, Any]:
        assert (task_id, identity) == (TASK, "me")
        self.reads += 1
        self.asked.set()
        if self.failures:
            raise self.failures.pop(0)
        rest = [one for one in self.steps if one["index"] > after]
        last = rest[1]["index"] if len(rest) > 2 else None
        return {
            "state": self.steps[-1]["state"],
            "attempt": self.steps[-1]["attempt"],
            "transitions": rest[:2] if last is not None else rest,
            "next": last,
        }

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        return dict.fromkeys(ids, f"{self.steps[-1]['state']}/{self.steps[-1]['attempt']}")


class Scene:
    """A task with one watcher."""

    def __init__(self, redis: Redis) -> None:
        self.history = History()
        self.moves = Waiters()
        self.redis = redis
        self.events = TaskEvents(self.history, RedisLive(redis), Watch(self.history, self.moves), most=1)

    @asynccontextmanager
    async def watched(self, cursor: Cursor | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        watcher = Watcher(self.events, TASK, identity=lambda: "me", cursor=cursor or Cursor())
        await watcher.open()
        parts = watcher.parts()
        assert await anext(parts) == RETRY
        try:
            yield parts
        finally:
            watcher.close()
        assert len(self.events) == len(self.moves) == 0

    async def ended(self, parts: AsyncIterator[bytes]) -> list[str]:
        """Return the words of all events until the end."""
        async with asyncio.timeout(60):
            return [_word(part) async for part in parts]


def _word(part: bytes) -> str:
    text = part.decode()
    name = text.partition("event: ")[2].partition("\n")[0]
    return text.partition('"state":"')[2].partition('"')[0] if name == "state" else name


@pytest.fixture
async def scene(redis_settings: RedisSettings) -> AsyncIterator[Scene]:
    redis = Redis.from_url(redis_settings.url.get_secret_value())
    await redis.delete(stream_key(TASK))
    yield Scene(redis)
    await redis.aclose()


async def test_a_watcher_is_given_signs_of_life(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "HEARTBEAT_S", 0.02)
    async with scene.watched() as parts:
        assert _word(await anext(parts)) == "accepted"
        async with asyncio.timeout(60):
            assert [await anext(parts) for _ in range(3)] == [HEARTBEAT] * 3
        assert scene.history.reads == 1, "a sign of life asks nobody"


async def test_a_runner_that_is_away_for_a_moment_costs_its_watchers_nothing(scene: Scene) -> None:
    async with scene.watched() as parts:
        assert _word(await anext(parts)) == "accepted"
        scene.history.failures = [Unavailable("it restarts"), Unavailable("it restarts")]
        scene.history.move("queued", 0)
        scene.history.move("cancelled", 0)
        scene.moves.wake(str(TASK), {"event": "finished"})
        assert await scene.ended(parts) == ["queued", "cancelled", "done"]


async def test_the_stream_of_a_task_that_was_removed_ends(scene: Scene) -> None:
    async with scene.watched() as parts:
        await anext(parts)
        scene.history.failures = [NotFound("it is gone")]
        scene.moves.wake(str(TASK), {"event": "finished"})
        assert await scene.ended(parts) == []


async def test_without_redis_every_step_is_told() -> None:
    scene = Scene(Redis.from_url("redis://127.0.0.1:1"))
    scene.history.move("queued", 0)
    scene.history.move("running", 1)
    scene.history.move("succeeded", 1)
    assert await scene.events.live.progress(TASK) is None
    async with scene.watched() as parts:
        assert await scene.ended(parts) == ["accepted", "queued", "running", "succeeded", "done"]


async def test_a_lost_signal_is_made_up_for_by_one_question_for_all(scene: Scene) -> None:
    async with scene.watched() as parts:
        await anext(parts)
        scene.history.move("expired", 0)
        rest = asyncio.create_task(scene.ended(parts))
        await asyncio.sleep(0)
        await scene.events.watch.look()
        assert await rest == ["expired", "done"]
    await scene.events.watch.look()
    assert scene.history.reads == 2, "nobody watches any more"


async def test_who_has_had_the_last_step_but_not_the_end_gets_the_end(scene: Scene) -> None:
    scene.history.move("failed", 0)
    async with scene.watched(Cursor(1, "5-0")) as parts:
        assert await scene.ended(parts) == ["done"]


async def test_much_that_was_said_is_read_in_parts_and_whole(scene: Scene) -> None:
    scene.history.move("queued", 0)
    scene.history.move("running", 1)
    async with scene.redis.pipeline() as pipe:
        for number in range(450):
            pipe.xadd(stream_key(TASK), {"kind": "log", "attempt": "1", "data": str(number)})
        await pipe.execute()
    scene.history.move("succeeded", 1)
    async with scene.watched() as parts:
        words = await scene.ended(parts)
    assert words == ["accepted", "queued", "running", *["log"] * 450, "succeeded", "done"]


async def test_what_was_said_before_a_step_comes_before_it_also_when_both_come_while_it_is_looked(scene: Scene) -> None:
    scene.history.move("queued", 0)
    scene.history.move("running", 1)
    async with scene.watched() as parts:
        assert [_word(await anext(parts)) for _ in range(3)] == ["accepted", "queued", "running"]
        timeline = scene.history.timeline

        async def meanwhile(task_id: UUID, *, identity: str, after: int) -> dict[str, Any]:
            await scene.redis.xadd(stream_key(TASK), {"kind": "output", "attempt": "1", "data": "{}"})
            scene.history.move("succeeded", 1)
            scene.history.timeline = timeline  # type: ignore[method-assign]
            return await timeline(task_id, identity=identity, after=after)

        scene.history.timeline = meanwhile  # type: ignore[method-assign]
        scene.moves.wake(str(TASK))
        assert await scene.ended(parts) == ["output", "succeeded", "done"]
