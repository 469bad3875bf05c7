"""The book of calls: bounded, in batches, and nothing lost uncounted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from algodock_gateway.domain.call import CallRecord
from algodock_gateway.handlers import call_book
from algodock_gateway.handlers.call_book import CALL_RECORDS_LOST, CallBook


class Records:
    """Keeps batches; ``broken`` refuses them."""

    def __init__(self) -> None:
        self.batches: list[list[CallRecord]] = []
        self.broken = False
        self.written = asyncio.Event()

    async def write(self, records: Sequence[CallRecord]) -> None:
        if self.broken:
            raise ConnectionError("the database is away")
        self.batches.append(list(records))
        self.written.set()

    async def trim(self, *, older_than_days: float) -> int:
        return int(older_than_days > 365)


def record(number: int) -> CallRecord:
    return CallRecord(0.0, number, "echo", None, None, None, None, "POST", "/x", 200, None, 0, 0, None)


async def test_records_are_written_behind_the_calls() -> None:
    records = Records()
    book = CallBook(records, keep_days=1, flush_s=0.01)
    await book.start()
    for number in range(5):
        book.note(record(number))
    assert records.batches == []
    async with asyncio.timeout(60):
        await records.written.wait()
    assert [one.duration_us for one in records.batches[0]] == [0, 1, 2, 3, 4]
    await book.stop()


async def test_an_absent_database_costs_nothing_until_the_book_is_full_and_then_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_book, "WAITING_MOST", 10)
    records = Records()
    records.broken = True
    book = CallBook(records, keep_days=1)
    before = CALL_RECORDS_LOST.labels("full")._value.get()
    for number in range(13):
        book.note(record(number))
    await book.flush()
    assert CALL_RECORDS_LOST.labels("full")._value.get() - before == 3
    records.broken = False
    await book.flush()
    assert [one.duration_us for one in records.batches[0]] == list(range(3, 13))


async def test_stopping_writes_what_waits() -> None:
    records = Records()
    book = CallBook(records, keep_days=1, flush_s=60)
    await book.start()
    book.note(record(7))
    await book.stop()
    assert [one.duration_us for batch in records.batches for one in batch] == [7]
