"""Outcomes that come together are committed together, and one alone waits for nobody."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID

import pytest

from algodock_runner.handlers import ledger as module
from algodock_runner.handlers.ledger import Ledger
from algodock_runner.repository.fence import End


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []

    async def commit(_: Ledger, outcomes: list[End]) -> None:
        sizes.append(len(outcomes))

    monkeypatch.setattr(Ledger, "_commit", commit)
    return sizes


def _ledger() -> Ledger:
    nothing = cast("Any", None)
    return Ledger(nothing, nothing, nothing, gateway_url="", ended=lambda: None)


def _end(number: int) -> End:
    return End(UUID(int=number), 1, "succeeded")


async def test_one_after_the_other_none_waits(batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 3600)
    ledger = _ledger()
    await ledger.start()
    async with asyncio.timeout(60):
        for number in range(5):
            await ledger.write(_end(number))
    await ledger.stop()
    assert batches == [1] * 5


async def test_while_they_come_together_more_are_waited_for(
    batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_S", 2)
    ledger = _ledger()
    await ledger.start()
    await asyncio.gather(ledger.write(_end(1)), ledger.write(_end(2)))
    writing = []
    for number in range(3, 8):
        writing.append(asyncio.create_task(ledger.write(_end(number))))
        await asyncio.sleep(0.01)
    await asyncio.gather(*writing)
    await ledger.stop()
    assert batches == [2, 5]
