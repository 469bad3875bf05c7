"""The bus on a real broker: delivery, retries, dead letters, and the outbox on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from algodock_cli.stack import EmbeddedServers
from algodock_common.database import Database, accept_once, inbox, outbox
from algodock_common.database.tables import messaging_metadata
from algodock_common.errors import InvalidInput, Unavailable
from algodock_common.events import AlgorithmChanged, DeadLetter, Event, TaskFinished, TaskReady, TaskRequested
from algodock_common.events.flow import Step
from algodock_common.messaging import Bus, RetryPolicy
from algodock_common.messaging.loss import LossWatch
from algodock_common.messaging.signing import Signer
from algodock_common.messaging.topics import TopicKeeper
from algodock_common.settings import DatabaseSettings, KafkaSettings, SecretSettings

QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)


@pytest.fixture
def secrets() -> SecretSettings:
    return SecretSettings(secret_key="s" * 40)


@asynccontextmanager
async def running(*buses: Bus) -> AsyncIterator[None]:
    for bus in buses:
        await bus.start()
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(bus.wait_connected() for bus in buses))
        yield
    finally:
        await asyncio.gather(*(bus.stop() for bus in buses))


class Seen:
    """Keeps what a handler got, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[Event[Any]] = []
        self._changed = asyncio.Condition()

    async def __call__(self, event: Event[Any]) -> None:
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def wait_for(self, wanted: Any, seconds: float = 120) -> Event[Any]:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: any(wanted(event) for event in self.events))
        return next(event for event in self.events if wanted(event))


async def produce(settings: KafkaSettings, topic: str, value: bytes, headers: Any = ()) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, headers=list(headers))
    finally:
        await producer.stop()


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


@pytest.fixture
async def schema(database_settings: DatabaseSettings) -> AsyncIterator[str]:
    name = f"t_{uuid4().hex[:8]}"
    database = Database(database_settings, schema=name, source="/t")
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        await connection.run_sync(messaging_metadata.create_all)
    yield name
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
    await database.stop()


def changed(name: str) -> AlgorithmChanged:
    return AlgorithmChanged(algorithm_id=uuid4(), algorithm=name, state="created")


async def test_events_leave_after_the_commit_with_a_growing_sequence_and_are_marked(
    kafka_settings: KafkaSettings, database_settings: DatabaseSettings, secrets: SecretSettings, schema: str
) -> None:
    seen = Seen()
    gateway, runner = Bus(kafka_settings, secrets, service="gateway"), Bus(kafka_settings, secrets, service="runner")
    runner.subscribe(AlgorithmChanged, seen)
    database = Database(database_settings, schema=schema, source="/gateway", bus=gateway)
    name = f"n-{uuid4().hex[:8]}"
    async with running(gateway, runner):
        await database.start()
        with pytest.raises(ZeroDivisionError):
            await emit_and_fail(database, name + "-never")
        for _ in range(2):
            async with database.transaction() as tx:
                tx.emit(changed(name))
        await seen.wait_for(lambda _: len([e for e in seen.events if e.data.algorithm == name]) == 2)
        sequences = [event.sequence for event in seen.events if event.data.algorithm == name]
        assert sequences == sorted(set(sequences))
        assert sequences[0] > 0
        assert name + "-never" not in [event.data.algorithm for event in seen.events]
        await emptied(database)
        await database.stop()


