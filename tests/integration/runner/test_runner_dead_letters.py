"""Dead letters: failed tasks and given-up messages, looked at and replayed."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from algodock_common.errors import Unavailable
from algodock_common.events import DeadLetter, Event, TaskError, TaskRequest, TaskRequested
from algodock_runner.domain.dead_letters import DeadLetterFilter
from algodock_runner.domain.errors import DeadLetterNotReplayable, InvalidTask, UnknownDeadLetter
from algodock_runner.repository import fence
from algodock_runner.repository.claim import Slots, claim

if TYPE_CHECKING:
    from algodock_runner.domain.dead_letters import DeadLetterSummary

    from .conftest import Platform


async def refuse(_: web.Request) -> web.StreamResponse:
    return web.json_response({"detail": "no string", "error": {"type": "ValueError"}}, status=422)


async def failed(platform: Platform, owner: str = "key-1", **body: Any) -> UUID:
    """Return a task that has failed for good."""
    view = await platform.submit(owner, **{"input": {"text": 1}} | body)
    async with platform.db.transaction() as tx:
        (held,) = await claim(tx, worker_id="w", slots=[Slots(view.algorithm, 1, None)], room=1, lease_s=60)
    error = TaskError(type="ValueError", message="no string", status=422)
    async with platform.db.transaction() as tx:
        end = fence.End(view.id, held.attempt, "failed", error=error)
        await fence.end(tx, [end], before=fence.RUNNING, gateway_url="")
    return view.id


async def message(platform: Platform, **changed: Any) -> UUID:
    """Keep a message that a consumer gave up; return its letter's id."""
    data = {
        "origin_topic": "task.requested",
        "origin_partition": 3,
        "origin_offset": 9,
        "consumer": "algodock-runner-task.requested",
        "message_key": "k",
        "value": base64.b64encode(changed.pop("raw", b"{}")).decode(),
        "headers": {
            "authorization": base64.b64encode(b"Bearer ak_secret").decode(),
            "h": base64.b64encode(b"1").decode(),
        },
        "error_type": "UnknownAlgorithm",
        "reason": "There is no algorithm 'later'.",
        "attempts": 1,
    }
    event = Event.of(DeadLetter.model_validate(data | changed), source="/runner")
    await platform.inlet.dead_letter(event)
    (row,) = await platform.rows("SELECT id FROM dead_letters WHERE event_id = :id", id=event.id)
    return UUID(int=row.id.int)


def asking(**body: Any) -> bytes:
    data = TaskRequested.model_validate({"algorithm": "echo", "input": {"a": 1}} | body)
    return Event.of(data, source="/elsewhere").model_dump_json(exclude_unset=True).encode()


async def listed(platform: Platform, **wanted: Any) -> list[DeadLetterSummary]:
    return await platform.letters.page(DeadLetterFilter(**wanted))


async def test_a_failed_task_is_a_dead_letter_with_its_reason(platform: Platform) -> None:
    platform.algorithm.behaviour = refuse
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    (letter,) = await listed(platform, owner="key-1")
    assert (letter.id, letter.task_id, letter.kind, letter.algorithm) == (view.id, view.id, "task", "echo")
    assert (letter.error_type, letter.reason, letter.attempts) == ("ValueError", "no string", 1)
    assert (await platform.letters.get(view.id, owner="key-1")).reason == "no string"


async def test_other_ends_are_no_dead_letters(platform: Platform) -> None:
    platform.route()
    async with platform.worker():
        await platform.ended((await platform.submit(input=1)).id)
    cancelled = await platform.submit(input=2)
    await platform.cancels.cancel(cancelled.id, owner=None)
    await platform.submit(input=3)
    await platform.change("UPDATE tasks SET expires_at = now()")
    await platform.reconciler.sweep_once()
    states = {row.state for row in await platform.rows("SELECT state FROM tasks")}
    assert states == {"succeeded", "cancelled", "expired"}
    assert not await listed(platform)


async def test_they_are_listed_by_filters_and_pages(platform: Platform) -> None:
    mine = [await failed(platform) for _ in range(3)]
    theirs = await failed(platform, "key-2", algorithm="other")
    letter = await message(platform)
    everything = [letter, theirs, *reversed(mine)]
    assert [one.id for one in await listed(platform)] == everything
    assert [one.id for one in await listed(platform, owner="key-1")] == everything[2:]
    assert [one.id for one in await listed(platform, kind="message")] == [letter]
    assert [one.id for one in await listed(platform, kind="task", algorithm="other")] == [theirs]
    assert [one.id for one in await listed(platform, topic="task.requested")] == [letter]
    assert [one.id for one in await listed(platform, error_type="ValueError", owner="key-2")] == [theirs]
    await platform.letters.replay(mine[0], owner="key-1", caller="key-1")
    assert [one.id for one in await listed(platform, replayed=True)] == [mine[0]]
    assert [one.id for one in await listed(platform, replayed=False)] == everything[:-1]
    pages: list[UUID] = []
    while page := await listed(platform, limit=2, after=pages[-1] if pages else None):
        pages += [one.id for one in page]
    assert pages == everything


