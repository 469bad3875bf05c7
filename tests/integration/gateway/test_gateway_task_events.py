"""A task's events over HTTP: as they come, resumed exactly, with readers counted and forgotten; on a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from algodock_common.events import Event as Told
from algodock_common.events import TaskFinished
from algodock_common.identifiers import uuid7
from algodock_common.task_stream import TASK_MOVED, progress_key, stream_key
from algodock_common.web.stopping import _told, stopping
from algodock_gateway.handlers.task_events import WATCHERS
from algodock_gateway.handlers.task_watch import Watch
from tests.integration.gateway.running import Gateway, running_gateway
from tests.integration.gateway.upstream import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNAL = "algodock:signal:"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One gateway for the module, that lets two watch."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GATEWAY_TASK_WATCHERS", "2")
    async with running_gateway(server_environment, tmp_path_factory.mktemp("data")) as running:
        yield running
    patch.undo()


class Got(NamedTuple):
    """An event as a reader has it."""

    id: str
    name: str
    data: dict[str, Any]

    @property
    def what(self) -> str:
        """Say it in a word."""
        return self.data["state"] if self.name == "state" else f"{self.name} {self.data.get('n', '')}".strip()


class Reading:
    """A reader's connection; ``next`` waits for an event, None is the end."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.seen: list[Got] = []

    async def next(self, seconds: float = 60) -> Got | None:
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name in {"id", "event", "data"}:
                    fields[name] = value
                elif not line and fields:
                    self.seen.append(Got(fields["id"], fields["event"], json.loads(fields["data"])))
                    return self.seen[-1]
        return None

    async def take(self, count: int) -> list[str]:
        return [got.what for got in [await self.next() for _ in range(count)] if got is not None]

    async def rest(self) -> list[str]:
        found = []
        while (got := await self.next()) is not None:
            found.append(got.what)
            assert len(found) < 100, "it begins again and again"
        return found


