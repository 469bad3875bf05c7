"""A service's own schema: sessions, transactions that carry events, single statements, and the connection pool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from algodock_common.database.outbox import Outbox
from algodock_common.database.statements import positional
from algodock_common.events.envelope import Event, EventData
from algodock_common.observability import current_traceparent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from algodock_common.messaging.bus import Bus
    from algodock_common.settings import DatabaseSettings
    from algodock_common.signals import Signals

__all__ = ["Database", "Transaction", "Writer"]


class Writer(Protocol):
    """Where a statement runs that writes its own events: in a transaction, or as one by itself."""

    @property
    def source(self) -> str:
        """Return the CloudEvents source of what is written."""
        ...

    async def fetch(self, statement: sa.TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[Any, Any]]:
        """Run the statement and return its rows by column."""
        ...

    def publish(self, event: Event[Any]) -> None:
        """Publish, after the commit, an event that the statement wrote into the outbox; it has its sequence."""
        ...

    def signal(self, channel: str, payload: bytes) -> None:
        """Tell ``payload`` by Redis after the commit: a wake-up that may be missed."""
        ...


class Transaction:
    """One transaction: its session, and the events and signals that leave when it commits."""

    def __init__(self, session: AsyncSession, source: str) -> None:
        """``source`` is the CloudEvents source of what is emitted."""
        self.session = session
        self._source = source
        self._pending: list[Event[EventData]] = []
        self._written: list[Event[Any]] = []
        self._signals: list[tuple[str, bytes]] = []

    def emit(self, data: EventData, *, traceparent: str | None = None) -> Event[EventData]:
        """Have ``data`` published when this transaction commits.

        It gets its sequence at the commit, so hold a lock on the row that it tells of. Without
        ``traceparent`` the event belongs to the current span's trace.
        """
        event = Event.of(data, source=self._source, traceparent=traceparent or current_traceparent())
        self._pending.append(event)
        return event

    @property
    def source(self) -> str:
        """Return the CloudEvents source of what is emitted."""
        return self._source

    async def fetch(self, statement: sa.TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[Any, Any]]:
        """Run a statement in this transaction and return its rows by column."""
        result = cast("sa.CursorResult[Any]", await self.session.execute(statement, dict(values)))
        return result.mappings().all() if result.returns_rows else []

    def publish(self, event: Event[Any]) -> None:
        """Have an event published after the commit whose row a statement of this transaction wrote."""
        self._written.append(event)

    def signal(self, channel: str, payload: bytes) -> None:
        """Have ``payload`` told by Redis when this transaction has committed: a wake-up that may be missed."""
        self._signals.append((channel, payload))

    @property
    def pending(self) -> tuple[EventData, ...]:
        """Return what was emitted so far."""
        return tuple(event.data for event in self._pending)

    async def _flush(self) -> list[Event[Any]]:
        if not self._pending:
            return self._written
        await self.session.flush()
        return [*self._written, *await Outbox.write(self.session, self._pending)]


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
        indexed: bool = False,
    ) -> None:
        """Prepare the pool; nothing connects before it is used.

        With ``indexed`` statements are planned for tables that will grow: a plan that was made, and kept,
        while a table was empty would read all of it ever after.
        """
        self.schema = schema
        self._source = source
        self._signals = signals
        self.engine: AsyncEngine = create_async_engine(
            settings.sqlalchemy_url(),
            pool_size=settings.pool_size,
            max_overflow=settings.pool_size,
            pool_timeout=settings.pool_timeout_s,
            pool_pre_ping=False,
            connect_args={
                "timeout": 10,
                "command_timeout": 60,
                "server_settings": {
                    "search_path": schema,
                    "application_name": f"algodock{source}",
                    "jit": "off",
                    "enable_seqscan": "off" if indexed else "on",
                    "timezone": "UTC",
                },
            },
        )
        self.outbox = Outbox(self.engine, bus, run=self.fetch)

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
            for channel, payload in tx._signals:  # noqa: SLF001  # as above
                self.signal(channel, payload)
            self.outbox.publish_soon(events)

    @property
    def source(self) -> str:
        """Return the CloudEvents source of what is written here."""
        return self._source

    async def fetch(self, statement: sa.TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[Any, Any]]:
        """Run one statement as its own transaction and return its rows by column: one round trip, no session.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, sqlalchemy.exc.TimeoutError: as they come.
        """
        query, names = positional(statement)
        while True:
            pooled = await self.engine.raw_connection()
            driver: Any = pooled.driver_connection
            if not driver.is_closed():
                break
            pooled.invalidate()  # the server closed it while it lay in the pool
        try:
            rows: list[Mapping[Any, Any]] = await driver.fetch(query, *(values[name] for name in names))
            return rows
        finally:
            pooled.close()

    def publish(self, event: Event[Any]) -> None:
        """Publish a committed event soon whose row a statement wrote."""
        self.outbox.publish_soon([event])

    def signal(self, channel: str, payload: bytes) -> None:
        """Tell ``payload`` by Redis soon: a wake-up that may be missed."""
        if self._signals is not None:
            self._signals.publish(channel, payload)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a session to read with; nothing is committed."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session
