"""A subscription is stopped within seconds, also while its group keeps it waiting or its broker is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaTimeoutError
from faststream.kafka import KafkaBroker

from algodock_common.messaging import subscriptions
from algodock_common.messaging.subscriptions import Subscriptions


class Joining:
    """A subscriber whose stop waits for a group's answer, until its connection is closed; its handler ends first."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.closed, self.handled, self.left = asyncio.Event(), asyncio.Event(), False
        self._hangs = hangs
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.consumer: Any = SimpleNamespace(
            _coordinator=SimpleNamespace(_closing=self._closing),
            _client=SimpleNamespace(close=self._close),
            subscription=lambda: {"task.ready"},
        )

    async def _close(self) -> None:
        assert self.handled.is_set(), "the handler lost its connection while it ran"
        self.closed.set()

    async def stop(self) -> None:
        await self.handled.wait()
        self._closing.set_result(None)
        await self.closed.wait()
        if self._hangs:
            await asyncio.Event().wait()
        self.left = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "LEAVE_S", 0.05)
    monkeypatch.setattr(subscriptions, "GIVE_UP_S", 0.05)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_stop_does_not_wait_for_a_group_that_is_being_joined(*, hangs: bool) -> None:
    subscriber = Joining(hangs=hangs)
    stopping = asyncio.create_task(Subscriptions(cast("KafkaBroker", SimpleNamespace(subscribers=[subscriber]))).stop())
    await asyncio.sleep(0.2)  # longer than a group has, and the handler still runs
    assert not subscriber.closed.is_set()
    subscriber.handled.set()
    async with asyncio.timeout(60):
        await stopping
    assert subscriber.closed.is_set()
    assert subscriber.left is not hangs


class Fetching:
    """A subscriber whose broker died while it fetched: to stop it raises the fetch's cancellation, as aiokafka does."""

    group_id = "a-group"

    def __init__(self) -> None:
        self.closed, self.starts = 0, 0
        self.consumer: Any = self._consumer(answers=False)

    def _consumer(self, *, answers: bool) -> Any:
        async def end_offsets(_: object) -> dict[object, int]:
            if not answers:
                raise KafkaTimeoutError
            return {}

        async def close() -> None:
            self.closed += 1

        return SimpleNamespace(
            end_offsets=end_offsets, assignment=set, subscription=lambda: {"task.ready"},
            _client=SimpleNamespace(close=close),
        )  # fmt: skip

    async def start(self) -> None:
        self.starts += 1
        self.consumer = self._consumer(answers=True)

    async def stop(self) -> None:
        fetch = asyncio.create_task(asyncio.sleep(600))
        await asyncio.sleep(0)
        fetch.cancel()
        await fetch


async def test_a_subscription_whose_fetch_is_cut_off_is_made_anew() -> None:
    subscriber = Fetching()
    subscriptions = Subscriptions(cast("KafkaBroker", SimpleNamespace(subscribers=[subscriber])))
    assert await subscriptions.ends() == {}
    assert (subscriber.starts, subscriber.closed) == (1, 1)
    assert await subscriptions.ends() == {}
    assert subscriber.starts == 1, "this one answers"
