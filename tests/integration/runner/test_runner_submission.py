"""Accepting tasks: the row is the acceptance, keys make it once, wrong input never becomes a row."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from algodock_common.errors import Unavailable
from algodock_common.events import AlgorithmChanged, Event, TaskRequest
from algodock_runner.domain.algorithms import KnownAlgorithm
from algodock_runner.domain.errors import (
    CallbackAddressRefused,
    IdempotencyConflict,
    InvalidTask,
    TaskInputTooLarge,
    UnknownAlgorithm,
    UnknownTask,
)
from algodock_runner.handlers.catalogue import Catalogue
from algodock_runner.repository.tasks import Filter

if TYPE_CHECKING:
    from .conftest import Platform


async def test_a_submission_is_a_committed_row_a_bell_and_an_event(platform: Platform) -> None:
    view = await platform.submit(input={"x": 1}, metadata={"who": "me"})

    assert view.state == "queued"
    assert view.attempt == 0
    assert (await platform.task(view.id)).metadata == {"who": "me"}
    (accepted,) = await platform.emitted("task.accepted")
    assert accepted["data"]["id"] == str(view.id)
    await platform.rung("echo")


async def test_a_submission_does_not_wait_for_the_broker(platform: Platform) -> None:
    platform.broker.away = True
    async with asyncio.timeout(60):
        view = await platform.submit(input=1)
    assert (await platform.task(view.id)).state == "queued"


async def test_the_same_key_and_request_is_the_same_task(platform: Platform) -> None:
    first = await platform.submit(input={"a": 1, "b": 2}, idempotency_key="k")
    again = await platform.submit(input={"b": 2, "a": 1}, idempotency_key="k", priority=0)
    assert again.id == first.id
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 1
    assert len(await platform.emitted("task.accepted")) == 1


async def test_the_same_key_with_another_request_is_a_conflict(platform: Platform) -> None:
    first = await platform.submit(input={"a": 1}, idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as refused:
        await platform.submit(input={"a": 2}, idempotency_key="k")
    assert refused.value.status == 409
    assert refused.value.extra["task_id"] == str(first.id)


async def test_the_same_key_of_another_caller_is_another_task(platform: Platform) -> None:
    first = await platform.submit(input=1, idempotency_key="k")
    other = await platform.submit(owner="key-2", input=2, idempotency_key="k")
    assert other.id != first.id
    assert (await platform.submit(owner="key-2", input=2, idempotency_key="k")).id == other.id
    assert (await platform.submit(input=1, idempotency_key="k")).id == first.id
    with pytest.raises(IdempotencyConflict) as refused:
        await platform.submit(owner="key-2", input=1, idempotency_key="k")
    assert refused.value.extra["task_id"] == str(other.id)  # nobody learns of another's task


@pytest.mark.parametrize("size", [10, 40_000])
async def test_fifty_parallel_submits_with_one_key_make_one_task(platform: Platform, size: int) -> None:
    body: dict[str, Any] = {"input": {"text": "x" * size}, "idempotency_key": "once"}
    views = await asyncio.gather(*(platform.submit(**body) for _ in range(50)))
    assert len({view.id for view in views}) == 1
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 1
    named = {row.body_key for row in await platform.rows("SELECT body_key FROM tasks") if row.body_key}
    assert set(platform.store.keys) == named  # what lost the race left nothing behind


async def test_a_key_counts_after_the_algorithm_is_archived(platform: Platform) -> None:
    first = await platform.submit(input=1, idempotency_key="k")
    await platform.change("UPDATE algorithms SET state = 'archived' WHERE name = 'echo'")
    platform.submission._catalogue._seen.clear()  # what is remembered for two seconds
    assert (await platform.submit(input=1, idempotency_key="k")).id == first.id
    with pytest.raises(UnknownAlgorithm, match="archived"):
        await platform.submit(input=1)


async def test_an_unknown_algorithm_is_not_found(platform: Platform) -> None:
    with pytest.raises(UnknownAlgorithm):
        await platform.submit(algorithm="no-such-thing", input=1)
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_an_algorithm_made_a_moment_ago_is_asked_for(platform: Platform) -> None:
    await platform.submit(input=1)
    new = KnownAlgorithm(uuid4(), "brand-new", "created", "")
    platform.gateway.known.append(new)
    assert (await platform.submit(algorithm="brand-new", input=1)).algorithm == "brand-new"
    assert (await platform.submit(algorithm=str(new.id), input=1)).algorithm == "brand-new"


async def test_callers_that_miss_an_algorithm_together_ask_the_gateway_once_more_at_most(platform: Platform) -> None:
    asked = 0

    class Slow:
        async def algorithms(self) -> list[KnownAlgorithm]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.2)
            return platform.gateway.known

    catalogue = Catalogue(platform.db, Slow())  # type: ignore[arg-type]  # only asked for the list
    await asyncio.gather(*(catalogue.resolve("echo") for _ in range(20)))
    assert asked <= 2


async def test_an_algorithm_that_nobody_can_be_asked_about_is_tried_later(platform: Platform) -> None:
    class Away:
        async def algorithms(self) -> list[KnownAlgorithm]:
            msg = "the gateway is away"
            raise Unavailable(msg)

    with pytest.raises(Unavailable):
        await Catalogue(platform.db, Away()).resolve("echo")  # type: ignore[arg-type]  # as above


async def test_an_older_event_about_an_algorithm_changes_nothing(platform: Platform) -> None:
    catalogue, id_ = Catalogue(platform.db, platform.gateway), uuid4()

    def event(state: Any, sequence: int) -> Event[AlgorithmChanged]:
        data = AlgorithmChanged(algorithm_id=id_, algorithm="evented", state=state)
        return Event[AlgorithmChanged].of(data, source="/gateway").model_copy(update={"sequence": sequence})

    await catalogue.changed(event("archived", 8))
    await catalogue.changed(event("created", 7))
    with pytest.raises(UnknownAlgorithm, match="archived"):
        await catalogue.resolve("evented")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": [1], "params": {"a": 1}}, "object"),
        ({"input": float("nan")}, "NaN"),
        ({"input": 1, "idempotency_key": "a\0b"}, "NUL"),
        ({"input": 1, "metadata": {"k": "\ud800"}}, "surrogate"),
        ({"input": 1, "metadata": {str(n): "" for n in range(65)}}, "64"),
        ({"input": 1, "not_before": "2030-01-02T00:00:00Z", "deadline": "2030-01-01T00:00:00"}, "later"),
    ],
)
async def test_what_is_no_valid_task_is_refused_with_the_reason(
    platform: Platform, body: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidTask, match=says) as refused:
        await platform.submit(**body)
    assert refused.value.status == 422
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_an_input_nested_too_deeply_is_refused(platform: Platform) -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    request = TaskRequest.model_construct(**dict(TaskRequest(algorithm="echo")) | {"input": deep})
    with pytest.raises(InvalidTask, match="deep"):
        await platform.submission.submit(request, owner="key-1")


async def test_an_input_past_the_limit_is_refused(platform: Platform) -> None:
    platform.submission._limits = platform.limits.model_copy(update={"max_input_bytes": 100})
    with pytest.raises(TaskInputTooLarge) as refused:
        await platform.submit(input="x" * 100)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://user:pw@example.com/", "http:///x", "http://2130706433/", "http://a b/"],
)
async def test_a_callback_that_leads_inside_is_refused(platform: Platform, url: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        await platform.submit(input=1, callback_url=url)


async def test_a_large_input_lies_in_the_object_store(platform: Platform) -> None:
    view = await platform.submit(input={"text": "文" * 20_000})
    (row,) = await platform.rows("SELECT body, body_key FROM tasks WHERE id = :id", id=view.id)
    assert row.body is None
    assert len(await platform.store.get(row.body_key)) == 60_000 + len('{"text":""}')


async def test_params_are_merged_over_the_input(platform: Platform) -> None:
    view = await platform.submit(input={"a": 1, "b": 1}, params={"b": 2})
    (row,) = await platform.rows("SELECT body FROM tasks WHERE id = :id", id=view.id)
    assert bytes(row.body) == b'{"a":1,"b":2}'


async def test_a_task_for_later_is_accepted_and_queued_when_its_time_comes(platform: Platform) -> None:
    view = await platform.submit(input=1, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert view.state == "accepted"
    await platform.reconciler.sweep_once()
    assert (await platform.task(view.id)).state == "accepted"
    await platform.hurry()
    assert (await platform.task(view.id)).state == "queued"
    await platform.rung("echo")


async def test_tasks_are_listed_newest_first_in_pages(platform: Platform) -> None:
    views = [await platform.submit(input=n, algorithm="echo" if n % 2 else "slow") for n in range(5)]
    await platform.submit(owner="key-2", input=9)
    wanted = Filter(owner="key-1", limit=2)
    seen = []
    while page := await platform.desk.list(wanted):
        seen += [one.id for one in page]
        wanted = replace(wanted, after=page[-1].id)
    assert seen == [view.id for view in reversed(views)]
    assert {one.algorithm for one in await platform.desk.list(Filter(algorithm="slow"))} == {"slow"}
    assert not await platform.desk.list(Filter(state="failed"))


async def test_another_owners_task_is_unknown(platform: Platform) -> None:
    view = await platform.submit(input=1)
    for call in (
        platform.desk.get(view.id, owner="key-2"),
        platform.desk.result(view.id, owner="key-2"),
        platform.cancels.cancel(view.id, owner="key-2"),
    ):
        with pytest.raises(UnknownTask):
            await call
