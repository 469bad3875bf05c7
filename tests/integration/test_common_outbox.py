"""The outbox on a real PostgreSQL and a real broker: what was committed is published, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import sqlalchemy as sa

from algodock_cli.stack import EmbeddedServers
from algodock_common.database import Database, accept_once, inbox, outbox
from algodock_common.database.tables import messaging_metadata
from algodock_common.errors import Unavailable
from algodock_common.events import AlgorithmChanged, Event, TaskFinished
from algodock_common.messaging import Bus
from algodock_common.settings import DatabaseSettings, KafkaSettings, SecretSettings
from tests.integration.buses import Seen, changed, running


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
