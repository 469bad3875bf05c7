"""Transactional outbox: events leave after the commit that they tell of, and survive any crash.

Each is published right after its commit and its row marked a little later, many at once; the relay only
sweeps up what a crash or an absent broker left behind. Few wait in memory: what is more is read from the table
when those have gone, so that any number of tasks takes the same memory here. Rows stay for a while after that:
when the broker lost what it held, they are published again, with the same ids and sequences.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from prometheus_client import Gauge

from algodock_common.database.tables import outbox
from algodock_common.events.envelope import Event
from algodock_common.events.flow import FLOW
from algodock_common.outages import is_infrastructure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

    from algodock_common.messaging.bus import Bus

__all__ = ["Outbox"]

log = structlog.get_logger()

SWEEP_INTERVAL_S = 2.0
SWEEP_AFTER_S = 3.0
TIDY_INTERVAL_S = 30.0
MARK_EVERY_S = 0.25
BATCH = 500
MOST_WAITING = 4 * BATCH
"""Events that wait in memory to be published; further ones wait in the table alone."""
BACKLOG = Gauge("algodock_outbox_swept_last", "Events that the last sweep of the outbox found")

_EVENTS: dict[str, type[Event[Any]]] = {
    step.topic: Event.__class_getitem__(step.event)  # type: ignore[misc]  # a model made while running
    for step in FLOW
}


def _ago(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _mark(ids: Sequence[int]) -> sa.Update:
    return sa.update(outbox).where(outbox.c.id.in_(ids)).values(published_at=sa.func.now())


_MARK = sa.text("""
WITH lazily AS (SELECT set_config('synchronous_commit', 'off', true))
UPDATE outbox SET published_at = now() FROM lazily WHERE id = ANY(CAST(:ids AS bigint[]))
""")
"""A mark that a crash of PostgreSQL loses costs a second delivery, which consumers expect anyway."""


class Outbox:
    """The outbox of one service in one process."""

    def __init__(
        self,
        engine: AsyncEngine,
        bus: Bus | None,
        *,
        run: Callable[[sa.TextClause, Mapping[str, Any]], Awaitable[object]],
    ) -> None:
        """Without a bus events stay in the table, as in tests that look at them there; ``run`` runs one statement."""
        self._engine = engine
        self._bus = bus
        self._run_one = run
        self._published: list[int] = []
        self._to_mark = asyncio.Event()
        self._queue: asyncio.Queue[Event[Any]] = asyncio.Queue(MOST_WAITING)
        self._overflow: tuple[int, int] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    async def write(session: AsyncSession, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        """Write ``events`` in the session's transaction; return them with their sequences."""
        rows = [{"topic": event.data.topic, "event": event.model_dump_json().encode()} for event in events]
        statement = sa.insert(outbox).returning(outbox.c.id, sort_by_parameter_order=True)
        ids = (await session.execute(statement, rows)).scalars().all()
        return [event.model_copy(update={"sequence": id_}) for event, id_ in zip(events, ids, strict=True)]

    def publish_soon(self, events: Sequence[Event[Any]]) -> None:
        """Publish committed ``events`` in the background, in this order."""
        if not self._tasks:
            return
        for event in events:
            if self._overflow is None and not self._queue.full():
                self._queue.put_nowait(event)
            else:  # once one is left in the table, those after it are, too: they keep their order
                first, last = self._overflow or (event.sequence, event.sequence)
                self._overflow = min(first, event.sequence), max(last, event.sequence)

    async def start(self) -> None:
        """Start publishing and sweeping."""
        if self._bus is not None and not self._tasks:
            self._bus.when_lost(self.publish_again)
            self._tasks = [
                asyncio.create_task(self._publish_committed(), name="outbox"),
                asyncio.create_task(self._keep_marking(), name="outbox-marks"),
                asyncio.create_task(self._regularly(self._sweep_all, SWEEP_INTERVAL_S), name="outbox-relay"),
                asyncio.create_task(self._regularly(self.tidy, TIDY_INTERVAL_S), name="outbox-tidy"),
            ]

    async def stop(self) -> None:
        """Stop; what was not confirmed yet stays in the table for the next sweep."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await self._mark_published()

    async def sweep(self) -> int:
        """Publish what lies in the table for longer than a direct publish takes; return how many went."""
        return await self._sweep(outbox.c.created_at < _ago(SWEEP_AFTER_S))

    async def _sweep(self, which: sa.ColumnElement[bool]) -> int:
        if self._bus is None:
            return 0
        old = outbox.c.published_at.is_(None) & which
        async with self._engine.begin() as connection:
            query = sa.select(outbox).where(old).order_by(outbox.c.id).limit(BATCH).with_for_update(skip_locked=True)
            rows = (await connection.execute(query)).all()
            BACKLOG.set(len(rows))
            if not rows:
                return 0
            events = [self._read(row) for row in rows]
            answers = await self._bus.publish_many(events)
            done = [event.sequence for event, error in zip(events, answers, strict=True) if error is None]
            await connection.execute(_mark(done))
        if len(done) < len(rows):
            log.warning("outbox_waits", published=len(done), waiting=len(rows) - len(done))
        return len(done)

    async def publish_again(self) -> None:
        """Have the relay publish again what the broker confirmed and then lost."""
        async with self._engine.begin() as connection:
            statement = sa.update(outbox).where(outbox.c.published_at.is_not(None)).values(published_at=None)
            again = (await connection.execute(statement)).rowcount
        log.warning("outbox_publishes_again", events=again)

    async def tidy(self) -> None:
        """Delete the rows whose events a broker had the time to hand on."""
        async with self._engine.begin() as connection:
            for kept_s in {step.kept_s for step in FLOW}:
                topics = [step.topic for step in FLOW if step.kept_s == kept_s]
                gone = (outbox.c.published_at < _ago(kept_s)) & outbox.c.topic.in_(topics)
                await connection.execute(sa.delete(outbox).where(gone))

    @staticmethod
    def _read(row: Any) -> Event[Any]:
        document = json.loads(row.event) | {"sequence": row.id}
        return _EVENTS[row.topic].model_validate(document)

    async def _publish_committed(self) -> None:
        while True:
            events = [await self._queue.get()]
            while len(events) < BATCH and not self._queue.empty():
                events.append(self._queue.get_nowait())
            try:
                answers = await self._bus.publish_many(events)  # type: ignore[union-attr]  # only started with a bus
                self._published += [e.sequence for e, error in zip(events, answers, strict=True) if error is None]
                self._to_mark.set()
                if self._overflow is not None and self._queue.empty():
                    await self._publish_overflow()
            except Exception as error:  # noqa: BLE001  # the rows are still there: the relay takes over
                log.warning("outbox_left_to_relay", events=len(events), error=repr(error))

    async def _publish_overflow(self) -> None:
        """Publish from the table what found no room in memory; what fails, or is not seen yet, is the relay's."""
        overflow, self._overflow = self._overflow, None
        if overflow is not None:
            await self._mark_published()  # what lies between them and is published is not published again
            while await self._sweep(outbox.c.id.between(*overflow)) == BATCH:
                pass

    async def _keep_marking(self) -> None:
        while True:
            await self._to_mark.wait()
            await asyncio.sleep(MARK_EVERY_S)  # one statement for all that is published meanwhile
            await self._mark_published()

    async def _mark_published(self) -> None:
        ids, self._published = self._published, []
        self._to_mark.clear()
        if not ids:
            return
        try:
            await self._run_one(_MARK, {"ids": ids})
        except Exception as error:  # noqa: BLE001  # whatever it is, the relay publishes them again
            log.warning("outbox_left_to_relay", events=len(ids), error=repr(error))

    async def _sweep_all(self) -> None:
        while await self.sweep() == BATCH:
            pass

    @staticmethod
    async def _regularly(work: Callable[[], Awaitable[None]], interval_s: float) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                if not is_infrastructure(error):
                    log.exception("outbox_work_failed")
            await asyncio.sleep(interval_s)
