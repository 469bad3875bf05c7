"""Whatever lies in a message of strangers, it becomes a dead letter and its neighbours go on; on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from algodock_common.errors import Unavailable
from algodock_common.events import DeadLetter, Event, TaskRequested
from algodock_common.events.flow import step_of
from algodock_common.messaging import Bus, RetryPolicy, Signer
from algodock_common.messaging.consume import Intake
from algodock_common.settings import KafkaSettings, SecretSettings

QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)
ALMOST_A_MIB = 1_000_000


def requested(tag: str, **envelope: Any) -> bytes:
    data = {"algorithm": "echo", "input": 1, "idempotency_key": tag}
    event = {"specversion": "1.0", "id": tag, "source": "/t", "type": "task.requested.v1", "data": data}
    return json.dumps(event | envelope).encode()


@dataclass(frozen=True)
class Inlet:
    """A service that takes tasks, with what it handled and what it gave up, and a stranger's producer."""

    handled: asyncio.Queue[Event[TaskRequested]]
    letters: asyncio.Queue[DeadLetter]
    producer: AIOKafkaProducer


@pytest.fixture
async def inlet(kafka_settings: KafkaSettings) -> AsyncIterator[Inlet]:
    bus = Bus(kafka_settings, SecretSettings(secret_key="s" * 40), service="runner")
    producer = AIOKafkaProducer(bootstrap_servers=kafka_settings.bootstrap, max_request_size=2 * ALMOST_A_MIB)
    inlet = Inlet(asyncio.Queue(), asyncio.Queue(), producer)

    async def letter(event: Event[DeadLetter]) -> None:
        inlet.letters.put_nowait(event.data)

    bus.subscribe(TaskRequested, inlet.handled.put, retry=QUICK)
    bus.subscribe(DeadLetter, letter, retry=QUICK)
    await bus.start()
    await producer.start()
    try:
        async with asyncio.timeout(60):
            await bus.wait_connected()
        yield inlet
    finally:
        await producer.stop()
        await bus.stop()


STRANGE: dict[str, dict[str, Any]] = {
    "no value": {"value": None, "key": b"k"},
    "a header without a value": {"value": b"x", "headers": [("h", None)]},
    "as large as brokers take": {"value": b"x" * ALMOST_A_MIB},
    "a huge key of no text": {"value": b"x", "key": b"\xff" * ALMOST_A_MIB},
    "huge headers of no text": {"value": b"x", "headers": [("\1" * 50_000 + str(n), b"x") for n in range(18)]},
    "a reason that would quote it all": {"value": requested("x", type="\0" * 165_000)},
}


@pytest.mark.parametrize("what", STRANGE)
async def test_a_strange_message_is_a_dead_letter_and_its_neighbour_goes_on(inlet: Inlet, what: str) -> None:
    tag = uuid4().hex
    sent = await inlet.producer.send_and_wait("task.requested", **STRANGE[what])
    await inlet.producer.send_and_wait("task.requested", requested(tag), partition=sent.partition)
    async with asyncio.timeout(60):
        while (await inlet.handled.get()).id != tag:
            pass
        letter = await inlet.letters.get()
        while (letter.origin_partition, letter.origin_offset) != (sent.partition, sent.offset):
            letter = await inlet.letters.get()
    assert (letter.raw(), letter.cut) == (STRANGE[what]["value"] or b"", False)


async def test_where_the_topic_takes_no_letter_of_that_size_it_gets_a_part() -> None:
    """A topic that was made before, by somebody else, has the broker's own limit."""
    taken: list[DeadLetter] = []

    async def bury(letter: DeadLetter) -> None:
        if len(letter.value) > ALMOST_A_MIB:
            raise Unavailable("refused") from MessageSizeTooLargeError()
        taken.append(letter)

    async def never(_: Event[Any]) -> None:
        pytest.fail("it is no event")

    intake = Intake(step_of(TaskRequested), "c", never, signer=Signer(b"k" * 32), bury=bury, retry=QUICK)
    record = SimpleNamespace(
        topic="task.requested", partition=0, offset=7, key=None, value=b"xyz" * 300_000, headers=()
    )
    async with asyncio.timeout(60):
        await intake.take(record)
    assert [(letter.cut, letter.raw()) for letter in taken] == [(True, (b"xyz" * 300_000)[: 256 * 1024])]
    assert "too large to be kept whole" in taken[0].reason