async def test_what_is_not_the_callers_is_unknown_to_it(platform: Platform) -> None:
    task, letter = await failed(platform, "key-2"), await message(platform)
    for id_ in (task, letter, uuid4()):
        with pytest.raises(UnknownDeadLetter):
            await platform.letters.get(id_, owner="key-1")
        with pytest.raises(UnknownDeadLetter):
            await platform.letters.replay(id_, owner="key-1", caller="key-1")
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 1


async def test_a_failed_task_is_replayed_once_as_its_owners(platform: Platform) -> None:
    task = await failed(platform, "key-2", input={"text": "x" * 40_000}, priority=7, metadata={"a": "b"})
    answers = await asyncio.gather(*(platform.letters.replay(task, owner=None, caller="admin") for _ in range(5)))
    replayed = await platform.letters.replay(task, owner="key-2", caller="key-2")
    assert {one.task_id for one in answers} == {replayed.task_id}
    (new,) = await platform.rows("SELECT * FROM tasks WHERE id <> :id", id=task)
    assert (new.id, new.owner, new.rerun_of, new.priority) == (replayed.task_id, "key-2", task, 7)
    assert new.body_key == f"tasks/{task}/input"
    letter = await platform.letters.get(task, owner="key-2")
    assert (letter.replayed_as, letter.replayed_at) == (replayed.task_id, replayed.replayed_at)


async def test_a_replay_that_fails_again_is_a_letter_of_its_own(platform: Platform) -> None:
    task = await failed(platform)
    platform.algorithm.behaviour = refuse
    platform.route()
    async with platform.worker():
        replayed = await platform.letters.replay(task, owner="key-1", caller="key-1")
        assert replayed.task_id
        await platform.ended(replayed.task_id)
    assert [one.id for one in await listed(platform, replayed=False)] == [replayed.task_id]


async def test_a_request_for_a_task_is_submitted_as_the_callers_because_its_key_is_not_kept(platform: Platform) -> None:
    letter = await message(platform, raw=asking(metadata={"m": "1"}))
    shown = await platform.letters.get(letter, owner=None)
    assert shown.headers == {"authorization": "", "h": "1"}
    assert shown.text
    assert '"a":1' in shown.text
    for _ in range(2):
        replayed = await platform.letters.replay(letter, owner=None, caller="key-9")
    (row,) = await platform.rows("SELECT id, owner, metadata FROM tasks")
    assert (row.id, row.owner, row.metadata) == (replayed.task_id, "key-9", {"m": "1"})
    assert not platform.broker.back


@pytest.mark.parametrize("raw", [b"{}", b"no JSON", b"\xff\x00", b"", asking().replace(b'"echo"', b'""')])
async def test_a_message_that_asks_for_no_task_is_shown_and_not_replayed(platform: Platform, raw: bytes) -> None:
    letter = await message(platform, raw=raw)
    shown = await platform.letters.get(letter, owner=None)
    assert (shown.text or "").encode() == raw or base64.b64decode(shown.base64 or "") == raw
    with pytest.raises(DeadLetterNotReplayable) as refused:
        await platform.letters.replay(letter, owner=None, caller="key-1")
    assert refused.value.status == 409
    assert (await platform.letters.get(letter, owner=None)).replayed_at is None


async def test_a_request_that_is_refused_again_stays_a_letter(platform: Platform) -> None:
    letter = await message(platform, raw=asking(input="x", params={"a": 1}))
    with pytest.raises(InvalidTask):
        await platform.letters.replay(letter, owner=None, caller="key-1")
    assert [one.id for one in await listed(platform, replayed=False)] == [letter]


async def test_another_message_goes_to_its_topic_again_as_it_was(platform: Platform) -> None:
    letter = await message(platform, origin_topic="code.pushed", raw=b"\xff signed")
    platform.broker.away = True
    with pytest.raises(Unavailable):
        await platform.letters.replay(letter, owner=None, caller="key-1")
    assert (await platform.letters.get(letter, owner=None)).replayed_at is None
    platform.broker.away = False
    for _ in range(2):
        replayed = await platform.letters.replay(letter, owner=None, caller="key-1")
    assert (replayed.topic, replayed.task_id) == ("code.pushed", None)
    assert platform.broker.back == [("code.pushed", b"\xff signed", "k", {"authorization": b"", "h": b"1"})]


@pytest.mark.parametrize("changed", [{"origin_topic": "gone.topic"}, {"origin_topic": "code.pushed", "cut": True}])
async def test_what_cannot_be_put_back_says_why(platform: Platform, changed: dict[str, Any]) -> None:
    letter = await message(platform, **changed)
    with pytest.raises(DeadLetterNotReplayable):
        await platform.letters.replay(letter, owner=None, caller="key-1")
    assert not platform.broker.back


async def test_a_letter_goes_with_its_task(platform: Platform) -> None:
    task = await failed(platform)
    await platform.change("DELETE FROM tasks WHERE id = :id", id=task)
    assert not await listed(platform)


def test_the_request_of_a_message_is_that_of_rest() -> None:
    assert set(TaskRequest.model_fields) == set(TaskRequested.model_fields)
