"""Buses that run while a test does, and what their handlers saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from algodock_common.events import AlgorithmChanged, Event
from algodock_common.messaging import Bus, RetryPolicy
from algodock_common.settings import KafkaSettings

QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)


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


def changed(name: str) -> AlgorithmChanged:
    return AlgorithmChanged(algorithm_id=uuid4(), algorithm=name, state="created")