async def test_few_events_wait_in_memory_and_the_others_follow_from_the_table(
    kafka_settings: KafkaSettings,
    database_settings: DatabaseSettings,
    secrets: SecretSettings,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outboxes = import_module("algodock_common.database.outbox")  # the package's name for it is the table
    monkeypatch.setattr(outboxes, "MOST_WAITING", 20)
    monkeypatch.setattr(outboxes, "SWEEP_INTERVAL_S", 3600)  # the relay is not who does it
    gateway, name = Bus(kafka_settings, secrets, service="gateway"), f"m-{uuid4().hex[:8]}"
    published: list[str] = []
    publish = gateway.publish_many

    async def noted(events: Sequence[Event[Any]]) -> list[Unavailable | None]:
        published.extend(event.id for event in events)
        return await publish(events)

    monkeypatch.setattr(gateway, "publish_many", noted)
    database = Database(database_settings, schema=schema, source="/gateway", bus=gateway)
    async with running(gateway):
        await database.start()
        async with database.transaction() as tx:
            sent = [tx.emit(changed(name)).id for _ in range(200)]
        assert database.outbox._queue.qsize() <= 20
        await emptied(database)
        await database.stop()
    assert published == sent


async def emit_and_fail(database: Database, name: str) -> None:
    async with database.transaction() as tx:
        tx.emit(changed(name))
        _ = 1 / 0


async def accept_and_fail(database: Database, event: Event[Any]) -> None:
    async with database.transaction() as tx:
        assert await accept_once(tx, "c", event)
        _ = 1 / 0


async def emptied(database: Database) -> None:
    """Wait until the broker has confirmed every row of the outbox."""
    async with asyncio.timeout(60):
        while await rows(database):  # noqa: ASYNC110  # a table tells nobody that a row went
            await asyncio.sleep(0.02)


async def rows(database: Database) -> int:
    async with database.read() as session:
        waiting = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
        return (await session.execute(waiting)).scalar_one()


async def test_what_a_crash_left_in_the_outbox_is_swept_up(
    kafka_settings: KafkaSettings, database_settings: DatabaseSettings, secrets: SecretSettings, schema: str
) -> None:
    crashed = Database(database_settings, schema=schema, source="/gateway")  # no bus: commits, and never publishes
    name = f"s-{uuid4().hex[:8]}"
    async with crashed.transaction() as tx:
        tx.emit(changed(name))
        await tx.session.execute(sa.text("SELECT 1"))
    async with crashed.transaction() as tx:
        await tx.session.execute(sa.update(outbox).values(created_at=sa.func.now() - sa.text("interval '1 minute'")))
    assert await rows(crashed) == 1
    seen = Seen()
    gateway, runner = Bus(kafka_settings, secrets, service="gateway"), Bus(kafka_settings, secrets, service="runner")
    runner.subscribe(AlgorithmChanged, seen)
    database = Database(database_settings, schema=schema, source="/gateway", bus=gateway)
    async with running(gateway, runner):
        await database.start()
        event = await seen.wait_for(lambda event: event.data.algorithm == name)
        assert event.sequence > 0
        await emptied(crashed)
        await database.stop()
    await crashed.stop()


@pytest.mark.parametrize("takes", [False, True])
async def test_a_broker_that_says_nothing_holds_nobody_up(
    kafka_settings: KafkaSettings, secrets: SecretSettings, monkeypatch: pytest.MonkeyPatch, *, takes: bool
) -> None:
    """Neither one that takes nothing nor one that does not confirm what it took: the outbox has the events."""
    gateway = Bus(kafka_settings.model_copy(update={"send_timeout_s": 0.2}), secrets, service="gateway")

    async def send(_: Event[Any]) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        return answer if takes else await answer

    monkeypatch.setattr(gateway, "_send", send)
    async with asyncio.timeout(60):
        answers = await gateway.publish_many([Event.of(changed(name), source="/gateway") for name in ("a", "b")])
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]


class Refusing:
    """A broker that confirms nothing for so many tries."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.tries: list[list[str]] = []

    def when_lost(self, act: Callable[[], Awaitable[None]]) -> None:
        """It loses nothing."""

    async def publish_many(self, events: Sequence[Event[Any]]) -> list[Unavailable | None]:
        self.tries.append([event.id for event in events])
        refused = len(self.tries) <= self.refusals
        return [Unavailable("the broker is away") if refused else None for _ in events]


async def test_what_the_broker_does_not_confirm_stays_in_the_outbox_until_it_does(
    database_settings: DatabaseSettings, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch, for example, is committed while the broker is away: its event is as late as that, and not lost."""
    outboxes = import_module("algodock_common.database.outbox")  # the package's name for it is the table
    monkeypatch.setattr(outboxes, "SWEEP_INTERVAL_S", 0.1)
    monkeypatch.setattr(outboxes, "SWEEP_AFTER_S", 0.1)
    bus = Refusing(3)  # the first is the publishing after the commit, the others are the relay's
    database = Database(database_settings, schema=schema, source="/gateway", bus=cast("Bus", bus))
    await database.start()
    async with database.transaction() as tx:
        sent = tx.emit(changed("waits"))
    await emptied(database)
    await database.stop()
    assert bus.tries[:4] == [[sent.id]] * 4


