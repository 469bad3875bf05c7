"""A router's load: told while there is something, once more when it ends, and then no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from algodock_common.capacity import Durations, LoadTeller
from algodock_common.errors import Unavailable
from algodock_common.events import Event, ServiceLoad
from algodock_common.identifiers import uuid7


class Broker:
    def __init__(self) -> None:
        self.told: list[ServiceLoad] = []
        self.away = False

    async def publish_many(self, events: Sequence[Event[Any]]) -> list[Exception | None]:
        if self.away:
            return [Unavailable("away") for _ in events]
        self.told += [event.data for event in events]
        return [None for _ in events]


def load(**counts: int) -> ServiceLoad:
    return ServiceLoad.model_validate({"router": "gateway", "algorithm_id": uuid7(), "algorithm": "echo", **counts})


async def test_it_is_told_while_there_is_something_and_its_end_once() -> None:
    broker, found = Broker(), [load()]

    async def look() -> list[ServiceLoad]:
        return found

    teller = LoadTeller(broker, look, source="/test")
    await teller.tell()
    assert not broker.told, "there is nothing to say"
    for now in (load(in_flight=2), load(calls=1), load(), load()):
        found = [now]
        await teller.tell()
    assert [(one.in_flight, one.calls) for one in broker.told] == [(2, 0), (0, 1), (0, 0)]


async def test_a_broker_that_is_away_stops_nothing() -> None:
    broker = Broker()
    broker.away = True

    async def look() -> list[ServiceLoad]:
        return [load(in_flight=1)]

    teller = LoadTeller(broker, look, source="/test")
    await teller.tell()
    broker.away = False
    await teller.tell()
    assert len(broker.told) == 1


def test_durations_are_counted_and_forgotten_when_asked_for() -> None:
    durations = Durations()
    for milliseconds in range(100):
        durations.note("echo", milliseconds)
    durations.note("other", 7)
    assert durations.drain() == {"echo": (100, 95), "other": (1, 7)}
    assert durations.drain() == {}
