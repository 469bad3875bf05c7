"""The bus on a real broker: delivery, retries, dead letters, and the outbox on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from algodock_common.errors import InvalidInput, Unavailable
from algodock_common.events import AlgorithmChanged, DeadLetter, Event, TaskFinished, TaskReady, TaskRequested
from algodock_common.events.flow import Step
from algodock_common.messaging import Bus
from algodock_common.messaging.loss import LossWatch
from algodock_common.messaging.signing import Signer
from algodock_common.messaging.topics import TopicKeeper
from algodock_common.settings import KafkaSettings, SecretSettings
from tests.integration.buses import QUICK, Seen, changed, produce, running


async def test_an_event_reaches_its_group_and_is_retried_until_it_is_handled(
    kafka_settings: KafkaSettings, secrets: SecretSettings
) -> None:
    seen, failures = Seen(), 2

    async def fails_twice(event: Event[Any]) -> None:
        nonlocal failures
        if event.data.algorithm == name and failures:
            failures -= 1
            msg = "away"
            raise Unavailable(msg)
        await seen(event)

    name = f"a-{uuid4().hex[:8]}"
    sender, receiver = Bus(kafka_settings, secrets, service="runner"), Bus(kafka_settings, secrets, service="worker")
    receiver.subscribe(TaskReady, fails_twice, retry=QUICK)
    async with running(sender, receiver):
        await sender.publish(Event.of(TaskReady(algorithm=name), source="/runner"))
        await seen.wait_for(lambda event: event.data.algorithm == name)
        (consumer,) = [consumer for _, consumer in receiver._subscriptions._consumers()]
        assert not consumer._coordinator._closing.done()  # what a stop goes by, see tests/unit/common/test_leaving.py
    assert consumer._coordinator._closing.done()
    assert failures == 0


async def test_a_poisonous_a_forged_and_an_unreadable_message_go_to_the_dead_letters_and_neighbours_go_on(
    kafka_settings: KafkaSettings, secrets: SecretSettings
) -> None:
    handled, buried = Seen(), Seen()

    async def refuses(event: Event[Any], headers: dict[str, str]) -> None:
        if event.data.input == "poison":
            msg = f"no good, {headers['authorization']}"
            raise InvalidInput(msg)
        await handled(event)

    bus = Bus(kafka_settings, secrets, service="runner")
    bus.subscribe(TaskRequested, refuses, with_headers=True, retry=QUICK)
    bus.subscribe(DeadLetter, buried, retry=QUICK)
    tag = uuid4().hex

    def task(content: Any) -> bytes:
        data = {"algorithm": "echo", "input": content, "idempotency_key": tag}
        return json.dumps(
            {"specversion": "1.0", "id": tag, "source": "/t", "type": "task.requested.v1", "data": data}
        ).encode()

    async with running(bus):
        await produce(kafka_settings, "task.requested", b"\xff no JSON " + tag.encode(), [("h", b"\xff\xfe")])
        await produce(kafka_settings, "task.requested", task("poison"), [("authorization", b"me")])
        await produce(kafka_settings, "task.requested", task("fine"), [("authorization", b"me")])
        await handled.wait_for(lambda event: event.data.input == "fine" and event.id == tag)
        unreadable = await buried.wait_for(
            lambda event: tag.encode() in event.data.raw() and b"\xff" in event.data.raw()
        )
        assert unreadable.data.error_type == "InvalidMessage"
        poison = await buried.wait_for(lambda event: b"poison" in event.data.raw() and tag.encode() in event.data.raw())
        assert poison.data.error_type == "InvalidInput"
        assert poison.data.reason == "no good, me"
        assert poison.data.attempts == 1
        assert poison.data.origin_topic == "task.requested"


async def test_a_message_is_put_back_as_it_was(kafka_settings: KafkaSettings, secrets: SecretSettings) -> None:
    seen, buried = Seen(), Seen()
    name = f"a-{uuid4().hex[:8]}"
    value = Event.of(TaskReady(algorithm=name), source="/runner").model_dump_json().encode()
    signature = Signer(secrets.derive("events")).sign("task.ready", value)
    runner, worker = Bus(kafka_settings, secrets, service="runner"), Bus(kafka_settings, secrets, service="worker")
    worker.subscribe(TaskReady, seen, retry=QUICK)
    runner.subscribe(DeadLetter, buried, retry=QUICK)
    with pytest.raises(Unavailable):
        await runner.put_back("task.ready", value, key=name, headers={})
    async with running(runner, worker):
        await runner.put_back("task.ready", value, key=name, headers={"algodock-signature": signature.encode()})
        await seen.wait_for(lambda event: event.data.algorithm == name)
        forged = value.replace(name.encode(), b"b" + name.encode())
        await runner.put_back("task.ready", forged, key=name, headers={"algodock-signature": signature.encode()})
        await buried.wait_for(lambda event: event.data.raw() == forged)
        with pytest.raises(ValueError, match="no topic"):
            await runner.put_back("elsewhere", value, key=None, headers={})
    assert not [event for event in seen.events if event.data.algorithm == f"b{name}"]


async def test_a_missing_file_is_not_waited_for_as_if_a_server_were_away(
    kafka_settings: KafkaSettings, secrets: SecretSettings, tmp_path: Path
) -> None:
    """Else the one message would hold up its partition for ever."""
    handled, buried = Seen(), Seen()
    missing, fine = f"m-{uuid4().hex[:8]}", f"f-{uuid4().hex[:8]}"

    async def reads_a_file(event: Event[Any]) -> None:
        if event.data.algorithm == missing:
            (tmp_path / "missing").read_bytes()
        await handled(event)

    runner, worker = Bus(kafka_settings, secrets, service="runner"), Bus(kafka_settings, secrets, service="worker")
    worker.subscribe(TaskReady, reads_a_file, retry=QUICK)
    runner.subscribe(DeadLetter, buried, retry=QUICK)
    async with running(runner, worker):
        await runner.publish(Event.of(TaskReady(algorithm=missing), source="/runner"))
        await runner.publish(Event.of(TaskReady(algorithm=fine), source="/runner"))
        letter = await buried.wait_for(lambda event: missing.encode() in event.data.raw())
        assert (letter.data.error_type, letter.data.attempts) == ("FileNotFoundError", 1)
        await handled.wait_for(lambda event: event.data.algorithm == fine)


async def test_a_forged_message_on_an_internal_topic_is_not_handled(
    kafka_settings: KafkaSettings, secrets: SecretSettings
) -> None:
    handled, buried = Seen(), Seen()
    worker, runner = Bus(kafka_settings, secrets, service="worker"), Bus(kafka_settings, secrets, service="runner")
    stranger = Bus(kafka_settings, SecretSettings(secret_key="x" * 40), service="runner")
    worker.subscribe(TaskReady, handled)
    runner.subscribe(DeadLetter, buried)
    forged, real = f"f-{uuid4().hex[:8]}", f"r-{uuid4().hex[:8]}"
    async with running(worker, runner, stranger):
        await stranger.publish(Event.of(TaskReady(algorithm=forged), source="/runner"))
        await runner.publish(Event.of(TaskReady(algorithm=real), source="/runner"))
        letter = await buried.wait_for(lambda event: forged.encode() in event.data.raw())
        assert letter.data.error_type == "ForgedMessage"
        await handled.wait_for(lambda event: event.data.algorithm == real)
    assert forged not in [event.data.algorithm for event in handled.events]


async def test_a_flood_of_a_broadcast_is_let_go_while_nothing_is_wanted_and_else_taken_whole(
    kafka_settings: KafkaSettings, secrets: SecretSettings
) -> None:
    seen, asked = Seen(), asyncio.Event()
    wants = False

    def wanted() -> bool:
        asked.set()
        return wants

    tag = uuid4().hex
    sender, receiver = Bus(kafka_settings, secrets, service="worker"), Bus(kafka_settings, secrets, service="gateway")
    receiver.subscribe(TaskFinished, seen, wanted=wanted, retry=QUICK)

    def finished(number: int) -> Event[TaskFinished]:
        task = TaskFinished(
            id=UUID(int=number), state="succeeded", algorithm="echo", attempt=1, finished_at=datetime.now(UTC),
            metadata={"tag": tag},
        )  # fmt: skip
        return Event.of(task, source="/worker")

    async with running(sender, receiver):
        async with asyncio.timeout(120):
            published = 0
            while not asked.is_set():  # one of a lot, when nothing is wanted
                await sender.publish_many([finished(0)] * 100)
                published += 100
                await asyncio.sleep(0.1)
        await seen.wait_for(lambda _: True)  # one is always taken
        assert len(seen.events) < published
        wants = True
        await sender.publish_many([finished(number) for number in range(1, 101)])
        await seen.wait_for(lambda _: len([one for one in seen.events if one.data.id.int]) >= 100)
    numbers = [one.data.id.int for one in seen.events if one.data.metadata.get("tag") == tag and one.data.id.int]
    assert sorted(numbers) == list(range(1, 101))


def test_a_service_cannot_subscribe_to_what_the_flow_table_does_not_give_it(
    kafka_settings: KafkaSettings, secrets: SecretSettings
) -> None:
    with pytest.raises(ValueError, match="no consumer of task"):
        Bus(kafka_settings, secrets, service="gateway").subscribe(TaskReady, Seen())


async def test_a_topic_that_is_missing_is_made_with_its_partitions_and_again_when_the_broker_lost_it(
    kafka_settings: KafkaSettings,
) -> None:
    class Own(TaskReady):
        topic: ClassVar[str] = f"own-{uuid4().hex[:8]}"

    keeper = TopicKeeper(kafka_settings, [Step("own", Own, "key", ("runner",), partitions=5)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_settings.bootstrap)
    await admin.start()
    try:
        for lost in (False, True):
            if lost:
                await admin.delete_topics([Own.topic])
            async with asyncio.timeout(60):
                while not (made := await keeper.ensure()):  # noqa: ASYNC110  # a broker takes its time to delete
                    await asyncio.sleep(0.1)
            assert made == [Own.topic]
            async with asyncio.timeout(60):
                while len((await admin.describe_topics([Own.topic]))[0]["partitions"]) != 5:  # noqa: ASYNC110  # and to tell
                    await asyncio.sleep(0.1)
        assert await keeper.ensure() == []
        assert keeper.cluster
        await admin.delete_topics([Own.topic])
    finally:
        await keeper.close()
        await admin.close()


async def test_whatever_a_look_at_the_broker_raises_or_a_recovery_is_tried_again(
    kafka_settings: KafkaSettings, secrets: SecretSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client between two brokers asserts what is no longer so; a recovery may meet a database that is away."""
    looks: list[BaseException | None] = [AssertionError("Broker id 1 not in current metadata"), None]
    recoveries: list[BaseException | None] = [Unavailable("the database is away"), None]
    recovered = asyncio.Event()
    look = TopicKeeper.ensure

    async def ensure(keeper: TopicKeeper) -> list[str]:
        if looks and (error := looks.pop(0)):
            raise error
        return await look(keeper)

    def lost(*_: object) -> bool:
        return len(recoveries) == 2

    async def recover() -> None:
        if error := recoveries.pop(0):
            raise error
        recovered.set()

    monkeypatch.setattr(TopicKeeper, "ensure", ensure)
    monkeypatch.setattr(LossWatch, "lost", lost)
    bus = Bus(kafka_settings, secrets, service="runner")
    bus.when_lost(recover)
    async with running(bus):
        async with asyncio.timeout(60):
            await recovered.wait()
        await bus.check()


async def test_a_consumer_that_gets_no_answer_beside_a_broker_that_answers_is_made_anew(
    kafka_settings: KafkaSettings, secrets: SecretSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, runner = Seen(), Bus(kafka_settings, secrets, service="runner")
    runner.subscribe(AlgorithmChanged, seen)
    gateway = Bus(kafka_settings, secrets, service="gateway")
    async with running(runner, gateway):
        subscriber: Any
        (subscriber,) = runner._broker.subscribers
        lost_its_way = subscriber.consumer
        stopped = asyncio.Event()
        stop = lost_its_way.stop

        async def never(*_: object) -> dict[TopicPartition, int]:
            raise KafkaTimeoutError

        async def stopping() -> None:
            await stop()
            stopped.set()

        monkeypatch.setattr(lost_its_way, "end_offsets", never)
        monkeypatch.setattr(lost_its_way, "stop", stopping)
        async with asyncio.timeout(60):
            await stopped.wait()
        sent = changed("anew")
        event = Event.of(sent, source="/gateway")
        await gateway.publish(event)
        await seen.wait_for(lambda got: got.id == event.id)
        assert subscriber.consumer is not lost_its_way