class Task:
    """A task of the runner that a test moves on, told of as a worker does."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.id = uuid7()
        gateway.peers.tasks[self.id] = {"id": str(self.id), "state": "queued", "algorithm": "echo", "attempt": 0}
        gateway.peers.steps[self.id] = []
        self.step(0, "accepted")
        self.step(1, "queued")

    def step(self, index: int, state: str, attempt: int = 0) -> None:
        self.gateway.peers.tasks[self.id] |= {"state": state, "attempt": attempt}
        at = f"2026-01-01T00:00:0{index}Z"
        self.gateway.peers.steps[self.id].append({"index": index, "state": state, "attempt": attempt, "at": at})

    async def moved(self) -> None:
        await self.gateway.redis.publish(SIGNAL + TASK_MOVED, str(self.id))

    async def says(self, number: int, attempt: int = 1, kind: str = "progress") -> None:
        fields = {"kind": kind, "attempt": attempt, "data": json.dumps({"attempt": attempt, "n": number})}
        await self.gateway.redis.xadd(stream_key(self.id), fields)  # type: ignore[arg-type]  # the stubs want a wider dict
        await self.moved()

    async def finished(self) -> None:
        told = json.dumps(self.gateway.peers.tasks[self.id])
        await self.gateway.redis.publish(SIGNAL + "task.finished", told)

    @asynccontextmanager
    async def watched(self, last: str | None = None) -> AsyncIterator[Reading]:
        headers = {} if last is None else {"last-event-id": last}
        async with self.gateway.api.stream("GET", f"/api/v1/tasks/{self.id}/events", headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            yield Reading(response)


@pytest.fixture
def task(gateway: Gateway) -> Task:
    return Task(gateway)


async def run_through(task: Task) -> None:
    task.step(2, "running", 1)
    for number in range(3):
        await task.says(number)
    task.step(3, "queued", 1)
    task.step(4, "running", 2)
    await task.says(3, 2, "log")
    await task.says(4, 2, "output")
    task.step(5, "succeeded", 2)


WHOLE = [
    "accepted", "queued", "running", "progress 0", "progress 1", "progress 2",
    "queued", "running", "log 3", "output 4", "succeeded", "done",
]  # fmt: skip


async def test_events_come_while_they_happen_and_end_with_the_task(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """By signals, that is: who looks again sees nothing here."""

    async def blind(_: Watch) -> None:
        """Find no news."""

    async def heard() -> bool:
        channels = [SIGNAL + TASK_MOVED, SIGNAL + "task.finished"]
        return all(count for _, count in await task.gateway.redis.pubsub_numsub(*channels))

    monkeypatch.setattr(Watch, "look", blind)
    await until(heard)
    async with asyncio.timeout(100), task.watched() as reading:
        assert await reading.take(2) == ["accepted", "queued"]
        task.step(2, "running", 1)
        await task.moved()
        assert await reading.take(1) == ["running"]
        await task.says(0)
        assert await reading.take(1) == ["progress 0"]
        await task.says(1, kind="log")
        await task.says(2, kind="output")
        assert await reading.take(2) == ["log 1", "output 2"]
        task.step(3, "succeeded", 1)
        await task.finished()
        assert await reading.take(2) == ["succeeded", "done"]
        assert await reading.next() is None, "the stream is over"
    assert reading.seen[-1].data == task.gateway.peers.tasks[task.id]
    assert reading.seen[2].data == {"index": 2, "state": "running", "attempt": 1, "at": "2026-01-01T00:00:02Z"}


async def test_a_task_that_has_ended_is_told_whole(task: Task) -> None:
    await run_through(task)
    async with task.watched() as reading:
        assert await reading.rest() == WHOLE


async def test_who_does_not_follow_gets_what_there_is(task: Task) -> None:
    task.step(2, "running", 1)
    await task.says(0)
    answer = await task.gateway.api.get(f"/api/v1/tasks/{task.id}/events", params={"follow": "0"})
    assert answer.text.count("event: ") == 4
    assert "event: progress" in answer.text


@pytest.mark.parametrize("stop", [1, 3, 5, 6, 9, 11])
async def test_a_reader_who_comes_back_gets_exactly_the_rest(task: Task, stop: int) -> None:
    await run_through(task)
    async with task.watched() as reading:
        assert await reading.take(stop) == WHOLE[:stop]
    async with task.watched(reading.seen[-1].id) as again:
        assert await again.rest() == WHOLE[stop:]


async def test_who_has_had_the_end_is_told_not_to_come_again(task: Task) -> None:
    await run_through(task)
    async with task.watched() as reading:
        await reading.rest()
    last = {"last-event-id": reading.seen[-1].id}
    answer = await task.gateway.api.get(f"/api/v1/tasks/{task.id}/events", headers=last)
    assert answer.status_code == 204


async def test_a_gateway_that_stops_sends_its_readers_away_and_they_lose_nothing(task: Task) -> None:
    async with task.watched() as reading:
        assert await reading.take(2) == ["accepted", "queued"]
        events = _running_events()
        stopping()  # as the server says when it was told to stop
        assert await reading.next(2) is None
        assert (await task.gateway.api.get(f"/api/v1/tasks/{task.id}/events")).status_code == 503
    events.stopping = False  # the next process
    await run_through(task)
    async with task.watched(reading.seen[-1].id) as again:
        assert await again.rest() == WHOLE[2:]


async def test_without_any_signal_the_end_is_noticed_within_seconds(task: Task) -> None:
    async with task.watched() as reading:
        await reading.take(2)
        task.step(2, "running", 1)
        assert await reading.take(1) == ["running"]
        task.step(3, "failed", 1)
        assert await reading.rest() == ["failed", "done"]


async def test_an_event_by_kafka_wakes_who_heard_no_signal(task: Task) -> None:
    async with task.watched() as reading:
        await reading.take(2)
        task.step(2, "running", 1)
        task.step(3, "failed", 1)
        finished = TaskFinished(id=task.id, state="failed", algorithm="echo")
        await task.gateway.worker.publish(Told[TaskFinished].of(finished, source="/worker"))
        assert await reading.rest() == ["running", "failed", "done"]


async def test_readers_are_counted_and_one_who_leaves_is_forgotten_at_once(task: Task) -> None:
    assert WATCHERS._value.get() == 0
    async with task.watched() as one, task.watched() as two:
        await one.take(2)
        await two.take(2)
        assert WATCHERS._value.get() == 2
        full = await task.gateway.api.get(f"/api/v1/tasks/{task.id}/events")
        assert full.status_code == 503
        assert full.json()["detail"].startswith("2 readers watch tasks here already")
        assert full.headers["retry-after"] == "5"
    await until(lambda: WATCHERS._value.get() == 0, seconds=60)
    assert not _running_events().watch._seen
    async with task.watched() as three:
        assert await three.take(1) == ["accepted"]


async def test_what_is_not_there_or_not_ones_own_is_a_404_and_a_strange_id_a_400(task: Task) -> None:
    api = task.gateway.api
    assert (await api.get(f"/api/v1/tasks/{uuid4()}/events")).status_code == 404
    assert (await api.get(f"/api/v1/tasks/{uuid4()}/timeline")).status_code == 404
    wrong = await api.get(f"/api/v1/tasks/{task.id}/events", headers={"last-event-id": "no/such"})
    assert wrong.status_code == 400
    assert "Last-Event-ID" in wrong.json()["detail"]
    assert (await task.gateway.open.get(f"/api/v1/tasks/{task.id}/events")).status_code == 401
    assert WATCHERS._value.get() == 0


async def test_a_running_task_says_how_far_its_attempt_is(task: Task) -> None:
    path = f"/api/v1/tasks/{task.id}"
    said = {"attempt": 1, "progress": 0.5}
    await task.gateway.redis.set(progress_key(task.id), json.dumps(said))
    assert (await task.gateway.api.get(path)).json()["progress"] is None
    task.step(2, "running", 1)
    assert (await task.gateway.api.get(path)).json()["progress"] == said
    task.step(4, "running", 2)
    assert (await task.gateway.api.get(path)).json()["progress"] is None, "that was said by an earlier attempt"


async def test_the_timeline_is_the_runners(task: Task) -> None:
    await run_through(task)
    answer = await task.gateway.api.get(f"/api/v1/tasks/{task.id}/timeline", params={"after": 3})
    assert [one["index"] for one in answer.json()["transitions"]] == [4, 5]


def _running_events() -> Any:
    """Return the running gateway's watchers: what wants to be told when its server stops."""
    return _told[-1].__self__  # type: ignore[attr-defined]  # a bound method
