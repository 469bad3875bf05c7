"""The broker factory: one Kafka connection a process, its subscriptions taken from the flow table."""

from __future__ import annotations

import asyncio
import logging
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from algodock_common.errors import Unavailable
from algodock_common.events.dead_letter import DeadLetter
from algodock_common.events.envelope import Event, EventData
from algodock_common.events.flow import ANYBODY, FLOW, Step, step_of
from algodock_common.messaging.consume import Intake
from algodock_common.messaging.loss import LossWatch
from algodock_common.messaging.pace import Pace
from algodock_common.messaging.records import PUBLISHED, confirmed, quiet_logger, tolerant, whole_message
from algodock_common.messaging.retry import RetryPolicy
from algodock_common.messaging.signing import SIGNATURE_HEADER, Signer
from algodock_common.messaging.subscriptions import RECONNECT_WAIT_S, Subscriptions, says_away
from algodock_common.messaging.topics import LARGEST_LETTER, TopicKeeper
from algodock_common.observability import current_traceparent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from faststream.kafka.message import KafkaMessage

    from algodock_common.settings import KafkaSettings, SecretSettings

__all__ = ["Bus"]

log = structlog.get_logger()
Data = TypeVar("Data", bound=EventData)

WATCH_INTERVAL_S = 2.0
STOP_S = 3.0