async def test_an_older_event_of_the_same_subject_is_not_accepted_and_a_rolled_back_one_is_not_noted(
    database_settings: DatabaseSettings, schema: str
) -> None:
    database = Database(database_settings, schema=schema, source="/t")

    def event(sequence: int, name: str = "one") -> Event[Any]:
        return Event.of(changed(name), source="/g").model_copy(update={"sequence": sequence})

    with pytest.raises(ZeroDivisionError):
        await accept_and_fail(database, event(9))
    accepted = []
    for sequence in (5, 5, 4, 6):
        async with database.transaction() as tx:
            accepted.append(await accept_once(tx, "c", event(sequence)))
    assert accepted == [True, False, False, True]
    async with database.transaction() as tx:
        assert await accept_once(tx, "c", event(1, "two"))
        assert await accept_once(tx, "another", event(5))
        assert (await tx.session.execute(sa.select(sa.func.count()).select_from(inbox))).scalar_one() == 3
    await database.stop()


async def test_what_the_broker_confirmed_and_then_lost_is_published_again(
    database_settings: DatabaseSettings, secrets: SecretSettings, schema: str, tmp_path: Path
) -> None:
    """The broker is one of this test's own, since it is killed; the event was confirmed and nobody had read it."""
    elsewhere = {"DATABASE_URL": "postgresql://elsewhere", "REDIS_URL": "redis://elsewhere", "S3_ENDPOINT": "http://s3"}
    with EmbeddedServers(tmp_path, elsewhere) as servers:
        bootstrap = servers.environment["KAFKA_BOOTSTRAP"]
        kafka = KafkaSettings(bootstrap=bootstrap, idempotent=False, fetch_wait_ms=100, fast_fetch_wait_ms=10)
        gateway = Bus(kafka, secrets, service="gateway")
        gateway.subscribe(TaskFinished, Seen())  # a process that consumes something, as each service does
        database = Database(database_settings, schema=schema, source="/gateway", bus=gateway)
        async with running(gateway):
            await database.start()
            async with database.transaction() as tx:
                lost = tx.emit(changed("lost"))
            await emptied(database)
            servers.kill("kafka")
            servers.start("kafka")
            seen, runner = Seen(), Bus(kafka, secrets, service="runner")
            runner.subscribe(AlgorithmChanged, seen)
            async with running(runner):
                event = await seen.wait_for(lambda event: event.id == lost.id)
            assert event.sequence > 0
            await database.stop()


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


async def test_published_events_leave_the_outbox_when_their_time_is_over(
    database_settings: DatabaseSettings, schema: str
) -> None:
    database = Database(database_settings, schema=schema, source="/t")
    async with database.transaction() as tx:
        for _ in range(3):
            tx.emit(changed("a"))
    now = datetime.now(UTC)
    times = [None, now - timedelta(minutes=59), now - timedelta(minutes=61)]
    async with database.transaction() as tx:
        ids = (await tx.session.execute(sa.select(outbox.c.id).order_by(outbox.c.id))).scalars()
        for id_, time in zip(ids, times, strict=True):
            await tx.session.execute(sa.update(outbox).where(outbox.c.id == id_).values(published_at=time))
    await database.outbox.tidy()
    async with database.read() as session:
        assert (await session.execute(sa.select(sa.func.count()).select_from(outbox))).scalar_one() == 2
    await database.stop()
