"""Many tasks in one request: each has its own answer in its place, and what can be accepted is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from algodock_common.errors import AlgoDockError
from algodock_common.events import TaskRequest
from algodock_runner.domain.requests import NewTask, new_task
from algodock_runner.handlers.intake import Intake
from algodock_runner.handlers.submit import Made, Submission
from algodock_runner.repository.accept import accept
from algodock_runner.routes.bodies import ENVELOPE_BYTES

from .serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Platform


async def test_a_thousand_tasks_are_accepted_in_their_order(platform: Platform) -> None:
    async with served(platform) as client:
        tasks = [{"algorithm": "echo", "input": n} for n in range(1000)]
        answer = await client.post("/internal/tasks", json={"tasks": tasks})
    assert answer.status_code == 202, answer.text
    views = answer.json()["tasks"]
    assert [view["state"] for view in views] == ["queued"] * 1000
    rows = await platform.rows("SELECT id, body FROM tasks ORDER BY id")
    assert [str(row.id) for row in rows] == [view["id"] for view in views]  # age is the order of the batch
    assert [bytes(row.body) for row in rows] == [str(n).encode() for n in range(1000)]
    assert len({row.created_at for row in await platform.rows("SELECT created_at FROM tasks")}) == 1
    assert len(await platform.emitted("task.accepted")) == 1000


async def test_each_task_of_a_batch_has_its_answer_in_its_place(platform: Platform) -> None:
    before = await platform.submit(input=1, idempotency_key="before")
    batch: list[Any] = [
        {"algorithm": "echo", "input": 1, "idempotency_key": "before"},
        {"algorithm": "echo", "input": 2, "idempotency_key": "before"},
        {"algorithm": "nobody", "input": 1},
        {"algorithm": "echo", "inptu": 1},
        "no task",
        {"algorithm": "echo", "input": 1, "callback_url": "http://169.254.169.254/"},
        {"algorithm": "echo", "input": {"text": "x" * 40_000}},
        {"algorithm": "slow", "input": 3, "idempotency_key": "twice"},
        {"algorithm": "slow", "input": 3, "idempotency_key": "twice"},
    ]
    async with served(platform) as client:
        answer = await client.post("/internal/tasks", json={"tasks": batch})
    assert answer.status_code == 202
    said = answer.json()["tasks"]
    assert said[0]["id"] == str(before.id)
    assert [one["error"]["status"] for one in said[1:6]] == [409, 404, 422, 422, 422]
    assert all(one["error"]["detail"] for one in said[1:6])
    assert said[6]["state"] == said[7]["state"] == "queued"
    assert said[7]["id"] == said[8]["id"]
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 3
    assert platform.store.keys == [f"tasks/{said[6]['id']}/input"]


@pytest.mark.parametrize(
    "document",
    [
        {"tasks": []},
        {"tasks": [{"algorithm": "echo"}] * 1001},
        {"tasks": {"algorithm": "echo"}},
        {"tasks": [{"algorithm": "echo"}], "algorithm": "echo"},
    ],
)
async def test_what_is_no_batch_is_refused_whole(platform: Platform, document: dict[str, Any]) -> None:
    async with served(platform) as client:
        answer = await client.post("/internal/tasks", json=document)
    assert answer.status_code == 422
    assert "1000" in answer.json()["detail"]
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_an_object_store_that_is_away_fails_only_what_needs_it(platform: Platform) -> None:
    platform.store.available = False
    large = {"algorithm": "echo", "input": {"text": "x" * 40_000}}
    async with served(platform) as client:
        answer = await client.post("/internal/tasks", json={"tasks": [large, {"algorithm": "echo", "input": 1}]})
    failed, fine = answer.json()["tasks"]
    assert failed["error"]["status"] == 503
    assert fine["state"] == "queued"


async def test_submissions_that_arrive_together_share_a_statement(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def counted(db: Any, announced: Any, **rest: Any) -> Any:
        sizes.append(len(announced))
        return await accept(db, announced, **rest)

    await platform.submit(input=0)  # the algorithm is known now
    monkeypatch.setattr("algodock_runner.handlers.intake.accept", counted)
    views = await asyncio.gather(*(platform.submit(input=n) for n in range(100)))
    assert len({view.id for view in views}) == 100
    assert sum(sizes) == 100
    assert len(sizes) < 10
    events = await platform.emitted("task.accepted")
    assert {event["data"]["id"] for event in events} >= {str(view.id) for view in views}


async def test_one_task_that_cannot_be_written_takes_no_other_with_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(request: TaskRequest, **rest: Any) -> NewTask:
        task = new_task(request, **rest)
        return replace(task, priority=70_000) if request.input == 3 else task  # no smallint

    await platform.submit(input=0)
    monkeypatch.setattr("algodock_runner.handlers.submit.new_task", spoilt)
    answers = await asyncio.gather(*(platform.submit(input=n) for n in range(6)), return_exceptions=True)
    assert [isinstance(one, Exception) for one in answers] == [False, False, False, True, False, False]


MIDDLE = """
INSERT INTO tasks (id, owner, algorithm, state, priority, max_attempts, expires_at, idempotency_key, request_hash, body,
    content_type, metadata)
