"""What happens to one message between the broker and a handler, in one place for all services.

The ack policy, out loud: a message is acknowledged after its handler returned, or after it lies on
the dead-letter topic with the reason. Nothing else acknowledges. What is cut off in between (a
crash, a stop) comes again, so every handler is idempotent.
"""

from __future__ import annotations

import asyncio
import base64
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import MessageSizeTooLargeError
from prometheus_client import Counter, Histogram
from pydantic import ValidationError

from algodock_common.errors import AlgoDockError
from algodock_common.events.dead_letter import DeadLetter
from algodock_common.events.envelope import Event
from algodock_common.messaging.retry import RetryPolicy, is_retryable
from algodock_common.messaging.signing import SIGNATURE_HEADER, Signer
from algodock_common.observability import span
from algodock_common.outages import is_infrastructure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiokafka import ConsumerRecord

    from algodock_common.events.flow import Step

__all__ = ["ForgedMessage", "Intake", "InvalidMessage"]

log = structlog.get_logger()

CONSUMED = Counter("algodock_events_consumed_total", "Messages by topic and what became of them", ["topic", "outcome"])
HANDLING = Histogram("algodock_event_handling_seconds", "Time from reading a message to its end", ["topic"])

_KEY_KEPT = 1000
_REASON_KEPT = 4000
_HEADERS_KEPT = 64 * 1024
"""Characters of a key and of a reason, bytes of headers: so much beside the value is in a letter at most."""
_CUT_TO = 256 * 1024
"""Bytes of the value that are kept where the whole is too large for the topic."""
_CUT = f" (the message was too large to be kept whole: only its first {_CUT_TO} bytes are here)"


class InvalidMessage(AlgoDockError):
    """The message is no CloudEvent of its topic."""

    status = 422
    title = "Invalid message"
    code = "invalid-message"


class ForgedMessage(AlgoDockError):
    """A message on an internal topic whose signature is missing or wrong."""

    status = 401
    title = "Forged message"
    code = "forged-message"


def _kept(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """Return the headers as a letter carries them; those past the size that is kept are left out."""
    kept, room = {}, _HEADERS_KEPT
    for name, content in headers:
        room -= len(name) + len(content or b"")
        if room < 0:
            break
        kept[name] = base64.b64encode(content or b"").decode()
    return kept


def _explain(error: ValidationError) -> str:
    """Return where and why the message is wrong, without echoing its content."""
    found = [f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in error.errors()[:5]]
    return "; ".join(found)


class Intake:
    """Takes the messages of one subscription: checks, traces, retries, and buries what cannot be helped."""

    def __init__(
        self,
        step: Step,
        consumer: str,
        handler: Callable[..., Awaitable[None]],
        *,
        signer: Signer,
        bury: Callable[[DeadLetter], Awaitable[None]],
        retry: RetryPolicy,
        with_headers: bool = False,
    ) -> None:
        """``bury`` publishes a dead letter; it may raise, and is then called again."""
        self._step = step
        self._consumer = consumer
        self._handler = handler
        self._signer = signer
        self._bury = bury
        self._retry = retry
        self._with_headers = with_headers
        self._envelope = Event[step.event]  # type: ignore[name-defined]  # a class made at run time

    async def take(self, record: ConsumerRecord[Any, Any]) -> None:
        """Handle one message to its end; returns when it may be acknowledged."""
        started = time.perf_counter()
        headers = {name: (content or b"").decode(errors="replace") for name, content in record.headers}
        value = record.value or b""
        try:
            event = self._open(value, headers)
        except AlgoDockError as error:
            await self._give_up(record, value, error, attempts=1)
        else:
            with (
                structlog.contextvars.bound_contextvars(event_id=event.id, topic=self._step.topic),
                span(
                    f"{self._step.topic} process",
                    parent=event.traceparent,
                    kind="consumer",
                    messaging__destination__name=self._step.topic,
                    algodock__subject=event.subject or "",
                ),
            ):
                await self._handle(record, value, event, headers)
        HANDLING.labels(self._step.topic).observe(time.perf_counter() - started)

    def _open(self, value: bytes, headers: dict[str, str]) -> Event[Any]:
        if not self._step.public and not self._signer.valid(self._step.topic, value, headers.get(SIGNATURE_HEADER)):
            msg = "its signature is missing or wrong"
            raise ForgedMessage(msg)
        try:
            event: Event[Any] = self._envelope.model_validate_json(value)
        except ValidationError as error:
            raise InvalidMessage(_explain(error)) from error
        if event.type != self._step.event.event_type():
            msg = f"type is {event.type!r}, this topic takes {self._step.event.event_type()!r}"
            raise InvalidMessage(msg)
        return event

    async def _handle(
        self, record: ConsumerRecord[Any, Any], value: bytes, event: Event[Any], headers: dict[str, str]
    ) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                await (self._handler(event, headers) if self._with_headers else self._handler(event))
            except Exception as error:  # noqa: BLE001  # whatever a handler raises decides the message's fate here
                endless = is_infrastructure(error)
                if not is_retryable(error) or (attempt >= self._retry.attempts and not endless):
                    await self._give_up(record, value, error, attempts=attempt)
                    return
                wait_s = self._retry.wait_s(attempt)
                log.warning("event_retried", attempt=attempt, wait_s=round(wait_s, 3), error=repr(error))
                CONSUMED.labels(self._step.topic, "retried").inc()
                await asyncio.sleep(wait_s)
            else:
                CONSUMED.labels(self._step.topic, "handled").inc()
                return

    async def _give_up(
        self, record: ConsumerRecord[Any, Any], value: bytes, error: Exception, *, attempts: int
    ) -> None:
        letter = DeadLetter(
            origin_topic=record.topic,
            origin_partition=record.partition,
            origin_offset=record.offset,
            consumer=self._consumer,
            message_key=record.key.decode(errors="replace")[:_KEY_KEPT] if record.key else None,
            value=base64.b64encode(value).decode(),
            headers=_kept(record.headers),
            error_type=type(error).__name__,
            reason=(str(error) or type(error).__name__)[:_REASON_KEPT],
            attempts=attempts,
            received_at=datetime.now(UTC),
        )
        expected = isinstance(error, AlgoDockError)
        log.warning(
            "event_dead_lettered",
            origin_topic=record.topic,
            offset=record.offset,
            error=repr(error),
            exc_info=None if expected else error,
        )
        CONSUMED.labels(self._step.topic, "dead_letter").inc()
        attempt = 0
        while True:  # until it lies there: acknowledging before that would lose the message
            attempt += 1
            try:
                await self._bury(letter)
            except Exception as failure:  # noqa: BLE001  # the broker is away, in whatever way
                log.warning("dead_letter_retried", attempt=attempt, error=repr(failure))
                if isinstance(failure.__cause__, MessageSizeTooLargeError) and not letter.cut:
                    # A topic that somebody else made, with the broker's own limit: a part is better than a jam.
                    beginning = base64.b64encode(value[:_CUT_TO]).decode()
                    letter = letter.model_copy(update={"value": beginning, "cut": True, "reason": letter.reason + _CUT})
                    continue
                await asyncio.sleep(self._retry.wait_s(attempt))
            else:
                return
