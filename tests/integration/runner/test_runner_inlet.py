"""The public Kafka inlet on a real broker: good messages become tasks, bad ones dead letters with the reason."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from algodock_common.errors import Unavailable
from algodock_common.events import DeadLetter, Event, TaskRequested
from algodock_common.messaging import Bus
from algodock_common.settings import KafkaSettings, SecretSettings
from algodock_runner.domain.errors import IdempotencyConflict, UnknownCaller
from algodock_runner.handlers.catalogue import Catalogue
from algodock_runner.subscribers import subscribe_api

if TYPE_CHECKING:
    from .conftest import Platform

GOOD = {"authorization": "Bearer good-key"}


def requested(event_id: str = "", **data: Any) -> Event[TaskRequested]:
    body = TaskRequested.model_validate({"algorithm": "echo"} | data)
    return Event[TaskRequested](id=event_id or uuid4().hex, source="/elsewhere", type="task.requested.v1", data=body)


async def test_a_message_becomes_the_task_of_the_keys_owner(platform: Platform) -> None:
    await platform.inlet.task_requested(requested(input=1, idempotency_key="k"), {"Authorization": "bearer good-key"})
    (row,) = await platform.rows("SELECT owner, idempotency_key, state FROM tasks")
    assert (row.owner, row.idempotency_key, row.state) == ("key-1", "k", "queued")


async def test_a_message_says_of_a_task_what_a_request_does(platform: Platform) -> None:
    await platform.inlet.task_requested(requested(input=1, version="ABCDEF0", priority=3, metadata={"a": "b"}), GOOD)
    (row,) = await platform.rows("SELECT version, priority, metadata FROM tasks")
    assert (row.version, row.priority, row.metadata) == ("abcdef0", 3, {"a": "b"})


async def test_a_message_that_comes_twice_is_one_task(platform: Platform) -> None:
    event = requested("event-7", input=1)
    await platform.inlet.task_requested(event, GOOD)
    await platform.inlet.task_requested(event, GOOD)
    (row,) = await platform.rows("SELECT idempotency_key FROM tasks")
    assert row.idempotency_key == "event-7"


async def test_kafka_and_rest_make_the_same_task(platform: Platform) -> None:
    view = await platform.submit(input={"a": 1, "b": 2}, idempotency_key="k", timeout=5)
    again = requested(input={"b": 2, "a": 1}, idempotency_key="k", timeout=5.0)
    await platform.inlet.task_requested(again, GOOD)
    assert [row.id for row in await platform.rows("SELECT id FROM tasks")] == [view.id]
    with pytest.raises(IdempotencyConflict):
        await platform.inlet.task_requested(requested(input=3, idempotency_key="k"), GOOD)


@pytest.mark.parametrize("headers", [{}, {"authorization": "good-key"}, {"authorization": "Bearer bad-key"}])
async def test_a_message_without_a_good_key_is_refused(platform: Platform, headers: dict[str, str]) -> None:
    with pytest.raises(UnknownCaller) as refused:
        await platform.inlet.task_requested(requested(input=1), headers)
    assert not refused.value.retryable
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_a_gateway_that_is_away_is_no_reason_to_refuse(platform: Platform) -> None:
    async def away(_: str) -> Any:
        msg = "the gateway is away"
        raise Unavailable(msg)

    platform.gateway.verify_key = away  # type: ignore[assignment]
    with pytest.raises(Unavailable) as refused:
        await platform.inlet.task_requested(requested(input=1), GOOD)
    assert refused.value.retryable


async def test_a_dead_letter_is_kept_once_whatever_is_in_it_but_the_callers_key(platform: Platform) -> None:
    letter = DeadLetter(
        origin_topic="task.requested",
        origin_partition=1,
        origin_offset=2,
        consumer="g",
        message_key="a\0b",
        value=base64.b64encode(b"\0\xff no JSON").decode(),
        headers={"authorization": base64.b64encode(b"Bearer good-key").decode(), "x\0": "eA=="},
        error_type="InvalidMessage",
        reason="what\0ever",
        attempts=1,
    )
    event = Event[DeadLetter].of(letter, source="/runner")
    await platform.inlet.dead_letter(event)
    await platform.inlet.dead_letter(event)
    (row,) = await platform.rows("SELECT * FROM dead_letters")
    assert bytes(row.value) == b"\0\xff no JSON"
    assert row.headers["authorization"] == ""
    assert row.reason == "what\ufffdever"


@pytest.fixture
async def bus(platform: Platform, kafka_settings: KafkaSettings) -> AsyncIterator[Bus]:
    one = Bus(kafka_settings, SecretSettings(), service="runner")
    subscribe_api(one, inlet=platform.inlet, catalogue=Catalogue(platform.db, platform.gateway))
    await one.start()
    async with asyncio.timeout(60):
        await one.wait_connected()
    yield one
    await one.stop()


@pytest.mark.usefixtures("bus")
async def test_bad_messages_become_dead_letters_and_their_neighbours_go_on(
    platform: Platform, kafka_settings: KafkaSettings
) -> None:
    mark = uuid4().hex

    def envelope(data: Any) -> bytes:
        event = {"specversion": "1.0", "id": uuid4().hex, "source": "/t", "type": "task.requested.v1", "data": data}
        return json.dumps(event).encode()

    good = [("authorization", b"Bearer good-key")]
    messages: list[tuple[bytes, list[tuple[str, bytes]], str]] = [
        (b"neither JSON nor a task", good, "JSON"),
        (envelope({"input": 1}), good, "algorithm"),
        (envelope({"algorithm": "echo", "inptu": 1}), good, "inptu"),
        (envelope({"algorithm": "no-such-thing", "input": 1}), good, "no-such-thing"),
        (envelope({"algorithm": "echo", "input": 1}), [("authorization", b"Bearer bad")], "API key"),
        (envelope({"algorithm": "echo", "input": 1}), [("authorization", b"\xff\xfe")], "authorization"),
        (envelope({"algorithm": "echo", "input": 1, "callback_url": "http://169.254.169.254/"}), good, "public"),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=kafka_settings.bootstrap)
    await producer.start()
    try:
        for n, (value, headers, _) in enumerate(messages):
            key = f"{mark}-ok-{n}"
            await producer.send_and_wait("task.requested", value, key=mark.encode(), headers=headers)
            fine = envelope({"algorithm": "echo", "input": n, "idempotency_key": key})
            await producer.send_and_wait("task.requested", fine, key=mark.encode(), headers=good)
    finally:
        await producer.stop()

    kept = "SELECT reason, value FROM dead_letters WHERE message_key = :mark ORDER BY origin_offset"
    made = "SELECT 1 FROM tasks WHERE idempotency_key LIKE :like"
    async with asyncio.timeout(45):
        while True:
            letters = await platform.rows(kept, mark=mark)
            tasks = await platform.rows(made, like=f"{mark}-%")
            if len(letters) == len(tasks) == len(messages):
                break
            await asyncio.sleep(0.1)
    for letter, (value, _, says) in zip(letters, messages, strict=True):
        assert bytes(letter.value) == value
        assert says in letter.reason, letter.reason
