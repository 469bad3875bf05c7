"""Records of calls: written in batches by COPY, removed when they are old."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from algodock_common.identifiers import uuid7s
from algodock_gateway.repository.tables import algorithm_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Database
    from algodock_gateway.domain.call import CallRecord

__all__ = ["CallStore"]

_COLUMNS: Final = tuple(column.name for column in algorithm_calls.columns)
_TRIM_BATCH: Final = 10_000


class CallStore:
    """Writes call records, each batch in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is written."""
        self._database = database

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Write a batch."""
        rows = [
            (one, datetime.fromtimestamp(record.started_at, UTC), *record[1:])
            for one, record in zip(uuid7s(len(records)), records, strict=True)
        ]
        async with self._database.engine.begin() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection  # asyncpg's own: SQLAlchemy knows no COPY
            await driver.copy_records_to_table(
                "algorithm_calls", schema_name=self._database.schema, columns=_COLUMNS, records=rows
            )

    async def trim(self, *, older_than_days: float) -> int:
        """Remove old records in small steps and return how many went."""
        old = algorithm_calls.c.started_at < sa.func.now() - sa.func.make_interval(
            0, 0, 0, 0, 0, 0, older_than_days * 86_400
        )
        removed = 0
        while True:
            batch = sa.select(algorithm_calls.c.id).where(old).limit(_TRIM_BATCH)
            async with self._database.engine.begin() as connection:
                gone = (
                    await connection.execute(sa.delete(algorithm_calls).where(algorithm_calls.c.id.in_(batch)))
                ).rowcount
            removed += gone
            if gone < _TRIM_BATCH:
                return removed
