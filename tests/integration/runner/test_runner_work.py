"""Running tasks: claimed with a lease, called, stored, ended once; and every way in which that goes wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from algodock_common.storage import ObjectStoreFailed
from algodock_runner.clients.results import PlainResults
from algodock_runner.handlers.attempt import Attempt
from algodock_runner.repository import fence
from algodock_runner.repository.claim import Slots, claim

if TYPE_CHECKING:
    from algodock_runner.clients.answers import Answer

    from .conftest import Platform


async def test_a_task_ends_in_a_result_with_its_release(platform: Platform) -> None:
    instance = platform.route()
    async with platform.worker():
        view = await platform.submit(input={"x": [1, 2]}, idempotency_key="k", metadata={"a": "b"})
        seen = await platform.ended(view.id)

    assert seen.state == "succeeded", seen
    assert (seen.attempt, seen.release_id, seen.commit) == (1, instance.release_id, "c" * 40)
    assert seen.result_url == f"http://gateway.test/api/v1/tasks/{view.id}/result"
    stored = await platform.desk.result(view.id, owner="key-1")
    assert stored.key == f"tasks/{view.id}/1"
    assert stored.inline == await platform.store.get(stored.key) == b'{"got": {"x": [1, 2]}}'
    (event,) = await platform.emitted("task.finished")
    assert event["data"]["result"] == {"got": {"x": [1, 2]}}
    assert (event["data"]["idempotency_key"], event["data"]["metadata"]) == ("k", {"a": "b"})
    (call,) = platform.algorithm.calls
    assert (call["x-algodock-task"], call["x-algodock-attempt"]) == (str(view.id), "1")


async def test_work_without_a_bell_is_found_all_the_same(platform: Platform) -> None:
    platform.route()
    platform.broker.away = True
    async with platform.worker():
        await platform.ended((await platform.submit(input=1)).id)
    assert not platform.broker.rung


async def test_a_large_answer_lies_in_the_object_store_with_its_type(platform: Platform) -> None:
    async def picture(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x89PNG" + bytes(3_000_000), content_type="image/png")

    platform.algorithm.behaviour = picture
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert (view.result_content_type, view.result_bytes) == ("image/png", 3_000_004)
    stored = await platform.desk.result(view.id, owner=None)
    assert stored.inline is None
    assert len(await platform.store.get(stored.key)) == 3_000_004
    assert "tasks" in await platform.desk.link(stored)
    (event,) = await platform.emitted("task.finished")
    assert "result" not in event["data"] or event["data"]["result"] is None


@pytest.mark.parametrize("body", [b"", b"[" * 3000, b'{"a": NaN}', b'"\\ud800"', b"[" * 300 + b"]" * 300])
async def test_an_answer_that_only_calls_itself_json_is_kept_as_it_is(platform: Platform, body: bytes) -> None:
    async def wrong(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    platform.algorithm.behaviour = wrong
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.state == "succeeded"
    assert await platform.store.get(f"tasks/{view.id}/1") == body


@pytest.mark.parametrize("body", [b"{not json", b"{", b'{"a": 1}}', b'"\xff"', b"<html>", b" "])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_an_answer_that_is_called_json_and_is_none_fails_the_task_once(
    platform: Platform, body: bytes, content_type: str
) -> None:
    async def wrong(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"content-type": content_type})

    platform.algorithm.behaviour = wrong
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.error
    assert (view.state, view.error.type, view.attempt) == ("failed", "InvalidAnswer", 1)
    assert not platform.store.keys


async def test_an_answer_that_is_no_json_and_says_so_is_kept(platform: Platform) -> None:
    async def text(_: web.Request) -> web.StreamResponse:
        return web.Response(text="{")

    platform.algorithm.behaviour = text
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert (view.state, view.result_content_type) == ("succeeded", "text/plain; charset=utf-8")


async def test_whatever_json_an_algorithm_answers_its_task_succeeds_and_its_event_says_what_it_can(
    platform: Platform,
) -> None:
    texts = [
        r'"\u0000"',
        r'"\ud83d\ude00"',
        "9" * 400,
        '{"a":1,"a":2}',
        "-0",
        " \n1\t",
        "null",
        "1e999",
        "[" * 190 + "]" * 190,
    ]
    answers = [text.encode() for text in texts]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answers[await request.json()], content_type="application/json")

    platform.algorithm.behaviour = answer
    platform.route()
    async with platform.worker():
        views = [await platform.submit(input=number) for number in range(len(answers))]
        for view, body in zip(views, answers, strict=True):
            assert (await platform.ended(view.id)).state == "succeeded", (body, await platform.task(view.id))
            assert (await platform.desk.result(view.id, owner=None)).size == len(body)
    events = {event["data"]["id"]: event["data"] for event in await platform.emitted("task.finished")}
    said = [events[str(view.id)]["result"] for view in views]
    assert said[:7] == ["\0", "😀", int("9" * 400), {"a": 2}, 0, 1, None]
    assert json.dumps(said[8]) == "[" * 190 + "]" * 190


async def test_a_large_input_reaches_the_algorithm_whole(platform: Platform) -> None:
    async def length(request: web.Request) -> web.StreamResponse:
        return web.json_response(len((await request.json())["text"]))

    platform.algorithm.behaviour = length
    platform.route()
    async with platform.worker():
        view = await platform.ended((await platform.submit(input={"text": "x" * 3_000_000})).id)
    assert (await platform.desk.result(view.id, owner=None)).inline == b"3000000"


async def test_an_answer_past_the_limit_fails_the_task_once(platform: Platform) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    platform.algorithm.behaviour = endless
    platform.route()
    limits = platform.limits.model_copy(update={"max_result_bytes": 2_000_000})
    platform.limits = limits
    async with platform.worker():
        view = await platform.ended((await platform.submit(input=1)).id)
    assert view.state == "failed"
    assert view.error
    assert view.error.type == "ResultTooLarge"
    assert view.attempt == 1


async def test_no_task_succeeds_before_its_large_result_can_be_read(platform: Platform) -> None:
    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    platform.route()
    view = await platform.submit(input=1)
    platform.store.available = False
    async with platform.worker(lease_s=3):
        await platform.until(view.id, "running")
        await asyncio.sleep(4)  # longer than its lease
        assert (await platform.task(view.id)).state == "running"
        assert not platform.store.keys
        platform.store.available = True
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)
    assert len(platform.algorithm.calls) == 1  # the work was not done again
    assert platform.store.keys == [f"tasks/{view.id}/1"]


async def test_a_result_that_the_object_store_refuses_fails_the_task_with_its_word(platform: Platform) -> None:
    class Refusing(PlainResults):
        async def put(self, key: str, answer: Answer) -> None:
            raise ObjectStoreFailed(f"The object store refused {key} of {answer.size} bytes (AccessDenied).")

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    platform.route()
    async with platform.worker(results=Refusing(platform.store)):
        seen = await platform.ended((await platform.submit(input=1)).id)
    assert seen.error
    assert (seen.state, seen.error.type, seen.attempt) == ("failed", "ResultNotStored", 1)
    assert "AccessDenied" in seen.error.message


async def test_a_large_result_that_cannot_be_stored_waits_until_the_deadline(platform: Platform) -> None:
    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(64 * 1024 + 1))

    platform.algorithm.behaviour = large
    view = await platform.submit(input=1)
    async with platform.db.transaction() as tx:
        (held,) = await claim(tx, worker_id="w", slots=[Slots("echo", 1, None)], room=1, lease_s=60)
    platform.route()
    platform.store.available = False
    async with platform.worker() as pool, asyncio.timeout(60):
        outcome = await Attempt(replace(held, deadline_in_s=1.5), pool._tools).run()
    assert isinstance(outcome, fence.End)
    assert (outcome.task_id, outcome.state, outcome.result) == (view.id, "expired", None)


async def test_an_outcome_that_cannot_be_written_does_not_keep_its_neighbours_from_it(platform: Platform) -> None:
    platform.route()
    async with platform.worker() as pool:
        views = [await platform.submit(input=n) for n in range(3)]
        for view in views:
            await platform.ended(view.id)
        wrong = await platform.submit(algorithm="slow", input=1)
        await platform.change(
            "UPDATE tasks SET state='running', attempt=1, lease_until=now() WHERE id=:id", id=wrong.id
        )
        bad = fence.End(wrong.id, 1, "no such state")  # type: ignore[arg-type]  # what a bug would write
        last = await platform.submit(input="last")
        with pytest.raises(Exception, match="check constraint"):
            await pool._ledger.write(bad)
        assert (await platform.ended(last.id)).state == "succeeded"


async def test_all_bells_are_rung_again_for_work_that_is_left(platform: Platform) -> None:
    platform.broker.away = True
    await platform.submit(input=1)

    async def lost() -> bool:
        return platform.broker.lost == ["echo"]

    await platform.eventually(lost)
    platform.broker.away = False
    await platform.reconciler.ring_all()
    await platform.rung("echo")