VALUES (gen_random_uuid(), 'key-1', 'echo', 'queued', 0, 1, now(), 'k50', '', '', 'x', '{}')
"""


async def test_batches_with_the_same_keys_in_another_order_do_not_wait_for_each_other(platform: Platform) -> None:
    """Two processes at once, and a third that holds a key in the middle until both wait."""
    keys = [f"k{n:02}" for n in range(100)]
    await platform.submit(input=0)

    def begin(order: list[str]) -> asyncio.Task[list[Made | AlgoDockError]]:
        one = Submission.__new__(Submission)
        one.__dict__.update(vars(platform.submission))
        one._intake = Intake(platform.db, platform.bell, longest_wait_s=60, gateway_url="http://x")
        requests = [TaskRequest(algorithm="echo", input=key, idempotency_key=key) for key in order]
        return asyncio.create_task(one.submit_all(requests, owner="key-1"))

    async def both_wait() -> bool:
        (row,) = await platform.rows("SELECT count(*) AS n FROM pg_locks WHERE NOT granted")
        return bool(row.n == 2)

    async with asyncio.timeout(60):
        async with platform.db.read() as session:  # what it writes is rolled back
            await session.execute(sa.text(MIDDLE))
            running = [begin(keys), begin(keys[::-1])]
            await platform.eventually(both_wait)
        answers = [one for batch in await asyncio.gather(*running) for one in batch]
    made = [one for one in answers if isinstance(one, Made)]
    assert len(made) == 2 * 100
    assert sum(one.new for one in made) == len({one.view.id for one in made}) == 100


async def test_a_database_that_is_away_is_told_to_all_who_wait_and_to_nobody_after(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.submit(input=0)

    async def away(*_: Any, **__: Any) -> Any:
        msg = "nobody listens"
        raise ConnectionRefusedError(msg)

    with monkeypatch.context() as patched:
        patched.setattr("algodock_runner.handlers.intake.accept", away)
        answers = await asyncio.gather(*(platform.submit(input=n) for n in range(5)), return_exceptions=True)
    assert [type(one) for one in answers] == [ConnectionRefusedError] * 5
    assert (await platform.submit(input=9)).state == "queued"
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 2


async def test_while_the_database_is_away_what_came_together_is_not_tried_one_by_one(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for it as long again, one behind the other."""
    tries = 0

    async def away(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        msg = "nobody listens"
        raise ConnectionRefusedError(msg)

    monkeypatch.setattr("algodock_runner.handlers.intake.accept", away)
    intake = Intake(platform.db, platform.bell, longest_wait_s=60, gateway_url="http://x")
    tasks = [new_task(TaskRequest(algorithm="echo", input=n), owner="key-1", traceparent=None) for n in range(5)]
    answers = await asyncio.gather(*(intake.accept([task]) for task in tasks), return_exceptions=True)
    assert [type(one) for one in answers] == [ConnectionRefusedError] * 5
    assert tries == 1


async def test_a_body_past_the_limit_is_refused_before_it_is_read(platform: Platform) -> None:
    async with served(platform) as client:
        answer = await client.post(
            "/internal/tasks", content=b"{", headers={"content-length": str(2**30), "content-type": "application/json"}
        )
    assert answer.status_code == 413


async def test_a_body_of_unknown_length_is_read_up_to_the_limit_and_no_further(platform: Platform) -> None:
    platform.limits = platform.limits.model_copy(update={"max_input_bytes": 100_000})
    read = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal read
        yield b'{"algorithm": "echo", "input": "'
        while read < 5_000_000:
            read += 50_000
            yield b"x" * 50_000
        yield b'"}'

    async with served(platform) as client:
        answer = await client.post("/internal/tasks", content=parts(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert read < 100_000 + ENVELOPE_BYTES + 100_000


@pytest.mark.parametrize("header", ["authorization", "x-algodock-identity"])
async def test_only_the_platform_may_submit_here(platform: Platform, header: str) -> None:
    async with served(platform) as client:
        del client.headers[header]
        answer = await client.post("/internal/tasks", json={"algorithm": "echo", "input": 1})
    assert answer.status_code == 401
    assert not await platform.rows("SELECT 1 FROM tasks")
