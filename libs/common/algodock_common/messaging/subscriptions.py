"""Keeps a broker's subscriptions running: starts them however long it takes, and anew when one does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from algodock_common.messaging.topics import LOOK_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka import AIOKafkaConsumer, TopicPartition
    from faststream.kafka import KafkaBroker

__all__ = ["RECONNECT_WAIT_S", "Subscriptions", "says_away"]

log = structlog.get_logger()

RECONNECT_WAIT_S = 0.5
LEAVE_S = 3.0
"""Seconds that a group has to let a member go; after them the connection to it is closed, which it sees."""
GIVE_UP_S = 1.0


class Subscriptions:
    """The subscriptions of one process."""

    def __init__(self, broker: KafkaBroker) -> None:
        """``broker`` has the subscribers; none is started here."""
        self._broker = broker
        self._started: set[Any] = set()

    async def start(self) -> None:
        """Start those that were not started before; returns when each has its consumer."""
        waiting = [subscriber for subscriber in self._broker.subscribers if subscriber not in self._started]
        self._started.update(waiting)
        await asyncio.gather(*(self._start_one(subscriber) for subscriber in waiting))

    async def stop(self) -> None:
        """End every subscription: the handlers that run first, as long as the broker's client lets them."""
        await asyncio.gather(*map(self._leave, self._broker.subscribers))

    @staticmethod
    async def _leave(subscriber: Any) -> None:
        """Stop a subscription, also one whose group does not answer.

        aiokafka waits for the answer to a JoinGroup that is under way before it leaves, and a group answers when
        all its members have come: that may take minutes. With its connection closed it goes on at once.
        """
        consumer: Any = getattr(subscriber, "consumer", None)
        stopping = asyncio.create_task(subscriber.stop(), name="subscription-stop")
        leaving = getattr(getattr(consumer, "_coordinator", None), "_closing", None)
        if leaving is not None:  # resolved when the handlers have ended
            await asyncio.wait({stopping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({stopping}, timeout=LEAVE_S)
            if not stopping.done():
                log.info("group_left_without_a_word", topics=sorted(consumer.subscription()))
                await consumer._client.close()  # noqa: SLF001  # its own stop comes to that too late
                await asyncio.wait({stopping}, timeout=GIVE_UP_S)
                stopping.cancel()
        await asyncio.wait({stopping})
        error = None if stopping.cancelled() else stopping.exception()
        if error is not None:
            log.info("subscription_not_stopped", error=repr(error))

    async def ends(self) -> dict[TopicPartition, int]:
        """Return where the partitions end that this process reads.

        Call it when the broker has just answered somebody else: a consumer that gets no answer then never
        will (its client lost its way between a broker that died and the one that came), so it is made anew.
        """
        ends: dict[TopicPartition, int] = {}
        for subscriber, consumer in self._consumers():
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    ends |= await consumer.end_offsets(consumer.assignment())
            except (KafkaError, TimeoutError) as error:
                log.warning("subscription_made_anew", topics=sorted(consumer.subscription()), error=repr(error))
                await self._make_anew(subscriber)
        return ends

    async def read_from_start(self) -> None:
        """Let consumers without a group read what there is from its beginning; groups know where they were."""
        for subscriber, consumer in self._consumers():
            if not subscriber.group_id:
                await consumer.seek_to_beginning(*consumer.assignment())

    def _consumers(self) -> Iterator[tuple[Any, AIOKafkaConsumer]]:
        for subscriber in self._broker.subscribers:
            consumer = getattr(subscriber, "consumer", None)
            if consumer is not None:
                yield subscriber, consumer

    async def _start_one(self, subscriber: Any) -> None:
        while True:
            try:
                await subscriber.start()
            except Exception as error:  # it is started again, whatever it was
                log.warning("subscription_retried", error=repr(error), exc_info=not says_away(error))
                await self._stop_one(subscriber)
                await asyncio.sleep(RECONNECT_WAIT_S)
            else:
                return

    async def _make_anew(self, subscriber: Any) -> None:
        await self._stop_one(subscriber)
        await self._start_one(subscriber)
        if not subscriber.group_id:  # it has no place of its own to go on from
            await subscriber.consumer.seek_to_beginning(*subscriber.consumer.assignment())

    @staticmethod
    async def _stop_one(subscriber: Any) -> None:
        """Stop a subscription whose broker may be away, in a task of its own.

        aiokafka cancels the fetches that are under way, and raises their cancellation as if its caller had been
        cancelled, before it has closed its connections.
        """
        consumer: Any = getattr(subscriber, "consumer", None)
        stopping = asyncio.create_task(subscriber.stop(), name="subscription-stop")
        await asyncio.wait({stopping}, timeout=LOOK_TIMEOUT_S)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping}, timeout=GIVE_UP_S)
        whole = stopping.done() and not stopping.cancelled() and stopping.exception() is None
        if not whole and consumer is not None:
            log.info("subscription_not_stopped", topics=sorted(consumer.subscription()))
            await consumer._client.close()  # noqa: SLF001  # what its own stop had come to last


def says_away(error: Exception) -> bool:
    """Say whether the error is one by which a client tells that its broker is away."""
    return isinstance(error, KafkaError | OSError)
