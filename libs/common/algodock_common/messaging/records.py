"""What comes from the broker and what a send came to, where the bus and FastStream meet."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter

from algodock_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka import ConsumerRecord
    from faststream.kafka.message import KafkaMessage

__all__ = ["PUBLISHED", "confirmed", "quiet_logger", "tolerant", "whole_message"]

PUBLISHED = Counter("algodock_events_published_total", "Events by topic and outcome", ["topic", "outcome"])


def quiet_logger() -> logging.Logger:
    """Return a logger for FastStream's own words: what matters of a message the intake logs itself."""
    logger = logging.getLogger("algodock.faststream")
    logger.setLevel(logging.ERROR)
    return logger


async def whole_message(message: KafkaMessage) -> KafkaMessage:
    """Decode nothing: the intake wants the bytes that were signed, and the message to acknowledge."""
    return message


async def tolerant(record: ConsumerRecord[Any, Any], parse: Callable[..., Awaitable[Any]]) -> Any:
    """Parse headers that are no UTF-8 or null, too: a stranger's bytes must not stop the consumer."""
    headers = tuple((name, (content or b"").decode(errors="replace").encode()) for name, content in record.headers)
    return await parse(dataclasses.replace(record, headers=headers))


async def confirmed(topic: str, outcome: asyncio.Future[Any] | Exception, *, within_s: float) -> Unavailable | None:
    """Return None when the broker has confirmed a send within so many seconds, else why not.

    Raises:
        ValueError: the message must not be sent.
    """
    try:
        if isinstance(outcome, Exception):
            raise outcome  # noqa: TRY301  # one place tells of both
        async with asyncio.timeout(within_s):
            await asyncio.shield(outcome)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001  # one answer for every way a broker is away
        PUBLISHED.labels(topic, "failed").inc()
        unavailable = Unavailable(f"{topic} was not confirmed by the broker: {error!r}")
        unavailable.__cause__ = error
        return unavailable
    PUBLISHED.labels(topic, "confirmed").inc()
    return None
