"""Looking for tasks: filters, pages, and where in the queue one waits, in the order of the claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from algodock_runner.handlers import look
from algodock_runner.repository import queue
from algodock_runner.repository.claim import Slots, claim
from algodock_runner.repository.tasks import Filter

if TYPE_CHECKING:
    from .conftest import Platform


async def ids(platform: Platform, wanted: Filter) -> list[UUID]:
    return [one.id for one in await platform.desk.list(wanted)]


async def test_every_filter_finds_its_tasks_and_all_must_hold(platform: Platform) -> None:
    one = await platform.submit(input=1, idempotency_key="a", metadata={"team": "x", "run": "1"})
    two = await platform.submit(input=2, algorithm="slow", metadata={"team": "x"})
    other = await platform.submit(owner="key-2", input=3, idempotency_key="a")
    assert await ids(platform, Filter()) == [other.id, two.id, one.id]
    assert await ids(platform, Filter(owner="key-1")) == [two.id, one.id]
    assert await ids(platform, Filter(algorithm="slow")) == [two.id]
    assert await ids(platform, Filter(idempotency_key="a")) == [other.id, one.id]
    assert await ids(platform, Filter(idempotency_key="a", owner="key-2")) == [other.id]
    assert await ids(platform, Filter(metadata={"team": "x"})) == [two.id, one.id]
    assert await ids(platform, Filter(metadata={"team": "x", "run": "1"})) == [one.id]
    assert await ids(platform, Filter(metadata={"team": "x' OR true --"})) == []
    assert await ids(platform, Filter(state="succeeded", metadata={"team": "x"})) == []


async def test_tasks_are_found_by_when_they_were_accepted(platform: Platform) -> None:
    views = [await platform.submit(input=number) for number in range(3)]
    moment = views[1].created_at
    assert await ids(platform, Filter(since=moment)) == [views[2].id, views[1].id]
    assert await ids(platform, Filter(until=moment)) == [views[0].id]
    assert await ids(platform, Filter(since=moment, until=views[2].created_at)) == [views[1].id]
    assert await ids(platform, Filter(since=datetime.now(UTC) + timedelta(days=1))) == []
    assert await ids(platform, Filter(until=datetime(1970, 1, 1, tzinfo=UTC))) == []
    assert len(await ids(platform, Filter(since=datetime(1970, 1, 1, tzinfo=UTC)))) == 3


async def test_pages_miss_nothing_while_tasks_come(platform: Platform) -> None:
    made = [(await platform.submit(input=number)).id for number in range(5)]
    seen: list[UUID] = []
    after = None
    while page := await ids(platform, Filter(limit=2, after=after)):
        seen += page
        after = page[-1]
        await platform.submit(input="late")
    assert seen == made[::-1]


async def test_the_place_in_the_queue_is_that_of_the_claim(platform: Platform) -> None:
    low = [(await platform.submit(input=number)).id for number in range(3)]
    high = (await platform.submit(input=9, priority=5)).id
    other = (await platform.submit(input=9, algorithm="slow")).id
    later = await platform.submit(input=1, not_before=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    places = {id_: (await platform.desk.get(id_, owner=None, place=True)).position for id_ in [*low, high, other]}
    assert places == {high: 1, low[0]: 2, low[1]: 3, low[2]: 4, other: 1}
    assert (await platform.desk.get(later.id, owner=None, place=True)).position is None
    assert (await platform.desk.get(high, owner=None)).position is None, "only who asks for it pays for it"
    async with platform.db.transaction() as tx:
        claims = await claim(tx, worker_id="w", slots=[Slots("echo", 9, None)], room=9, lease_s=60)
    order = sorted(claims, key=lambda one: places[one.id] or 0)
    assert [one.id for one in order] == [high, *low]


async def test_the_start_is_estimated_from_what_runs_and_what_ran(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "RECENT_FOR_S", 0.0)
    ran = [(await platform.submit(input=number)).id for number in range(2)]
    runs = (await platform.submit(input=0)).id
    waits = [(await platform.submit(input=number)).id for number in range(3)]
    nothing = await platform.desk.get(waits[0], owner=None, place=True)
    assert nothing.estimated_start_at is None, "nothing of it runs"
    await platform.change(
        "UPDATE tasks SET state = 'succeeded', result_key = 'k', claimed_at = now() - interval '50 seconds',"
        " finished_at = now() - interval '30 seconds' WHERE id = ANY(:ids)",
        ids=ran,
    )
    await platform.change(
        "UPDATE tasks SET state = 'running', claimed_at = now(), lease_until = now() + interval '1 minute'"
        " WHERE id = :id",
        id=runs,
    )
    last = await platform.desk.get(waits[2], owner=None, place=True)
    assert last.position == 3
    assert last.estimated_start_at is not None
    in_s = (last.estimated_start_at - datetime.now(UTC)).total_seconds()
    assert in_s == pytest.approx(3 * 20, abs=5)


async def test_how_long_tasks_take_is_asked_for_once_in_a_while(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    recent_s = queue.recent_s

    async def counted(*given: Any) -> float | None:
        asked.append(given)
        return await recent_s(*given)

    monkeypatch.setattr(queue, "recent_s", counted)
    one, two = [(await platform.submit(input=1, algorithm=name)).id for name in ("echo", "slow")]
    for id_ in (one, one, two, one):
        await platform.desk.get(id_, owner=None, place=True)
    assert len(asked) == 2


async def test_nobody_is_counted_without_end(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "COUNTED", 2)
    views = [await platform.submit(input=number) for number in range(4)]
    assert (await platform.desk.get(views[3].id, owner=None, place=True)).position == 3


async def test_a_page_of_nothing_is_empty(platform: Platform) -> None:
    assert await ids(platform, Filter(after=uuid4(), algorithm="other")) == []