class Bus:
    """Publishes and consumes the events of one service, as the flow table says.

    Connecting happens in the background: a service is useful without its broker (what it publishes
    waits in the outbox), so ``start`` returns at once and ``check`` tells how it stands.
    """

    def __init__(self, settings: KafkaSettings, secrets: SecretSettings, *, service: str, instance: str = "") -> None:
        """``service`` is a name of the flow table; ``instance`` tells replicas apart in the broker's logs."""
        self.service = service
        self._settings = settings
        self._signer = Signer(secrets.derive("events"))
        self._keeper = TopicKeeper(settings, FLOW)
        self._broker = KafkaBroker(
            settings.bootstrap,
            client_id=f"algodock-{service}{f'-{instance}' if instance else ''}",
            acks="all",
            enable_idempotence=settings.idempotent,
            request_timeout_ms=int(settings.send_timeout_s * 1000),
            max_request_size=LARGEST_LETTER,
            metadata_max_age_ms=30_000,
            linger_ms=1,
            graceful_timeout=15.0,
            allow_auto_create_topics=False,
            apply_types=False,
            logger=quiet_logger(),
            log_level=logging.DEBUG,
        )
        self._intakes: list[tuple[Step, bool, Intake]] = []
        self._pace = Pace()
        self._fast_pace = Pace()
        self._tasks: list[asyncio.Task[None]] = []
        self._connected = asyncio.Event()
        self._last_error: str = "not connected yet"
        self._losses = LossWatch()
        self._subscriptions = Subscriptions(self._broker)
        self._when_lost: list[Callable[[], Awaitable[None]]] = []
        self._stopped = False

    @property
    def subscriptions(self) -> frozenset[type[EventData]]:
        """Return the events that are subscribed to, for the contract test."""
        return frozenset(step.event for step, _, _ in self._intakes)

    def subscribe(
        self,
        event: type[Data],
        handler: Callable[..., Awaitable[None]],
        *,
        with_headers: bool = False,
        wanted: Callable[[], bool] | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Have ``handler(event)`` called for every ``event``, before ``start``.

        With ``with_headers`` it is called as ``handler(event, headers)``. Of a flood of broadcasts, what comes while
        nothing is ``wanted`` is let go unread; what comes alone is handled, and traced. The message is acknowledged
        when the handler returned. Errors that may pass are retried as ``retry`` says; the others, and forged or
        unreadable messages, go to the dead letters with the reason.

        Raises:
            ValueError: the flow table does not name this service as a consumer of the event.
        """
        step = step_of(event)
        if self.service not in step.consumers:
            msg = f"{self.service} is no consumer of {step.topic} in the flow table"
            raise ValueError(msg)
        broadcast = self.service in step.broadcasts
        group = None if broadcast else f"algodock-{self.service}-{step.topic}"
        intake = Intake(
            step,
            group or f"{self.service} (broadcast)",
            handler,
            signer=self._signer,
            bury=self._bury,
            retry=retry or RetryPolicy(),
            with_headers=with_headers,
        )
        self._intakes.append((step, broadcast, intake))
        eager_ms, idle_ms = self._settings.waits_ms(fast=step.fast)
        subscriber = self._broker.subscriber(
            step.topic,
            group_id=group,
            ack_policy=AckPolicy.MANUAL,
            # A group begins with what was there before it; a broadcast fills itself from a snapshot.
            auto_offset_reset="latest" if broadcast else "earliest",
            fetch_max_wait_ms=idle_ms,
            max_poll_interval_ms=int(self._settings.max_poll_interval_s * 1000),
            parser=tolerant,
            decoder=whole_message,
            no_reply=True,
        )

        async def take(message: KafkaMessage) -> None:
            if step.paced:
                self._pace.seen()
            if step.fast:
                self._fast_pace.seen()
            await intake.take(message.raw_message)
            if not broadcast:
                await self._acknowledge(message, step.topic)
                return
            # FastStream hands over one at a time, which costs more than most of them: the others are taken here.
            while subscriber.consumer and (fetched := await subscriber.consumer.getmany(timeout_ms=0)):
                for record in chain.from_iterable(fetched.values()):
                    if wanted is None or wanted():
                        await intake.take(record)

        subscriber(take)
        pace = self._fast_pace if step.fast else self._pace
        pace.add(subscriber, eager_ms=eager_ms, idle_ms=idle_ms)

    @staticmethod
    async def _acknowledge(message: KafkaMessage, topic: str) -> None:
        try:
            await message.ack()
        except KafkaError as error:
            # The group has moved on without us: the message comes again, and its handler is idempotent.
            log.info("not_acknowledged", topic=topic, error=repr(error))

    def when_lost(self, act: Callable[[], Awaitable[None]]) -> None:
        """Have ``act()`` called when the broker turns out to have lost what it had confirmed."""
        self._when_lost.append(act)

    async def start(self) -> None:
        """Begin to connect, to subscribe and to watch over topics; returns at once."""
        self._tasks.append(asyncio.create_task(self._run(), name="bus"))

    async def wait_connected(self) -> None:
        """Wait until every subscription has its partitions."""
        await self._connected.wait()

    async def stop(self) -> None:
        """Let the handlers that run end (15 s at most), leave the groups (4 s at most) and close every connection."""
        self._stopped = True  # a client library may swallow a cancellation; this it cannot
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        await self._subscriptions.stop()
        await self._broker.stop()
        await self._keeper.close()

    async def check(self) -> None:
        """Raise when the broker is not connected (for ``/ready``).

        Raises:
            Unavailable: with what was last seen.
        """
        if not self._connected.is_set() or self._last_error:
            raise Unavailable(self._last_error or "subscribing")

    async def publish(self, event: Event[Any]) -> None:
        """Publish one event and wait for the broker's word.

        Raises:
            Unavailable: the broker did not confirm within the send timeout.
        """
        (error,) = await self.publish_many([event])
        if error is not None:
            raise error

    async def publish_many(self, events: Sequence[Event[Any]]) -> list[Unavailable | None]:
        """Publish events in their order; return for each None, or why it was not confirmed."""
        answers: list[Unavailable | None] = []
        pending: list[Any] = []
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                for event in events:
                    pending.append(await self._send(event))  # noqa: PERF401  # what went before an error counts
        except Exception as error:  # noqa: BLE001  # one answer for every way a broker is away
            pending.append(error)
        for event, outcome in zip(events, pending, strict=False):
            answers.append(await confirmed(event.data.topic, outcome, within_s=self._settings.send_timeout_s))
        missing = len(events) - len(answers)
        answers += [Unavailable("not sent: the broker was away for the event before it")] * missing
        return answers

    async def put_back(self, topic: str, value: bytes, *, key: str | None, headers: Mapping[str, bytes]) -> None:
        """Publish a message of the flow's topics as it was, and wait for the broker's word.

        Nothing is signed: what came forged stays forged.

        Raises:
            Unavailable: the broker did not confirm within the send timeout.
            ValueError: the flow table has no such topic.
        """
        if all(topic != step.topic for step in FLOW):
            msg = f"{topic!r} is no topic of the flow"
            raise ValueError(msg)
        sent = {name: content.decode(errors="replace") for name, content in headers.items()}
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._broker.publish(value, topic=topic, key=key.encode() if key else None, headers=sent)
        except Exception as error:
            PUBLISHED.labels(topic, "failed").inc()
            raise Unavailable(f"{topic} was not confirmed by the broker: {error!r}") from error
        PUBLISHED.labels(topic, "confirmed").inc()

    async def _send(self, event: Event[Any]) -> asyncio.Future[Any]:
        step = step_of(type(event.data))
        if self.service not in step.producers and ANYBODY not in step.producers:
            msg = f"{self.service} is no producer of {step.topic} in the flow table"
            raise ValueError(msg)
        if step.paced:
            self._pace.seen()
        if not self._broker.config.broker_config.producer:
            raise Unavailable("the broker is not connected")
        value = event.model_dump_json(exclude_none=True).encode()
        headers = {"content-type": "application/cloudevents+json"}
        if not step.public:
            headers[SIGNATURE_HEADER] = self._signer.sign(step.topic, value)
        return await self._broker.publish(
            value, topic=step.topic, key=event.data.key().encode(), headers=headers, no_confirm=True
        )

    async def _bury(self, letter: DeadLetter) -> None:
        await self.publish(Event.of(letter, source=f"/{self.service}", traceparent=current_traceparent()))

    async def _run(self) -> None:
        """Connect, however long it takes; then watch over topics and lost positions.

        Whatever a round raises, the next one comes: a client that lost its broker in an awkward moment raises
        more than its errors (aiokafka asserts that it knows a broker), and nothing else would look again.
        """
        to_recover = False
        while not self._stopped:
            try:
                made = await self._keeper.ensure()
                await self._broker.connect()
                await self._subscriptions.start()
                lost = self._losses.lost(self._keeper.cluster, await self._subscriptions.ends())
                to_recover = to_recover or lost or bool(made and self._connected.is_set())
                if to_recover:
                    await self._recover()
                    to_recover = False
                self._last_error = ""
                self._connected.set()
                self._pace.look()
                self._fast_pace.look()
                await asyncio.sleep(WATCH_INTERVAL_S)
            except Exception as error:  # see above
                if not self._last_error:
                    log.warning("broker_away", error=repr(error), exc_info=not says_away(error))
                self._last_error = f"the broker is away: {error!r}"
                await asyncio.sleep(RECONNECT_WAIT_S)

    async def _recover(self) -> None:
        """Read from the start what may have come since, and have published again what was lost.

        Groups find their way back by themselves: their broker knows neither them nor their offsets.
        """
        await self._subscriptions.read_from_start()
        for act in self._when_lost:
            await act()
