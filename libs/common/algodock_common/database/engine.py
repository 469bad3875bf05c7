"""A service's own schema: sessions, transactions that carry events, and its connection pool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from algodock_common.database.outbox import Outbox
from algodock_common.events.envelope import Event, EventData
from algodock_common.observability import current_traceparent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from algodock_common.messaging.bus import Bus
    from algodock_common.settings import DatabaseSettings
    from algodock_common.signals import Signals

__all__ = ["Database", "Transaction"]


class Transaction:
    """One transaction: its session, and the events and signals that leave when it commits."""

    def __init__(self, session: AsyncSession, source: str) -> None:
        """``source`` is the CloudEvents source of what is emitted."""
        self.session = session
        self._source = source
        self._pending: list[Event[EventData]] = []
        self._signals: list[tuple[str, bytes]] = []

    def emit(self, data: EventData, *, traceparent: str | None = None) -> Event[EventData]:
        """Have ``data`` published when this transaction commits.

        It gets its sequence at the commit, so hold a lock on the row that it tells of. Without
        ``traceparent`` the event belongs to the current span's trace.
        """
        event = Event.of(data, source=self._source, traceparent=traceparent or current_traceparent())
        self._pending.append(event)
        return event

    def signal(self, channel: str, payload: bytes) -> None:
        """Have ``payload`` told by Redis when this transaction has committed: a wake-up that may be missed."""
        self._signals.append((channel, payload))

    @property
    def pending(self) -> tuple[EventData, ...]:
        """Return what was emitted so far."""
        return tuple(event.data for event in self._pending)

    async def _flush(self) -> list[Event[EventData]]:
        if not self._pending:
            return []
        await self.session.flush()
        return await Outbox.write(self.session, self._pending)


class Database:
    """The pool of one service, bound to its schema by ``search_path``."""

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        schema: str,
        source: str,
        bus: Bus | None = None,
        signals: Signals | None = None,
    ) -> None:
        """Prepare the pool; nothing connects before it is used."""
        self.schema = schema
        self._source = source
        self._signals = signals
        self.engine: AsyncEngine = create_async_engine(
            settings.sqlalchemy_url(),
            pool_size=settings.pool_size,
            max_overflow=settings.pool_size,
            pool_timeout=10,
            pool_pre_ping=False,
            connect_args={
                "timeout": 10,
                "command_timeout": 60,
                "server_settings": {
                    "search_path": schema,
                    "application_name": f"algodock{source}",
                    "jit": "off",
                    "timezone": "UTC",
                },
            },
        )
        self.outbox = Outbox(self.engine, bus)

    async def start(self) -> None:
        """Start the outbox's relay."""
        await self.outbox.start()

    async def stop(self) -> None:
        """Stop the relay and close the pool."""
        await self.outbox.stop()
        await self.engine.dispose()

    async def check(self) -> None:
        """Raise when PostgreSQL does not answer (for ``/ready``)."""
        async with self.engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction; it commits at the end of the block, and rolls back on an error.

        What ``emit`` took is written in it and published right after the commit, as is what ``signal`` took.
        """
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            async with session.begin():
                tx = Transaction(session, self._source)
                yield tx
                events = await tx._flush()  # noqa: SLF001  # the two classes are one piece
            if self._signals is not None:
                for channel, payload in tx._signals:  # noqa: SLF001  # as above
                    self._signals.publish(channel, payload)
            self.outbox.publish_soon(events)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a session to read with; nothing is committed."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session
