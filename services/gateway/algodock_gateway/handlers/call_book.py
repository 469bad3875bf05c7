"""The book of calls: metrics at once, a row of ``algorithm_calls`` for each, written in batches behind the call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from prometheus_client import Counter, Histogram

from algodock_common.capacity import Durations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_gateway.domain.call import CallRecord

__all__ = ["CALL_RECORDS_LOST", "CALL_SECONDS", "CallBook", "CallRecords"]

CALL_SECONDS = Histogram(
    "algodock_call_seconds",
    "Time of calls to algorithms at this gateway, by status",
    ("algorithm", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
CALL_RECORDS_LOST = Counter("algodock_call_records_lost_total", "Call records given up, by reason", ("reason",))

WAITING_MOST: Final = 50_000
"""Records that may wait for the database; past it the oldest are given up, and counted."""
BATCH_MOST: Final = 500
"""Records in one batch: more would keep every call waiting for some milliseconds while they are encoded."""
FLUSH_S: Final = 0.5
TRIM_S: Final = 3600.0

log = structlog.get_logger()


class CallRecords(Protocol):
    """Where the records go."""

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Write a batch."""
        ...

    async def trim(self, *, older_than_days: float) -> int:
        """Remove old records and return how many went."""
        ...


class CallBook:
    """Notes calls without waiting; a task of its own writes them."""

    def __init__(self, records: CallRecords, *, keep_days: float, flush_s: float = FLUSH_S) -> None:
        """``keep_days`` is how long records are kept."""
        self._records = records
        self._keep_days = keep_days
        self._flush_s = flush_s
        self.durations = Durations()
        self._waiting: deque[CallRecord] = deque()
        self._metrics: dict[tuple[str, int], Histogram] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def note(self, record: CallRecord) -> None:
        """Count one call and keep its record for the next batch."""
        key = (record.algorithm, record.status)
        metric = self._metrics.get(key)
        if metric is None:
            metric = self._metrics[key] = CALL_SECONDS.labels(record.algorithm, str(record.status))
        metric.observe(record.duration_us / 1e6)
        if record.algorithm_id is not None:
            self.durations.note(record.algorithm, record.duration_us / 1e3)
        self.keep(record)

    def keep(self, record: CallRecord) -> None:
        """Keep a record for the next batch, of a call whose time nobody here knows."""
        if len(self._waiting) >= WAITING_MOST:
            self._waiting.popleft()
            CALL_RECORDS_LOST.labels("full").inc()
        self._waiting.append(record)

    async def start(self) -> None:
        """Begin to write, and to remove what is too old."""
        self._tasks = [
            asyncio.create_task(self._keep_writing(), name="call-records"),
            asyncio.create_task(self._keep_trimming(), name="call-records-trim"),
        ]

    async def stop(self) -> None:
        """Stop, and write what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.flush()
        if self._waiting:
            CALL_RECORDS_LOST.labels("stopped").inc(len(self._waiting))
            log.error("call_records.lost", count=len(self._waiting))
            self._waiting.clear()

    async def flush(self) -> None:
        """Write what waits; what cannot be written waits on."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MOST, len(self._waiting)))]
            try:
                await self._records.write(batch)
            except BaseException as error:
                self._waiting.extendleft(reversed(batch))
                if isinstance(error, Exception):
                    log.warning("call_records.not_written", waiting=len(self._waiting), error=repr(error))
                    return
                raise

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(self._flush_s)
            await self.flush()

    async def _keep_trimming(self) -> None:
        while True:
            try:
                removed = await self._records.trim(older_than_days=self._keep_days)
                if removed:
                    log.info("call_records.trimmed", removed=removed)
            except Exception as error:  # noqa: BLE001  # old records do no harm until the next hour
                log.warning("call_records.not_trimmed", error=repr(error))
            await asyncio.sleep(TRIM_S)
